//! Sets that are too large to be told at once, and the order in which a walk goes from one to the next.

use super::cell::{Cell, CellIndex, CellName};
use super::map::Map;

impl Map {
    /// Whether the cell is a set that was larger than [`LARGE_SET_BYTES`](crate::limits::LARGE_SET_BYTES) when it last changed.
    /// That it has forgotten removals since then makes no difference: a walk may have passed over it for being large, and
    /// must find it again.
    pub fn is_large(&self, index: CellIndex) -> bool {
        self.upkeep
            .as_ref()
            .is_some_and(|upkeep| upkeep.large.contains(&(self.cells[index].index_hash, index)))
    }

    /// The large sets in an order that no load and no change of their places makes another, from the one of that name, or from where it would
    /// be, or from the first.
    pub fn large_from(&self, name: Option<&CellName>) -> impl Iterator<Item = (CellIndex, &Cell)> {
        let start = name.map_or(0, |name| name.hash);
        let large =
            self.upkeep.iter().flat_map(move |upkeep| upkeep.large.range((start, CellIndex::FIRST)..));
        large.map(|&(_, index)| (index, &self.cells[index]))
    }
}
