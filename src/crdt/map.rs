//! One map's cells on one shard: merging, finding, walking in applied order, and what it all sums up to.
//!
//! Invariant: `tally` is the sum of the tallies of all cells, and every cell has one current entry in `order`.
//! Whatever the order and number of merges, two maps that got the same deltas hold the same state.

use std::collections::BTreeSet;

use super::cell::{Cell, CellIndex, Tally};
use super::cells::{Cells, LISTED_MAX, fold};
use super::counter::Totals;
use super::expiry::Expiries;
use super::or_set::{Removal, Removed};
use super::order::Order;
use super::prune::Prune;
use super::{Delta, HashedKey, MapType, Node, Refused, State, Time};
use crate::limits::TAG_BYTES_MAX;

/// The keys of one map that one shard owns.
#[derive(Debug)]
pub struct Map {
    map_type: MapType,
    pub(super) cells: Cells,
    pub(super) expiries: Expiries,
    pub(super) prune: Prune,
    /// Of more cells than are listed.
    order: Option<Box<Order>>,
    /// Sets that were large when they last changed: see [`Map::is_large`].
    large: BTreeSet<CellIndex>,
    tally: Tally,
    last_applied: Time,
}

/// What became of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a change has to be journaled and sent"]
pub enum Merge {
    Changed(CellIndex),
    /// The map knew it already, or better; nothing has changed.
    Lost,
}

impl Map {
    pub fn new(map_type: MapType) -> Self {
        Self {
            map_type,
            cells: Cells::new(),
            expiries: Expiries::default(),
            prune: Prune::new(),
            order: None,
            large: BTreeSet::new(),
            tally: Tally::default(),
            last_applied: Time::ZERO,
        }
    }

    pub const fn map_type(&self) -> MapType {
        self.map_type
    }

    /// Joins the state at `key` with `delta`.
    ///
    /// `applied` is greater than every earlier one in this map. As the one exception, several deltas for one
    /// key may share a tick if nothing comes between them: the journal of a [`Map::remove`], or a cell
    /// read back from storage. They are one change then, and no walk may happen before the last of them.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn merge(&mut self, key: HashedKey<'_>, delta: &Delta<'_>, applied: Time) -> Result<Merge, Refused> {
        self.merge_within(key, delta, applied, usize::MAX)
    }

    /// As [`Map::merge`], where the tags or slots of a key may not grow beyond `cell_bytes_max`. What is larger already, from
    /// another time, may shrink. The value of an lww key has a bound of its own, as it is whole in its delta.
    ///
    /// # Errors
    /// As [`Map::merge`], and [`Refused::CellFull`].
    #[inline]
    pub fn merge_within(
        &mut self,
        key: HashedKey<'_>,
        delta: &Delta<'_>,
        applied: Time,
        cell_bytes_max: usize,
    ) -> Result<Merge, Refused> {
        self.merge_removed_at(key, delta, applied, applied, cell_bytes_max)
    }

    /// Removes all that `removal` names from the set at `key`, or nothing: one change, applied at one tick, which is greater
    /// than every earlier one in this map. Calls `each` with every tag that was not removed before, ascending; the deltas of
    /// these are what it was.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then, and nothing was called.
    pub fn remove(
        &mut self,
        key: HashedKey<'_>,
        removal: Removal<'_, '_>,
        applied: Time,
        cell_bytes_max: usize,
        each: impl FnMut(&str),
    ) -> Result<Removed, Refused> {
        if self.map_type != MapType::Or {
            return Err(Refused::MapType);
        }
        let is_tag_in_limits = |tag: &&str| tag.len() <= TAG_BYTES_MAX;
        let is_in_limits = match &removal {
            Removal::Tags(tags) => tags.iter().all(is_tag_in_limits),
            Removal::Value(_) => true,
        };
        if !is_in_limits || !key.is_in_limits() {
            return Err(Refused::TooLarge);
        }
        let (index, removed) = match self.cells.find(key) {
            Some(index) => {
                let before = self.cells[index].tally();
                let removed = self.cells[index].remove_all(removal, applied, cell_bytes_max, each)?;
                if removed.tags > 0 {
                    self.changed(index, before, applied);
                }
                (index, removed)
            }
            None if self.cells.is_full() => return Err(Refused::TooLarge),
            None => {
                let mut cell = Cell::new(key.bytes, self.map_type, fold(key.hash));
                let removed = cell.remove_all(removal, applied, cell_bytes_max, each)?;
                if removed.tags == 0 {
                    return Ok(removed);
                }
                (self.insert(cell, applied), removed)
            }
        };
        if removed.tags > 0 {
            self.prune.removed_tag(applied, index);
        }
        Ok(removed)
    }

    /// As [`Map::merge_within`]; a removal counts as applied at `removed`, which may be earlier.
    #[inline]
    pub(super) fn merge_removed_at(
        &mut self,
        key: HashedKey<'_>,
        delta: &Delta<'_>,
        applied: Time,
        removed: Time,
        cell_bytes_max: usize,
    ) -> Result<Merge, Refused> {
        if delta.map_type() != self.map_type {
            return Err(Refused::MapType);
        }
        if !delta.is_in_limits() || !key.is_in_limits() {
            return Err(Refused::TooLarge);
        }
        let index = match self.cells.find(key) {
            Some(index) => {
                let before = self.cells[index].tally();
                if !self.cells[index].merge(delta, removed, cell_bytes_max)? {
                    return Ok(Merge::Lost);
                }
                self.changed(index, before, applied);
                index
            }
            None if self.cells.is_full() => return Err(Refused::TooLarge),
            None => {
                let mut cell = Cell::new(key.bytes, self.map_type, fold(key.hash));
                if !cell.merge(delta, removed, cell_bytes_max)? {
                    return Ok(Merge::Lost);
                }
                self.insert(cell, applied)
            }
        };
        self.expiries.schedule(index, &mut self.cells[index]);
        if let Delta::OrRemove { .. } = delta {
            self.prune.removed_tag(removed, index);
        }
        Ok(Merge::Changed(index))
    }

    pub fn find(&self, key: HashedKey<'_>) -> Option<CellIndex> {
        self.cells.find(key)
    }

    /// Brings what a [`Map::merge`] of this key needs into the cache. Calling it for every key of a batch before
    /// merging the first takes the cache misses together instead of one after the other.
    pub fn warm(&self, hash: u64) {
        self.cells.warm(hash);
    }

    /// The cell at an index that this map gave and has not pruned since.
    pub fn cell(&self, index: CellIndex) -> &Cell {
        &self.cells[index]
    }

    /// All cells applied after `position`, oldest first, tombstones included. A walk may stop after any cell and
    /// be taken up later, whatever was merged meanwhile, from that cell's [`Cell::applied`]: it meets each
    /// cell in its latest state, and one that it has seen only if it has changed since.
    ///
    /// O(log n) to begin, O(1) a step on average over the whole map. One step may pass over more stale entries than there
    /// are cells; where that must not be, see [`Map::log_since`].
    pub fn since(&self, position: Time) -> impl Iterator<Item = (CellIndex, &Cell)> {
        self.log_since(position).filter_map(|(_, current)| current)
    }

    /// As [`Map::since`], with one step for every entry passed over: its tick, and the cell unless that has changed since or
    /// is gone. A walk may stop after any of them and be taken up from its tick, so that who counts the steps bounds the
    /// work, however many of them are stale.
    pub fn log_since(&self, position: Time) -> impl Iterator<Item = (Time, Option<(CellIndex, &Cell)>)> {
        let applied_of = |index: CellIndex| self.cells[index].applied();
        let logged = self.order.iter().flat_map(move |order| order.since(position, applied_of));
        let listed = self.cells.listed_since(position);
        listed.map(|(index, cell)| (cell.applied(), Some((index, cell)))).chain(
            logged.map(|passed| (passed.applied, passed.cell.map(|index| (index, &self.cells[index])))),
        )
    }

    /// Whether the cell is a set that was larger than [`LARGE_SET_BYTES`](crate::limits::LARGE_SET_BYTES) when it last changed.
    /// That it has forgotten removals since then makes no difference: a walk may have passed over it for being large, and
    /// must find it again.
    pub fn is_large(&self, index: CellIndex) -> bool {
        !self.large.is_empty() && self.large.contains(&index)
    }

    /// The large sets from this place on, in an order that stays as it is.
    pub fn large_from(&self, index: CellIndex) -> impl Iterator<Item = (CellIndex, &Cell)> {
        self.large.range(index..).map(|&index| (index, &self.cells[index]))
    }

    /// The delta of counting by `by` in the slot of `replica`; `None` if a total would pass its limit, or if
    /// this is no counter.
    pub fn increment(&self, key: HashedKey<'_>, replica: Node, by: i64) -> Option<Delta<'static>> {
        let totals = match self.find(key).map(|index| self.cell(index).state()) {
            None if self.map_type == MapType::Counter => Totals::default(),
            Some(State::Counter(counter)) => counter.totals(&replica),
            _ => return None,
        };
        let Totals { added, subtracted } = totals.after(by)?;
        Some(Delta::Counter { replica, added, subtracted })
    }

    /// The sum of the hashes of everything a reader can see (`digest.rs`); replicas that agree have the same.
    pub const fn digest(&self) -> u64 {
        self.tally.digest
    }

    /// Keys at which a reader sees a value.
    pub const fn live_entries(&self) -> usize {
        self.tally.live
    }

    /// All keys, those included that are remembered only for what was removed there.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// The tick of the latest change.
    pub const fn last_applied(&self) -> Time {
        self.last_applied
    }

    /// Bytes allocated, without what the allocator adds. O(1).
    pub fn heap_bytes(&self) -> usize {
        self.tally.heap_bytes
            + self.cells.heap_bytes()
            + self.order.as_ref().map_or(0, |order| size_of::<Order>() + order.heap_bytes())
            + self.expiries.heap_bytes()
            + self.prune.heap_bytes()
    }

    /// Whether digest, counts, bytes, order and expiries are what they are from scratch. O(everything): for
    /// tests and for a background check.
    pub fn is_consistent(&self) -> bool {
        let mut tally = Tally::default();
        let mut digest = 0_u64;
        for (_, cell) in self.since(Time::ZERO) {
            tally = tally.plus(cell.tally());
            digest = digest.wrapping_add(cell.recompute_digest());
        }
        tally == self.tally
            && digest == tally.digest
            && self.since(Time::ZERO).count() == self.cells.len()
            && self.expiries.is_consistent(self.since(Time::ZERO))
    }

    pub(super) fn has_tombstones(&self) -> bool {
        self.tally.live < self.cells.len()
    }

    /// Books a change of a cell: its totals and its place in the applied order.
    pub(super) fn changed(&mut self, index: CellIndex, before: Tally, applied: Time) {
        let cell = &mut self.cells[index];
        let is_same_change = cell.applied == applied && self.last_applied == applied;
        debug_assert!(applied > self.last_applied || is_same_change, "applied went back");
        cell.applied = applied;
        let after = cell.tally();
        if cell.is_large_set() {
            self.large.insert(index);
        } else if !self.large.is_empty() {
            self.large.remove(&index);
        }
        let had_tombstones = self.has_tombstones();
        self.recount(before, after);
        self.note_tombstone(had_tombstones, applied);
        if !is_same_change {
            self.last_applied = applied;
            if let Some(order) = &mut self.order {
                order.push(applied, index, |index| self.cells[index].applied());
            }
        }
    }

    /// The first tombstone of a map that had none is where pruning goes on.
    fn note_tombstone(&mut self, had_tombstones: bool, applied: Time) {
        if !had_tombstones && self.has_tombstones() {
            self.prune.first_tombstone(applied);
        }
    }

    /// Books a change of a cell's totals alone.
    pub(super) fn recount(&mut self, before: Tally, after: Tally) {
        self.tally = self.tally.minus(before).plus(after);
    }

    /// Drops a cell and everything the map has about it.
    pub(super) fn forget(&mut self, index: CellIndex) {
        self.expiries.cancel(index, &mut self.cells[index]);
        self.large.remove(&index);
        let cell = self.cells.remove(index);
        self.tally = self.tally.minus(cell.tally());
        if let Some(order) = &mut self.order {
            order.forget(|index| self.cells[index].applied());
        }
    }

    fn insert(&mut self, mut cell: Cell, applied: Time) -> CellIndex {
        debug_assert!(applied > self.last_applied, "applied went back");
        cell.applied = applied;
        self.last_applied = applied;
        let had_tombstones = self.has_tombstones();
        self.tally = self.tally.plus(cell.tally());
        // The list is the order of its cells. When it ends, what it tells is where the log begins.
        let listed = if self.cells.len() == LISTED_MAX && self.order.is_none() {
            self.cells.listed_since(Time::ZERO).map(|(index, cell)| (index, cell.applied())).collect()
        } else {
            Vec::new()
        };
        let is_large = cell.is_large_set();
        let index = self.cells.insert(cell);
        if is_large {
            self.large.insert(index);
        }
        self.note_tombstone(had_tombstones, applied);
        if !self.cells.is_listed() {
            let order = self.order.get_or_insert_default();
            for (index, applied) in listed.into_iter().chain([(index, applied)]) {
                order.push_new(applied, index, |index| self.cells[index].applied());
            }
        }
        index
    }
}
