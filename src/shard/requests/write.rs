//! `write`: each operation goes to the owner of its key; one ack follows when all have answered.

use crate::mesh::{
    Action, ConnectionId, Item, Merged, PackedWrite, ReplyTo, Request, ShardIndex, Write, Writer,
};
use crate::shard::maps::MapSlot;
use crate::shard::requests::{PendingRequest, Waiting};
use crate::shard::{Ack, AckLevel, Event, Outcomes, Shard};
use crate::wire::{Reject, Ticket};

/// The operations of one write, as a dialect reads them from its message. They are looked at twice: first only where
/// they go, then each in full.
pub trait Ops {
    /// The map and key that each operation names; empty where it names none.
    fn targets(&self) -> impl Iterator<Item = (&str, &str)>;

    /// Reads the next operation. `scratch` is empty, for its value in canonical form, or its tags, to lie in.
    ///
    /// # Errors
    /// Why this operation is refused; the others go on.
    fn next<'a>(&'a mut self, scratch: &'a mut Vec<u8>) -> Option<Result<Op<'a>, Reject>>;
}

/// One operation on one key.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    pub map: &'a str,
    pub key: &'a str,
    pub action: Action<'a>,
}

impl Shard {
    /// Carries out the operations, each at the owner of its key. [`crate::shard::Event::Acked`] follows, unless `ack` is
    /// [`AckLevel::None`], which hears of what was rejected only.
    pub fn write(&mut self, id: ConnectionId, ticket: Option<Ticket>, ack: AckLevel, mut ops: impl Ops) {
        let mut batch = OpBatch::new(id, std::mem::take(&mut self.outcomes));
        if let Some(reject) = self.refuses_writes(ack) {
            ops.targets().for_each(|_| batch.refuse(reject));
            self.acknowledge(id, ticket.as_ref(), ack, Reached::Memory, &batch.outcomes);
            self.outcomes = batch.outcomes;
            return;
        }
        let hashes = std::mem::take(&mut self.hashes);
        let hashes = self.hash_and_warm(&ops, hashes);
        let mut value = std::mem::take(&mut self.value);
        for (index, &hash) in hashes.iter().enumerate() {
            value.clear();
            match ops.next(&mut value) {
                Some(Ok(op)) => self.route(&mut batch, index as u32, &op, hash),
                Some(Err(reject)) => batch.refuse(reject),
                None => break,
            }
        }
        self.value = value;
        let unanswered = hashes.len() as u32 - batch.answered;
        self.hashes = hashes;
        let waits_for_disk = self.waits_for_disk(ack);
        if waits_for_disk && batch.has_merged {
            batch.outcomes.cover((self.index, self.covering()));
        }
        match batch.reply {
            None if !waits_for_disk => {
                self.acknowledge(id, ticket.as_ref(), ack, Reached::Memory, &batch.outcomes);
                self.outcomes = batch.outcomes;
            }
            None => {
                let waiting = Waiting::Write { ack, outcomes: batch.outcomes };
                let reply = self.wait_for(id, ticket, waiting, 0);
                self.outcomes = self.spare_outcomes.pop().unwrap_or_default();
                self.operations_answered(reply);
            }
            Some(reply) => {
                if let Some(request) = self.pending.get_mut(reply) {
                    request.remaining = unanswered;
                    request.ticket = ticket;
                    request.waiting = Waiting::Write { ack, outcomes: batch.outcomes };
                }
                self.outcomes = self.spare_outcomes.pop().unwrap_or_default();
            }
        }
    }

    /// Hashes the key of every operation, and brings the cells this shard owns into the cache: taken in one short
    /// loop, their cache misses overlap; met one by one while applying, each would be waited for.
    fn hash_and_warm(&mut self, ops: &impl Ops, mut hashes: Vec<OpHash>) -> Vec<OpHash> {
        hashes.clear();
        let mut last = ("", self.hasher.map(""));
        for (map, key) in ops.targets() {
            if map != last.0 {
                last = (map, self.hasher.map(map));
            }
            let key = self.hasher.key(last.1, key);
            let owner = self.owner(key);
            let slot = if owner == self.index { self.maps.find(map, last.1) } else { None };
            hashes.push(OpHash { map: last.1, key, owner, slot });
        }
        for hash in &hashes {
            if let Some(cells) = hash.slot.and_then(|slot| self.maps[slot].typed()) {
                cells.warm(hash.key);
            }
        }
        hashes
    }

    /// Applies the operation here, or sends it to its owner.
    fn route(&mut self, batch: &mut OpBatch, index: u32, op: &Op<'_>, hash: OpHash) {
        batch.outcomes.push(op.action.given());
        let write =
            Write { map: op.map, map_hash: hash.map, key: op.key, key_hash: hash.key, action: op.action };
        let slot = if hash.owner == self.index { self.ready_slot(hash.slot, &write) } else { None };
        if let Some(slot) = slot {
            let writer = Writer { shard: self.index, connection: batch.connection };
            let outcome = self.apply(slot, &write, Some(writer));
            batch.answer(index, outcome);
        } else {
            // Most requests touch nothing but this shard and never come here.
            let waiting = || Waiting::Write { ack: AckLevel::None, outcomes: Outcomes::default() };
            let reply = *batch
                .reply
                .get_or_insert_with(|| self.wait_for(batch.connection, None, waiting(), u32::MAX));
            self.send_write(hash.owner, ReplyTo { index, ..reply }, &write);
        }
    }

    fn send_write(&mut self, owner: ShardIndex, reply: ReplyTo, write: &Write<'_>) {
        if owner == self.index {
            return self.park(reply, write);
        }
        let envelope = self.outgoing.filling(owner);
        let write = PackedWrite::pack(write, &mut envelope.bytes);
        envelope.items.push(Item::Request(Request::Write { reply, write }));
    }

    /// The owner of one operation has answered; what it has merged is durable when `cover` is.
    pub(in crate::shard) fn write_answered(
        &mut self,
        cover: (ShardIndex, u64),
        reply: ReplyTo,
        outcome: Result<Merged, Reject>,
    ) {
        let Some(request) = self.pending.get_mut(reply) else { return };
        if let Waiting::Write { ack, outcomes } = &mut request.waiting {
            if outcome.is_ok() && *ack >= AckLevel::Durable {
                outcomes.cover(cover);
            }
            outcomes.set(reply.index, outcome);
        }
        request.remaining -= 1;
        if request.remaining == 0 {
            self.operations_answered(reply);
        }
    }

    /// Every operation of the request has been answered: so is the request, unless it waits for the disk.
    fn operations_answered(&mut self, reply: ReplyTo) {
        if !self.wait_until_durable(reply)
            && let Some(request) = self.end_wait(reply)
        {
            self.answer_write(request, false);
        }
    }

    pub(in crate::shard) fn answer_write(&mut self, request: PendingRequest, timeout: bool) {
        if let Waiting::Write { ack, mut outcomes } = request.waiting {
            let reached = match timeout {
                true => Reached::MemoryInTime,
                false if self.waits_for_disk(ack) => Reached::Durable,
                false => Reached::Memory,
            };
            if timeout {
                outcomes.reject_unanswered(Reject::Timeout);
            }
            self.acknowledge(request.connection, request.ticket.as_ref(), ack, reached, &outcomes);
            if self.spare_outcomes.len() < SPARE_OUTCOMES_MAX {
                outcomes.clear();
                self.spare_outcomes.push(outcomes);
            }
        }
    }

    /// Sends the ack, unless none was asked for and nothing was refused.
    fn acknowledge(
        &mut self,
        id: ConnectionId,
        ticket: Option<&Ticket>,
        ack: AckLevel,
        reached: Reached,
        outcomes: &Outcomes,
    ) {
        if ack == AckLevel::None {
            for (_, reject) in outcomes.rejected() {
                self.reject(id, ticket, reject);
            }
            return;
        }
        let (level, timeout) = match reached {
            Reached::Memory => (AckLevel::Memory, false),
            Reached::MemoryInTime => (AckLevel::Memory, true),
            Reached::Durable => (AckLevel::Durable, false),
        };
        self.metrics.durable_acks += u64::from(reached == Reached::Durable);
        let ack = Ack { level, timeout, outcomes, node: self.node };
        self.clients.tell(id, self.now, Event::Acked { ticket, ack });
    }
}

/// How far a write has come when it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// Merged, and there is nothing further, or nothing further was asked for.
    Memory,
    /// Time was up for anything further.
    MemoryInTime,
    Durable,
}

/// Lists of outcomes kept for reuse, so that requests that wait allocate nothing in the long run.
const SPARE_OUTCOMES_MAX: usize = 256;

/// One `write` while its operations are routed.
struct OpBatch {
    connection: ConnectionId,
    outcomes: Outcomes,
    /// Where other shards answer, once one of them has been asked.
    reply: Option<ReplyTo>,
    /// Operations that have been answered.
    answered: u32,
    /// Whether any was merged here.
    has_merged: bool,
}

/// Where one operation goes.
#[derive(Clone, Copy)]
pub struct OpHash {
    map: u64,
    key: u64,
    owner: ShardIndex,
    /// The map's slot, if this shard owns the key and knows the map.
    slot: Option<MapSlot>,
}

impl OpBatch {
    fn new(connection: ConnectionId, mut outcomes: Outcomes) -> Self {
        outcomes.clear();
        Self { connection, outcomes, reply: None, answered: 0, has_merged: false }
    }

    /// Rejects the next operation before anybody is asked.
    fn refuse(&mut self, reject: Reject) {
        let index = self.outcomes.len() as u32;
        self.outcomes.push(None);
        self.answer(index, Err(reject));
    }

    fn answer(&mut self, index: u32, outcome: Result<Merged, Reject>) {
        self.has_merged |= outcome.is_ok();
        self.outcomes.set(index, outcome);
        self.answered += 1;
    }
}
