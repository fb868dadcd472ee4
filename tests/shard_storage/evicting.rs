//! Which maps leave memory, when, and that they come back as they were.

use annulus::config::Config;
use annulus::crdt::MapType;
use annulus::handover::{FromStorage, ToStorage};
use annulus::limits::OPS_PER_REQUEST_MAX;
use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::disk::Disk;
use crate::world::{Client, World};

const LIMIT_BYTES: usize = 400_000;
/// Cells of one map for each shard: some 90 KB.
pub const CELLS: usize = 440;

pub fn limited(shards: usize) -> World {
    limited_over(Disk::default(), shards, |_| {})
}

/// The same over what another server has left, with other settings.
pub fn limited_over(disk: Disk, shards: usize, change: impl FnOnce(&mut Config)) -> World {
    World::over(disk, shards, |config| {
        config.memory_limit_bytes = LIMIT_BYTES * shards;
        change(config);
    })
}

/// Writes a map of [`CELLS`] keys for each shard, which is durable then; what the client has been sent.
pub fn fill(world: &mut World, client: Client, map: &str) -> Vec<Value> {
    const { assert!(2 * CELLS <= OPS_PER_REQUEST_MAX) };
    let op = |n| format!(r#"{{"map":"{map}","key":"k{n}","op":"set","value":"{n:0100}"}}"#);
    let ops = (0..CELLS * world.nodes.len()).map(op).collect::<Vec<_>>().join(",");
    world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{ops}]}}"#));
    world.serve();
    world.received(client)
}

pub fn digest(world: &mut World, client: Client, map: &str) -> String {
    world.send(client, &format!(r#"{{"type":"digest","id":1,"map":"{map}"}}"#));
    world.serve();
    let answers = world.received(client);
    assert_eq!(answers[0]["type"], "digest", "{answers:?}");
    answers[0]["hash"].as_str().unwrap().to_owned()
}

#[test]
fn ten_times_the_limit_can_be_written_and_read_again() {
    for shards in [1, 2] {
        let mut world = limited(shards);
        let client = world.connect(0);
        world.received(client);
        let mut digests = Vec::new();
        for n in 0..50 {
            let map = format!("m{n}");
            fill(&mut world, client, &map);
            digests.push(digest(&mut world, client, &map));
            world.fold();
            world.pass_ms(150);
            assert!(world.metrics().resident_bytes < (LIMIT_BYTES * shards) as u64);
        }
        assert!(world.metrics().evictions > 40, "{}", world.metrics().evictions);
        for (n, expected) in digests.iter().enumerate() {
            assert_eq!(digest(&mut world, client, &format!("m{n}")), *expected, "m{n}");
            world.pass_ms(150);
            assert!(world.metrics().resident_bytes < (LIMIT_BYTES * shards) as u64);
        }
    }
}

#[test]
fn the_least_recently_used_goes_first() {
    let mut world = limited(1);
    let client = world.connect(0);
    world.received(client);
    for map in ["a", "b", "c"] {
        fill(&mut world, client, map);
        world.pass_ms(200);
    }
    world.fold();
    digest(&mut world, client, "a");
    world.pass_ms(200);
    assert_eq!(world.metrics().evictions, 0);
    for n in 0..CELLS {
        if world.metrics().evictions > 0 {
            break;
        }
        fill(&mut world, client, &format!("d{n}"));
        world.pass_ms(150);
    }
    let loads = world.metrics().loads;
    digest(&mut world, client, "a");
    assert_eq!(world.metrics().loads, loads, "a was used last");
    digest(&mut world, client, "b");
    assert_eq!(world.metrics().loads, loads + 1, "b was evicted");
}

#[test]
fn an_evicted_map_keeps_its_type_even_without_a_cell() {
    for shards in [1, 2] {
        let mut world = limited(shards);
        let client = world.connect(0);
        world.received(client);
        let map = world.map_of(0, "counts");
        // The home has no cell of it if the only key is another shard's.
        let key = world.key_of(shards - 1, &map, 0);
        world.ask(
            client,
            &format!(
                r#"{{"type":"write","id":1,"ops":[{{"map":"{map}","key":"{key}","op":"increment","by":5}}]}}"#
            ),
        );
        world.serve();
        assert_eq!(world.disk.map_type(&map), Some(MapType::Counter));
        world.received(client);
        for n in 0..8 {
            fill(&mut world, client, &format!("m{n}"));
            world.fold();
            world.pass_ms(150);
        }
        let loads = world.metrics().loads;
        let other = world.key_of(0, &map, 1);
        world.send(client, &format!(r#"{{"type":"write","id":2,"ops":[{{"map":"{map}","key":"{other}","op":"set","value":1}},{{"map":"{map}","key":"{key}","op":"increment","by":2}}]}}"#));
        world.serve();
        let ack = world.received(client).remove(0);
        assert_eq!((&ack["applied"], &ack["rejected"][0]["code"]), (&1.into(), &"map_type".into()));
        assert_eq!(world.metrics().loads, loads + shards as u64, "it was evicted");
        let read =
            world.answer(client, &format!(r#"{{"type":"read","id":3,"map":"{map}","keys":["{key}"]}}"#));
        assert_eq!(read["entries"][0]["count"], 7);
    }
}

#[test]
fn what_is_not_in_the_base_stays_and_growth_is_refused() {
    for shards in [1, 2] {
        let mut world = limited(shards);
        let client = world.connect(0);
        let mut checkpoints = 0;
        for n in 0..6 {
            fill(&mut world, client, &format!("m{n}"));
        }
        world.received(client);
        // Nothing is folded: the shards ask for it, now and then, and take no more.
        for _ in 0..30 {
            world.pass_ms(100);
            checkpoints += world.take(0).iter().filter(|item| matches!(item, ToStorage::Checkpoint)).count();
        }
        assert!((2..=4).contains(&checkpoints), "{checkpoints} requests in 3 seconds");
        let loads = world.metrics().loads;
        let ops = |op: &str| {
            let keys = [world.key_of(0, "m0", 0), world.key_of(shards - 1, "m0", 1)];
            let op = |key: &String| format!(r#"{{"map":"m0","key":"{key}","op":"{op}","value":1}}"#);
            keys.iter().map(op).collect::<Vec<_>>().join(",")
        };
        let (set, delete) = (ops("set"), ops("delete"));
        let refused = world.answer(client, &format!(r#"{{"type":"write","id":1,"ops":[{set}]}}"#));
        assert_eq!(refused["applied"], 0, "{refused}");
        for rejected in refused["rejected"].as_array().unwrap() {
            assert_eq!(
                (&rejected["code"], &rejected["retry_after_ms"]),
                (&"overloaded".into(), &1000.into())
            );
        }
        let deleted = world.answer(client, &format!(r#"{{"type":"write","id":2,"ops":[{delete}]}}"#));
        assert_eq!(deleted["applied"], 2, "what makes room may go on");
        assert_eq!(world.metrics().loads, loads, "a map that is not in the base stayed");
        world.serve();
        let evictions = world.metrics().evictions;
        world.fold();
        (0..3).for_each(|_| world.pass_ms(100));
        assert!(world.metrics().evictions > evictions);
    }
}

/// Goal: what remembers that something is gone counts like what is there. Method: a shard over its limit that can evict
/// nothing is asked to delete keys and tags it knows, and some it does not.
#[test]
fn over_the_limit_what_is_unknown_is_not_deleted_either() {
    let mut world = limited(1);
    let client = world.connect(0);
    let write = |world: &mut World, op: &str| {
        let ack = world.answer(client, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#));
        let rejected = ack.get("rejected").map(|rejected| rejected[0]["code"].as_str().unwrap().to_owned());
        rejected.unwrap_or_else(|| "applied".to_owned())
    };
    world.received(client);
    for tag in ["t1", "t2"] {
        let add = format!(r#"{{"map":"tags","key":"k","op":"add","value":1,"tag":"{tag}"}}"#);
        world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{add}]}}"#));
        world.serve();
    }
    for n in 0..6 {
        fill(&mut world, client, &format!("m{n}"));
    }
    (0..3).for_each(|_| world.pass_ms(100));
    world.received(client);
    let remove =
        |key: &str, tags: &str| format!(r#"{{"map":"tags","key":"{key}","op":"remove","tags":[{tags}]}}"#);
    let bytes = world.metrics().resident_bytes;
    for (op, expected) in [
        (r#"{"map":"m0","key":"unknown","op":"delete"}"#, "overloaded"),
        (&remove("k", r#""t1","unknown""#), "overloaded"),
        (&remove("unknown", r#""t1""#), "overloaded"),
        (r#"{"map":"tags","key":"unknown","op":"remove","value":1}"#, "applied"),
        (&remove("k", r#""t1""#), "applied"),
        (&remove("k", r#""t1""#), "applied"),
        (r#"{"map":"m0","key":"k1","op":"delete"}"#, "applied"),
    ] {
        assert_eq!(write(&mut world, op), expected, "{op}");
    }
    // A map that remembers its first removal begins a list of them.
    assert!(world.metrics().resident_bytes < bytes + 512);
}

#[test]
fn names_that_nothing_is_stored_under_do_not_fill_the_memory() {
    let mut world = World::with(1, |config| config.memory_limit_bytes = 1_000_000);
    let client = world.connect(0);
    fill(&mut world, client, "m");
    // Each takes some hundred bytes while it is remembered, and all of them together more than the limit.
    for n in 0..8000 {
        world.send(client, &format!(r#"{{"type":"read","id":{n},"map":"none{n}","keys":["k"]}}"#));
        world.serve();
    }
    world.received(client);
    let answer = world
        .answer(client, r#"{"type":"write","id":1,"ops":[{"map":"m","key":"k1","op":"set","value":1}]}"#);
    assert_eq!(answer["applied"], 1, "{answer}");
    assert_eq!(world.metrics().evictions, 0, "they were forgotten before that");
}

#[test]
fn large_maps_are_handed_over_to_be_dropped() {
    let mut world = limited(1);
    let client = world.connect(0);
    for n in 0..5 {
        fill(&mut world, client, &format!("m{n}"));
        world.fold();
    }
    world.pass_ms(150);
    world.serve();
    assert!(world.dropped > 0 && world.dropped == world.metrics().evictions, "{}", world.dropped);
}

#[test]
fn a_slot_with_a_new_tenant_has_no_trace_of_the_old() {
    // Values with a time to live leave entries in the schedule that outlive their map's stay in memory.
    let mut world = limited(1);
    let client = world.connect(0);
    world.received(client);
    for round in 0..30 {
        let ops = (0..CELLS).map(|n| {
            format!(r#"{{"map":"m{round}","key":"k{n}","op":"set","value":"{n:0100}","ttl_ms":2000}}"#)
        });
        let ops = ops.collect::<Vec<_>>().join(",");
        world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{ops}]}}"#));
        world.serve();
        world.fold();
        world.pass_ms(150);
    }
    assert!(world.metrics().evictions > 10);
    (0..40).for_each(|_| {
        world.pass_ms(100);
        world.serve();
        world.fold();
    });
    world.received(client);
    let metrics = world.metrics();
    assert!(metrics.expirations > 0 && metrics.expirations < 30 * CELLS as u64, "those in memory");
    for round in 0..30 {
        world.send(client, &format!(r#"{{"type":"digest","id":1,"map":"m{round}"}}"#));
        world.serve();
        world.fold();
        assert_eq!(world.received(client)[0]["entries"], 0, "m{round}");
        world.pass_ms(150);
    }
    assert_eq!(world.metrics().expirations, 30 * CELLS as u64, "each once");
}

#[test]
fn a_map_that_is_being_loaded_counts_and_stays() {
    let mut world = limited(1);
    let client = world.connect(0);
    for n in 0..5 {
        fill(&mut world, client, &format!("m{n}"));
        world.fold();
    }
    world.pass_ms(150);
    world.received(client);
    world.ask(client, r#"{"type":"digest","id":1,"map":"m0"}"#);
    assert_eq!(world.loads(0), ["m0"]);
    let before = world.metrics();
    let mut chunks = world.chunks(0, "m0");
    let last = chunks.pop().unwrap();
    for chunk in chunks {
        world.push(0, FromStorage::Chunk(chunk));
        world.settle();
    }
    // It takes room, or others had to leave for it.
    let after = world.metrics();
    let loaded = after.resident_bytes + 90_000 * (after.evictions - before.evictions);
    assert!(loaded > before.resident_bytes + 50_000, "{loaded} bytes, {} before", before.resident_bytes);
    world.fold();
    (0..10).for_each(|_| world.pass_ms(100));
    world.push(0, FromStorage::Chunk(last));
    world.settle();
    assert_eq!(world.received(client)[0]["entries"], CELLS);
}

/// Watches a map and writes others until it has left memory; the watcher.
pub fn watched_and_evicted(world: &mut World, client: Client, map: &str) -> Client {
    let shards = world.nodes.len();
    let watcher = world.connect(shards - 1);
    world.send(watcher, &format!(r#"{{"type":"subscribe","id":1,"map":"{map}"}}"#));
    world.serve();
    world.fold();
    for n in 0..8 {
        fill(world, client, &format!("m{n}"));
        world.fold();
        world.pass_ms(150);
    }
    world.received(watcher);
    let metrics = world.metrics();
    assert!(metrics.resident_bytes < (LIMIT_BYTES * shards) as u64 && metrics.evictions >= shards as u64 * 5);
    watcher
}

#[test]
fn a_map_that_is_watched_leaves_memory_and_its_watchers_miss_nothing() {
    for shards in [1, 2] {
        let mut world = limited(shards);
        let client = world.connect(0);
        fill(&mut world, client, "watched");
        let expected = digest(&mut world, client, "watched");
        let watcher = watched_and_evicted(&mut world, client, "watched");
        let loads = world.metrics().loads;
        let keys: Vec<String> = (0..shards).map(|shard| world.key_of(shard, "watched", 0)).collect();
        for (n, key) in keys.iter().enumerate() {
            let op = format!(r#"{{"map":"watched","key":"{key}","op":"set","value":"new"}}"#);
            world.send(client, &format!(r#"{{"type":"write","id":{n},"ops":[{op}]}}"#));
            world.serve();
            let acks = world.received(client);
            assert_eq!((acks.len(), &acks[0]["applied"]), (1, &1.into()), "{acks:?}");
            let changes = world.received(watcher);
            assert_eq!((changes.len(), &changes[0]["entries"][0]["key"]), (1, &key.as_str().into()));
        }
        assert_eq!(world.metrics().loads, loads + shards as u64, "each part was evicted, and loaded once");
        assert_ne!(digest(&mut world, client, "watched"), expected);
        // Whoever comes now is sent all of it.
        let other = world.connect(0);
        world.received(other);
        world.send(other, r#"{"type":"subscribe","id":1,"map":"watched"}"#);
        world.serve();
        let chunks = world.received(other);
        let entries: usize = chunks.iter().map(|chunk| chunk["entries"].as_array().unwrap().len()).sum();
        assert_eq!(entries, CELLS * shards);
    }
}

#[test]
fn a_value_that_ends_in_a_watched_map_that_was_evicted_is_told() {
    for shards in [1, 2] {
        let mut world = limited(shards);
        let client = world.connect(0);
        fill(&mut world, client, "watched");
        let key = world.key_of(0, "watched", 0);
        let op = format!(r#"{{"map":"watched","key":"{key}","op":"set","value":1,"ttl_ms":10000}}"#);
        world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#));
        world.serve();
        let watcher = watched_and_evicted(&mut world, client, "watched");
        let expirations = world.metrics().expirations;
        for _ in 0..12 {
            world.pass_ms(1_000);
            world.serve();
        }
        assert_eq!(world.metrics().expirations, expirations + 1);
        let changes = world.received(watcher);
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!((&changes[0]["entries"][0]["key"], &changes[0]["type"]), (&key.into(), &"change".into()));
    }
}
