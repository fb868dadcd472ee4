//! Which maps were used how long ago: a list through their slots, least recently used first.
//!
//! Invariant: where the order is kept, every map that holds cells is in the list exactly once. It is exact to [`STEP_MS`]: a map that
//! is used all the time is moved ten times a second, not for each operation.

use super::{MapSlot, SharedMap};
use crate::shard::interest::NameTable;

/// Milliseconds in which further uses of a map do not move it.
const STEP_MS: u64 = 100;

const NONE: MapSlot = MapSlot::MAX;
/// In place of the older one: not in the list.
const UNLISTED: MapSlot = NONE - 1;

/// One map's place in the list.
#[derive(Clone, Copy, Debug)]
pub struct Recency {
    /// When it was used last, in steps; they last for thirteen years.
    used: u32,
    older: MapSlot,
    newer: MapSlot,
}

impl Default for Recency {
    fn default() -> Self {
        Self { used: 0, older: UNLISTED, newer: NONE }
    }
}

impl Recency {
    pub fn newer(&self) -> Option<MapSlot> {
        (self.newer != NONE).then_some(self.newer)
    }
}

/// The ends of the list.
pub struct RecencyOrder {
    is_kept: bool,
    oldest: MapSlot,
    newest: MapSlot,
}

impl Default for RecencyOrder {
    fn default() -> Self {
        Self::new(false)
    }
}

impl RecencyOrder {
    pub const fn new(is_kept: bool) -> Self {
        Self { is_kept, oldest: NONE, newest: NONE }
    }

    pub fn oldest(&self) -> Option<MapSlot> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Moves a map that is used now to the end, unless it was there lately.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only whether two times are one step is asked")]
    pub fn touch(&mut self, slots: &mut NameTable<SharedMap>, slot: MapSlot, now_ms: u64) {
        if !self.is_kept {
            return;
        }
        let place = &mut slots[slot].recency;
        let now = (now_ms / STEP_MS) as u32;
        if place.older == UNLISTED || now != place.used {
            place.used = now;
            self.renew(slots, slot);
        }
    }

    /// Moves a map to the end.
    pub fn renew(&mut self, slots: &mut NameTable<SharedMap>, slot: MapSlot) {
        self.unlink(slots, slot);
        let place = &mut slots[slot].recency;
        place.older = self.newest;
        match self.newest {
            NONE => self.oldest = slot,
            newest => slots[newest].recency.newer = slot,
        }
        self.newest = slot;
    }

    /// Takes a map out, if it is in.
    pub fn unlink(&mut self, slots: &mut NameTable<SharedMap>, slot: MapSlot) {
        let Recency { used, older, newer } = slots[slot].recency;
        if older == UNLISTED {
            return;
        }
        match older {
            NONE => self.oldest = newer,
            older => slots[older].recency.newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => slots[newer].recency.older = older,
        }
        slots[slot].recency = Recency { used, ..Recency::default() };
    }
}
