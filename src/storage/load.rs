//! Loading a map: the part of it that one shard owns, in the order in which it restores it.
//!
//! Cells lie in the base by key and are wanted by `applied`, so a part is gathered first: the cells as they go
//! into chunks, one behind the other, and for each 24 bytes that are sorted. Nothing is allocated for a cell.

use std::ops::Range;
use std::sync::Arc;

use super::stored::Glance;
use super::tail::Taken;
use super::view::{View, Visitor};
use super::{Base, StorageError, Tail};
use crate::crdt::{MapType, Time};
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
        let mut load = Load::new(request);
        loop {
            let Some(piece) = load.step(self, tail)? else { continue };
            let is_last = piece.is_last;
            if !chunk(piece) || is_last {
                return Ok(());
            }
        }
    }
}

/// [`Base::load`] in steps: anything may be folded, and segments may go, between two of them.
pub struct Load {
    map: Arc<str>,
    partitions: Range<u16>,
    forget_before: Time,
    stage: Stage,
}

/// What was done last.
enum Stage {
    Asked,
    Taken(Taken),
    Opened(Box<View>),
    Gathered(GivingOut),
}

impl Load {
    pub fn new(request: &LoadRequest<'_>) -> Self {
        let LoadRequest { map, owner, shards, forget_before } = *request;
        Self { map: map.into(), partitions: partitions_of(owner, shards), forget_before, stage: Stage::Asked }
    }

    /// Does a piece of it, after which the next chunk may be there. Nothing is to come behind the last one.
    ///
    /// # Errors
    /// As [`Base::load`].
    pub fn step(&mut self, base: &Base, tail: &Tail) -> Result<Option<Chunk>, StorageError> {
        let Self { map, partitions, forget_before, .. } = self;
        self.stage = match std::mem::replace(&mut self.stage, Stage::Asked) {
            Stage::Asked => Stage::Taken(tail.take(map, partitions)),
            Stage::Taken(taken) => Stage::Opened(Box::new(View::open_behind(base, taken, map)?)),
            Stage::Opened(view) => {
                let mut part = Part::default();
                let forgotten = view.visit(partitions.clone(), *forget_before, &mut part)?;
                let pruned_through = view.pruned_through.max(forgotten);
                Stage::Gathered(part.give_out(map, view.map_type, pruned_through))
            }
            Stage::Gathered(mut chunks) => {
                let chunk = chunks.next();
                self.stage = Stage::Gathered(chunks);
                return Ok(chunk);
            }
        };
        Ok(None)
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
    /// Gives out everything in applied order, as chunks of that map.
    pub fn give_out(mut self, map: &Arc<str>, map_type: Option<MapType>, pruned_through: Time) -> GivingOut {
        self.order.sort_unstable();
        GivingOut { part: self, given: 0, is_over: false, map: Arc::clone(map), map_type, pruned_through }
    }
}

/// The chunks of a part; the last one may be the only one, and empty.
pub(super) struct GivingOut {
    part: Part,
    /// Cells that have been.
    given: usize,
    is_over: bool,
    map: Arc<str>,
    map_type: Option<MapType>,
    pruned_through: Time,
}

impl Iterator for GivingOut {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.is_over {
            return None;
        }
        let mut cells = Vec::new();
        for place in &self.part.order[self.given..] {
            // Not by the lengths that stand there: the processor fetches many cells at once if it need not wait for those.
            let block = &self.part.blocks[place.block as usize][place.offset as usize..];
            let cell = &block[..place.bytes as usize];
            if cells.is_empty() {
                cells.reserve_exact(cell.len().max(LOAD_CHUNK_BYTES));
            } else if cells.len() + cell.len() > LOAD_CHUNK_BYTES {
                break;
            }
            cells.extend_from_slice(cell);
            self.given += 1;
        }
        self.is_over = self.given == self.part.order.len();
        let Self { map_type, pruned_through, is_over, .. } = *self;
        Some(Chunk { map: Arc::clone(&self.map), map_type, pruned_through, cells, is_last: is_over })
    }
}
