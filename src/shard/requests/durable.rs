//! Writes that wait until their changes are durable.
//!
//! Invariant: a request waits for one batch of each shard that has merged an operation of it: the one that holds
//! the change, or, where the operation lost, the state it has lost to.

use std::collections::VecDeque;

use crate::mesh::{ReplyTo, ShardIndex};
use crate::shard::AckLevel;
use crate::shard::Shard;
use crate::shard::maps::journal::Journal;
use crate::shard::requests::Waiting;

/// For each shard: the batches of it that requests wait for, ascending.
#[derive(Default)]
pub struct DurableWaits {
    by_owner: Vec<VecDeque<(u64, ReplyTo)>>,
    count: usize,
}

impl DurableWaits {
    pub fn new(shards: usize) -> Self {
        Self { by_owner: (0..shards).map(|_| VecDeque::new()).collect(), count: 0 }
    }

    fn push(&mut self, owner: ShardIndex, number: u64, reply: ReplyTo) {
        let queue = &mut self.by_owner[usize::from(owner)];
        // Who asked later may have been answered sooner by another shard; the little it waits longer keeps the order.
        let number = queue.back().map_or(number, |&(last, _)| number.max(last));
        queue.push_back((number, reply));
        self.count += 1;
    }
}

impl Shard {
    /// Whether a write that asks for `ack` is answered once it is durable.
    pub(in crate::shard) fn waits_for_disk(&self, ack: AckLevel) -> bool {
        ack >= AckLevel::Durable && self.may_wait_for_disk()
    }

    /// Whether the ack level `durable` can be reached.
    pub fn may_wait_for_disk(&self) -> bool {
        self.config.offers_durable && self.journal.is_some()
    }

    /// The batch that covers what this shard has merged so far.
    pub(in crate::shard) fn covering(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::covering)
    }

    /// Has a request whose operations have all been answered wait until they are durable; whether it must.
    pub(in crate::shard) fn wait_until_durable(&mut self, reply: ReplyTo) -> bool {
        if !self.may_wait_for_disk() {
            return false;
        }
        let Some(journal) = &self.journal else { return false };
        let Some(request) = self.pending.get_mut(reply) else { return false };
        let Waiting::Write { ack, outcomes } = &request.waiting else { return false };
        if *ack < AckLevel::Durable {
            return false;
        }
        request.remaining = 0;
        for &(owner, number) in outcomes.covers() {
            if journal.progress().shard(usize::from(owner)).durable() < number {
                request.remaining += 1;
                self.durable.push(owner, number, reply);
            }
        }
        request.remaining > 0
    }

    /// Answers the writes that have become durable.
    pub(in crate::shard) fn answer_durable(&mut self) {
        if self.durable.count == 0 {
            return;
        }
        for owner in 0..self.shards {
            let durable = self.durable_batch(owner as ShardIndex);
            while let Some(&(number, reply)) = self.durable.by_owner[owner].front() {
                let request = self.pending.get_mut(reply);
                if number > durable && request.is_some() {
                    break;
                }
                // Reached, or given up long ago.
                self.durable.by_owner[owner].pop_front();
                self.durable.count -= 1;
                let Some(request) = request else { continue };
                request.remaining -= 1;
                if request.remaining == 0
                    && let Some(request) = self.end_wait(reply)
                {
                    self.answer_write(request, false);
                }
            }
        }
    }

    /// Asks to be woken when anything becomes durable, if anybody here waits for it.
    pub(in crate::shard) fn watch_durable(&mut self) {
        let (was_held, was_clearing) = (self.is_held(), self.is_clearing());
        let Some(journal) = &mut self.journal else { return };
        if self.durable.count == 0 && !was_held && !was_clearing {
            return;
        }
        journal.progress().shard(usize::from(self.index)).want_wake();
        // What became durable just before that wakes nobody.
        journal.look(self.now);
        self.storage_left |= was_held && !journal.is_holding();
        self.storage_left |= was_clearing && self.clear_may_go_on();
        self.answer_durable();
    }

    fn durable_batch(&self, owner: ShardIndex) -> u64 {
        let durable = |journal: &Journal| journal.progress().shard(usize::from(owner)).durable();
        self.journal.as_ref().map_or(0, durable)
    }
}
