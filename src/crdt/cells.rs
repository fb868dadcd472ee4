//! All cells of a map and the index that finds them by key.
//!
//! Invariant: up to [`LISTED_MAX`] cells are a list and nothing else, as most maps of many are small; a vacant place in it
//! is a cell with an `applied` of [`Time::ZERO`]. Beyond that, and from then on, every cell that is not vacant has exactly
//! one entry in an index. An entry holds 32 bits of the hash, so the table grows without touching a cell, and a probe
//! touches only a cell that is very likely it.

use std::ops::{Index, IndexMut};

use hashbrown::HashTable;

use super::cell::{Cell, CellIndex};
use super::chunks::Chunks;
use super::{HashedKey, Time};

/// Cells that are looked through one by one: no more cache lines than a probe of the index and its cell would touch.
pub const LISTED_MAX: usize = 4;
/// `1 << CHUNK_SHIFT` cells a chunk.
const CHUNK_SHIFT: u32 = 8;
const CHUNK: usize = 1 << CHUNK_SHIFT;

/// One cell of the index.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    cell: CellIndex,
}

const _: () = assert!(size_of::<Entry>() == 8);

#[derive(Debug)]
pub struct Cells {
    /// The first chunk, which grows by doubling from a single cell.
    first: Vec<Cell>,
    /// What it takes to have more than [`LISTED_MAX`].
    more: Option<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    chunks: Chunks<Cell, CHUNK_SHIFT>,
    vacant: Vec<CellIndex>,
    index: HashTable<Entry>,
}

impl Cells {
    pub const fn new() -> Self {
        Self { first: Vec::new(), more: None }
    }

    pub fn len(&self) -> usize {
        self.more.as_ref().map_or_else(|| self.listed().count(), |more| more.index.len())
    }

    /// Whether there is no index, so that there are few enough cells to look at all of them.
    pub const fn is_listed(&self) -> bool {
        self.more.is_none()
    }

    /// Inlined whatever it weighs, as it is most of what a merge does that loses.
    #[inline(always)]
    pub fn find(&self, key: HashedKey<'_>) -> Option<CellIndex> {
        let Some(more) = &self.more else { return self.find_listed(key) };
        let hash = fold(key.hash);
        let found = more.index.find(spread(hash), |entry| entry.hash == hash)?.cell;
        if self[found].key() == key.bytes { Some(found) } else { self.find_among_equal_hashes(more, key) }
    }

    #[inline(never)]
    fn find_listed(&self, key: HashedKey<'_>) -> Option<CellIndex> {
        let hash = fold(key.hash);
        // A vacant place has an empty key, which no cell has.
        let is_key =
            |cell: &Cell| cell.index_hash == hash && cell.key() == key.bytes && cell.applied() > Time::ZERO;
        self.first.iter().position(is_key).map(CellIndex::from_usize)
    }

    /// One of several keys that have one hash, or none of them. Apart, as a probe that compares keys takes longer.
    #[cold]
    fn find_among_equal_hashes(&self, more: &More, key: HashedKey<'_>) -> Option<CellIndex> {
        let hash = fold(key.hash);
        let is_key = |entry: &Entry| entry.hash == hash && self[entry.cell].key() == key.bytes;
        Some(more.index.find(spread(hash), is_key)?.cell)
    }

    /// Loads what [`Self::find`] will need, without waiting for it: of several of these in a row, the cache misses
    /// overlap.
    pub fn warm(&self, hash: u64) {
        let hash = fold(hash);
        let Some(more) = &self.more else {
            std::hint::black_box(self.first.first().map(Cell::applied));
            return;
        };
        let found = more.index.find(spread(hash), |entry| entry.hash == hash);
        std::hint::black_box(found.map(|entry| self[entry.cell].applied()));
    }

    pub fn is_full(&self) -> bool {
        let is_full =
            |more: &More| CHUNK + more.chunks.len() >= CellIndex::CELLS_MAX && more.vacant.is_empty();
        self.more.as_deref().is_some_and(is_full)
    }

    /// Takes a cell whose key is not there yet, and which was applied. The caller has seen that the cells are not full.
    pub fn insert(&mut self, cell: Cell) -> CellIndex {
        let hash = cell.index_hash;
        let index = self.place(cell);
        if let Some(more) = &mut self.more {
            more.insert(Entry { hash, cell: index });
        } else if self.first.len() > LISTED_MAX {
            self.begin_index();
        }
        index
    }

    #[cold]
    fn begin_index(&mut self) {
        let mut more = Box::<More>::default();
        for (place, cell) in self.first.iter().enumerate() {
            more.insert(Entry { hash: cell.index_hash, cell: CellIndex::from_usize(place) });
        }
        self.more = Some(more);
    }

    /// Takes a cell out; its place is vacant then.
    pub fn remove(&mut self, index: CellIndex) -> Cell {
        let cell = std::mem::replace(&mut self[index], Cell::vacant());
        if cell.applied() > Time::ZERO
            && let Some(more) = &mut self.more
        {
            more.remove(Entry { hash: cell.index_hash, cell: index });
        }
        cell
    }

    /// The cells of a list, in no order; none where there is an index.
    pub fn listed(&self) -> impl Iterator<Item = (CellIndex, &Cell)> {
        let listed = if self.is_listed() { &*self.first } else { &[] };
        let cells = listed.iter().enumerate().filter(|(_, cell)| cell.applied() > Time::ZERO);
        cells.map(|(place, cell)| (CellIndex::from_usize(place), cell))
    }

    /// Those of them that were applied after `position`, oldest first; what has an index has an order, too.
    pub fn listed_since(&self, mut position: Time) -> impl Iterator<Item = (CellIndex, &Cell)> {
        std::iter::from_fn(move || {
            let later = self.listed().filter(|(_, cell)| cell.applied() > position);
            let (index, cell) = later.min_by_key(|(_, cell)| cell.applied())?;
            position = cell.applied();
            Some((index, cell))
        })
    }

    /// Bytes allocated for the tables; what the cells own comes on top.
    pub fn heap_bytes(&self) -> usize {
        let more = |more: &More| {
            size_of::<More>()
                + more.chunks.heap_bytes()
                + more.vacant.capacity() * size_of::<CellIndex>()
                + more.index.allocation_size()
        };
        self.first.capacity() * size_of::<Cell>() + self.more.as_deref().map_or(0, more)
    }

    /// Puts the cell in a vacant place, or behind all others.
    fn place(&mut self, cell: Cell) -> CellIndex {
        let vacant = match &mut self.more {
            Some(more) => more.vacant.pop(),
            None => {
                self.first.iter().position(|cell| cell.applied() == Time::ZERO).map(CellIndex::from_usize)
            }
        };
        if let Some(index) = vacant {
            self[index] = cell;
            return index;
        }
        if let Some(more) = self.more.as_mut().filter(|_| self.first.len() == CHUNK) {
            more.chunks.push(cell);
            return CellIndex::from_usize(CHUNK + more.chunks.len() - 1);
        }
        if self.first.len() == self.first.capacity() {
            self.first.reserve_exact(self.first.len().max(1));
        }
        self.first.push(cell);
        CellIndex::from_usize(self.first.len() - 1)
    }
}

impl More {
    #[inline]
    fn insert(&mut self, entry: Entry) {
        self.index.insert_unique(spread(entry.hash), entry, |entry| spread(entry.hash));
    }

    fn remove(&mut self, Entry { hash, cell }: Entry) {
        if let Ok(entry) = self.index.find_entry(spread(hash), |entry| entry.cell == cell) {
            entry.remove();
            self.vacant.push(cell);
        }
    }
}

const BEYOND_FIRST: &str =
    "a map gives only places that it has, and those beyond the first chunk are in further ones";

impl Index<CellIndex> for Cells {
    type Output = Cell;

    fn index(&self, index: CellIndex) -> &Cell {
        let place = index.to_usize();
        if place < self.first.len() {
            return &self.first[place];
        }
        &self.more.as_ref().expect(BEYOND_FIRST).chunks[place - CHUNK]
    }
}

impl IndexMut<CellIndex> for Cells {
    fn index_mut(&mut self, index: CellIndex) -> &mut Cell {
        let place = index.to_usize();
        if place < self.first.len() {
            return &mut self.first[place];
        }
        &mut self.more.as_mut().expect(BEYOND_FIRST).chunks[place - CHUNK]
    }
}

/// Both halves of the hash in one: whichever bits chose the shard are the same for all its keys, and the
/// other half makes up for them.
pub const fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// A table hash from the folded one. `hashbrown` takes the bucket from the low bits and its 7-bit tag from the
/// top, so both ends must vary; they are independent up to 2^25 buckets, and only slower beyond.
const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}
