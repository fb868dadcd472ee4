//! Loading a map: the part of it that one shard owns, in the order in which it restores it.
//!
//! Cells lie in the base by key and are wanted by `applied`, so a part is gathered first: the cells as they go
//! into chunks, one behind the other, and for each 24 bytes that are sorted. Nothing is allocated for a cell.

use std::sync::Arc;

use super::stored::Glance;
use super::view::{View, Visitor};
use super::{Base, StorageError, Tail};
use crate::crdt::Time;
use crate::handover::Chunk;
use crate::limits::LOAD_CHUNK_BYTES;
use crate::mesh::{ShardIndex, partitions_of};

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct LoadRequest<'a> {
    pub map: &'a str,
    /// The shard that wants its part.
    pub owner: ShardIndex,
    /// How many shards share the map.
    pub shards: usize,
    /// Removals applied before this count as absent.
    pub forget_before: Time,
}

impl Base {
    /// Reads the part of one map that a shard owns, from the base and the tail of the journal, and calls `chunk` with one
    /// piece after the other in applied order, at least one, until it returns false.
    ///
    /// # Errors
    /// [`StorageError::DamagedCell`], [`StorageError::Damaged`], [`StorageError::Io`] and [`StorageError::Base`].
    /// If the last chunk has not come, those before it are of no use.
    pub fn load(
        &self,
        tail: &Tail,
        request: &LoadRequest<'_>,
        chunk: &mut dyn FnMut(Chunk) -> bool,
    ) -> Result<(), StorageError> {
        let LoadRequest { map, owner, shards, forget_before } = *request;
        let partitions = partitions_of(owner, shards);
        let view = View::open(self, tail, map, partitions.clone())?;
        let map: Arc<str> = map.into();
        let mut part = Part::default();
        let forgotten = view.visit(partitions, forget_before, &mut part)?;
        let empty = || Chunk {
            map: Arc::clone(&map),
            map_type: view.map_type,
            pruned_through: view.pruned_through.max(forgotten),
            cells: Vec::new(),
            is_last: false,
        };
        part.give_out(empty, chunk);
        Ok(())
    }
}

/// Bytes that cells are gathered in at once, so that gathering never moves what it has.
const BLOCK_BYTES: usize = 1 << 20;

/// The cells of one part.
#[derive(Default)]
pub(super) struct Part {
    blocks: Vec<Vec<u8>>,
    order: Vec<Place>,
}

/// Where a cell is, sorted by when it was changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    applied: Time,
    block: u32,
    offset: u32,
    bytes: u32,
}

impl Visitor for Part {
    fn cell(&mut self, key: &[u8], image: &[u8], glance: &Glance) -> Result<bool, StorageError> {
        let bytes = Chunk::cell_bytes(key, image);
        if self.blocks.last().is_none_or(|block| block.len() + bytes > block.capacity()) {
            self.blocks.push(Vec::with_capacity(bytes.max(BLOCK_BYTES)));
        }
        if let Some(block) = self.blocks.last_mut() {
            let offset = u32::try_from(block.len()).expect("a block has BLOCK_BYTES, or is one cell");
            Chunk::write_cell(block, key, image);
            let block = u32::try_from(self.blocks.len() - 1).expect("4 Gi blocks are beyond any memory");
            let bytes = u32::try_from(bytes).expect("a key and an image have less than 4 GiB");
            self.order.push(Place { applied: glance.applied, block, offset, bytes });
        }
        Ok(true)
    }
}

impl Part {
    /// Gives out everything in applied order, until it is told to stop.
    pub fn give_out(mut self, empty: impl Fn() -> Chunk, give: &mut dyn FnMut(Chunk) -> bool) {
        self.order.sort_unstable();
        let mut piece = empty();
        for place in &self.order {
            // Not by the lengths that stand there: the processor fetches many cells at once if it need not wait for those.
            let cells = &self.blocks[place.block as usize][place.offset as usize..];
            let cell = &cells[..place.bytes as usize];
            let is_full = !piece.cells.is_empty() && piece.cells.len() + cell.len() > LOAD_CHUNK_BYTES;
            if is_full && !give(std::mem::replace(&mut piece, empty())) {
                return;
            }
            if piece.cells.is_empty() {
                piece.cells.reserve_exact(cell.len().max(LOAD_CHUNK_BYTES));
            }
            piece.cells.extend_from_slice(cell);
        }
        piece.is_last = true;
        give(piece);
    }
}
