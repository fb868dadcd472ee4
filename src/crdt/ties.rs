//! Cells that storage gives with one tick, as cells of former shards may have, and the places that they got.
//!
//! A map puts each behind the one before it, at the next tick. How far it moves so depends on the cells before it: once one
//! of those has changed, the next load puts it at an earlier tick. So a position among them means nothing after that.
//!
//! Invariant: the runs are ascending and apart. In one, some cell was moved from at or before each tick but the last to
//! behind it; outside of them, none was.

use super::Time;
use super::chunks::Chunks;

/// From the tick that several cells had to the last that one of them, or of those that had to give way, has got.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: Time,
    end: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ties {
    runs: Chunks<Run, 8>,
}

impl Ties {
    /// Takes note that a cell of tick `stored` has got the place right behind that of the cell before it.
    pub fn moved(&mut self, stored: Time, applied: Time) {
        match self.runs.len().checked_sub(1) {
            Some(last) if self.runs[last].end == applied.previous() => self.runs[last].end = applied,
            _ => self.runs.push(Run { start: stored, end: applied }),
        }
    }

    /// The latest position up to `position` that says the same after every other load: no cell behind it comes from before it.
    pub fn lasting(&self, position: Time) -> Time {
        let (mut low, mut high) = (0, self.runs.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.runs[middle].end > position {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let around = self.runs.get(low).filter(|run| run.start <= position);
        around.map_or(position, |run| run.start.previous())
    }

    pub fn heap_bytes(&self) -> usize {
        self.runs.heap_bytes()
    }
}
