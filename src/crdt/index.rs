//! Finds the cells of a map by the hash of their key, in tables that grow and shrink one at a time.
//!
//! One table would move all entries at once when it grows: 10 ms of a million. Here it is many, and an entry more or less
//! splits or joins one of them at most (linear hashing: Litwin, VLDB 1980), so that no change moves more than a few thousand.
//!
//! ```text
//!  tables  0  1  2  3 │ 4  5            level 2: hashes go by their last 2 bits, and by 3 where the 2 name a table
//!          ▲  ▲       │ └──┴─ split off       before `next`
//!          └──┴─ split into 0 and 4, 1 and 5; `next` is 2
//! ```
//! Invariant: an entry is in the table that its hash names; there are `1 << level` tables and `next` more.

use hashbrown::HashTable;

use super::cell::CellIndex;

/// Entries a table has on average, at most, when another is split off.
const ENTRIES_MAX: usize = 2048;
/// The same at the least, when one is joined to the one it was split off from.
const ENTRIES_MIN: usize = ENTRIES_MAX / 4;
/// The bits of a hash below these name a bucket in a table, as each has fewer buckets.
const BUCKET_BITS: u32 = 13;

/// One cell.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    cell: CellIndex,
}

const _: () = assert!(size_of::<Entry>() == 8);

/// See the module.
#[derive(Debug)]
pub struct KeyIndex {
    tables: Vec<HashTable<Entry>>,
    level: u32,
    len: usize,
    /// Of all tables.
    heap_bytes: usize,
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self { tables: vec![HashTable::new()], level: 0, len: 0, heap_bytes: 0 }
    }
}

impl KeyIndex {
    /// The first cell with that hash, of several the one that `is_it`. The hashes of different keys are equal once in
    /// four billion, so who looks at the cell first asks for all of them only if it is another.
    #[inline(always)]
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(CellIndex) -> bool) -> Option<CellIndex> {
        let is_it = |entry: &Entry| entry.hash == hash && is_it(entry.cell);
        Some(self.tables[self.place(hash)].find(spread(hash), is_it)?.cell)
    }

    /// Takes a cell that has no entry yet.
    pub fn insert(&mut self, hash: u32, cell: CellIndex) {
        self.put(Entry { hash, cell });
        self.len += 1;
        if self.len > ENTRIES_MAX * self.tables.len() {
            self.split();
        }
    }

    /// Drops the entry of a cell.
    pub fn remove(&mut self, hash: u32, cell: CellIndex) {
        let place = self.place(hash);
        if let Ok(entry) = self.tables[place].find_entry(spread(hash), |entry| entry.cell == cell) {
            entry.remove();
            self.len -= 1;
            if self.len < ENTRIES_MIN * self.tables.len() {
                self.shrink(place);
            }
        }
    }

    /// Has the entry of a cell name another place.
    pub fn replace(&mut self, hash: u32, cell: CellIndex, place: CellIndex) {
        let table = self.place(hash);
        if let Some(entry) = self.tables[table].find_mut(spread(hash), |entry| entry.cell == cell) {
            entry.cell = place;
        }
    }

    /// Bytes allocated. O(1).
    pub const fn heap_bytes(&self) -> usize {
        self.heap_bytes + self.tables.capacity() * size_of::<HashTable<Entry>>()
    }

    #[inline(always)]
    fn place(&self, hash: u32) -> usize {
        let named = (hash >> BUCKET_BITS) as usize & ((2 << self.level) - 1);
        // Where its table is not split yet, one bit less names it.
        if named < self.tables.len() { named } else { named - (1 << self.level) }
    }

    const fn next(&self) -> usize {
        self.tables.len() - (1 << self.level)
    }

    #[cold]
    fn split(&mut self) {
        let from = self.next();
        self.tables.push(HashTable::new());
        if self.next() == 1 << self.level {
            self.level += 1;
        }
        let entries = std::mem::take(&mut self.tables[from]);
        self.heap_bytes -= entries.allocation_size();
        entries.into_iter().for_each(|entry| self.put(entry));
    }

    /// Joins the last table to the one it was split off from, and has the table that has just lost an entry take no more
    /// than it needs.
    #[cold]
    fn shrink(&mut self, place: usize) {
        if self.tables.len() > 1
            && let Some(last) = self.tables.pop()
        {
            if self.tables.len() < 1 << self.level {
                self.level -= 1;
            }
            self.tables.shrink_to(2 * self.tables.len());
            self.heap_bytes -= last.allocation_size();
            last.into_iter().for_each(|entry| self.put(entry));
        }
        let place = place.min(self.tables.len() - 1);
        self.change(place, |table| {
            if table.capacity() > 4 * table.len() {
                table.shrink_to(2 * table.len(), |entry| spread(entry.hash));
            }
        });
    }

    /// Puts an entry in the table that its hash names.
    #[inline]
    fn put(&mut self, entry: Entry) {
        let place = self.place(entry.hash);
        if self.tables[place].len() == self.tables[place].capacity() {
            self.grow(place);
        }
        self.tables[place].insert_unique(spread(entry.hash), entry, |entry| spread(entry.hash));
    }

    #[cold]
    fn grow(&mut self, place: usize) {
        self.change(place, |table| table.reserve(1, |entry| spread(entry.hash)));
    }

    fn change(&mut self, place: usize, change: impl FnOnce(&mut HashTable<Entry>)) {
        let table = &mut self.tables[place];
        let before = table.allocation_size();
        change(table);
        self.heap_bytes = self.heap_bytes - before + table.allocation_size();
    }
}

/// A table hash from a folded one. `hashbrown` takes the bucket from the low bits and its 7-bit tag from the
/// top, so both ends must vary; they are independent of the table up to 2^12 tables, and only slower beyond.
const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    impl KeyIndex {
        fn check(&self) {
            assert_eq!(self.len, self.tables.iter().map(HashTable::len).sum::<usize>());
            assert_eq!(self.heap_bytes, self.tables.iter().map(HashTable::allocation_size).sum::<usize>());
            for (place, table) in self.tables.iter().enumerate() {
                assert!(table.iter().all(|entry| self.place(entry.hash) == place));
            }
        }
    }

    /// A hash that varies in all its bits.
    fn hash(n: usize) -> u32 {
        super::super::cells::fold(xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()))
    }

    /// Goal: no change moves more entries than one table has, and none has more than a few thousand, however many there are.
    /// Method: the largest table after each change, on the way up and down.
    #[test]
    fn it_grows_and_shrinks_a_table_at_a_time() {
        const KEYS: usize = 200_000;
        let mut index = KeyIndex::default();
        let has =
            |index: &KeyIndex, n| index.find(hash(n), |cell| cell == CellIndex::from_usize(n)).is_some();
        let largest = |index: &KeyIndex, place: usize| index.tables[place.min(index.tables.len() - 1)].len();
        for n in 0..KEYS {
            index.insert(hash(n), CellIndex::from_usize(n));
            assert!(largest(&index, index.place(hash(n))) < 3 * ENTRIES_MAX);
            assert!(largest(&index, index.next()) < 3 * ENTRIES_MAX, "the next one that is split");
        }
        index.check();
        assert!(index.tables.len() > 64 && index.heap_bytes() < 24 * KEYS, "{} bytes", index.heap_bytes());
        for n in 0..KEYS {
            assert!(has(&index, n));
        }
        assert!(!has(&index, KEYS));
        for n in (0..KEYS).rev() {
            index.replace(hash(n), CellIndex::from_usize(n), CellIndex::from_usize(n + KEYS));
            index.remove(hash(n), CellIndex::from_usize(n + KEYS));
            assert!(largest(&index, index.place(hash(n))) < 3 * ENTRIES_MAX);
            if n % 9_999 == 0 {
                index.check();
                assert!(!has(&index, n) && (0..n).step_by(1 + n / 100).all(|n| has(&index, n)));
                assert!(index.heap_bytes() < 80 * n + (64 << 10), "{} bytes of {n}", index.heap_bytes());
            }
        }
        assert_eq!((index.tables.len(), index.len), (1, 0));
    }

    #[test]
    fn of_equal_hashes_the_cell_decides() {
        let mut index = KeyIndex::default();
        (0..5).for_each(|n| index.insert(7, CellIndex::from_usize(n)));
        index.remove(7, CellIndex::from_usize(3));
        for n in 0..5 {
            let cell = CellIndex::from_usize(n);
            assert_eq!(index.find(7, |found| found == cell).is_some(), n != 3);
        }
    }
}
