//! Maps for the shards, each of which gets its part by itself.

use annulus::crdt::Time;
use annulus::handover::FromStorage;
use annulus::mesh::{KeyList, ShardIndex};
use annulus::storage::{LoadRequest, StorageError};

use super::{Now, Service};
use crate::random::Random;

impl Service {
    /// One load, whole, or cut short anywhere before its end, as by a disk that cannot be read for the moment.
    pub(super) fn load(&mut self, now: Now, random: &mut Random) -> Result<(), StorageError> {
        if !self.look_ups.is_empty() {
            return self.look_up(now, random);
        }
        if self.asked.is_empty() || !self.is_calm && now.us < self.held_until_us {
            return Ok(());
        }
        // As if a large map came first: reads that wait are looked up meanwhile.
        if !self.is_calm && random.per_mille(30) {
            self.held_until_us = now.us + 200_000;
            return Ok(());
        }
        let (owner, map) = self.asked.swap_remove(random.below(self.asked.len()));
        let forget_before = self.forget_before(now);
        let outgoing = &mut self.outgoing[owner];
        self.counts.loads += 1;
        let fails = !self.is_calm && random.per_mille(self.spec.failed_loads_per_mille);
        // Those that come before it fails; most maps have one.
        let mut left = if fails { random.below(3) } else { usize::MAX };
        // Before the base is looked at: what was decided since is told by whoever decided it.
        let decided = self.types.get(&map).copied();
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

    /// The cells of a read that waits for its map.
    fn look_up(&mut self, now: Now, random: &mut Random) -> Result<(), StorageError> {
        let (owner, look_up) = self.look_ups.swap_remove(random.below(self.look_ups.len()));
        self.counts.look_ups += 1;
        let keys = KeyList(&look_up.keys).iter().map(|(key, _)| key);
        let cells = self.base.look_up(&self.tail, &look_up.map, keys, self.forget_before(now))?;
        self.outgoing[owner].push_back(FromStorage::Found(look_up.answer(cells)));
        Ok(())
    }

    fn forget_before(&self, now: Now) -> Time {
        Time::new(now.unix_ms.saturating_sub(self.spec.retention_ms), 0)
    }
}
