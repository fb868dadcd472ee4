//! Tables of connections, maps and rooms: slots in chunks that never move.
//!
//! One array would double by copying: everybody would wait for that, the old and the new one exist side by side, and what was left
//! behind stays with the allocator. A chunk that has nothing left in it is given back, so that a night costs less than the day before.
//!
//! Invariant: a chunk is on the list of those with room exactly if it has any.

use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::handover::inspection::{Share, Walk};
use crate::limits::INSPECTED_SLOTS_MAX;

/// Slots of one chunk: some 100 KiB at most, which every allocator has at hand and nobody misses.
const CHUNK: usize = 256;

/// Places of a list that are compared in the time that a look at a slot takes.
const PASSED_PER_LOOK: usize = 64;

/// A place in a table, as tables name it to each other.
///
/// # Panics
/// If there are 2^32 and more, which would take a hundred gigabytes of the table alone: a place must not be taken for another.
pub fn slot(place: usize) -> u32 {
    u32::try_from(place).expect("a table has fewer than 2^32 places")
}

/// Calls `each` with what is in slots of a slab, from one on, for so many looks. It says how many other places it went through, of
/// which [`PASSED_PER_LOOK`] are a look. Where to go on, unless that was the end.
pub fn share<T>(
    slab: &Slab<T>,
    from: u32,
    looks: u32,
    mut each: impl FnMut(u32, &T) -> usize,
) -> Option<u32> {
    let end = u32::try_from(slab.capacity()).unwrap_or(u32::MAX);
    let (mut at, mut left) = (from, looks as usize);
    while at < end && left > 0 {
        let passed = slab.get(at as usize).map_or(0, |held| each(at, held));
        left = left.saturating_sub(1 + passed / PASSED_PER_LOOK);
        at += 1;
    }
    (at < end).then_some(at)
}

/// See the module.
#[derive(Debug)]
pub struct Slots<T> {
    chunks: Vec<Slab<T>>,
    with_room: Vec<u32>,
    len: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), with_room: Vec::new(), len: 0 }
    }
}

impl<T> Slots<T> {
    /// Puts into a vacant slot what `make` makes for it; the slot.
    pub fn insert(&mut self, make: impl FnOnce(u32) -> T) -> u32 {
        let number = match self.with_room.last() {
            Some(&number) => number as usize,
            None => {
                self.chunks.push(Slab::new());
                self.with_room.push(slot(self.chunks.len() - 1));
                self.chunks.len() - 1
            }
        };
        let chunk = &mut self.chunks[number];
        if chunk.capacity() == 0 {
            *chunk = Slab::with_capacity(CHUNK);
        }
        let vacant = chunk.vacant_entry();
        let index = slot(number * CHUNK + vacant.key());
        vacant.insert(make(index));
        if chunk.len() == CHUNK {
            self.with_room.pop();
        }
        self.len += 1;
        index
    }

    pub fn get(&self, index: u32) -> Option<&T> {
        let (number, at) = place(index);
        self.chunks.get(number)?.get(at)
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (number, at) = place(index);
        self.chunks.get_mut(number)?.get_mut(at)
    }

    /// Takes what is in a slot out of it, which is vacant then.
    ///
    /// # Panics
    /// If it is vacant.
    pub fn remove(&mut self, index: u32) -> T {
        let (number, at) = place(index);
        let chunk = &mut self.chunks[number];
        if chunk.len() == CHUNK {
            self.with_room.push(slot(number));
        }
        let removed = chunk.remove(at);
        // While others have room; and what comes next takes one of those.
        if chunk.is_empty() && self.with_room.len() > 1 {
            *chunk = Slab::new();
            if self.with_room.last() == Some(&slot(number)) {
                let last = self.with_room.len() - 1;
                self.with_room.swap(0, last);
            }
        }
        self.len -= 1;
        removed
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots of all chunks, vacant ones included.
    pub fn slots(&self) -> u32 {
        slot(self.chunks.len() * CHUNK)
    }

    /// What is in use, with its slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks
            .iter()
            .enumerate()
            .flat_map(|(number, chunk)| chunk.iter().map(move |(at, used)| (slot(number * CHUNK + at), used)))
    }

    /// Looks at slots from one on, until there are enough of the rows that `row` makes, or it was enough to look at.
    pub fn inspect<R>(&self, walk: Walk, mut row: impl FnMut(&T) -> Option<R>) -> Share<R> {
        let (mut rows, mut at) = (Vec::new(), walk.from);
        let (end, looks_end) = (self.slots(), walk.from.saturating_add(INSPECTED_SLOTS_MAX));
        while at < end.min(looks_end) && rows.len() < walk.rows_max as usize {
            rows.extend(self.get(at).and_then(&mut row));
            at += 1;
        }
        Share { rows, looked_at: at.saturating_sub(walk.from), next: (at < end).then_some(at) }
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut().map(|(_, used)| used))
    }
}

const fn place(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
}

impl<T> Index<u32> for Slots<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        let (number, at) = place(index);
        &self.chunks[number][at]
    }
}

impl<T> IndexMut<u32> for Slots<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        let (number, at) = place(index);
        &mut self.chunks[number][at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each knows where it is.
    type Table = Slots<u32>;

    fn insert(table: &mut Table) -> u32 {
        table.insert(|index| index)
    }

    #[test]
    fn a_share_of_a_slab_ends_early_where_much_is_passed_over() {
        let mut slab: Slab<usize> = (0..100).map(|place| (place, place)).collect();
        for place in 0..10 {
            slab.remove(place);
        }
        let share = |from, passed: usize| {
            let mut seen = Vec::new();
            let next = share(&slab, from, 16, |_, &held| {
                seen.push(held);
                passed
            });
            (seen, next)
        };
        assert_eq!(share(0, 0), ((10..16).collect(), Some(16)));
        assert_eq!(share(16, 63), ((16..32).collect(), Some(32)));
        assert_eq!(share(32, 64), ((32..40).collect(), Some(40)));
        assert_eq!(share(40, 1 << 20), (vec![40], Some(41)), "one in any case");
        let end = slab.capacity() as u32;
        assert_eq!(share(end - 1, 0).1, None);
        assert_eq!(share(end + 7, 0), (vec![], None));
    }

    #[test]
    fn slots_stay_where_they_are_and_vacant_ones_are_taken_first() {
        let mut table = Table::default();
        let first = insert(&mut table);
        let address: *const u32 = &raw const table[first];
        let indices: Vec<u32> = (1..10 * CHUNK).map(|_| insert(&mut table)).collect();
        assert_eq!(indices, (1..10 * CHUNK as u32).collect::<Vec<_>>());
        assert_eq!(address, &raw const table[first]);
        for index in [700, 3, 2_000] {
            assert_eq!(table.remove(index), index);
            assert!(table.get(index).is_none());
        }
        let mut again = [insert(&mut table), insert(&mut table), insert(&mut table)];
        again.sort_unstable();
        assert_eq!(again, [3, 700, 2_000]);
        assert_eq!(insert(&mut table), 10 * CHUNK as u32, "all others are taken");
        assert_eq!((table.iter().count(), table.len()), (10 * CHUNK + 1, 10 * CHUNK + 1));
        assert!(table.iter().all(|(slot, &index)| slot == index));
    }

    #[test]
    fn a_walk_in_shares_meets_whatever_stays_once_and_looks_at_so_much_at_a_time() {
        let mut table = Table::default();
        let stays: Vec<u32> = (0..5_000).map(|_| insert(&mut table)).collect();
        let (mut met, mut from, mut shares) = (Vec::new(), 0, 0);
        loop {
            let share =
                table.inspect(Walk { from, rows_max: 300 }, |&index| (index % 2 == 0).then_some(index));
            assert!(share.looked_at <= INSPECTED_SLOTS_MAX && share.rows.len() <= 300);
            met.extend(share.rows);
            shares += 1;
            // Others come and go meanwhile.
            table.remove(stays[1 + 2 * shares]);
            for _ in 0..shares {
                insert(&mut table);
            }
            let Some(next) = share.next else { break };
            from = next;
        }
        let wanted: Vec<u32> = stays.iter().copied().filter(|index| index % 2 == 0).collect();
        let of_those: Vec<u32> = met.iter().copied().filter(|index| *index < 5_000).collect();
        assert_eq!(of_those, wanted);
        assert_eq!(table.inspect(Walk { from: 1 << 30, rows_max: 1 }, |_| Some(())), Share::empty());
    }

    #[test]
    fn chunks_that_nobody_is_in_are_given_back() {
        let mut table = Table::default();
        let indices: Vec<u32> = (0..10 * CHUNK).map(|_| insert(&mut table)).collect();
        for index in indices {
            table.remove(index);
        }
        let held = table.chunks.iter().filter(|chunk| chunk.capacity() > 0).count();
        assert!(table.is_empty() && held <= 1, "{held} chunks are held for nobody");
        assert!((0..10 * CHUNK).all(|_| (insert(&mut table) as usize) < 10 * CHUNK), "and used again");
        assert!(table.chunks.iter().all(|chunk| chunk.capacity() == CHUNK));
    }
}
