//! `write`: each operation goes to the owner of its key; one ack follows when all have answered.

use std::sync::Arc;

use super::charge::Charge;
use super::op_batch::OpBatch;
use super::{PendingRequest, Requests, Waiting, give_back};
use crate::auth::rules::{Action as Right, Parts};
use crate::handover::RECORD_HEADER_BYTES;
use crate::limits::SCRATCH_BYTES_MAX;
use crate::mesh::{
    Action, Answer, ConnectionId, Item, Merged, PackedWrite, ReplyTo, Request, ShardIndex, Write,
};
use crate::shard::allows::{Allows, May};
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::outcomes::{Outcomes, place};
use crate::shard::turn::Turn;
use crate::shard::{Ack, AckLevel, Event};
use crate::wire::{Reject, Ticket};

/// The operations of one write, as a dialect reads them from its message. They are looked at twice: first only where
/// they go, then each in full.
pub trait Ops {
    /// The map and key that each operation names; empty where it names none.
    fn targets(&self) -> impl Iterator<Item = (&str, &str)>;

    /// Reads the operations, each for `carry_out`, or says why it is refused; the others go on. `scratch` is for values in canonical
    /// form, or tags, to lie in.
    ///
    /// By reference, and not as an iterator: to hand on what was just put together from small parts costs more than a cache miss,
    /// as wide loads must wait until every small store before them has left the core.
    fn for_each(self, scratch: &mut Vec<u8>, carry_out: impl FnMut(Result<&Op<'_>, Reject>));
}

/// One operation on one key.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    pub map: &'a str,
    pub key: &'a str,
    pub action: Action<'a>,
}

/// What is needed to carry it out.
const fn right(action: &Action<'_>) -> Right {
    match action {
        Action::Delete { .. } | Action::RemoveTags { .. } | Action::RemoveValue { .. } => Right::Delete,
        _ => Right::Write,
    }
}

/// Whether an operation writes a value that ends, and its writer may not delete it, or not by the same rules by which it writes.
fn may_not_end(turn: &mut Turn, allows: &mut impl Allows, op: &Op<'_>) -> bool {
    if !matches!(op.action, Action::Set { ttl_ms: Some(_), .. }) {
        return false;
    }
    match allows.may(turn, Right::Delete, op.map, op.key) {
        May::Yes => false,
        May::No => true,
        May::AskOwner(parts) => {
            let parts = Arc::clone(parts);
            !matches!(allows.may(turn, Right::Write, op.map, op.key), May::AskOwner(same) if *same == parts)
        }
    }
}

impl Requests {
    /// Carries out the operations that the writer may, each at the owner of its key. [`Event::Acked`] follows, unless `ack` is
    /// [`AckLevel::None`], which hears of what was rejected only.
    pub fn write(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        (asked, mut allows): (Asked, impl Allows),
        ack: AckLevel,
        ops: impl Ops,
    ) {
        let id = asked.connection();
        let is_put_off = clients.get(id).is_some_and(|connection| connection.has_unfinished);
        let mut batch = OpBatch::new(id, std::mem::take(&mut self.outcomes), is_put_off);
        if let Some(reject) = maps.refuses_writes(turn, ack) {
            ops.targets().for_each(|_| batch.refuse(reject));
            acknowledge(turn, clients, (id, asked.ticket()), ack, Reached::Memory, &batch.outcomes);
            return self.keep_outcomes(batch.outcomes);
        }
        let mut hashes = std::mem::take(&mut self.hashes);
        hash_and_warm(turn, maps, &ops, &mut hashes);
        let mut value = std::mem::take(&mut self.value);
        let mut hashed = (0..).zip(&hashes);
        ops.for_each(&mut value, |op| {
            let Some((index, hash)) = hashed.next() else { return };
            match op {
                // A value that ends is a removal to come. What rules of removals alone say of it is not asked at its owner.
                Ok(op) if may_not_end(turn, &mut allows, op) => batch.refuse(Reject::Forbidden),
                Ok(op) => match allows.may(turn, right(&op.action), op.map, op.key) {
                    May::Yes => self.route(turn, clients, maps, &mut batch, index, (op, hash, None)),
                    May::AskOwner(parts) => {
                        self.route(turn, clients, maps, &mut batch, index, (op, hash, Some(parts)));
                    }
                    May::No => batch.refuse(Reject::Forbidden),
                },
                Err(reject) => batch.refuse(reject),
            }
        });
        self.value = value;
        give_back(&mut self.value);
        let (ops, unanswered) = (hashes.len(), place(hashes.len()) - batch.answered);
        self.hashes = hashes;
        give_back(&mut self.hashes);
        if let Some(until_us) = maps.slows_until_us(turn, batch.write_bytes) {
            clients.slow(turn, id, until_us);
        }
        let waits_for_disk = maps.waits_for_disk(turn, ack);
        if waits_for_disk && batch.has_merged {
            batch.outcomes.cover((turn.index, maps.covering()));
        }
        match batch.reply {
            None if !waits_for_disk => {
                acknowledge(turn, clients, (id, asked.ticket()), ack, Reached::Memory, &batch.outcomes);
                self.keep_outcomes(batch.outcomes);
            }
            None => {
                let charge = Charge::of_write(batch.outcomes.heap_bytes(), ops);
                let waiting = Waiting::Write { ack, outcomes: batch.outcomes };
                let reply = self.wait_for(turn, clients, (id, asked.ticket), waiting, 0);
                self.charge(clients, reply, charge);
                self.outcomes = self.spare_outcomes.take();
                self.operations_answered(turn, clients, maps, reply);
            }
            Some(reply) => {
                if let Some(request) = self.pending.get_mut(reply) {
                    request.remaining = unanswered;
                    request.ticket = asked.ticket;
                    let request_bytes = batch.request_bytes + batch.outcomes.heap_bytes();
                    request.waiting = Waiting::Write { ack, outcomes: batch.outcomes };
                    self.charge(clients, reply, Charge::of_write(request_bytes, ops));
                }
                self.outcomes = self.spare_outcomes.take();
            }
        }
    }

    /// Applies the operation here, or sends it to its owner; later, if the connection has had its share of this turn.
    fn route(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        batch: &mut OpBatch,
        index: u32,
        (op, hash, view): (&Op<'_>, &OpHash, Option<&Arc<Parts>>),
    ) {
        batch.outcomes.push(op.action.given());
        let &OpHash { map: map_hash, key: key_hash, .. } = hash;
        let write = Write { map: op.map, map_hash, key: op.key, key_hash, action: op.action, view };
        batch.write_bytes += RECORD_HEADER_BYTES + write.bytes();
        let is_here = hash.owner == turn.index;
        batch.is_put_off |= turn.is_share_over();
        let is_now = is_here && !batch.is_put_off;
        let slot = if is_now { maps.ready_slot(turn, hash.slot, &write) } else { None };
        if let Some(slot) = slot {
            let writer = turn.writer(batch.connection);
            let outcome = maps.apply(turn, slot, &write, Some(writer));
            batch.answer(index, outcome);
        } else if let Err(reject) = may_leave(turn, maps, &write, (is_here, batch.is_put_off)) {
            batch.answer(index, Err(reject));
        } else {
            batch.request_bytes += size_of::<Item>() + write.bytes();
            // Most requests touch nothing but this shard and never come here.
            let waiting = || Waiting::Write { ack: AckLevel::None, outcomes: Outcomes::default() };
            let reply = *batch.reply.get_or_insert_with(|| {
                self.wait_for(turn, clients, (batch.connection, None), waiting(), u32::MAX)
            });
            let reply = ReplyTo { index, ..reply };
            if batch.is_put_off {
                self.put_off(turn, clients, maps, reply, &write);
            } else {
                send_write(turn, maps, hash.owner, reply, &write);
            }
        }
    }

    /// Applies an operation that came from another shard, or has waited here, and answers it.
    pub fn apply_and_answer(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        reply: ReplyTo,
        write: &Write<'_>,
    ) {
        let slot = maps.ready_slot(turn, None, write);
        let outcome = match slot {
            Some(slot) => maps.apply(turn, slot, write, Some(reply.writer())),
            None => match maps.may_park(turn, write) {
                Ok(()) => return maps.park(turn, reply, write),
                Err(reject) => Err(reject),
            },
        };
        self.answer_op(turn, clients, maps, reply, outcome);
    }

    /// Answers one operation to whoever asked for it, here or elsewhere.
    pub fn answer_op(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        reply: ReplyTo,
        outcome: Result<Merged, Reject>,
    ) {
        if reply.shard == turn.index {
            let cover = (turn.index, maps.covering());
            self.write_answered(turn, clients, maps, (reply, outcome), cover);
        } else {
            turn.outgoing.push(reply.shard, Item::Answer(Answer::Write { reply, outcome }));
        }
    }

    /// The owner of one operation has answered; what it has merged is durable when `cover` is.
    pub fn write_answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        (reply, outcome): (ReplyTo, Result<Merged, Reject>),
        cover: (ShardIndex, u64),
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
            self.operations_answered(turn, clients, maps, reply);
        }
    }

    /// Every operation of the request has been answered: so is the request, unless it waits for the disk.
    fn operations_answered(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps, reply: ReplyTo) {
        if !self.wait_until_durable(turn, maps, reply)
            && let Some(request) = self.end_wait(turn, clients, reply)
        {
            self.answer_write(turn, clients, maps, request, false);
        }
    }

    pub(super) fn answer_write(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        request: PendingRequest,
        timeout: bool,
    ) {
        if let Waiting::Write { ack, mut outcomes } = request.waiting {
            let reached = match timeout {
                true => Reached::MemoryInTime,
                false if maps.waits_for_disk(turn, ack) => Reached::Durable,
                false => Reached::Memory,
            };
            if timeout {
                outcomes.reject_unanswered(Reject::Timeout);
            }
            let asked = (request.connection, request.ticket.as_ref());
            acknowledge(turn, clients, asked, ack, reached, &outcomes);
            self.spare_outcomes.put(outcomes);
        }
    }

    /// Keeps the list for the next request, unless a giant has made it larger than most need.
    fn keep_outcomes(&mut self, outcomes: Outcomes) {
        self.outcomes =
            if outcomes.heap_bytes() <= SCRATCH_BYTES_MAX { outcomes } else { Outcomes::default() };
    }
}

/// Hashes the key of every operation, and brings the cells this shard owns into the cache: taken in one short
/// loop, their cache misses overlap; met one by one while applying, each would be waited for.
fn hash_and_warm(turn: &Turn, maps: &Maps, ops: &impl Ops, hashes: &mut Vec<OpHash>) {
    hashes.clear();
    // Operations on one map mostly follow each other.
    let mut last = ("", turn.hasher.map(""), None);
    for (map, key) in ops.targets() {
        if map != last.0 || hashes.is_empty() {
            let hash = turn.hasher.map(map);
            last = (map, hash, maps.find(map, hash));
        }
        let (_, map, slot) = last;
        let key = turn.hasher.key(map, key);
        let owner = turn.owner(key);
        hashes.push(OpHash { map, key, owner, slot: slot.filter(|_| owner == turn.index) });
    }
    for hash in hashes {
        if let Some(cells) = hash.slot.and_then(|slot| maps[slot].typed()) {
            cells.warm(hash.key);
        }
    }
}

/// Whether an operation that is not applied at once may wait where it has to; another shard answers that itself.
fn may_leave(
    turn: &Turn,
    maps: &Maps,
    write: &Write<'_>,
    (is_here, is_put_off): (bool, bool),
) -> Result<(), Reject> {
    match (is_put_off, is_here) {
        (true, _) => maps.may_wait(write.bytes()),
        (false, true) => maps.may_park(turn, write),
        (false, false) => Ok(()),
    }
}

pub(super) fn send_write(
    turn: &mut Turn,
    maps: &mut Maps,
    owner: ShardIndex,
    reply: ReplyTo,
    write: &Write<'_>,
) {
    if owner == turn.index {
        return maps.park(turn, reply, write);
    }
    let envelope = turn.outgoing.filling(owner);
    let write = PackedWrite::pack(write, &mut envelope.bytes);
    envelope.items.push(Item::Request(Request::Write { reply, write }));
}

/// Sends the ack, unless none was asked for and nothing was refused.
fn acknowledge(
    turn: &mut Turn,
    clients: &mut Clients,
    (id, ticket): (ConnectionId, Option<&Ticket>),
    ack: AckLevel,
    reached: Reached,
    outcomes: &Outcomes,
) {
    if ack == AckLevel::None {
        for (_, reject) in outcomes.rejected() {
            clients.reject(turn, id, ticket, reject);
        }
        return;
    }
    let (level, timeout) = match reached {
        Reached::Memory => (AckLevel::Memory, false),
        Reached::MemoryInTime => (AckLevel::Memory, true),
        Reached::Durable => (AckLevel::Durable, false),
    };
    turn.metrics.durable_acks += u64::from(reached == Reached::Durable);
    let ack = Ack { level, timeout, outcomes, node: turn.node };
    clients.tell(id, turn.now, Event::Acked { ticket, ack });
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

/// Where one operation goes.
#[derive(Clone, Copy)]
pub struct OpHash {
    map: u64,
    key: u64,
    owner: ShardIndex,
    /// The map's slot, if this shard owns the key and knows the map.
    slot: Option<MapSlot>,
}
