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
//! earlier one, however many are removed and forgotten there. Cells that come back from storage may have another for each
//! removal that was older than those before it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::cell::CellIndex;
use super::{HashedKey, Lack, Map, MapType, Time};

/// Where pruning stands.
#[derive(Debug, Default)]
pub struct Prune {
    /// LWW: no tombstone was applied at or before this.
    examined: Time,
    /// OR: cells with removed tags. An entry is stale unless its tick is the `removed_since` of the cell.
    removals: BinaryHeap<Reverse<(Time, CellIndex)>>,
    /// The entry made last, as many tags of a cell may share a tick.
    latest: Option<(Time, CellIndex)>,
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
    fn queue(&mut self, since: Time, cell: CellIndex) {
        if self.latest.replace((since, cell)) != Some((since, cell)) {
            self.removals.push(Reverse((since, cell)));
        }
    }

    /// Where the oldest removal may be that is remembered.
    fn oldest_removal(&self) -> Option<(Time, CellIndex)> {
        self.removals.peek().map(|&Reverse(oldest)| oldest)
    }

    fn pop_oldest_removal(&mut self) {
        if let Some(Reverse(oldest)) = self.removals.pop() {
            self.latest.take_if(|latest| *latest == oldest);
        }
    }

    /// Takes note of a tombstone applied then, there being no other.
    pub fn first_tombstone(&mut self, applied: Time) {
        self.examined = self.examined.max(applied.previous());
    }

    pub fn heap_bytes(&self) -> usize {
        self.removals.capacity() * size_of::<(Time, CellIndex)>()
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
    /// Cells that hold nothing then are gone, and their indices with them.
    ///
    /// `budget` bounds the work: the tags looked at, and the entries of the applied order, whether or not they are stale.
    /// The tags of one cell are looked at together,
    /// so it may be passed once.
    pub fn prune(&mut self, applied_before: Time, budget: usize) -> Pruned {
        match self.map_type() {
            MapType::Lww => self.prune_tombstones(applied_before, budget),
            MapType::Or => self.prune_tags(applied_before, budget),
            MapType::Counter => Pruned::default(),
        }
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
            pruned.passed += 1;
            upkeep.prune.pop_oldest_removal();
            let before = self.cells[index].tally();
            let Some(set) = self.cells[index].or_set_mut() else { continue };
            if set.removed_since() != applied {
                continue;
            }
            pruned.passed += set.removed().len();
            let forgotten = set.forget_removed(applied_before);
            let (is_empty, since) = (set.is_empty(), set.removed_since());
            if let Some(forgotten) = forgotten {
                pruned.forgotten += forgotten.tags;
                self.pruned_through = self.pruned_through.max(forgotten.applied);
                upkeep.tally = upkeep.tally.minus(before).plus(self.cells[index].tally());
            }
            if is_empty {
                self.forget(index);
            } else if since < Time::MAX {
                upkeep.prune.queue(since, index);
            }
        }
        pruned
    }

    /// Takes note of tags of a cell that were removed then, or come back from storage.
    pub(super) fn queue_removals(&mut self, index: CellIndex, removed: Time) {
        if self.cells[index].or_set_mut().is_some_and(|set| set.removed_since() == removed) {
            self.upkeep().prune.queue(removed, index);
        }
    }

    /// Forgets removals before their time, as a change was [`Refused::Crowded`](super::Refused::Crowded): at least what lacks,
    /// and the older half, so that each costs what a few tags cost.
    pub fn make_room(&mut self, key: HashedKey<'_>, lack: Lack) -> Pruned {
        let Some(index) = self.find(key) else { return Pruned::default() };
        let before = self.cells[index].tally();
        let Some(set) = self.cells[index].or_set_mut() else { return Pruned::default() };
        let passed = set.removed().len();
        let Some(forgotten) = set.forget_oldest(lack.parts.max(passed / 2), lack.bytes) else {
            return Pruned::default();
        };
        let after = self.cells[index].tally();
        self.pruned_through = self.pruned_through.max(forgotten.applied);
        let upkeep = self.upkeep();
        upkeep.tally = upkeep.tally.minus(before).plus(after);
        Pruned { forgotten: forgotten.tags, passed, has_more: false }
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
        assert!(
            map.upkeep.as_ref().unwrap().prune.heap_bytes() < 2 * 128 * size_of::<(Time, CellIndex)>(),
            "one for each cell"
        );
        for millis in 1..=CELLS {
            assert_eq!(map.next_prune(), Some(Time::new(millis, 0)));
            let pruned = map.prune(Time::new(millis, 1), usize::MAX);
            assert_eq!((pruned.forgotten, pruned.passed), (TAGS, TAGS + 1));
        }
        assert_eq!((map.next_prune(), map.cells()), (None, 0));
    }
}
