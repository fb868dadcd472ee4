//! What a map keeps beside its cells, once it needs any of it.
//!
//! Most maps of many have a key or two that live until they are set anew. All that there would be to know of those is
//! looked up in the list of their cells, so they do without.
//!
//! Invariant: a map without upkeep has its cells listed, none of them large or moved by a tie, and neither
//! expiries nor removed tags.

use std::collections::BTreeSet;

use super::State;
use super::cell::{Cell, CellIndex, Tally};
use super::cells::Move;
use super::expiry::Expiries;
use super::order::Order;
use super::prune::Prune;
use super::ties::Ties;

/// See the module.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// The sum of the tallies of all cells.
    pub tally: Tally,
    /// Of more cells than are listed; empty before that.
    pub order: Order,
    pub expiries: Expiries,
    pub prune: Prune,
    /// Sets that were large when they last changed, by the hashes of their keys: see [`Map::is_large`](super::Map::is_large).
    pub large: BTreeSet<(u32, CellIndex)>,
    pub ties: Ties,
    /// See [`Map::load`](super::Map::load).
    pub load: u32,
}

impl Upkeep {
    /// Books that a cell came to something, and comes to something else.
    pub const fn recount(&mut self, before: Tally, after: Tally) {
        self.tally = self.tally.minus(before).plus(after);
    }

    /// Takes note that a cell has another place. Its order is the map's to tell.
    pub fn moved(&mut self, cell: &Cell, moved: Move) {
        match cell.state() {
            State::Lww(lww) => self.expiries.moved(lww.expiry_queued_ms(), moved),
            State::OrSet(set) => {
                self.prune.moved(set.removed_since(), moved);
                if self.large.remove(&(cell.index_hash, moved.from)) {
                    self.large.insert((cell.index_hash, moved.to));
                }
            }
            State::Counter(_) => {}
        }
    }

    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.order.heap_bytes()
            + self.expiries.heap_bytes()
            + self.prune.heap_bytes()
            + self.ties.heap_bytes()
    }
}
