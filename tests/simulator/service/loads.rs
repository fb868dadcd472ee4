//! Maps for the shards, each of which gets its part by itself.

use annulus::crdt::Time;
use annulus::handover::FromStorage;
use annulus::mesh::ShardIndex;
use annulus::storage::{LoadRequest, StorageError};

use super::{Now, Service};
use crate::random::Random;

impl Service {
    /// One load, whole, or cut short anywhere before its end, as by a disk that cannot be read for the moment.
    pub(super) fn load(&mut self, now: Now, random: &mut Random) -> Result<(), StorageError> {
        if self.asked.is_empty() {
            return Ok(());
        }
        let (owner, map) = self.asked.swap_remove(random.below(self.asked.len()));
        let outgoing = &mut self.outgoing[owner];
        self.counts.loads += 1;
        let fails = !self.is_calm && random.per_mille(self.spec.failed_loads_per_mille);
        // Those that come before it fails; most maps have one.
        let mut left = if fails { random.below(3) } else { usize::MAX };
        // Before the base is looked at: what was decided since is told by whoever decided it.
        let decided = self.types.get(&map).copied();
        let forget_before = Time::new(now.unix_ms.saturating_sub(self.spec.retention_ms), 0);
        let request =
            LoadRequest { map: &map, owner: owner as ShardIndex, shards: self.ports.len(), forget_before };
        let mut is_whole = false;
        self.base.load(&self.tail, &request, &mut |mut chunk| {
            is_whole = chunk.is_last && !fails;
            if left == 0 || (chunk.is_last && fails) {
                return false;
            }
            left -= 1;
            chunk.map_type = chunk.map_type.or(decided);
            outgoing.push_back(FromStorage::Chunk(chunk));
            true
        })?;
        if !is_whole {
            outgoing.push_back(FromStorage::LoadFailed { map });
        }
        Ok(())
    }
}
