//! How far the batches of all shards have come: pushed, written or durable.
//!
//! Invariant: nothing is allocated but by [`Reach::nowhere`] and `clone`.

use crate::crdt::Time;
use crate::handover::Batch;

/// How far each shard's batches have come.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub shards: Vec<ShardReach>,
    /// Bytes of all shards.
    pub bytes: u64,
    /// The newest tick of all shards.
    pub clock: Time,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ShardReach {
    pub batch: u64,
    pub bytes: u64,
    pub applied: Time,
}

impl Reach {
    pub fn nowhere(shards: usize) -> Self {
        Self { shards: vec![ShardReach::default(); shards], bytes: 0, clock: Time::ZERO }
    }

    /// Takes in the next batch of a shard.
    pub fn extend(&mut self, shard: usize, batch: &Batch) {
        let bytes = batch.bytes.len() as u64;
        let reach = &mut self.shards[shard];
        reach.batch = batch.number;
        reach.bytes += bytes;
        reach.applied = reach.applied.max(batch.last_applied);
        self.bytes += bytes;
        self.clock = self.clock.max(batch.last_applied);
    }

    /// As `clone_from`, which is not promised to keep the memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.shards.copy_from_slice(&other.shards);
        (self.bytes, self.clock) = (other.bytes, other.clock);
    }
}
