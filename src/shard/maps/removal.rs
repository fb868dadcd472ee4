//! What time removes: values whose time to live is over, and removals that were remembered long enough, or are too many.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::before::pack_value;
use super::load::RETRY_MS;
use super::{Cells, MapSlot, Maps, SharedMap};
use crate::crdt::{Cell, Delta, HashedKey, Lack, MapType, Merge, State, Time};
use crate::shard::turn::Turn;
use crate::shard::work;

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

impl Maps {
    /// Makes sure the map is looked at when its next removal is due.
    pub fn schedule_removals(&mut self, turn: &mut Turn, slot: MapSlot) {
        let retention_ms = turn.config.tombstone_retention_ms;
        let Some(cells) = self.table[slot].typed() else { return };
        // Forgotten is what was applied before a millisecond, so that all of its own must have passed.
        let prune_ms = cells.next_prune().map(|applied| applied.millis() + retention_ms + 1);
        let due_ms = match (cells.next_expiry_ms(), prune_ms) {
            (None, None) => return,
            (expiry_ms, prune_ms) => expiry_ms.unwrap_or(u64::MAX).min(prune_ms.unwrap_or(u64::MAX)),
        };
        self.schedule_at(slot, due_ms);
    }

    /// Has the map looked at then, unless it is sooner.
    fn schedule_at(&mut self, slot: MapSlot, due_ms: u64) {
        let map = &mut self.table[slot];
        if due_ms < map.scheduled_ms {
            map.scheduled_ms = due_ms;
            self.schedule.due.push(Reverse((due_ms, slot)));
            self.drop_stale_entries();
        }
    }

    /// Maps come and go while their entries wait for weeks, so now and then those of the gone are dropped.
    fn drop_stale_entries(&mut self) {
        let (due, maps) = (&mut self.schedule.due, &self.table);
        if due.len() > 2 * maps.len() + STALE_ENTRIES_MAX {
            due.retain(|&Reverse((due_ms, slot))| {
                maps.get(slot).is_some_and(|map| map.scheduled_ms == due_ms)
            });
        }
    }

    /// Removes what is due, a bounded number of cells a turn.
    pub fn run_removals(&mut self, turn: &mut Turn) {
        let Some(&Reverse((due_ms, slot))) = self.schedule.due.peek() else { return };
        if due_ms > turn.now.unix_ms {
            return;
        }
        self.schedule.due.pop();
        match self.table.get_mut(slot) {
            Some(map) if map.scheduled_ms == due_ms => map.scheduled_ms = u64::MAX,
            // An entry that an earlier one has replaced, or of a map that was evicted.
            _ => return,
        }
        let map = &self.table[slot];
        if matches!(map.cells, Cells::Unloaded | Cells::Loading(_)) && map.interest.is_heard() {
            // What ends must be told to who watches. It is loaded first, however often that fails, and what is due then is
            // ended with that.
            self.must_wait(turn, slot);
            self.schedule_at(slot, turn.now.unix_ms + RETRY_MS);
            return;
        }
        self.expire(turn, slot);
        self.prune(turn, slot);
        self.schedule_removals(turn, slot);
        self.changed(slot);
    }

    /// Ends values whose time is up, a bounded number.
    pub fn expire(&mut self, turn: &mut Turn, slot: MapSlot) {
        let mut budget = REMOVALS_PER_TURN_MAX;
        loop {
            let (clock, now_ms) = (&mut turn.clock, turn.now.unix_ms);
            let wants_before = self.wants_before(slot);
            let map = &mut self.table[slot];
            let is_heard = map.interest.is_heard();
            let mut noted = wants_before.then(|| self.changes.begin_before());
            let SharedMap { interest, cells: Cells::Typed(cells), changed_at, .. } = map else { return };
            let ending = |cell: &Cell| {
                if let Some(noted) = &mut noted {
                    pack_value(noted, cell);
                }
                clock.tick(now_ms)
            };
            let Some(index) = cells.expire(now_ms, &mut budget, ending) else { return };
            if let Some(noted) = noted {
                turn.spend(work::copied(noted.len()));
                self.changes.put_before(noted);
            }
            turn.metrics.expirations += 1;
            turn.spend(work::CELL);
            let cell = cells.cell(index);
            let State::Lww(lww) = cell.state() else { continue };
            let (at, applied) = (lww.at(), cell.applied());
            if let Some(journal) = &mut self.journal {
                let delta = Delta::Lww { at, value: None, expires_ms: 0 };
                journal.push(interest.name(), cell.key(), &delta, applied);
                *changed_at = applied;
            }
            turn.note_change(interest.name(), &String::from_utf8_lossy(cell.key()));
            if !is_heard {
                continue;
            }
            let key = String::from_utf8_lossy(cell.key()).into_owned();
            self.add_change(slot, applied, None, |entry| entry.value(&key, &at, None));
        }
    }

    fn prune(&mut self, turn: &mut Turn, slot: MapSlot) {
        let oldest_kept = oldest_kept(turn);
        let Some(cells) = self.table[slot].typed_mut() else { return };
        let pruned = cells.prune(oldest_kept, REMOVALS_PER_TURN_MAX);
        turn.metrics.pruned += pruned.forgotten as u64;
        turn.spend(work::CELL * pruned.forgotten as u64 + work::PASSED_OVER * pruned.passed as u64);
    }

    /// Forgets what it can of a key, as the change applied then lacks room; whether there is more now.
    pub(super) fn make_room(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        key: HashedKey<'_>,
        lack: Lack,
        applied: Time,
    ) -> bool {
        let Some(cells) = self.table[slot].typed_mut() else { return false };
        if cells.map_type() == MapType::Counter {
            return self.absorb(turn, slot, key, applied);
        }
        let pruned = cells.make_room(key, lack);
        turn.metrics.pruned += pruned.forgotten as u64;
        turn.spend(work::TAG * pruned.passed as u64);
        pruned.forgotten > 0
    }

    /// Absorbs the slots of a counter that have not counted for the retention, if there are any, as a part of the change
    /// applied then.
    fn absorb(&mut self, turn: &mut Turn, slot: MapSlot, key: HashedKey<'_>, applied: Time) -> bool {
        let oldest_kept = oldest_kept(turn);
        let Some(cells) = self.table[slot].typed_mut() else { return false };
        turn.spend(work::TAG * cells.slots(key) as u64);
        let Some(delta) = cells.absorption(key, oldest_kept.previous()) else { return false };
        let is_absorbed = matches!(cells.merge(key, &delta, applied), Ok(Merge::Changed(_)));
        if is_absorbed {
            self.changed(slot);
            self.journal_change(slot, key.bytes, &delta, applied);
        }
        is_absorbed
    }

    /// When [`Self::run_removals`] has something to do, in Unix milliseconds.
    pub fn next_removal_ms(&self) -> Option<u64> {
        self.schedule.due.peek().map(|&Reverse((due_ms, _))| due_ms)
    }
}

/// What is older may be forgotten.
fn oldest_kept(turn: &Turn) -> Time {
    Time::new(turn.now.unix_ms.saturating_sub(turn.config.tombstone_retention_ms), 0)
}
