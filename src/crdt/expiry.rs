//! Values with a time to live, and the end of those whose time is up.
//!
//! Invariant: each cell with an expiry has exactly one entry here, at the time its `expiry_queued_ms` names,
//! which is never later than the expiry. Putting an expiry off (a session kept alive) changes nothing here;
//! the entry comes up at the old time and is queued again. So does the entry of a value that has lost its
//! expiry, and is dropped.

use std::collections::BTreeSet;

use super::cell::{Cell, CellIndex};
use super::{Map, State, Time};

/// Estimated bytes of one entry: 16, in B-tree nodes that are two thirds full.
const ENTRY_BYTES: usize = 24;

/// When to look at which cell.
#[derive(Debug, Default)]
pub struct Expiries(BTreeSet<(u64, CellIndex)>);

impl Expiries {
    /// Makes sure that a changed cell comes up when its value expires.
    pub fn schedule(&mut self, index: CellIndex, cell: &mut Cell) {
        let Some(lww) = cell.lww_mut() else { return };
        let (expires_ms, queued_ms) = (lww.expires_ms(), lww.expiry_queued_ms);
        if expires_ms == 0 || (queued_ms != 0 && queued_ms <= expires_ms) {
            return;
        }
        lww.expiry_queued_ms = expires_ms;
        if queued_ms != 0 {
            self.0.remove(&(queued_ms, index));
        }
        self.0.insert((expires_ms, index));
    }

    /// Drops the entry of a cell that leaves the map.
    pub fn cancel(&mut self, index: CellIndex, cell: &mut Cell) {
        if let Some(lww) = cell.lww_mut().filter(|lww| lww.expiry_queued_ms != 0) {
            self.0.remove(&(lww.expiry_queued_ms, index));
            lww.expiry_queued_ms = 0;
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.0.len() * ENTRY_BYTES
    }

    /// Whether the invariant holds for these cells, which are all there are.
    pub fn is_consistent<'a>(&self, cells: impl Iterator<Item = (CellIndex, &'a Cell)>) -> bool {
        let mut queued = 0;
        let all_come_up = cells.into_iter().all(|(index, cell)| {
            let State::Lww(lww) = cell.state() else { return true };
            let queued_ms = lww.expiry_queued_ms;
            queued += usize::from(queued_ms != 0);
            let in_time = lww.expires_ms() == 0 || (1..=lww.expires_ms()).contains(&queued_ms);
            in_time && (queued_ms == 0 || self.0.contains(&(queued_ms, index)))
        });
        all_come_up && queued == self.0.len()
    }
}

impl Map {
    /// When [`Map::expire`] is to be called next, in unix milliseconds: never later than the first expiry, but
    /// it may be earlier.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.expiries.0.first().map(|&(due_ms, _)| due_ms)
    }

    /// Ends one value whose time is up: it becomes a tombstone with the stamp of its set (`lww.rs` says why),
    /// applied at the tick that `applied` gives. Call it until it returns `None`, which means that nothing is
    /// due any more, or that the budget is spent; [`Map::next_expiry_ms`] tells.
    ///
    /// Each entry looked at takes one from `budget`, also those whose expiry was put off: as many of them come up at once
    /// as were first set for the same moment, which may be all.
    pub fn expire(
        &mut self,
        now_ms: u64,
        budget: &mut usize,
        applied: impl FnOnce() -> Time,
    ) -> Option<CellIndex> {
        while *budget > 0 {
            let &(due_ms, index) = self.expiries.0.first().filter(|&&(due_ms, _)| due_ms <= now_ms)?;
            *budget -= 1;
            self.expiries.0.remove(&(due_ms, index));
            let lww = self.cells[index].lww_mut()?;
            lww.expiry_queued_ms = 0;
            match lww.expires_ms() {
                0 => {}
                expires_ms if expires_ms > now_ms => self.expiries.schedule(index, &mut self.cells[index]),
                _ => {
                    let before = self.cells[index].tally();
                    self.cells[index].end_value();
                    self.changed(index, before, applied());
                    return Some(index);
                }
            }
        }
        None
    }
}
