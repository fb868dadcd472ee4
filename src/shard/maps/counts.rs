//! What the maps of this shard come to, kept as they change, so that whoever asks walks none of them.
//!
//! Invariant: at the end of a turn [`Maps::counts`] is what [`Maps::recounted`] finds by looking at every map. A map whose
//! size or standing may have changed is put on a list, once, and counted again when the turn ends: however many operations
//! it took, it costs one look.

use super::{MapSlot, Maps, SharedMap};
use crate::mesh::length;
use crate::shard::turn::Turn;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapCounts {
    /// Maps with cells here.
    pub maps: u64,
    /// Maps whose type is decided here, and is.
    pub named: u64,
    pub cells: u64,
    pub bytes: usize,
}

/// What one map was last counted with, which is what it adds to [`MapCounts`]. Packed, as every map has one.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(2))]
pub struct Counted {
    bytes: usize,
    cells: u32,
    is_named: bool,
    /// It is on the list of those to be counted again.
    is_listed: bool,
}

impl Counted {
    /// Whether it is counted again before the turn ends.
    pub const fn is_to_be_counted(self) -> bool {
        self.is_listed
    }

    /// Whether it comes to the same.
    pub fn is_alike(self, other: Self) -> bool {
        let parts = |counted: Self| (counted.bytes, counted.cells, counted.is_named);
        parts(self) == parts(other)
    }
}

impl MapCounts {
    /// Counts a map as `after` that was counted as `before`.
    pub fn replace(&mut self, before: Counted, after: Counted) {
        self.maps = self.maps + u64::from(after.cells > 0) - u64::from(before.cells > 0);
        self.named = self.named + u64::from(after.is_named) - u64::from(before.is_named);
        self.cells = self.cells + u64::from(after.cells) - u64::from(before.cells);
        self.bytes = self.bytes + after.bytes - before.bytes;
    }
}

impl Maps {
    /// As they were when the last turn ended, or are by now.
    pub const fn counts(&self) -> MapCounts {
        self.counts
    }

    /// Takes note that a map may be more or less than before.
    pub(super) fn changed(&mut self, slot: MapSlot) {
        let map = &mut self.table[slot];
        if !map.counted.is_listed {
            map.counted.is_listed = true;
            self.uncounted.push(slot);
        }
    }

    /// Counts the maps again that have changed, and forgets those that nothing is left of.
    pub(super) fn count_changed(&mut self, turn: &mut Turn) {
        while let Some(slot) = self.uncounted.pop() {
            let Some(map) = self.table.get(slot) else { continue };
            let after = counted(turn, map);
            let map = &mut self.table[slot];
            let before = std::mem::replace(&mut map.counted, after);
            self.counts.replace(before, after);
            if after.cells == 0 {
                self.forget_if_empty(turn, slot);
            }
        }
    }

    /// From scratch, which takes a look at every map: for tests.
    pub fn recounted(&self, turn: &Turn) -> MapCounts {
        let mut counts = MapCounts::default();
        self.table.iter().for_each(|map| counts.replace(Counted::default(), counted(turn, map)));
        counts
    }
}

/// What a map adds to the counts. Its type is decided by the shard that owns its name.
pub(super) fn counted(turn: &Turn, map: &SharedMap) -> Counted {
    Counted {
        bytes: map.heap_bytes(),
        cells: map.typed().map_or(0, |cells| length(cells.cells())),
        is_named: map.typed().is_some() && turn.owner(map.interest.hash()) == turn.index,
        is_listed: false,
    }
}
