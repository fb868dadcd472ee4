//! The loader: reads parts of maps for the shards that ask, one part at a time. A part that cannot be read fails for the
//! shard that owns it, and for no other. Beside it single cells are looked up, for reads that need not wait for the rest.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use super::parts::Parts;
use super::shards::NotSent;
use crate::handover::{FromStorage, LookUp};
use crate::io::allocator;
use crate::mesh::{KeyList, ShardIndex};
use crate::storage::LoadRequest;

/// How long it leaves a shard alone whose queue is full: a few turns.
const FULL_QUEUE_REST: Duration = Duration::from_micros(500);

/// Bytes of a part from which on it is worth it to give back at once what gathering them has taken.
const MUCH_BYTES: usize = 8 << 20;

/// A shard wants its part of a map.
#[derive(Debug)]
pub(super) struct Wanted {
    pub shard: ShardIndex,
    pub map: Arc<str>,
}

/// Loads until `wanted` loses its other end.
pub(super) fn run(parts: &Parts, wanted: &Receiver<Wanted>) {
    while let Ok(Wanted { shard, map }) = wanted.recv() {
        load(parts, &map, shard);
    }
}

fn load(parts: &Parts, map: &Arc<str>, owner: ShardIndex) {
    // Before the base is asked: a type leaves here only once it is there.
    let decided = parts.types.map_type(map);
    let shards = parts.shards.count();
    let request = LoadRequest { map, owner, shards, forget_before: parts.forget_before() };
    let metrics = parts.progress.metrics();
    let mut bytes = 0;
    let loaded = parts.base.load(&parts.tail, &request, &mut |mut chunk| {
        chunk.map_type = chunk.map_type.or(decided);
        metrics.loaded_bytes.add(chunk.cells.len() as u64);
        bytes += chunk.cells.len();
        deliver(parts, owner, FromStorage::Chunk(chunk))
    });
    if let Err(error) = loaded {
        tracing::error!(
            "the part of map {map:?} that shard {owner} owns cannot be loaded, its requests are refused with load_failed: {error}"
        );
        deliver(parts, owner, FromStorage::LoadFailed { map: Arc::clone(map) });
    }
    if bytes >= MUCH_BYTES {
        allocator::give_back();
    }
}

/// Looks up what reads wait for, on a thread of its own, until `wanted` loses its other end.
pub(super) fn run_look_ups(parts: &Parts, wanted: &Receiver<(ShardIndex, LookUp)>) {
    while let Ok((shard, look_up)) = wanted.recv() {
        let keys = KeyList(&look_up.keys).iter().map(|(key, _)| key);
        let found = parts.base.look_up(&parts.tail, &look_up.map, keys, parts.forget_before());
        // The load of the whole map meets the same error, and says so.
        let cells = found.unwrap_or_default();
        deliver(parts, shard, FromStorage::Found(look_up.answer(cells)));
    }
}

/// Whether the shard takes it; it waits while the shard's queue is full.
fn deliver(parts: &Parts, shard: ShardIndex, item: FromStorage) -> bool {
    let shard = usize::from(shard);
    let mut sent = parts.shards.send(shard, item);
    loop {
        parts.shards.wake(shard);
        match sent {
            Ok(()) => return true,
            Err(NotSent::Gone) => return false,
            Err(NotSent::Full(item)) => {
                thread::sleep(FULL_QUEUE_REST);
                sent = parts.shards.send(shard, item);
            }
        }
    }
}
