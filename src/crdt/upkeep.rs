//! What a map keeps beside its cells, once it needs any of it.
//!
//! Most maps of many have a key or two that live until they are set anew. All that there would be to know of those is
//! looked up in the list of their cells, so they do without.
//!
//! Invariant: a map without upkeep has its cells listed, none of them large, and neither expiries nor removed tags.

use std::collections::BTreeSet;

use super::cell::{CellIndex, Tally};
use super::expiry::Expiries;
use super::order::Order;
use super::prune::Prune;

/// See the module.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// The sum of the tallies of all cells.
    pub tally: Tally,
    /// Of more cells than are listed; empty before that.
    pub order: Order,
    pub expiries: Expiries,
    pub prune: Prune,
    /// Sets that were large when they last changed: see [`Map::is_large`](super::Map::is_large).
    pub large: BTreeSet<CellIndex>,
}

impl Upkeep {
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.order.heap_bytes() + self.expiries.heap_bytes() + self.prune.heap_bytes()
    }
}
