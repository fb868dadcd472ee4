//! Cells on their way to and from storage: taken apart into deltas, merged outside a map, put back into one.
//!
//! Invariant: a map that was put back holds what the map held from which the cells were taken, except for
//! removals that were forgotten meanwhile; [`Map::pruned_through`] tells of those.

use super::cell::Cell;
use super::{CellLimits, Count, Delta, HashedKey, Map, MapType, Merge, Refused, State, Time, Totals};

impl Cell {
    /// A cell outside any map, to merge stored deltas in.
    pub fn detached(map_type: MapType) -> Self {
        Self::new(&[], map_type, 0, 0)
    }

    /// Joins a detached cell with `delta`, which was applied at `applied`; whether that changed it. A set may remember more
    /// removals than in a map, until it is told to [forget](Cell::forget_beyond_limit) them.
    ///
    /// # Errors
    /// As [`Map::merge`].
    pub fn join(&mut self, delta: &Delta<'_>, applied: Time) -> Result<bool, Refused> {
        if !delta.is_in_limits() {
            return Err(Refused::TooLarge);
        }
        let changed = self.merge(delta, applied, CellLimits::DETACHED)?;
        if changed {
            self.applied = self.applied.max(applied);
        }
        Ok(changed)
    }

    /// Calls `each` with deltas that together are this state, and for a removal or a slot when it was applied: merged into
    /// an empty cell, in any order, they make the same cell.
    pub fn parts(&self, mut each: impl FnMut(Delta<'_>, Time)) {
        match self.state() {
            State::Lww(lww) => {
                let delta = Delta::Lww { at: lww.at(), value: lww.value(), expires_ms: lww.expires_ms() };
                each(delta, self.applied());
            }
            State::OrSet(set) => {
                for tagged in set.live() {
                    let delta = Delta::OrAdd { tag: tagged.tag(), value: tagged.value(), at: *tagged.at() };
                    each(delta, self.applied());
                }
                for (tag, applied) in set.removed_at() {
                    each(Delta::OrRemove { tag }, applied);
                }
            }
            State::Counter(counter) => {
                if let Some((count, through)) = counter.absorbed() {
                    each(Delta::CounterAbsorbed { count: Count(count), through }, self.applied());
                }
                for (&replica, Totals { added, subtracted }, counted) in counter.slots() {
                    each(Delta::Counter { replica, added, subtracted }, counted);
                }
            }
        }
    }

    /// Forgets the removals in a detached cell that were applied before the given tick: when the latest of them
    /// was, or `None` if there is none. The cell may be [vacant](Cell::is_vacant) then.
    pub fn forget_removals(&mut self, applied_before: Time) -> Option<Time> {
        let applied = self.applied;
        let is_kept = self.is_live() || applied >= applied_before;
        match self.or_set_mut() {
            Some(set) => set.forget_removed(applied_before).map(|forgotten| forgotten.applied),
            None if is_kept => None,
            None => {
                *self = Self::vacant();
                Some(applied)
            }
        }
    }

    /// Forgets the oldest removals that a cell in a map could not have beside the others, as [`Cell::forget_removals`].
    pub fn forget_beyond_limit(&mut self) -> Option<Time> {
        self.or_set_mut()?.forget_beyond_limit().map(|forgotten| forgotten.applied)
    }

    /// Whether nothing is left that storage would have to keep.
    pub fn is_vacant(&self) -> bool {
        match self.state() {
            State::Lww(_) => self.applied == Time::ZERO,
            State::OrSet(set) => set.is_empty(),
            State::Counter(_) => false,
        }
    }
}

impl Map {
    /// Puts a stored cell back, whose deltas [`Cell::parts`] has given. The key must not be in the map yet, and
    /// cells come in the order of their `applied`. Where two have the same, as cells of former shards may, the
    /// later one is moved behind the earlier: a walk must be able to stop between them. See [`Map::lasting`].
    ///
    /// Call [`Map::finish_restore`] after the last, and before anything else.
    ///
    /// # Errors
    /// As [`Map::merge`]; the cell is left out then, or the rest of its deltas.
    pub fn restore<'a>(
        &mut self,
        key: HashedKey<'_>,
        applied: Time,
        parts: impl IntoIterator<Item = (Delta<'a>, Time)>,
    ) -> Result<(), Refused> {
        let stored = applied;
        let applied = stored.max(self.last_applied().next());
        let mut restored = None;
        let result = parts.into_iter().try_for_each(|(delta, dated)| {
            let is_dated = matches!(delta, Delta::OrRemove { .. } | Delta::Counter { .. });
            // What another delta has overtaken needs no place; it happens in nothing that `parts` has given.
            let dated = if is_dated { dated } else { applied };
            // What is larger than a cell may become today was not when it was written.
            let merged = self.merge_dated(key, &delta, applied, dated, CellLimits::OF_PARTS)?;
            if let Merge::Changed(index) = merged {
                restored = Some(index);
            }
            Ok(())
        });
        // Once, as the oldest of its removals may come last.
        if let Some(index) = restored {
            self.queue_removals(index);
            if applied > stored {
                self.upkeep().ties.moved(stored, applied);
            }
        }
        result
    }

    /// Ends the putting back of cells: removals up to `pruned_through` may be missing.
    pub fn finish_restore(&mut self, pruned_through: Time) {
        self.pruned_through = self.pruned_through.max(pruned_through);
    }

    /// Takes note of which load it comes from. Without upkeep no place in it depends on that.
    pub fn set_load(&mut self, load: u32) {
        if let Some(upkeep) = &mut self.upkeep {
            upkeep.load = load;
        }
    }

    /// Which load it comes from: what tells places in it, or positions that do not [last](Map::lasting), from those of
    /// another. 0 if there are none.
    pub fn load(&self) -> u32 {
        self.upkeep.as_ref().map_or(0, |upkeep| upkeep.load)
    }

    /// The latest position up to `position` from which a walk misses nothing even after another load. Only cells that came
    /// with equal ticks make a difference. O(log n).
    pub fn lasting(&self, position: Time) -> Time {
        self.upkeep.as_ref().map_or(position, |upkeep| upkeep.ties.lasting(position))
    }
}
