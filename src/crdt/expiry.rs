//! Values with a time to live, and the end of those whose time is up.
//!
//! Invariant: each cell with an expiry has exactly one entry here, at the time its `expiry_queued_ms` names,
//! which is never later than the expiry. Putting an expiry off (a session kept alive) changes nothing here;
//! the entry comes up at the old time and is queued again. So does the entry of a value that has lost its
//! expiry, and is dropped.

use std::collections::BTreeSet;

use super::cell::{Cell, CellIndex};
use super::cells::Move;
use super::{Map, State, Time};

/// Estimated bytes of an entry of a time and a cell: 16, in B-tree nodes that are two thirds full.
pub const ENTRY_BYTES: usize = 24;

/// When to look at which cell.
#[derive(Debug, Default)]
pub struct Expiries(BTreeSet<(u64, CellIndex)>);

impl Expiries {
    pub fn heap_bytes(&self) -> usize {
        self.0.len() * ENTRY_BYTES
    }

    /// Takes note that a cell with an entry at that time, if there is one, has another place.
    pub(super) fn moved(&mut self, queued_ms: u64, Move { from, to }: Move) {
        if self.0.remove(&(queued_ms, from)) {
            self.0.insert((queued_ms, to));
        }
    }
}

impl Map {
    /// Makes sure that a cell that has changed comes up when its value expires.
    pub(super) fn schedule_expiry(&mut self, index: CellIndex) {
        let Some(mut lww) = self.cells[index].lww_mut() else { return };
        let (expires_ms, queued_ms) = (lww.as_ref().expires_ms(), lww.as_ref().expiry_queued_ms());
        if expires_ms == 0 || (queued_ms != 0 && queued_ms <= expires_ms) {
            return;
        }
        lww.set_expiry_queued_ms(expires_ms);
        let Expiries(queued) = &mut self.upkeep().expiries;
        if queued_ms != 0 {
            queued.remove(&(queued_ms, index));
        }
        queued.insert((expires_ms, index));
    }

    /// Drops the entry of a cell that leaves the map.
    pub(super) fn cancel_expiry(&mut self, index: CellIndex) {
        let State::Lww(lww) = self.cells[index].state() else { return };
        let queued_ms = lww.expiry_queued_ms();
        if queued_ms != 0 {
            self.upkeep().expiries.0.remove(&(queued_ms, index));
        }
    }

    /// Whether the invariant holds.
    pub(super) fn are_expiries_consistent(&self) -> bool {
        let mut count = 0;
        let all = self.upkeep.as_ref().map(|upkeep| &upkeep.expiries.0);
        let all_come_up = self.since(Time::ZERO).all(|(index, cell)| {
            let State::Lww(lww) = cell.state() else { return true };
            let queued_ms = lww.expiry_queued_ms();
            count += usize::from(queued_ms != 0);
            let in_time = lww.expires_ms() == 0 || (1..=lww.expires_ms()).contains(&queued_ms);
            in_time && (queued_ms == 0 || all.is_some_and(|all| all.contains(&(queued_ms, index))))
        });
        all_come_up && count == all.map_or(0, BTreeSet::len)
    }

    /// When [`Map::expire`] is to be called next, in unix milliseconds: never later than the first expiry, but
    /// it may be earlier.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.upkeep.as_ref()?.expiries.0.first().map(|&(due_ms, _)| due_ms)
    }

    /// Ends one value whose time is up: it becomes a tombstone with the stamp of its set (`lww.rs` says why),
    /// applied at the tick that `applied` gives when it has looked at what ends. Call it until it returns `None`, which means that nothing is
    /// due any more, or that the budget is spent; [`Map::next_expiry_ms`] tells.
    ///
    /// Each entry looked at takes one from `budget`, also those whose expiry was put off: as many of them come up at once
    /// as were first set for the same moment, which may be all.
    pub fn expire(
        &mut self,
        now_ms: u64,
        budget: &mut usize,
        applied: impl FnOnce(&Cell) -> Time,
    ) -> Option<CellIndex> {
        while *budget > 0 {
            let Expiries(queued) = &mut self.upkeep.as_mut()?.expiries;
            let (due_ms, index) = *queued.first().filter(|&&(due_ms, _)| due_ms <= now_ms)?;
            *budget -= 1;
            queued.remove(&(due_ms, index));
            let mut lww = self.cells[index].lww_mut()?;
            lww.set_expiry_queued_ms(0);
            match lww.as_ref().expires_ms() {
                0 => {}
                expires_ms if expires_ms > now_ms => self.schedule_expiry(index),
                _ => {
                    let (before, applied) = (self.cells[index].tally(), applied(&self.cells[index]));
                    self.cells[index].end_value();
                    self.changed(index, before, applied);
                    return Some(index);
                }
            }
        }
        None
    }
}
