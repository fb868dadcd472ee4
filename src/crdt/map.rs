//! One map's cells on one shard: merging, finding, walking in applied order, and what it all sums up to.
//!
//! Invariant: where there is upkeep, its tally is the sum of the tallies of all cells, and unless they are listed every cell
//! has one current entry in its order.
//! Whatever the order and number of merges, two maps that got the same deltas hold the same state.

use super::cell::{Cell, CellIndex, CellName, Tally};
use super::cells::{Cells, LISTED_MAX, fold};
use super::counter::Totals;
use super::or_set::Removal;
use super::upkeep::Upkeep;
use super::{CellLimits, Count, Delta, HashedKey, MapType, Node, Refused, State, Time};
use crate::limits::TAG_BYTES_MAX;

/// The keys of one map that one shard owns.
#[derive(Debug)]
pub struct Map {
    map_type: MapType,
    pub(super) cells: Cells,
    pub(super) upkeep: Option<Box<Upkeep>>,
    last_applied: Time,
    pub(super) pruned_through: Time,
}

/// Beside its cells; a size of the allocator, so that nothing is rounded up.
const _: () = assert!(size_of::<Map>() == 64);

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
            upkeep: None,
            last_applied: Time::ZERO,
            pruned_through: Time::ZERO,
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
    /// As [`Map::merge`], [`Refused::CellFull`], and [`Refused::Crowded`], after which [`Map::make_room`] helps.
    #[inline]
    pub fn merge_within(
        &mut self,
        key: HashedKey<'_>,
        delta: &Delta<'_>,
        applied: Time,
        cell_bytes_max: usize,
    ) -> Result<Merge, Refused> {
        let limits = CellLimits::of_bytes(cell_bytes_max);
        let merged = self.merge_dated(key, delta, applied, applied, limits)?;
        if let (Merge::Changed(index), Delta::OrRemove { .. }) = (merged, delta) {
            self.note_removal(index, applied);
        }
        Ok(merged)
    }

    /// Removes all that `removal` names from the set at `key`, or nothing: one change, applied at one tick, which is greater
    /// than every earlier one in this map. Calls `each` with every tag that was not removed before, ascending; the deltas of
    /// these are what it was. How many those are; to `work` it adds the tags that were compared and moved, also where it is
    /// refused.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then, and nothing was called.
    pub fn remove(
        &mut self,
        key: HashedKey<'_>,
        removal: &mut Removal<'_, '_>,
        applied: Time,
        cell_bytes_max: usize,
        work: &mut usize,
        each: impl FnMut(&str),
    ) -> Result<usize, Refused> {
        let limits = CellLimits::of_bytes(cell_bytes_max);
        if self.map_type != MapType::Or {
            return Err(Refused::MapType);
        }
        let is_tag_in_limits = |tag: &&str| tag.len() <= TAG_BYTES_MAX;
        let is_in_limits = match removal {
            Removal::Tags(tags) => tags.iter().all(is_tag_in_limits),
            Removal::Value(_) | Removal::All => true,
        };
        if !is_in_limits || !key.is_in_limits() {
            return Err(Refused::TooLarge);
        }
        let (index, removed) = match self.cells.find(key) {
            Some(index) => {
                let before = self.cells[index].tally();
                let removed = self.cells[index].remove_all(removal, applied, limits, work, each)?;
                if removed > 0 {
                    self.changed(index, before, applied);
                }
                (index, removed)
            }
            None if self.cells.is_full() => return Err(Refused::TooLarge),
            None => {
                let mut cell = Cell::new(key.bytes, self.map_type, fold(key.hash), 0);
                let removed = cell.remove_all(removal, applied, limits, work, each)?;
                if removed == 0 {
                    return Ok(0);
                }
                (self.insert(cell, applied), removed)
            }
        };
        if removed > 0 {
            self.note_removal(index, applied);
        }
        Ok(removed)
    }

    /// As [`Map::merge_within`]; a removal or a slot counts as applied at `dated`, which may be earlier. A removal is yet to be noted.
    #[inline]
    pub(super) fn merge_dated(
        &mut self,
        key: HashedKey<'_>,
        delta: &Delta<'_>,
        applied: Time,
        dated: Time,
        limits: CellLimits,
    ) -> Result<Merge, Refused> {
        if delta.map_type() != self.map_type {
            return Err(Refused::MapType);
        }
        if !delta.is_in_limits() || !key.is_in_limits() {
            return Err(Refused::TooLarge);
        }
        let index = match self.cells.find(key) {
            Some(index) => {
                let cell = &mut self.cells[index];
                let before = cell.tally();
                if !cell.merge(delta, dated, limits)? {
                    return Ok(Merge::Lost);
                }
                self.changed(index, before, applied);
                index
            }
            None if self.cells.is_full() => return Err(Refused::TooLarge),
            None => {
                let room = delta.bytes_behind_key();
                let mut cell = Cell::new(key.bytes, self.map_type, fold(key.hash), room);
                if !cell.merge(delta, dated, limits)? {
                    return Ok(Merge::Lost);
                }
                self.insert(cell, applied)
            }
        };
        if let Delta::Lww { expires_ms, .. } = delta
            && *expires_ms > 0
        {
            self.schedule_expiry(index);
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
        let applied_of = |index: CellIndex| self.cells.applied_at(index);
        let logged = self.upkeep.iter().flat_map(move |upkeep| upkeep.order.since(position, applied_of));
        let listed = self.cells.listed_since(position);
        listed.map(|(index, cell)| (cell.applied(), Some((index, cell)))).chain(
            logged.map(|passed| (passed.applied, passed.cell.map(|index| (index, &self.cells[index])))),
        )
    }

    /// All cells before a place, from the last to the first, with their places; `None`: before the end. A walk may stop after any of them
    /// and be taken up from its place: it meets whatever stays, as a cell only moves to the place of one that is forgotten, which is
    /// before its own, so some may be met twice.
    pub fn backwards(&self, before: Option<u32>) -> impl Iterator<Item = (u32, &Cell)> {
        let end = before.map_or(self.cells(), |before| (before as usize).min(self.cells()));
        (0..end).rev().map(|place| {
            let index = CellIndex::from_usize(place);
            (index.to_u32(), self.cell(index))
        })
    }

    /// The cell of that name, if there is one.
    pub fn find_named(&self, name: &CellName) -> Option<&Cell> {
        let key = HashedKey { hash: u64::from(name.hash), bytes: &name.key };
        Some(self.cell(self.cells.find(key)?))
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

    /// Slots of a counter.
    pub fn slots(&self, key: HashedKey<'_>) -> usize {
        self.find(key).and_then(|index| self.cell(index).counter()).map_or(0, |counter| counter.slots().len())
    }

    /// What is to be merged so that a counter has room: its slots that last counted at `through` or before, absorbed. `None`
    /// if there are none. O(slots).
    pub fn absorption(&self, key: HashedKey<'_>, through: Time) -> Option<Delta<'static>> {
        let (count, through) = self.cell(self.find(key)?).counter()?.absorption(through)?;
        Some(Delta::CounterAbsorbed { count: Count(count), through })
    }

    /// The sum of the hashes of everything a reader can see (`digest.rs`); replicas that agree have the same.
    pub fn digest(&self) -> u64 {
        self.tally().digest
    }

    /// Keys at which a reader sees a value.
    pub fn live_entries(&self) -> usize {
        self.tally().live
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
        let upkeep = self.upkeep.as_ref().map_or(0, |upkeep| upkeep.heap_bytes());
        self.tally().heap_bytes + self.cells.heap_bytes() + upkeep
    }

    /// Whether digest, counts, bytes, order, expiries and removals are what they are from scratch. O(everything): for
    /// tests and for a background check.
    pub fn is_consistent(&self) -> bool {
        let mut tally = Tally::default();
        let mut digest = 0_u64;
        for (_, cell) in self.since(Time::ZERO) {
            tally = tally.plus(cell.tally());
            digest = digest.wrapping_add(cell.recompute_digest());
        }
        tally == self.tally()
            && digest == tally.digest
            && self.since(Time::ZERO).count() == self.cells.len()
            && self.are_expiries_consistent()
            && self.are_removals_consistent()
    }

    /// What all cells come to.
    fn tally(&self) -> Tally {
        self.upkeep.as_ref().map_or_else(|| sum_of_listed(&self.cells), |upkeep| upkeep.tally)
    }

    /// What is kept beside the cells, from now on if it was not before.
    pub(super) fn upkeep(&mut self) -> &mut Upkeep {
        let cells = &self.cells;
        self.upkeep.get_or_insert_with(|| begin_upkeep(cells))
    }

    /// Books a change of a cell: its totals and its place in the applied order.
    pub(super) fn changed(&mut self, index: CellIndex, before: Tally, applied: Time) {
        let cell = &mut self.cells[index];
        let is_same_change = cell.applied == applied && self.last_applied == applied;
        debug_assert!(applied > self.last_applied || is_same_change, "applied went back");
        cell.applied = applied;
        self.last_applied = applied;
        let (is_large, hash) = (cell.is_large_set(), cell.index_hash);
        let after = cell.tally();
        if let Some(upkeep) = self.upkeep.as_deref_mut() {
            upkeep.recount(before, after);
            if after.live < before.live && upkeep.tally.live + 1 == self.cells.len() {
                upkeep.prune.first_tombstone(applied);
            }
            if !is_large && !upkeep.large.is_empty() {
                upkeep.large.remove(&(hash, index));
            }
            if !is_same_change && !self.cells.is_listed() {
                upkeep.order.push(applied, index, |index| self.cells.applied_at(index));
            }
        }
        if is_large {
            self.upkeep().large.insert((hash, index));
        }
    }

    /// Drops a cell and everything the map has about it.
    pub(super) fn forget(&mut self, index: CellIndex) {
        self.cancel_expiry(index);
        let (cell, moved) = self.cells.remove(index);
        let Some(upkeep) = self.upkeep.as_deref_mut() else { return };
        upkeep.large.remove(&(cell.index_hash, index));
        upkeep.recount(cell.tally(), Tally::default());
        if let Some(moved) = moved {
            let cell = &self.cells[moved.to];
            upkeep.moved(cell, moved);
            if !self.cells.is_listed() {
                upkeep.order.moved(cell.applied(), moved.to);
            }
        }
        if !self.cells.is_listed() {
            upkeep.order.forget(|index| self.cells.applied_at(index));
        }
    }

    fn insert(&mut self, mut cell: Cell, applied: Time) -> CellIndex {
        debug_assert!(applied > self.last_applied, "applied went back");
        cell.applied = applied;
        self.last_applied = applied;
        let (tally, is_large, hash) = (cell.tally(), cell.is_large_set(), cell.index_hash);
        if self.cells.is_listed() && self.cells.len() == LISTED_MAX {
            self.begin_order();
        }
        let index = self.cells.insert(cell);
        if let Some(upkeep) = self.upkeep.as_deref_mut() {
            upkeep.recount(Tally::default(), tally);
            if tally.live == 0 && upkeep.tally.live + 1 == self.cells.len() {
                upkeep.prune.first_tombstone(applied);
            }
            if !self.cells.is_listed() {
                upkeep.order.push_new(applied, index, |index| self.cells.applied_at(index));
            }
        }
        if is_large {
            self.upkeep().large.insert((hash, index));
        }
        index
    }

    /// The list is the order of its cells. When it ends, what it tells is where the log begins.
    #[cold]
    fn begin_order(&mut self) {
        self.upkeep();
        let Some(upkeep) = self.upkeep.as_deref_mut() else { return };
        for (index, cell) in self.cells.listed_since(Time::ZERO) {
            upkeep.order.push_new(cell.applied(), index, |index| self.cells.applied_at(index));
        }
    }
}

#[cold]
fn begin_upkeep(cells: &Cells) -> Box<Upkeep> {
    Box::new(Upkeep { tally: sum_of_listed(cells), ..Upkeep::default() })
}

fn sum_of_listed(cells: &Cells) -> Tally {
    cells.listed().fold(Tally::default(), |sum, (_, cell)| sum.plus(cell.tally()))
}
