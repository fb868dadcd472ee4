//! All cells of a map and the index that finds them by key.
//!
//! Invariant: every cell that is not vacant has exactly one entry in the index. An entry holds 32 bits of the
//! hash, so the table grows without touching a cell, and a probe touches only a cell that is very likely it.

use std::ops::{Index, IndexMut};

use hashbrown::HashTable;

use super::HashedKey;
use super::cell::{Cell, CellIndex};
use super::chunks::Chunks;

/// One cell of the index.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    cell: CellIndex,
}

const _: () = assert!(size_of::<Entry>() == 8);

#[derive(Debug)]
pub struct Cells {
    cells: Chunks<Cell, 8>,
    vacant: Vec<CellIndex>,
    index: HashTable<Entry>,
}

impl Cells {
    pub const fn new() -> Self {
        Self { cells: Chunks::new(), vacant: Vec::new(), index: HashTable::new() }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn find(&self, key: HashedKey<'_>) -> Option<CellIndex> {
        let hash = fold(key.hash);
        let is_key = |entry: &Entry| entry.hash == hash && self[entry.cell].key() == key.bytes;
        Some(self.index.find(spread(hash), is_key)?.cell)
    }

    /// Loads what [`Self::find`] will need, without waiting for it: of several of these in a row, the cache misses
    /// overlap.
    pub fn warm(&self, hash: u64) {
        let hash = fold(hash);
        let found = self.index.find(spread(hash), |entry| entry.hash == hash);
        std::hint::black_box(found.map(|entry| self[entry.cell].applied()));
    }

    pub const fn is_full(&self) -> bool {
        self.cells.len() >= CellIndex::CELLS_MAX && self.vacant.is_empty()
    }

    /// Takes a cell whose key is not there yet. The caller has seen that the cells are not full.
    pub fn insert(&mut self, cell: Cell) -> CellIndex {
        let hash = cell.index_hash;
        let index = match self.vacant.pop() {
            Some(index) => {
                self[index] = cell;
                index
            }
            None => {
                self.cells.push(cell);
                CellIndex::from_usize(self.cells.len() - 1)
            }
        };
        self.index.insert_unique(spread(hash), Entry { hash, cell: index }, |entry| spread(entry.hash));
        index
    }

    /// Takes a cell out; its place is vacant then.
    pub fn remove(&mut self, index: CellIndex) -> Cell {
        let cell = std::mem::replace(&mut self[index], Cell::vacant());
        if let Ok(entry) = self.index.find_entry(spread(cell.index_hash), |entry| entry.cell == index) {
            entry.remove();
            self.vacant.push(index);
        }
        cell
    }

    /// Bytes allocated for the tables; what the cells own comes on top.
    pub fn heap_bytes(&self) -> usize {
        self.cells.heap_bytes()
            + self.vacant.capacity() * size_of::<CellIndex>()
            + self.index.allocation_size()
    }
}

impl Index<CellIndex> for Cells {
    type Output = Cell;

    fn index(&self, index: CellIndex) -> &Cell {
        &self.cells[index.to_usize()]
    }
}

impl IndexMut<CellIndex> for Cells {
    fn index_mut(&mut self, index: CellIndex) -> &mut Cell {
        &mut self.cells[index.to_usize()]
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
