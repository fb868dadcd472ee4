//! Requests that were parked until their map had loaded, on their way to being handled.
//!
//! Invariant: what is parked leaves before anything later: until the last of a map has left, its slot stays, and
//! newcomers queue behind. No turn releases more than a few hundred requests.

use std::collections::VecDeque;

use super::load::Loading;
use super::waiting::Parked;
use super::{Cells, MapSlot, Maps};
use crate::crdt::Map;
use crate::shard::turn::Turn;

/// Requests one turn releases after their map was loaded.
pub const RELEASED_PER_TURN_MAX: usize = 256;
/// Rounds of expiries one turn makes in a map that was loaded.
const EXPIRY_ROUNDS_PER_TURN_MAX: usize = 4;
/// Maps that nothing is stored of and nobody uses, remembered so that asking again costs no load.
const UNTYPED_MAPS_MAX: usize = 1024;

/// A map that is complete, while what was parked for it is being resumed.
pub struct Release {
    slot: MapSlot,
    /// Everything about its load but the cells.
    loading: Box<Loading>,
}

impl Release {
    /// Takes the next request to resume.
    pub fn next(&mut self) -> Option<Parked> {
        self.loading.parked().pop_front()
    }
}

impl Maps {
    /// Whether any map is complete, with requests to release.
    pub fn has_releases(&self) -> bool {
        !self.loads.complete.is_empty()
    }

    /// Has what was parked for the type of a map released, which is known now.
    pub(super) fn release_after_claim(&mut self, turn: &mut Turn, slot: MapSlot, parked: VecDeque<Parked>) {
        if parked.is_empty() {
            return;
        }
        let cells = &mut self.table[slot].cells;
        if let Cells::Typed(known) = std::mem::replace(cells, Cells::Untyped) {
            *cells = Cells::Loading(Box::new(Loading::complete(turn, parked, known)));
        }
        self.loads.complete.push_back(slot);
        self.changed(slot);
    }

    /// Puts the cells of the next map in place that is complete. `None`: there is no more to do in this turn.
    pub fn begin_release(&mut self, turn: &mut Turn) -> Option<Release> {
        let slot = self.loads.complete.pop_front()?;
        let map = &mut self.table[slot];
        let Cells::Loading(mut loading) = std::mem::replace(&mut map.cells, Cells::Untyped) else {
            debug_assert!(false, "a map that is complete stays so until all is released");
            return None;
        };
        if let Some(cells) = loading.take_cells() {
            map.cells = Cells::Typed(cells);
        }
        map.is_retained = true;
        self.changed(slot);
        let release = Release { slot, loading };
        if self.expire_due(turn, slot) {
            return Some(release);
        }
        self.suspend_release(release);
        None
    }

    /// Ends a release: for now, or, if `is_over`, for good.
    pub fn end_release(&mut self, turn: &mut Turn, mut release: Release, is_over: bool) {
        let slot = release.slot;
        let map = &mut self.table[slot];
        if !is_over {
            match &mut map.cells {
                // The first write has asked the map's home for the type: the rest waits for that.
                Cells::Claiming(claim) => claim.parked.extend(std::mem::take(release.loading.parked())),
                _ => return self.suspend_release(release),
            }
        }
        map.is_retained = false;
        self.schedule_removals(turn, slot);
        self.changed(slot);
        if matches!(self.table[slot].cells, Cells::Untyped) {
            self.remember_untyped(slot);
        }
    }

    fn suspend_release(&mut self, release: Release) {
        let Release { slot, mut loading } = release;
        let map = &mut self.table[slot];
        if let Cells::Typed(cells) = std::mem::replace(&mut map.cells, Cells::Untyped) {
            loading.put_cells(cells);
        }
        map.cells = Cells::Loading(loading);
        map.is_retained = false;
        self.changed(slot);
        self.loads.complete.push_front(slot);
    }

    /// Ends the values of a map just loaded whose time is up; whether that are all.
    fn expire_due(&mut self, turn: &mut Turn, slot: MapSlot) -> bool {
        for _ in 0..EXPIRY_ROUNDS_PER_TURN_MAX {
            let next_ms = self.table[slot].typed().and_then(Map::next_expiry_ms);
            if next_ms.is_none_or(|next_ms| next_ms > turn.now.unix_ms) {
                return true;
            }
            self.expire(turn, slot);
        }
        false
    }

    /// Reading names that nothing is stored under must not grow memory for ever.
    fn remember_untyped(&mut self, slot: MapSlot) {
        self.loads.untyped.push_back(slot);
        if self.loads.untyped.len() > UNTYPED_MAPS_MAX
            && let Some(oldest) = self.loads.untyped.pop_front()
        {
            // Whatever has its slot by now: it is released only if nobody needs it.
            self.release_if_unused(oldest);
        }
    }
}
