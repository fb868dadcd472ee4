//! What time removes: values whose time to live is over, and removals that were remembered long enough.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::crdt::{Delta, State, Time};
use crate::shard::Shard;
use crate::shard::maps::{Cells, MapSlot, SharedMap};

/// Maps in the order in which something in them is due, in Unix milliseconds.
#[derive(Default)]
pub struct Schedule {
    due: BinaryHeap<Reverse<(u64, MapSlot)>>,
}

/// Cells, expiries and entries of the applied order that one turn looks at in one map to end or forget something, whether
/// or not it does, so that a million values that end together, or were kept alive, stall nobody.
const REMOVALS_PER_TURN_MAX: usize = 256;

/// Entries of the schedule that are not worth a sweep.
const STALE_ENTRIES_MAX: usize = 64;

impl Shard {
    /// Makes sure the map is looked at when its next removal is due.
    pub(in crate::shard) fn schedule_removals(&mut self, slot: MapSlot) {
        let retention_ms = self.config.tombstone_retention_ms;
        let map = &mut self.maps[slot];
        let Some(cells) = map.typed() else { return };
        // Forgotten is what was applied before a millisecond, so that all of its own must have passed.
        let prune_ms = cells.next_prune().map(|applied| applied.millis() + retention_ms + 1);
        let due_ms = match (cells.next_expiry_ms(), prune_ms) {
            (None, None) => return,
            (expiry_ms, prune_ms) => expiry_ms.unwrap_or(u64::MAX).min(prune_ms.unwrap_or(u64::MAX)),
        };
        if due_ms < map.scheduled_ms {
            map.scheduled_ms = due_ms;
            self.schedule.due.push(Reverse((due_ms, slot)));
            self.drop_stale_entries();
        }
    }

    /// Maps come and go while their entries wait for weeks, so now and then those of the gone are dropped.
    fn drop_stale_entries(&mut self) {
        let (due, maps) = (&mut self.schedule.due, &mut self.maps);
        if due.len() > 2 * maps.len() + STALE_ENTRIES_MAX {
            due.retain(|&Reverse((due_ms, slot))| {
                maps.get_mut(slot).is_some_and(|map| map.scheduled_ms == due_ms)
            });
        }
    }

    /// Removes what is due, a bounded number of cells a turn.
    pub(in crate::shard) fn run_removals(&mut self) {
        let Some(&Reverse((due_ms, slot))) = self.schedule.due.peek() else { return };
        if due_ms > self.now.unix_ms {
            return;
        }
        self.schedule.due.pop();
        match self.maps.get_mut(slot) {
            Some(map) if map.scheduled_ms == due_ms => map.scheduled_ms = u64::MAX,
            // An entry that an earlier one has replaced, or of a map that was evicted.
            _ => return,
        }
        self.expire(slot);
        self.prune(slot);
        self.schedule_removals(slot);
        self.memory_changed(slot);
    }

    /// Ends values whose time is up, a bounded number.
    pub(in crate::shard) fn expire(&mut self, slot: MapSlot) {
        let mut budget = REMOVALS_PER_TURN_MAX;
        loop {
            let (clock, now_ms) = (&mut self.clock, self.now.unix_ms);
            let map = &mut self.maps[slot];
            let watched = map.is_watched();
            let SharedMap { name, cells: Cells::Typed(cells), changed_at, .. } = map else { return };
            let Some(index) = cells.expire(now_ms, &mut budget, || clock.tick(now_ms)) else { return };
            self.metrics.expirations += 1;
            let cell = cells.cell(index);
            let State::Lww(lww) = cell.state() else { continue };
            let (at, applied) = (*lww.at(), cell.applied());
            if let Some(journal) = &mut self.journal {
                let delta = Delta::Lww { at, value: None, expires_ms: 0 };
                journal.push(name, cell.key(), &delta, applied);
                *changed_at = applied;
            }
            if !watched {
                continue;
            }
            let key = String::from_utf8_lossy(cell.key()).into_owned();
            self.add_to_batch(slot, applied, None, |entry| entry.value(&key, &at, None));
        }
    }

    fn prune(&mut self, slot: MapSlot) {
        let oldest_kept_ms = self.now.unix_ms.saturating_sub(self.config.tombstone_retention_ms);
        let Some(cells) = self.maps[slot].typed_mut() else { return };
        let pruned = cells.prune(Time::new(oldest_kept_ms, 0), REMOVALS_PER_TURN_MAX);
        self.metrics.pruned += pruned.forgotten as u64;
    }

    /// When [`Self::run_removals`] has something to do, in Unix milliseconds.
    pub(in crate::shard) fn next_removal_ms(&self) -> Option<u64> {
        self.schedule.due.peek().map(|&Reverse((due_ms, _))| due_ms)
    }
}
