//! Which maps were used how long ago: a list through their slots, least recently used first.
//!
//! Invariant: where the order is kept, every map is in the list exactly once. It is exact to [`STEP_MS`]: a map that
//! is used all the time is moved ten times a second, not for each operation.

use super::{MapSlot, SharedMap};
use crate::shard::interest::NameTable;

/// Milliseconds in which further uses of a map do not move it.
const STEP_MS: u64 = 100;

const NONE: MapSlot = MapSlot::MAX;

/// One map's place in the list.
#[derive(Clone, Copy, Debug)]
pub struct Recency {
    used_ms: u64,
    is_listed: bool,
    older: MapSlot,
    newer: MapSlot,
}

impl Default for Recency {
    fn default() -> Self {
        Self { used_ms: 0, is_listed: false, older: NONE, newer: NONE }
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
    pub fn touch(&mut self, slots: &mut NameTable<SharedMap>, slot: MapSlot, now_ms: u64) {
        if !self.is_kept {
            return;
        }
        let place = &mut slots[slot].recency;
        if !place.is_listed || now_ms >= place.used_ms + STEP_MS {
            place.used_ms = now_ms;
            self.renew(slots, slot);
        }
    }

    /// Moves a map to the end.
    pub fn renew(&mut self, slots: &mut NameTable<SharedMap>, slot: MapSlot) {
        self.unlink(slots, slot);
        let place = &mut slots[slot].recency;
        (place.is_listed, place.older) = (true, self.newest);
        match self.newest {
            NONE => self.oldest = slot,
            newest => slots[newest].recency.newer = slot,
        }
        self.newest = slot;
    }

    /// Takes a map out, if it is in.
    pub fn unlink(&mut self, slots: &mut NameTable<SharedMap>, slot: MapSlot) {
        let Recency { used_ms, is_listed, older, newer } = slots[slot].recency;
        if !is_listed {
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
        slots[slot].recency = Recency { used_ms, ..Recency::default() };
    }
}
