//! Writes and messages that wait until they are durable.
//!
//! Invariant: a request waits for one batch of each shard that has merged an operation of it: the one that holds
//! the change, or, where the operation lost, the state it has lost to.

use std::collections::VecDeque;

use super::{Requests, Waiting};
use crate::mesh::{ReplyTo, ShardIndex, ShardSet};
use crate::shard::AckLevel;
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;

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

impl Requests {
    /// Whether any write waits for a disk.
    pub fn has_durable_waits(&self) -> bool {
        self.durable.count > 0
    }

    /// Has a request whose operations have all been answered wait until they are durable; whether it must.
    pub(super) fn wait_until_durable(&mut self, turn: &Turn, maps: &Maps, reply: ReplyTo) -> bool {
        if !maps.may_wait_for_disk(turn) {
            return false;
        }
        let Some(journal) = maps.journal() else { return false };
        let Some(request) = self.pending.get_mut(reply) else { return false };
        let Waiting::Write { ack, outcomes } = &request.waiting else { return false };
        if *ack < AckLevel::Durable {
            return false;
        }
        request.remaining = 0;
        for &(owner, number) in outcomes.covers() {
            if journal.durable_batch_of(owner) < number {
                request.remaining += 1;
                self.durable.push(owner, number, reply);
            }
        }
        request.remaining > 0
    }

    /// Has a request wait until a batch of a shard is durable; whether it must.
    pub(super) fn wait_for_batch(&mut self, maps: &Maps, reply: ReplyTo, cover: (ShardIndex, u64)) -> bool {
        let (owner, number) = cover;
        let Some(journal) = maps.journal() else { return false };
        let Some(request) = self.pending.get_mut(reply) else { return false };
        if journal.durable_batch_of(owner) >= number {
            return false;
        }
        request.remaining = 1;
        self.durable.push(owner, number, reply);
        true
    }

    /// Answers what has become durable.
    pub fn answer_durable(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps) {
        let Some(journal) = maps.journal().filter(|_| self.has_durable_waits()) else { return };
        for shard in ShardSet::first(turn.shards).iter() {
            let (owner, durable) = (usize::from(shard), journal.durable_batch_of(shard));
            while let Some(&(number, reply)) = self.durable.by_owner[owner].front() {
                let is_pending = self.pending.get_mut(reply).is_some();
                if number > durable && is_pending {
                    break;
                }
                // Reached, or given up long ago.
                self.durable.by_owner[owner].pop_front();
                self.durable.count -= 1;
                if let Some(request) = self.answered(turn, clients, reply) {
                    self.answer(turn, clients, maps, request, false);
                }
            }
        }
    }
}
