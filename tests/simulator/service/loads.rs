//! Maps for the shards: the service's own loads, each in as many steps as it has, with anything in between.

use std::io;

use annulus::handover::FromStorage;
use annulus::mesh::ShardIndex;
use annulus::service::{Loading, Wanted, look_up};
use annulus::storage::StorageError;

use super::{Now, Service};
use crate::random::Random;

/// Steps of a load before the disk cannot be read any more: it has some before its first chunk.
const STEPS_BEFORE_FAILURE: usize = 4;

/// A load that is under way.
pub struct UnderWay {
    loading: Loading,
    /// Steps until the disk cannot be read for the moment.
    steps_left: Option<usize>,
    /// When its thread goes on.
    pub due_us: u64,
}

impl Service {
    /// One step of a load. A part that cannot be read is that of one shard alone.
    pub(super) fn load(&mut self, now: Now, random: &mut Random) -> Result<(), StorageError> {
        if !self.look_ups.is_empty() {
            self.look_up(now, random);
            return Ok(());
        }
        let is_held = self.loading.is_none() && !self.is_calm && now.us < self.held_until_us;
        if is_held || self.loading.as_ref().is_some_and(|under_way| under_way.due_us > now.us) {
            return Ok(());
        }
        let Some(mut under_way) = self.loading.take().or_else(|| self.begin_load(now, random)) else {
            return Ok(());
        };
        let fails = under_way.steps_left.is_some_and(|steps| steps == 0);
        under_way.steps_left = under_way.steps_left.map(|steps| steps.saturating_sub(1));
        self.disk.fail_reads(fails);
        let item = under_way.loading.step(&self.data_set());
        self.disk.fail_reads(false);
        self.counts.failed_loads += u64::from(matches!(item, Some(FromStorage::LoadFailed { .. })));
        self.outgoing[usize::from(under_way.loading.owner())].extend(item);
        if !under_way.loading.is_over() {
            under_way.due_us = now.us + self.rest_us(random);
            self.loading = Some(under_way);
        }
        // What is an error to a load may have been the end of everybody.
        match self.disk.is_over() {
            Some(_) => Err(StorageError::io("load", "a map")(io::Error::other("the process ends here"))),
            None => Ok(()),
        }
    }

    fn begin_load(&mut self, now: Now, random: &mut Random) -> Option<UnderWay> {
        if self.asked.is_empty() {
            return None;
        }
        // As if a large map came first: reads that wait are looked up meanwhile.
        if !self.is_calm && random.per_mille(30) {
            self.held_until_us = now.us + 200_000;
            return None;
        }
        let (owner, map) = self.asked.swap_remove(random.below(self.asked.len()));
        self.counts.loads += 1;
        let fails = !self.is_calm && random.per_mille(self.spec.failed_loads_per_mille);
        let steps_left = fails.then(|| random.below(STEPS_BEFORE_FAILURE));
        let wanted = Wanted { shard: owner as ShardIndex, map };
        let loading = Loading::new(&self.data_set(), wanted, now.unix_ms);
        Some(UnderWay { loading, steps_left, due_us: now.us })
    }

    /// How long a thread that is in the middle of something gets no core: now and then for as long as a whole fold takes.
    pub(super) fn rest_us(&self, random: &mut Random) -> u64 {
        if self.is_calm || !random.per_mille(self.spec.rests_per_mille) {
            return 0;
        }
        random.below(self.spec.fold_us as usize + 1) as u64
    }

    /// The cells of a read that waits for its map.
    fn look_up(&mut self, now: Now, random: &mut Random) {
        let (owner, wanted) = self.look_ups.swap_remove(random.below(self.look_ups.len()));
        self.counts.look_ups += 1;
        let found = look_up(&self.data_set(), wanted, now.unix_ms);
        self.outgoing[owner].push_back(found);
    }
}
