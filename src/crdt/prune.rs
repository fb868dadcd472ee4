//! Forgetting removals that are older than anybody may be late.
//!
//! Invariant: what is forgotten was removed, and its removal was applied before the given tick. Hence what
//! pruning costs, and all it costs: a write that is older than a forgotten removal and arrives after it was
//! forgotten is taken as new; and a reader whose cursor is older than [`Map::pruned_through`] may not have
//! heard of that removal and must start over. What readers see, and the digest, never change.
//!
//! Tombstones are found by walking the applied order from where the last call stopped: a cell that was live
//! when the walk passed it can only become a tombstone by a change, which moves it to the tail, before the
//! walk again. So there is no queue to grow when a key is set and deleted without end. Each entry of the order is
//! passed over once, which is a constant for each change, however long tombstones are remembered; where the walk
//! goes on is a number, so asking when to prune next costs nothing. A removed tag stays for good while its cell
//! goes on changing, so cells with removed tags have a queue: one entry for each, of the tick of its oldest removal or an
//! earlier one, however many are removed and forgotten there.

use std::collections::BTreeSet;

use super::cell::CellIndex;
use super::cells::Move;
use super::expiry::ENTRY_BYTES;
use super::{HashedKey, Lack, Map, MapType, State, Time};

/// Where pruning stands.
#[derive(Debug, Default)]
pub struct Prune {
    /// LWW: no tombstone was applied at or before this.
    examined: Time,
    /// OR: cells with removed tags, each at its `removed_since`.
    removals: BTreeSet<(Time, CellIndex)>,
}

/// What one call of [`Map::prune`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Tombstones and removed tags that are gone.
    pub forgotten: usize,
    /// What was looked at: entries of the applied order, stale ones too, or tags.
    pub passed: usize,
    /// The budget ended before the work did.
    pub has_more: bool,
}

impl Prune {
    /// Takes note of a cell whose oldest removal was then; [`Time::MAX`]: it has none.
    fn queue(&mut self, since: Time, cell: CellIndex) {
        if since < Time::MAX {
            self.removals.insert((since, cell));
        }
    }

    /// Takes note that a cell whose oldest removal was then, if it has any, has another place.
    pub fn moved(&mut self, since: Time, Move { from, to }: Move) {
        if self.removals.remove(&(since, from)) {
            self.removals.insert((since, to));
        }
    }

    /// Where the oldest removal may be that is remembered.
    fn oldest_removal(&self) -> Option<(Time, CellIndex)> {
        self.removals.first().copied()
    }

    /// Takes note of a tombstone applied then, there being no other.
    pub fn first_tombstone(&mut self, applied: Time) {
        self.examined = self.examined.max(applied.previous());
    }

    pub fn heap_bytes(&self) -> usize {
        self.removals.len() * ENTRY_BYTES
    }
}

impl Map {
    /// The latest removal forgotten; [`Time::ZERO`] if none was. A walk from this position or a later one
    /// misses nothing. One from an earlier position may miss a removal, and its reader must start over:
    /// forget what it has and walk from [`Time::ZERO`].
    pub const fn pruned_through(&self) -> Time {
        self.pruned_through
    }

    /// A tick before which nothing can be pruned, or `None` if there is nothing to prune at all. O(1), as it is asked for
    /// after every change: it moves on when [`Map::prune`] does.
    pub fn next_prune(&self) -> Option<Time> {
        if self.map_type() == MapType::Or {
            return self.upkeep.as_ref()?.prune.oldest_removal().map(|(applied, _)| applied);
        }
        match &self.upkeep {
            Some(upkeep) => self.has_tombstones().then(|| upkeep.prune.examined.next()),
            None => self.oldest_listed_tombstone().map(|(_, applied)| applied),
        }
    }

    fn has_tombstones(&self) -> bool {
        match &self.upkeep {
            Some(upkeep) => upkeep.tally.live < self.cells.len(),
            None => self.oldest_listed_tombstone().is_some(),
        }
    }

    fn oldest_listed_tombstone(&self) -> Option<(CellIndex, Time)> {
        let tombstones = self.cells.listed().filter(|(_, cell)| !cell.is_live());
        tombstones.map(|(index, cell)| (index, cell.applied())).min_by_key(|&(_, applied)| applied)
    }

    /// Forgets tombstones and removed tags whose removal was applied before `applied_before`, oldest first.
    /// Cells that hold nothing then are gone, and what they took is given back: other cells may have another
    /// index then.
    ///
    /// `budget` bounds the work: the tags looked at, and the entries of the applied order, whether or not they are stale.
    /// The tags of one cell are looked at together,
    /// so it may be passed once.
    pub fn prune(&mut self, applied_before: Time, budget: usize) -> Pruned {
        let pruned = match self.map_type() {
            MapType::Lww => self.prune_tombstones(applied_before, budget),
            MapType::Or => self.prune_tags(applied_before, budget),
            MapType::Counter => Pruned::default(),
        };
        self.cells.release_unused();
        pruned
    }

    fn prune_tombstones(&mut self, applied_before: Time, budget: usize) -> Pruned {
        let mut pruned = Pruned::default();
        while self.has_tombstones() {
            let Some((index, applied)) = self.seek_tombstone(budget, &mut pruned.passed) else {
                pruned.has_more = self.next_prune().is_some_and(|applied| applied < applied_before);
                break;
            };
            if applied >= applied_before {
                break;
            }
            pruned.passed += 1;
            pruned.forgotten += 1;
            if let Some(upkeep) = &mut self.upkeep {
                upkeep.prune.examined = applied;
            }
            self.pruned_through = self.pruned_through.max(applied);
            self.forget(index);
        }
        pruned
    }

    /// Goes on to the next tombstone and stays before it; `None` if the budget ends first. What it passes over counts,
    /// stale or not, and is never passed again: it goes on also over what is too young to be forgotten, so that the next
    /// call is due when there is something to forget.
    fn seek_tombstone(&mut self, budget: usize, passed: &mut usize) -> Option<(CellIndex, Time)> {
        let Some(upkeep) = &self.upkeep else {
            return self.oldest_listed_tombstone().filter(|_| *passed < budget);
        };
        let mut examined = upkeep.prune.examined;
        let mut found = None;
        for (applied, current) in self.log_since(examined) {
            if *passed >= budget {
                break;
            }
            if let Some((index, cell)) = current
                && !cell.is_live()
            {
                examined = applied.previous();
                found = Some((index, applied));
                break;
            }
            examined = applied;
            *passed += 1;
        }
        self.upkeep().prune.examined = examined;
        found
    }

    fn prune_tags(&mut self, applied_before: Time, budget: usize) -> Pruned {
        let mut pruned = Pruned::default();
        while let Some(upkeep) = &mut self.upkeep
            && let Some((applied, index)) = upkeep.prune.oldest_removal()
            && applied < applied_before
        {
            if pruned.passed >= budget {
                return Pruned { has_more: true, ..pruned };
            }
            upkeep.prune.removals.pop_first();
            let cell = &mut self.cells[index];
            let before = cell.tally();
            let Some(set) = cell.or_set_mut() else { continue };
            pruned.passed += 1 + set.removed().len();
            if let Some(forgotten) = set.forget_removed(applied_before) {
                pruned.forgotten += forgotten.tags;
                self.pruned_through = self.pruned_through.max(forgotten.applied);
            }
            let is_empty = set.is_empty();
            upkeep.prune.queue(set.removed_since(), index);
            upkeep.recount(before, cell.tally());
            if is_empty {
                self.forget(index);
            }
        }
        pruned
    }

    /// Takes note of tags of a cell that were removed then, after all others that are remembered.
    pub(super) fn note_removal(&mut self, index: CellIndex, removed: Time) {
        if self.removed_since(index) == removed {
            self.upkeep().prune.queue(removed, index);
        }
    }

    /// Takes note of the removed tags of a cell that has come back from storage.
    pub(super) fn queue_removals(&mut self, index: CellIndex) {
        let since = self.removed_since(index);
        if since < Time::MAX {
            self.upkeep().prune.queue(since, index);
        }
    }

    fn removed_since(&self, index: CellIndex) -> Time {
        match self.cells[index].state() {
            State::OrSet(set) => set.removed_since(),
            State::Lww(_) | State::Counter(_) => Time::MAX,
        }
    }

    /// Whether there is an entry for each cell with removed tags, and no other.
    pub(super) fn are_removals_consistent(&self) -> bool {
        let entries = self.since(Time::ZERO).map(|(index, _)| (self.removed_since(index), index));
        let expected: BTreeSet<_> = entries.filter(|&(since, _)| since < Time::MAX).collect();
        self.upkeep.as_ref().map_or(expected.is_empty(), |upkeep| upkeep.prune.removals == expected)
    }

    /// Forgets removals before their time, as a change was [`Refused::Crowded`](super::Refused::Crowded): at least what lacks,
    /// and the older half, so that each costs what a few tags cost.
    pub fn make_room(&mut self, key: HashedKey<'_>, lack: Lack) -> Pruned {
        let Some(index) = self.find(key) else { return Pruned::default() };
        let cell = &mut self.cells[index];
        let before = cell.tally();
        let Some(set) = cell.or_set_mut() else { return Pruned::default() };
        let passed = set.removed().len();
        let Some(forgotten) = set.forget_oldest(lack.parts.max(passed / 2), lack.bytes) else {
            return Pruned::default();
        };
        let after = cell.tally();
        self.pruned_through = self.pruned_through.max(forgotten.applied);
        self.upkeep().recount(before, after);
        Pruned { forgotten: forgotten.tags, passed, ..Pruned::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{Delta, HashedKey};

    #[test]
    fn removals_that_come_back_in_any_order_are_forgotten_oldest_first_and_share_an_entry() {
        const CELLS: u64 = 100;
        const TAGS: usize = 100;
        let mut map = Map::new(MapType::Or);
        let tags: Vec<String> = (0..TAGS).map(|tag| tag.to_string()).collect();
        for cell in 0..CELLS {
            let name = cell.to_string();
            let removed = Time::new(CELLS - cell, 0);
            let parts = tags.iter().map(|tag| (Delta::OrRemove { tag }, removed));
            let key = HashedKey { hash: cell, bytes: name.as_bytes() };
            map.restore(key, Time::new(1_000 + cell, 0), parts).unwrap();
        }
        map.finish_restore(Time::ZERO);
        assert_eq!(map.upkeep.as_ref().unwrap().prune.removals.len(), CELLS as usize, "one for each cell");
        for millis in 1..=CELLS {
            assert_eq!(map.next_prune(), Some(Time::new(millis, 0)));
            let pruned = map.prune(Time::new(millis, 1), usize::MAX);
            assert_eq!((pruned.forgotten, pruned.passed), (TAGS, TAGS + 1));
        }
        assert_eq!((map.next_prune(), map.cells()), (None, 0));
    }
}
