//! A part of a map on its way to the shard that wants it, step by step. Between two steps anything may be folded. A part that
//! cannot be read fails for the shard that owns it, and for no other.

use std::sync::Arc;

use super::data_set::DataSet;
use crate::crdt::MapType;
use crate::handover::{FromStorage, LookUp};
use crate::mesh::{KeyList, ShardIndex};
use crate::storage::{Load, LoadRequest, StorageError};

/// A shard wants its part of a map.
#[derive(Debug)]
pub struct Wanted {
    pub shard: ShardIndex,
    pub map: Arc<str>,
}

/// See the module.
pub struct Loading {
    wanted: Wanted,
    /// The type of the map, where it is not in the base yet.
    decided: Option<MapType>,
    load: Load,
    /// Bytes of cells that were given out.
    bytes: usize,
    is_over: bool,
}

impl Loading {
    /// `unix_ms` is the wall clock.
    pub fn new(data: &DataSet<'_>, wanted: Wanted, unix_ms: u64) -> Self {
        // Before the base is asked: a type leaves here only once it is there.
        let decided = data.types.map_type(&wanted.map);
        let load = Load::new(&LoadRequest {
            map: &wanted.map,
            owner: wanted.shard,
            shards: data.progress.shards(),
            forget_before: data.forget_before(unix_ms),
        });
        Self { wanted, decided, load, bytes: 0, is_over: false }
    }

    pub const fn owner(&self) -> ShardIndex {
        self.wanted.shard
    }

    /// Whether its owner has all that it will get.
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Bytes of cells that were given out.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Does a piece of it. Returns what its owner is to be given now.
    pub fn step(&mut self, data: &DataSet<'_>) -> Option<FromStorage> {
        match self.load.step(data.base, data.tail) {
            Ok(None) => None,
            Ok(Some(mut chunk)) => {
                chunk.map_type = chunk.map_type.or(self.decided);
                data.progress.metrics().loaded_bytes.add(chunk.cells.len() as u64);
                self.bytes += chunk.cells.len();
                self.is_over = chunk.is_last;
                Some(FromStorage::Chunk(chunk))
            }
            Err(error) => Some(self.failed(&error)),
        }
    }

    fn failed(&mut self, error: &StorageError) -> FromStorage {
        let Wanted { shard, map } = &self.wanted;
        tracing::error!(
            "the part of map {map:?} that shard {shard} owns cannot be loaded, its requests are refused with load_failed: {error}"
        );
        self.is_over = true;
        FromStorage::LoadFailed { map: Arc::clone(map) }
    }
}

/// The cells that a read waits for. An error leaves them out, as the load of the whole map meets it, too, and says so.
pub fn look_up(data: &DataSet<'_>, look_up: LookUp, unix_ms: u64) -> FromStorage {
    let keys = KeyList(&look_up.keys).iter().map(|(key, _)| key);
    let found = data.base.look_up(data.tail, &look_up.map, keys, data.forget_before(unix_ms));
    FromStorage::Found(look_up.answer(found.unwrap_or_default()))
}
