//! The loader: reads parts of maps for the shards that ask, one map at a time, all shards of it in one scan.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use super::parts::Parts;
use super::shards::NotSent;
use crate::handover::{Chunk, FromStorage};
use crate::mesh::ShardIndex;
use crate::storage::LoadRequest;

/// How long it leaves a shard alone whose queue is full: a few turns.
const FULL_QUEUE_REST: Duration = Duration::from_micros(500);

/// A shard wants its part of a map.
#[derive(Debug)]
pub(super) struct Wanted {
    pub shard: ShardIndex,
    pub map: Arc<str>,
}

/// Loads until `wanted` loses its other end.
pub(super) fn run(parts: &Parts, wanted: &Receiver<Wanted>) {
    while let Ok(first) = wanted.recv() {
        let mut maps: Vec<(Arc<str>, Vec<ShardIndex>)> = Vec::new();
        for Wanted { shard, map } in [first].into_iter().chain(wanted.try_iter()) {
            match maps.iter_mut().find(|(other, _)| *other == map) {
                Some((_, owners)) if owners.contains(&shard) => {}
                Some((_, owners)) => owners.push(shard),
                None => maps.push((map, vec![shard])),
            }
        }
        for (map, owners) in maps {
            load(parts, &map, &owners);
        }
    }
}

fn load(parts: &Parts, map: &Arc<str>, owners: &[ShardIndex]) {
    let shards = parts.shards.count();
    // Before the base is asked: a type leaves here only once it is there.
    let decided = parts.types.map_type(map);
    let request = LoadRequest { map, owners, shards, forget_before: parts.forget_before() };
    let metrics = parts.progress.metrics();
    let loaded = parts.base.load(&parts.tail, &request, &mut |shard, mut chunk: Chunk| {
        chunk.map_type = chunk.map_type.or(decided);
        metrics.loaded_bytes.add(chunk.cells.len() as u64);
        deliver(parts, shard, FromStorage::Chunk(chunk))
    });
    if let Err(error) = loaded {
        tracing::error!("the map {map:?} cannot be loaded, its requests will time out: {error}");
        for &shard in owners {
            deliver(parts, shard, FromStorage::LoadFailed { map: Arc::clone(map) });
        }
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
