//! Maps for the shards: whoever asks for the same one is served by one scan.

use annulus::crdt::Time;
use annulus::handover::FromStorage;
use annulus::mesh::ShardIndex;
use annulus::storage::{LoadRequest, StorageError};

use super::{Now, Service};
use crate::random::Random;

impl Service {
    /// Begins one load, or fails at it as a disk may that cannot be read for the moment.
    pub(super) fn load(&mut self, now: Now, random: &mut Random) -> Result<(), StorageError> {
        if self.asked.is_empty() {
            return Ok(());
        }
        let (_, map) = self.asked[random.below(self.asked.len())].clone();
        let mut owners: Vec<ShardIndex> = Vec::new();
        self.asked.retain(|(shard, asked)| {
            let is_served = *asked == map;
            owners.extend(is_served.then_some(*shard as ShardIndex));
            !is_served
        });
        self.counts.loads += 1;
        if !self.is_calm && random.per_mille(self.spec.failed_loads_per_mille) {
            for owner in owners {
                self.outgoing[usize::from(owner)].push_back(FromStorage::LoadFailed { map: map.clone() });
            }
            return Ok(());
        }
        // Before the base is looked at: what was decided since is told by whoever decided it.
        let decided = self.types.get(&map).copied();
        let forget_before = Time::new(now.unix_ms.saturating_sub(self.spec.retention_ms), 0);
        let request = LoadRequest { map: &map, owners: &owners, shards: self.ports.len(), forget_before };
        let outgoing = &mut self.outgoing;
        self.base.load(&self.tail, &request, &mut |owner, mut chunk| {
            chunk.map_type = chunk.map_type.or(decided);
            outgoing[usize::from(owner)].push_back(FromStorage::Chunk(chunk));
            true
        })
    }
}
