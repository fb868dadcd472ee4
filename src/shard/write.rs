//! `write`: each operation goes to the owner of its key; one ack follows when all have answered.

use super::Shard;
use super::pending::{PendingRequest, Waiting};
use super::requests::text_frame;
use crate::limits::TAG_BYTES_MAX;
use crate::mesh::{
    Action, ConnectionId, Item, OpOutcome, PackedWrite, ReplyTo, Request, ShardIndex, TagList, Write, Writer,
};
use crate::wire::encode::{self, Ack};
use crate::wire::message::{self, AckLevel, Op, Ops};
use crate::wire::{OwnedRequestId, Reject};

impl Shard {
    pub(super) fn write(
        &mut self,
        id: ConnectionId,
        request_id: Option<OwnedRequestId>,
        ack: AckLevel,
        ops: Ops<'_>,
    ) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        outcomes.clear();
        // Most requests touch nothing but this shard, and end here without having waited for anything.
        let mut reply = None;
        for (index, op) in ops.enumerate() {
            let outcome = match op {
                Ok(op) => self.route(id, &op, index as u32, &mut reply),
                Err(reject) => Some(OpOutcome::Rejected(reject)),
            };
            outcomes.push(outcome);
        }
        match reply {
            None => self.acknowledge(id, request_id.as_ref(), ack, &outcomes, false),
            Some(reply) => {
                if let Some(request) = self.pending.get_mut(reply) {
                    request.remaining = outcomes.iter().filter(|outcome| outcome.is_none()).count() as u32;
                    request.id = request_id;
                    request.waiting = Waiting::Write { ack, outcomes: outcomes.clone() };
                }
            }
        }
        self.outcomes = outcomes;
    }

    /// Applies the operation here, or sends it to its owner: `None` until that answers.
    fn route(
        &mut self,
        id: ConnectionId,
        op: &Op<'_>,
        index: u32,
        reply: &mut Option<ReplyTo>,
    ) -> Option<OpOutcome> {
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        let outcome = match prepare(op, &mut value, self.config.value_bytes_max) {
            Err(reject) => Some(OpOutcome::Rejected(reject)),
            Ok(action) => {
                let map_hash = self.hasher.map(op.map);
                let key_hash = self.hasher.key(map_hash, op.key);
                let write = Write { map: op.map, map_hash, key: op.key, key_hash, action };
                let owner = self.owner(key_hash);
                if owner == self.index && self.is_ready(&write) {
                    let writer = Writer { shard: self.index, connection: id };
                    Some(self.apply(&write, Some(writer)))
                } else {
                    let waiting = Waiting::Write { ack: AckLevel::None, outcomes: Vec::new() };
                    let reply = *reply.get_or_insert_with(|| self.wait_for(id, None, waiting, u32::MAX));
                    self.send_write(owner, ReplyTo { index, ..reply }, &write);
                    None
                }
            }
        };
        self.value = value;
        outcome
    }

    fn send_write(&mut self, owner: ShardIndex, reply: ReplyTo, write: &Write<'_>) {
        if owner == self.index {
            return self.park(reply, write);
        }
        let envelope = self.outgoing.filling(owner);
        let write = PackedWrite::pack(write, &mut envelope.bytes);
        envelope.items.push(Item::Request(Request::Write { reply, write }));
    }

    /// The owner of one operation has answered.
    pub(super) fn write_answered(&mut self, reply: ReplyTo, outcome: OpOutcome) {
        let Some(request) = self.pending.get_mut(reply) else { return };
        if let Waiting::Write { outcomes, .. } = &mut request.waiting {
            outcomes[reply.index as usize] = Some(outcome);
        }
        request.remaining -= 1;
        if request.remaining == 0
            && let Some(request) = self.end_wait(reply)
        {
            self.answer_write(request, false);
        }
    }

    pub(super) fn answer_write(&mut self, request: PendingRequest, timeout: bool) {
        if let Waiting::Write { ack, outcomes } = request.waiting {
            self.acknowledge(request.connection, request.id.as_ref(), ack, &outcomes, timeout);
        }
    }

    /// Sends the ack, unless none was asked for and nothing was refused.
    fn acknowledge(
        &mut self,
        id: ConnectionId,
        request_id: Option<&OwnedRequestId>,
        ack: AckLevel,
        outcomes: &[Option<OpOutcome>],
        timeout: bool,
    ) {
        let refused = || {
            outcomes.iter().enumerate().filter_map(|(index, outcome)| match outcome {
                Some(OpOutcome::Rejected(reject)) => Some((index, *reject)),
                _ => None,
            })
        };
        if ack == AckLevel::None {
            for (_, reject) in refused() {
                self.reject(id, request_id, reject);
            }
            return;
        }
        let stamps = outcomes.iter().map(|outcome| match outcome {
            Some(OpOutcome::Merged(stamp)) => stamp.as_ref(),
            _ => None,
        });
        let applied = outcomes.iter().filter(|outcome| matches!(outcome, Some(OpOutcome::Merged(_)))).count();
        // Nothing is on disk or in a cluster: memory is what can be reached, whatever was asked for.
        let reached = AckLevel::Memory;
        self.clients.send(id, self.now, |out| {
            text_frame(out, |out| {
                encode::ack(out, request_id, Ack { level: reached, applied, timeout }, stamps, refused());
            });
        });
    }
}

/// Checks the operation and puts its value, in canonical form, or its tags into `scratch`.
fn prepare<'a>(op: &Op<'a>, scratch: &'a mut Vec<u8>, value_bytes_max: usize) -> Result<Action<'a>, Reject> {
    let mut canonical = |value: &message::Value<'_>| {
        value.write_canonical(scratch);
        if scratch.len() > value_bytes_max {
            return Err(Reject::TooLarge("the value is over --max-value-bytes"));
        }
        Ok(())
    };
    Ok(match &op.action {
        message::Action::Set { value, at, ttl_ms } => {
            canonical(value)?;
            Action::Set { value: scratch, at: *at, ttl_ms: *ttl_ms }
        }
        message::Action::Delete { at } => Action::Delete { at: *at },
        message::Action::Add { value, tag, at } => {
            canonical(value)?;
            Action::Add { value: scratch, tag: *tag, at: *at }
        }
        message::Action::RemoveTags(tags) => {
            for tag in tags.clone() {
                debug_assert!(tag.len() <= TAG_BYTES_MAX);
                TagList::push(scratch, tag);
            }
            Action::RemoveTags { tags: TagList(scratch) }
        }
        message::Action::RemoveValue(value) => {
            canonical(value)?;
            Action::RemoveValue { value: scratch }
        }
        message::Action::Increment { by } => Action::Increment { by: *by },
        message::Action::IncrementTotals { replica, added, subtracted } => {
            Action::IncrementTotals { replica: *replica, added: *added, subtracted: *subtracted }
        }
    })
}
