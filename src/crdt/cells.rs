//! All cells of a map and the index that finds them by key.
//!
//! Invariant: up to [`LISTED_MAX`] cells are a list and nothing else, as most maps of many are small. Beyond that, and from
//! then on, every cell has exactly one entry in an index. An entry holds 32 bits of the hash, so the index grows without
//! touching a cell, and a probe touches only a cell that is very likely it. There are no gaps: the last cell takes the place
//! of one that goes, so that what cells take falls with their number.

use std::ops::{Index, IndexMut};

use super::cell::{Cell, CellIndex};
use super::chunks::Chunks;
use super::index::KeyIndex;
use super::{HashedKey, Time};

/// Cells that are looked through one by one: no more cache lines than a probe of the index and its cell would touch.
pub const LISTED_MAX: usize = 4;
/// `1 << CHUNK_SHIFT` cells a chunk.
const CHUNK_SHIFT: u32 = 8;
const CHUNK: usize = 1 << CHUNK_SHIFT;

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
    index: KeyIndex,
}

/// That a cell has another place, always one before its own.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    pub from: CellIndex,
    pub to: CellIndex,
}

impl Cells {
    pub const fn new() -> Self {
        Self { first: Vec::new(), more: None }
    }

    pub fn len(&self) -> usize {
        self.first.len() + self.more.as_ref().map_or(0, |more| more.chunks.len())
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
        let found = more.index.find(hash, |_| true)?;
        if self[found].key() == key.bytes { Some(found) } else { self.find_among_equal_hashes(more, key) }
    }

    #[inline(never)]
    fn find_listed(&self, key: HashedKey<'_>) -> Option<CellIndex> {
        let hash = fold(key.hash);
        let is_key = |cell: &Cell| cell.index_hash == hash && cell.key() == key.bytes;
        self.first.iter().position(is_key).map(CellIndex::from_usize)
    }

    /// One of several keys that have one hash, or none of them. Apart, as a probe that compares keys takes longer.
    #[cold]
    fn find_among_equal_hashes(&self, more: &More, key: HashedKey<'_>) -> Option<CellIndex> {
        let hash = fold(key.hash);
        more.index.find(hash, |cell| self[cell].key() == key.bytes)
    }

    /// Loads what [`Self::find`] will need, without waiting for it: of several of these in a row, the cache misses
    /// overlap.
    pub fn warm(&self, hash: u64) {
        let hash = fold(hash);
        let Some(more) = &self.more else {
            std::hint::black_box(self.first.first().map(Cell::applied));
            return;
        };
        let found = more.index.find(hash, |_| true);
        std::hint::black_box(found.map(|cell| self[cell].applied()));
    }

    pub fn is_full(&self) -> bool {
        self.len() >= CellIndex::CELLS_MAX
    }

    /// Takes a cell whose key is not there yet, and which was applied. The caller has seen that the cells are not full.
    pub fn insert(&mut self, cell: Cell) -> CellIndex {
        let hash = cell.index_hash;
        let index = self.place(cell);
        if let Some(more) = &mut self.more {
            more.index.insert(hash, index);
        } else if self.first.len() > LISTED_MAX {
            self.begin_index();
        }
        index
    }

    #[cold]
    fn begin_index(&mut self) {
        let mut more = Box::<More>::default();
        for (place, cell) in self.first.iter().enumerate() {
            more.index.insert(cell.index_hash, CellIndex::from_usize(place));
        }
        self.more = Some(more);
    }

    /// Takes a cell out. The last takes its place, unless it is that itself.
    pub fn remove(&mut self, index: CellIndex) -> (Cell, Option<Move>) {
        let moved = Move { from: CellIndex::from_usize(self.len() - 1), to: index };
        let [removed_hash, last_hash] = [index, moved.from].map(|cell| self[cell].index_hash);
        let popped = match &mut self.more {
            Some(more) => {
                more.index.remove(removed_hash, index);
                more.chunks.pop().or_else(|| self.first.pop())
            }
            None => self.first.pop(),
        };
        let cell = popped.expect("there is one that goes");
        if moved.from == index {
            return (cell, None);
        }
        if let Some(more) = &mut self.more {
            more.index.replace(last_hash, moved.from, index);
        }
        (std::mem::replace(&mut self[index], cell), Some(moved))
    }

    /// Gives back what cells that are gone have left.
    pub fn release_unused(&mut self) {
        if self.first.capacity() > 4 * self.first.len().max(1) {
            self.first.shrink_to(2 * self.first.len());
        }
        let Some(more) = &mut self.more else { return };
        // One chunk stays for what comes next.
        let len = more.chunks.len();
        more.chunks.release_beyond(len + len.min(CHUNK));
    }

    /// When the cell at a place was applied; [`Time::ZERO`] where none is any more.
    pub fn applied_at(&self, index: CellIndex) -> Time {
        let place = index.to_usize();
        let beyond = || self.more.as_ref()?.chunks.get(place.checked_sub(CHUNK)?);
        self.first.get(place).or_else(beyond).map_or(Time::ZERO, Cell::applied)
    }

    /// The cells of a list, in no order; none where there is an index.
    pub fn listed(&self) -> impl Iterator<Item = (CellIndex, &Cell)> {
        let listed = if self.is_listed() { &*self.first } else { &[] };
        listed.iter().enumerate().map(|(place, cell)| (CellIndex::from_usize(place), cell))
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
        let more = |more: &More| size_of::<More>() + more.chunks.heap_bytes() + more.index.heap_bytes();
        self.first.capacity() * size_of::<Cell>() + self.more.as_deref().map_or(0, more)
    }

    /// Puts the cell behind all others.
    fn place(&mut self, cell: Cell) -> CellIndex {
        let (index, len) = (CellIndex::from_usize(self.len()), self.first.len());
        if let Some(more) = self.more.as_mut().filter(|_| len == CHUNK) {
            more.chunks.push(cell);
            return index;
        }
        if len == self.first.capacity() {
            self.first.reserve_exact(len.clamp(1, CHUNK - len));
        }
        self.first.push(cell);
        index
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
