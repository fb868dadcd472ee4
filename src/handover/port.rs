//! The queues between one shard and the storage.
//!
//! Invariant: neither side ever waits for the other. A shard that finds its queue full keeps what it has, and
//! counts it (`JOURNAL_BACKLOG_BYTES`); the storage stops a load whose chunks find theirs full until there is room.

use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};

use super::Batch;
use crate::crdt::{Map, MapType, Time};
use crate::limits::KEY_BYTES_MAX;

/// What a shard has for the storage.
#[derive(Debug)]
pub enum ToStorage {
    Records(Batch),
    /// The type of a map was decided here. Goes before the batch with its record, so that whoever asks for the
    /// map is told, even while the record is in no base yet.
    Typed {
        map: Arc<str>,
        map_type: MapType,
    },
    /// This shard's part of a map, please.
    Load {
        map: Arc<str>,
    },
    /// Some cells of a map that is being loaded, sooner than the rest, please.
    LookUp(LookUp),
    /// Memory is short and nothing can be evicted: fold what is in the journal.
    Checkpoint,
    /// An evicted map, to be dropped where that stalls nobody.
    Evicted(Box<Map>),
}

/// What the storage has for a shard.
#[derive(Debug)]
pub enum FromStorage {
    Chunk(Chunk),
    /// The map could not be read, for a reason that is in the log.
    LoadFailed {
        map: Arc<str>,
    },
    /// The answer to each [`ToStorage::LookUp`].
    Found(Found),
    /// The bytes of a batch that was written, for the next one.
    Recycled(Vec<u8>),
}

/// Which cells a shard wants.
#[derive(Debug)]
pub struct LookUp {
    pub map: Arc<str>,
    /// Packed, as [`KeyList`](crate::mesh::KeyList) has them.
    pub keys: Box<[u8]>,
    /// What tells it from all others of the shard.
    pub number: u32,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    pub map: Arc<str>,
    pub number: u32,
    /// The cells that there are, in no order; `None`: they could not be read, or are too much.
    pub cells: Option<Chunk>,
}

impl LookUp {
    /// The answer to it.
    pub fn answer(self, cells: Option<Chunk>) -> Found {
        Found { map: self.map, number: self.number, cells }
    }
}

/// Some cells of a map that is being loaded.
#[derive(Debug)]
pub struct Chunk {
    pub map: Arc<str>,
    /// `None`: nothing is stored under that name.
    pub map_type: Option<MapType>,
    /// Removals up to here may have been forgotten.
    pub pruned_through: Time,
    /// Cells in applied order over all chunks of the load: key length (2), image length (4), key, image.
    pub cells: Vec<u8>,
    /// No chunk follows.
    pub is_last: bool,
}

/// The shard's end.
#[derive(Debug)]
pub struct StoragePort {
    pub to_storage: Producer<ToStorage>,
    pub from_storage: Consumer<FromStorage>,
}

/// The storage's end.
#[derive(Debug)]
pub struct ShardPort {
    pub from_shard: Consumer<ToStorage>,
    pub to_shard: Producer<FromStorage>,
}

/// Items one queue holds in each direction: a turn adds one batch, and a load some chunks.
const PORT_ITEMS: usize = 64;

const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);

/// The queues for `shards` shards.
pub fn connect(shards: usize) -> Vec<(StoragePort, ShardPort)> {
    let pair = |_| {
        let (to_storage, from_shard) = RingBuffer::new(PORT_ITEMS);
        let (to_shard, from_storage) = RingBuffer::new(PORT_ITEMS);
        (StoragePort { to_storage, from_storage }, ShardPort { from_shard, to_shard })
    };
    (0..shards).map(pair).collect()
}

impl Chunk {
    /// Bytes before the key and the image of a cell: their lengths.
    pub const CELL_HEADER_BYTES: usize = 2 + 4;

    /// Appends a cell to the chunk.
    pub fn push(&mut self, key: &[u8], image: &[u8]) {
        Self::write_cell(&mut self.cells, key, image);
    }

    /// Bytes that a cell takes in a chunk.
    pub const fn cell_bytes(key: &[u8], image: &[u8]) -> usize {
        2 + 4 + key.len() + image.len()
    }

    /// Appends a cell as it stands in [`Chunk::cells`].
    pub fn write_cell(out: &mut Vec<u8>, key: &[u8], image: &[u8]) {
        let key_len = u16::try_from(key.len()).expect("KEY_BYTES_MAX fits");
        let image_len = u32::try_from(image.len()).expect("CELL_BYTES_CEILING fits");
        out.extend_from_slice(&key_len.to_le_bytes());
        out.extend_from_slice(&image_len.to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(image);
    }

    /// Splits off the first of the cells that [`Chunk::write_cell`] has written: key, image and what follows.
    pub fn split_cell(cells: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
        let (lengths, rest) = cells.split_first_chunk::<6>()?;
        let key_len = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
        let image_len = u32::from_le_bytes([lengths[2], lengths[3], lengths[4], lengths[5]]) as usize;
        let (key, rest) = rest.split_at_checked(key_len)?;
        let (image, rest) = rest.split_at_checked(image_len)?;
        Some((key, image, rest))
    }

    /// Key and image of each cell; ends early if the bytes are not what [`Chunk::push`] has written.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.cells[..];
        std::iter::from_fn(move || {
            let (key, image, tail) = Self::split_cell(rest)?;
            rest = tail;
            Some((key, image))
        })
    }
}
