//! The loader: reads parts of maps for the shards that ask, one part at a time. Beside it single cells are looked up, for reads
//! that need not wait for the rest.

use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use super::loading::{self, Loading, Wanted};
use super::parts::Parts;
use super::shards::NotSent;
use crate::handover::{FromStorage, LookUp};
use crate::io::allocator;
use crate::mesh::ShardIndex;

/// How long it leaves a shard alone whose queue is full: a few turns.
const FULL_QUEUE_REST: Duration = Duration::from_micros(500);

/// Bytes of a part from which on it is worth it to give back at once what gathering them has taken.
const MUCH_BYTES: usize = 8 << 20;

/// Loads until `wanted` loses its other end.
pub(super) fn run(parts: &Parts, wanted: &Receiver<Wanted>) {
    while let Ok(wanted) = wanted.recv() {
        if load(parts, wanted) >= MUCH_BYTES {
            allocator::give_back();
        }
    }
}

/// Returns the bytes of its cells.
fn load(parts: &Parts, wanted: Wanted) -> usize {
    let data = parts.data_set();
    let mut loading = Loading::new(&data, wanted, parts.clock.now().unix_ms);
    while !loading.is_over() {
        if let Some(item) = loading.step(&data)
            && !deliver(parts, loading.owner(), item)
        {
            break;
        }
    }
    loading.bytes()
}

/// Looks up what reads wait for, on a thread of its own, until `wanted` loses its other end.
pub(super) fn run_look_ups(parts: &Parts, wanted: &Receiver<(ShardIndex, LookUp)>) {
    while let Ok((shard, look_up)) = wanted.recv() {
        deliver(parts, shard, loading::look_up(&parts.data_set(), look_up, parts.clock.now().unix_ms));
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
