//! Dropping all maps with storage: what was stored is gone, at once or not at all, and no load brings it back.

use annulus::crdt::Time;
use annulus::handover::{FromStorage, ToStorage};
use simd_json::OwnedValue as Value;

use crate::clearing::{TURNS, applied, client, digest, is, keys, op, subscribe};
use crate::world::{Client, World};

/// A clear that the storage carries out as it should.
fn clear_stored(world: &mut World, shard: usize) {
    let request = world.clear(shard);
    world.serve();
    assert!(!world.has_succeeded(request), "the base has not followed yet");
    world.fold();
    world.settle();
    assert!(world.has_succeeded(request));
}

fn ask(world: &mut World, client: Client, text: &str) -> Vec<Value> {
    world.send(client, text);
    world.serve();
    world.received(client)
}

#[test]
fn what_is_stored_is_gone_too_and_a_restart_brings_nothing_back() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let writer = client(&mut world, shards - 1);
        for n in 0..20 {
            ask(&mut world, writer, &op(&format!("m{}", n % 4), &format!("k{n}"), false));
        }
        let cursor = ask(&mut world, writer, &subscribe("m0", None)).pop().unwrap()["cursor"].clone();
        clear_stored(&mut world, 0);
        assert_eq!(ask(&mut world, writer, &digest("m0"))[0]["entries"], 0);
        assert_eq!(applied(&ask(&mut world, writer, &op("m1", "k", true))[0]), 1);
        for shards in [1, 2, 3] {
            let mut world = World::over(world.disk.clone(), shards, |_| {});
            let reader = client(&mut world, 0);
            for (map, entries) in [("m0", 0), ("m1", 1)] {
                assert_eq!(ask(&mut world, reader, &digest(map))[0]["entries"], entries);
            }
            let snapshot = ask(&mut world, reader, &subscribe("m0", Some(&cursor)));
            assert!(is(snapshot.last().unwrap(), "reset"), "{snapshot:?}");
        }
    }
}

/// The journal may tell how far it is after the base has followed the clear.
#[test]
fn a_cursor_given_after_a_clear_is_good_for_what_comes_then() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let reader = client(&mut world, shards - 1);
        let request = world.clear(0);
        world.settle();
        for item in world.take(0) {
            let ToStorage::Records(batch) = item else { continue };
            world.disk.take(&batch);
            world.make_durable(0, batch.number, batch.bytes.len() as u64, Time::ZERO);
            world.fold_through(batch.last_applied);
        }
        world.settle();
        assert!(world.has_succeeded(request));
        let cursor = ask(&mut world, reader, &subscribe("m", None)).pop().unwrap()["cursor"].clone();
        let snapshot = ask(&mut world, reader, &subscribe("m", Some(&cursor)));
        assert!(is(snapshot.last().unwrap(), "resumed"), "{snapshot:?}");
    }
}

#[test]
fn the_record_of_a_clear_comes_behind_everything_of_before_and_before_everything_of_after() {
    for turns in 0..TURNS {
        let mut world = World::new(2);
        let writers = [client(&mut world, 0), client(&mut world, 1)];
        let keys = [world.key_of(0, "m", 0), world.key_of(1, "m", 0)];
        ask(&mut world, writers[0], &op("m", &keys[0], false));
        ask(&mut world, writers[1], &op("m", &keys[1], false));
        for (writer, key) in writers.iter().zip(&keys) {
            world.send(*writer, &op("m", key, false));
        }
        (0..turns).for_each(|_| world.turn());
        let request = world.clear(1);
        world.settle();
        assert!(world.disk.cleared_through() == Time::ZERO, "nothing of before is durable yet");
        world.serve();
        assert!(world.disk.cleared_through() > Time::ZERO);
        assert_eq!(world.disk.map_type("m"), None, "nothing is written between");
        world.fold();
        world.serve();
        assert!(world.has_succeeded(request));
        writers.iter().for_each(|&writer| drop(world.received(writer)));
        for (writer, key) in writers.iter().zip(&keys) {
            assert_eq!(applied(&ask(&mut world, *writer, &op("m", key, true))[0]), 1);
        }
    }
}

// A load that a clear meets gives what was there before, at any moment from before the clear to long after it.
#[test]
fn a_load_that_a_clear_meets_brings_nothing_back_and_loses_no_request() {
    for (loaded, is_damaged) in (0..6).flat_map(|loaded| [(loaded, false), (loaded, true)]) {
        let mut world = World::new(1);
        let writer = client(&mut world, 0);
        for n in 0..100 {
            ask(&mut world, writer, &op("m", &format!("k{n}"), false));
        }
        let mut world = World::over(world.disk, 1, |_| {});
        let reader = client(&mut world, 0);
        world.send(reader, &digest("m"));
        world.send(reader, &op("m", "new", true));
        world.send(reader, r#"{"type":"read","id":4,"map":"m","keys":["k1","new"]}"#);
        world.send(reader, &subscribe("m", None));
        world.settle();
        assert_eq!(world.loads(0), ["m"]);
        let chunks = world.chunks(0, "m");
        assert!(chunks.len() > 6);
        let mut chunks = chunks.into_iter();
        for chunk in chunks.by_ref().take(loaded) {
            world.push(0, FromStorage::Chunk(chunk));
        }
        world.settle();
        let request = world.clear(0);
        world.serve();
        world.fold();
        world.settle();
        assert!(world.has_succeeded(request), "a clear waits for no load");
        if is_damaged {
            world.push(0, FromStorage::LoadFailed { map: "m".into() });
        } else {
            for chunk in chunks {
                world.push(0, FromStorage::Chunk(chunk));
                world.turn();
            }
        }
        world.serve();
        let answers = world.received(reader);
        assert_eq!(answers.len(), 4, "{answers:?}");
        assert_eq!(answers[0]["entries"], 0);
        assert_eq!(applied(&answers[1]), 1);
        assert_eq!(keys(&answers[2..3]), ["new"]);
        assert_eq!(keys(&answers[3..]), ["new"]);
    }
}

#[test]
fn a_map_that_could_not_be_loaded_is_empty_after_a_clear() {
    let mut world = World::new(1);
    let writer = client(&mut world, 0);
    ask(&mut world, writer, &op("m", "k", false));
    let mut world = World::over(world.disk, 1, |_| {});
    let reader = client(&mut world, 0);
    world.send(reader, &digest("m"));
    world.settle();
    assert_eq!(world.loads(0), ["m"]);
    world.push(0, FromStorage::LoadFailed { map: "m".into() });
    world.settle();
    assert_eq!(world.received(reader)[0]["code"], "load_failed");
    clear_stored(&mut world, 0);
    world.send(reader, &digest("m"));
    world.serve();
    let answers = world.received(reader);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0]["entries"], 0);
}

// What would be loaded then is of before, as the base has yet to follow.
#[test]
fn nothing_is_loaded_between_the_drop_and_the_end() {
    let value = format!(r#""{}""#, "x".repeat(20_000));
    for turns in 0..TURNS {
        let mut world = World::new(1);
        let (writer, reader) = (client(&mut world, 0), client(&mut world, 0));
        for n in 0..60 {
            let text = format!(
                r#"{{"type":"write","id":1,"ops":[{{"map":"m","key":"k{n}","op":"set","value":{value}}}]}}"#
            );
            ask(&mut world, writer, &text);
        }
        world.send(writer, &op("m", "k0", false));
        world.send(reader, &subscribe("m", None));
        (0..turns).for_each(|_| world.turn());
        let request = world.clear(0);
        world.send(reader, &digest("m"));
        for _ in 0..100 {
            world.turn();
            assert_eq!(world.loads(0), [] as [String; 0], "after {turns} turns");
        }
        assert!(!world.has_succeeded(request));
    }
}

// Everything of a load has come, and the clear holds back what waits for it: between the record and the end nothing
// may be written.
#[test]
fn a_load_that_ends_meanwhile_lets_its_requests_go_only_after_the_end() {
    let mut world = World::new(1);
    let writer = client(&mut world, 0);
    ask(&mut world, writer, &op("m", "k", false));
    let mut world = World::over(world.disk, 1, |_| {});
    let reader = client(&mut world, 0);
    world.send(reader, &op("m", "new", true));
    world.settle();
    assert_eq!(world.loads(0), ["m"]);
    let chunks = world.chunks(0, "m");
    let request = world.clear(0);
    chunks.into_iter().for_each(|chunk| world.push(0, FromStorage::Chunk(chunk)));
    world.serve();
    assert_eq!(world.disk.map_type("m"), None, "nothing is written between");
    assert!(!world.has_succeeded(request) && world.received(reader).is_empty());
    world.fold();
    world.serve();
    assert!(world.has_succeeded(request));
    assert_eq!(applied(&world.received(reader)[0]), 1);
}
