//! A disk that takes everything at once, has nothing stored, and gives every buffer back: what is measured or counted with it is
//! the shard alone.

use std::sync::Arc;

use annulus::crdt::Time;
use annulus::handover::{self, Chunk, FromStorage, Progress, ShardPort, StoragePort, ToStorage};
use annulus::shard::SharedStorage;

/// The storage's end of one shard.
pub struct EagerStorage {
    port: ShardPort,
    progress: Arc<Progress>,
}

impl EagerStorage {
    /// Over this progress, with the shard's end of it.
    pub fn new(progress: Arc<Progress>) -> (Self, StoragePort) {
        let (storage, port) = handover::connect(1).pop().expect("one shard");
        (Self { port, progress }, storage)
    }

    /// What the shard has to know of it.
    pub fn shared(&self) -> SharedStorage {
        SharedStorage {
            progress: Arc::clone(&self.progress),
            clock_floor: Time::ZERO,
            cleared_through: Time::ZERO,
        }
    }

    pub fn work(&mut self) {
        while let Ok(item) = self.port.from_shard.pop() {
            let answer = match item {
                ToStorage::Records(batch) => {
                    let shard = self.progress.shard(0);
                    shard.set_durable(batch.number, shard.durable_bytes() + batch.bytes.len() as u64);
                    self.progress.advance_durable_clock(batch.last_applied);
                    FromStorage::Recycled(batch.bytes)
                }
                ToStorage::Load { map } => FromStorage::Chunk(Chunk {
                    map,
                    map_type: None,
                    pruned_through: Time::ZERO,
                    cells: Vec::new(),
                    is_last: true,
                }),
                _ => continue,
            };
            self.port.to_shard.push(answer).expect("the shard takes what it is sent");
        }
    }
}
