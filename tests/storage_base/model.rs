//! What should be stored: a map that took the same changes, and what a load gives put in the same form.

use std::collections::BTreeMap;

use annulus::crdt::{HashedKey, Map, MapType, Time};
use annulus::handover::{Batch, Chunk, Image};
use annulus::limits::LOAD_CHUNK_BYTES;
use annulus::mesh::{KeyHasher, ShardIndex, owner};
use annulus::storage::{Base, Disk, LoadRequest, RecoveryOptions, Tail, recover};

use crate::crdt_histories::{Change, Random, Replica, What, history};
use crate::journal_files::EPOCH;

pub const SECRET: u64 = 0x5EC2E7;
pub const HASHER: KeyHasher = KeyHasher::new(SECRET);
pub const TYPES: [MapType; 3] = [MapType::Lww, MapType::Or, MapType::Counter];
const CACHE_BYTES: usize = 8 << 20;

/// A change that the owner of its key has accepted, which is what records are made of.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub change: Change,
    pub applied: Time,
}

/// Plays a random history and keeps what was accepted, and the map it led to.
pub fn accepted_history(random: &mut Random, map_type: MapType, len: usize) -> (Vec<Accepted>, Map) {
    let mut replica = Replica::new(map_type);
    let mut accepted = Vec::new();
    for change in history(random, map_type, len) {
        if replica.merge(&change).is_some() {
            accepted.push(Accepted { change, applied: replica.map.last_applied() });
        }
    }
    (accepted, replica.map)
}

/// Their records, in this order.
pub fn records_of<'a>(map: &str, changes: impl IntoIterator<Item = &'a Accepted>) -> Batch {
    let mut batch = Batch::default();
    for Accepted { change, applied } in changes {
        batch.push(map, &change.key, &change.what.delta(), *applied);
    }
    batch
}

/// Every key with its state, when it last changed, and when its removals were applied and its slots counted.
pub type State = BTreeMap<Vec<u8>, (Time, Vec<(What, Option<Time>)>)>;

/// The state of a map in memory.
pub fn state_of(map: &Map) -> State {
    let mut state = State::new();
    for (_, cell) in map.since(Time::ZERO) {
        let mut parts = Vec::new();
        cell.parts(|delta, applied| parts.push(part(What::of(&delta), applied)));
        state.insert(cell.key().to_vec(), (cell.applied(), parts));
    }
    state
}

pub fn part(what: What, applied: Time) -> (What, Option<Time>) {
    let is_dated = matches!(what, What::OrRemove { .. } | What::Counter { .. });
    (what, is_dated.then_some(applied))
}

/// A map as its shards have loaded it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    pub map_type: Option<MapType>,
    pub pruned_through: Time,
    pub state: State,
    /// The sum over the shards, each of which has restored its part.
    pub digest: u64,
}

/// Loads a map on so many shards, and checks what holds for every load.
pub fn load(base: &Base, tail: &Tail, map: &str, shards: usize, forget_before: Time) -> Loaded {
    let mut loaded = Loaded::default();
    for shard in 0..shards {
        let mut chunks = Vec::new();
        let owner = shard as ShardIndex;
        let request = LoadRequest { map, owner, shards, forget_before };
        let mut take = |chunk: Chunk| {
            chunks.push(chunk);
            true
        };
        base.load(tail, &request, &mut take).expect("nothing is damaged");
        loaded.add_part(map, shard, shards, &chunks);
    }
    loaded
}

impl Loaded {
    fn add_part(&mut self, map: &str, shard: usize, shards: usize, chunks: &[Chunk]) {
        let last = chunks.iter().position(|chunk| chunk.is_last).expect("a load ends");
        assert_eq!(last + 1, chunks.len(), "and nothing comes behind the end");
        let map_hash = HASHER.map(map);
        let mut restored = chunks[0].map_type.map(Map::new);
        let mut last_applied = Time::ZERO;
        for chunk in chunks {
            assert_eq!(&*chunk.map, map);
            self.map_type = chunk.map_type;
            self.pruned_through = self.pruned_through.max(chunk.pruned_through);
            assert!(chunk.cells.len() <= LOAD_CHUNK_BYTES || chunk.iter().count() == 1);
            for (key, image) in chunk.iter() {
                let hash = HASHER.key(map_hash, std::str::from_utf8(key).expect("keys are text"));
                assert_eq!(usize::from(owner(hash, shards)), shard, "who owns {key:?} gets it");
                let (applied, parts) = Image::parts(image).expect("images are whole");
                assert!(applied >= last_applied, "cells come in applied order");
                last_applied = applied;
                let parts: Vec<_> = parts.map(|part| part.expect("images are whole")).collect();
                let restored = restored.as_mut().expect("a map with cells has a type");
                let deltas = parts.iter().map(|part| (part.delta, part.applied));
                restored.restore(HashedKey { hash, bytes: key }, applied, deltas).expect("limits were kept");
                let parts =
                    parts.iter().map(|stored| part(What::of(&stored.delta), stored.applied)).collect();
                assert!(self.state.insert(key.to_vec(), (applied, parts)).is_none(), "{key:?} comes once");
            }
        }
        if let Some(mut restored) = restored {
            restored.finish_restore(self.pruned_through);
            assert!(restored.is_consistent());
            self.digest = self.digest.wrapping_add(restored.digest());
        }
    }
}

pub fn open_base(disk: &dyn Disk) -> Base {
    Base::open(disk, HASHER, CACHE_BYTES).expect("the base opens")
}

/// Reads what the base does not have yet, as the server does at its start.
pub fn recovered_tail(disk: &dyn Disk, base: &Base) -> Tail {
    let mut tail = Tail::new(HASHER, base.folded());
    let options = RecoveryOptions { epoch: EPOCH, folded: base.folded(), salvage: false, read_only: true };
    let recovered = recover(disk, options, &mut |record, location| tail.add(record, location));
    tail.attach(disk, &recovered.expect("the journal is whole").segments).expect("the segments open");
    tail
}

/// Nothing but the base.
pub fn no_tail() -> Tail {
    Tail::new(HASHER, 0)
}
