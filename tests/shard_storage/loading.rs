//! Maps on their way from the storage, and requests that wait for them.

use annulus::handover::{FromStorage, ToStorage};
use simd_json::prelude::*;

use crate::disk::Disk;
use crate::world::World;

/// A data set with 100 keys in `todos`, two thirds of them written twice, one in ten deleted, and its digest.
fn filled(shards: usize) -> (Disk, String) {
    let mut world = World::new(shards);
    let client = world.connect(0);
    for n in (0..100).chain(0..66) {
        let op = if n % 10 == 9 { "delete" } else { "set" };
        world.ask(
            client,
            &format!(
                r#"{{"type":"write","id":{n},"ops":[{{"map":"todos","key":"k{n}","op":"{op}","value":"v{n}"}}]}}"#
            ),
        );
        world.serve();
    }
    world.serve();
    world.received(client);
    let digest = world.answer(client, r#"{"type":"digest","id":1,"map":"todos"}"#);
    assert_eq!(digest["entries"], 90);
    (world.disk, digest["hash"].as_str().unwrap().to_owned())
}

#[test]
fn a_stored_map_is_what_it_was_for_any_number_of_shards() {
    let (disk, hash) = filled(2);
    for shards in [1, 2, 3] {
        let mut world = World::over(disk.clone(), shards, |_| {});
        let client = world.connect(shards - 1);
        world.received(client);
        world.ask(client, r#"{"type":"digest","id":1,"map":"todos"}"#);
        world.serve();
        let digest = world.received(client).remove(0);
        assert_eq!((&digest["entries"], digest["hash"].as_str()), (&90.into(), Some(&hash[..])));
        let entries =
            world.answer(client, r#"{"type":"read","id":2,"map":"todos","keys":["k1","k9","none"]}"#);
        assert_eq!(entries["entries"].as_array().unwrap().len(), 2, "{entries}");
        assert_eq!(world.metrics().loads, shards as u64);
        assert_eq!(world.metrics().load_ns.count(), shards as u64);
    }
}

#[test]
fn first_uses_of_all_kinds_load_once_and_keep_their_order() {
    for shards in [1, 2] {
        let (disk, _) = filled(1);
        let mut world = World::over(disk, shards, |_| {});
        let (writer, reader) = (world.connect(0), world.connect(shards - 1));
        let key = world.key_of(shards - 1, "todos", 0);
        world.received(writer);
        world.received(reader);
        world.send(reader, r#"{"type":"subscribe","id":1,"map":"todos"}"#);
        for id in 0..10 {
            let set = format!(
                r#"{{"type":"write","id":{id},"ops":[{{"map":"todos","key":"{key}","op":"set","value":{id}}}]}}"#
            );
            let read = format!(r#"{{"type":"read","id":{},"map":"todos","keys":["{key}"]}}"#, id + 100);
            world.send(writer, &set);
            world.send(writer, &read);
        }
        world.send(reader, r#"{"type":"digest","id":2,"map":"todos"}"#);
        world.settle();
        for shard in 0..shards {
            let loads = world.take(shard);
            assert!(matches!(&loads[..], [ToStorage::Load { .. }]), "{loads:?}");
            assert!(world.received(reader).is_empty() && world.received(writer).is_empty());
        }
        for shard in 0..shards {
            for chunk in world.chunks(shard, "todos") {
                world.push(shard, FromStorage::Chunk(chunk));
            }
        }
        world.serve();
        let answers = world.received(writer);
        assert_eq!(answers.len(), 20);
        for id in 0..10 {
            let read = answers.iter().find(|answer| answer["id"] == id + 100).unwrap();
            assert_eq!(read["entries"][0]["value"], id, "a read sees the write before it and none after");
        }
        let answers = world.received(reader);
        let snapshot = answers.iter().filter(|answer| answer["type"] == "snapshot");
        let entries: usize = snapshot.map(|chunk| chunk["entries"].as_array().unwrap().len()).sum();
        assert_eq!(entries, 100, "tombstones included");
        assert!(answers.iter().any(|answer| answer["type"] == "digest"));
        assert_eq!(world.metrics().loads, shards as u64);
    }
}

#[test]
fn a_load_takes_few_chunks_a_turn_and_many_requests_several_turns() {
    let (disk, _) = filled(1);
    let mut world = World::over(disk, 1, |_| {});
    let client = world.connect(0);
    world.received(client);
    let ops = (0..1000).map(|_| r#"{"map":"todos","key":"n","op":"set","value":1}"#).collect::<Vec<_>>();
    let write = format!(r#"{{"type":"write","id":1,"ops":[{}]}}"#, ops.join(","));
    world.ask(client, &write);
    world.take(0);
    let chunks = world.chunks(0, "todos");
    assert!(chunks.len() > 8, "only {} chunks", chunks.len());
    let mut turns = 0;
    for chunk in chunks {
        world.push(0, FromStorage::Chunk(chunk));
    }
    let mut changes = 0;
    while world.nodes[0].driven.shard.wait_us() == Some(0) || turns == 0 {
        world.turn();
        turns += 1;
        let now = world.metrics().changes;
        assert!(now - changes <= 256, "{} operations in one turn", now - changes);
        changes = now;
    }
    assert!(turns > 5, "{turns} turns");
    let ack = world.received(client).remove(0);
    assert_eq!(ack["applied"], 1000);
}

#[test]
fn a_name_that_nothing_is_stored_under_is_remembered_for_a_while() {
    let mut world = World::new(1);
    let client = world.connect(0);
    world.received(client);
    let read = |n: usize| format!(r#"{{"type":"read","id":{n},"map":"m{n}","keys":["k"]}}"#);
    for _ in 0..2 {
        world.send(client, &read(0));
        world.serve();
        assert_eq!(world.received(client).len(), 1);
    }
    assert_eq!(world.metrics().loads, 1);
    let few = world.metrics().resident_bytes;
    for n in 1..3000 {
        world.ask(client, &read(n));
        world.serve();
    }
    assert!(world.metrics().resident_bytes < few * 1100, "{} maps", world.metrics().resident_bytes / few);
    world.ask(client, &read(0));
    world.serve();
    assert_eq!(world.metrics().loads, 3001, "the oldest was forgotten");
}

#[test]
fn who_waits_for_a_load_too_long_is_told_so() {
    for shards in [1, 2] {
        let (disk, _) = filled(1);
        let mut world = World::over(disk, shards, |config| config.ack_timeout_ms = 500);
        let client = world.connect(0);
        let key = world.key_of(shards - 1, "todos", 0);
        world.received(client);
        world.send(client, &format!(r#"{{"type":"write","id":1,"ack":"durable","ops":[{{"map":"todos","key":"{key}","op":"set","value":1}},{{"map":"todos","key":"","op":"set","value":1}}]}}"#));
        world.send(client, &format!(r#"{{"type":"read","id":2,"map":"todos","keys":["{key}"]}}"#));
        world.send(client, r#"{"type":"digest","id":3,"map":"todos"}"#);
        world.send(client, r#"{"type":"subscribe","id":4,"map":"todos"}"#);
        world.settle();
        world.pass_ms(400);
        assert!(world.received(client).is_empty());
        (0..3).for_each(|_| world.pass_ms(100));
        let answers = world.received(client);
        let answer = |id: u32| answers.iter().find(|answer| answer["id"] == id).unwrap();
        assert_eq!(answers.len(), 4, "{answers:?}");
        let ack = answer(1);
        assert_eq!(
            (&ack["level"], &ack["applied"], &ack["timeout"]),
            (&"memory".into(), &0.into(), &true.into())
        );
        let codes: Vec<_> = ack["rejected"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rejected| rejected["code"].as_str().unwrap())
            .collect();
        assert_eq!(codes, ["key_invalid", "timeout"]);
        for id in 2..5 {
            assert_eq!((&answer(id)["type"], &answer(id)["code"]), (&"error".into(), &"timeout".into()));
        }
        assert_eq!(world.metrics().subscriptions, 0);

        // What comes at last finds nobody who waits, and the write that was refused was not made.
        world.serve();
        assert!(world.received(client).is_empty());
        let changes = world.metrics().changes;
        assert_eq!(changes, 0);
        let digest = world.answer(client, r#"{"type":"digest","id":5,"map":"todos"}"#);
        assert_eq!(digest["entries"], 90);
    }
}

/// Goal: who needs a map that cannot be read is told so with a code of its own, at once, and nothing is changed. Method: the
/// load of the last shard fails while a write, a read, a digest and a subscribe wait; then they come again.
#[test]
fn a_map_whose_load_failed_refuses_what_needs_it_until_it_loads() {
    for shards in [1, 2] {
        let (disk, hash) = filled(1);
        let mut world = World::over(disk, shards, |_| {});
        let client = world.connect(0);
        let failing = shards - 1;
        let key = world.key_of(failing, "todos", 0);
        world.received(client);
        let refused_after_ms = |world: &mut World| {
            for message in [
                &format!(
                    r#"{{"type":"write","id":1,"ops":[{{"map":"todos","key":"{key}","op":"set","value":1}}]}}"#
                ),
                &format!(r#"{{"type":"read","id":2,"map":"todos","keys":["{key}"]}}"#),
                r#"{"type":"digest","id":3,"map":"todos"}"#,
                r#"{"type":"subscribe","id":4,"map":"todos"}"#,
            ] {
                world.send(client, message);
            }
            world.serve_but_loads_of(failing);
            let mut answers = world.received(client);
            // What the other shard has may come before.
            answers.retain(|answer| answer["type"] != "snapshot");
            assert_eq!(answers.len(), 4, "{answers:?}");
            let ack = answers.iter().find(|answer| answer["id"] == 1).unwrap();
            assert_eq!((&ack["applied"], &ack["rejected"][0]["code"]), (&0.into(), &"load_failed".into()));
            for answer in answers.iter().filter(|answer| answer["id"] != 1) {
                assert_eq!((&answer["type"], &answer["code"]), (&"error".into(), &"load_failed".into()));
            }
            ack["rejected"][0]["retry_after_ms"].as_u64().unwrap()
        };
        assert_eq!(refused_after_ms(&mut world), 1_000);
        world.pass_ms(400);
        let left_ms = refused_after_ms(&mut world);
        assert!((590..=600).contains(&left_ms), "{left_ms}");
        assert_eq!(world.metrics().loads_failed, 1, "and it is not asked for again");
        (0..7).for_each(|_| world.pass_ms(100));
        assert_eq!(refused_after_ms(&mut world), 1_000, "it was asked for again");
        assert_eq!(world.metrics().loads_failed, 2);
        (0..11).for_each(|_| world.pass_ms(100));
        world.ask(client, r#"{"type":"digest","id":5,"map":"todos"}"#);
        world.serve();
        assert_eq!(world.received(client)[0]["hash"], &hash[..], "no write was made");
    }
}

/// Goal: a failure that is told to who has everything takes nothing away. Method: it comes right behind the last chunk.
#[test]
fn a_map_that_is_complete_stays_so_when_a_load_fails() {
    let (disk, hash) = filled(1);
    let mut world = World::over(disk, 1, |_| {});
    let client = world.connect(0);
    world.received(client);
    world.ask(client, r#"{"type":"digest","id":1,"map":"todos"}"#);
    world.take(0);
    for chunk in world.chunks(0, "todos") {
        world.push(0, FromStorage::Chunk(chunk));
    }
    world.push(0, FromStorage::LoadFailed { map: "todos".into() });
    world.settle();
    assert_eq!(world.received(client)[0]["hash"], &hash[..]);
}

#[test]
fn a_chunk_that_makes_no_sense_is_a_failed_load() {
    let (disk, hash) = filled(1);
    let mut world = World::over(disk, 1, |_| {});
    let client = world.connect(0);
    world.received(client);
    world.ask(client, r#"{"type":"digest","id":1,"map":"todos"}"#);
    world.take(0);
    let mut chunks = world.chunks(0, "todos");
    // The kind of the first delta of the first cell.
    let key_len = usize::from(chunks[1].cells[0]);
    chunks[1].cells[6 + key_len + 8] ^= 0x40;
    chunks.into_iter().for_each(|chunk| world.push(0, FromStorage::Chunk(chunk)));
    world.settle();
    assert_eq!(world.metrics().loads_failed, 1);
    assert_eq!(world.received(client)[0]["code"], "load_failed");
    (0..11).for_each(|_| world.pass_ms(100));
    world.ask(client, r#"{"type":"digest","id":2,"map":"todos"}"#);
    world.serve();
    assert_eq!(world.received(client)[0]["hash"], &hash[..]);
}

#[test]
fn what_expired_while_it_was_stored_is_gone_before_anybody_reads() {
    let mut world = World::new(1);
    let client = world.connect(0);
    let ops = (0..800).map(|n| format!(r#"{{"map":"m","key":"k{n}","op":"set","value":1,"ttl_ms":100}}"#));
    let ops = ops.collect::<Vec<_>>().join(",");
    world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{ops},{{"map":"m","key":"kept","op":"set","value":1,"ttl_ms":5000}}]}}"#));
    world.serve();
    let mut world = World::over(world.disk, 1, |_| {});
    let client = world.connect(0);
    world.received(client);
    world.pass_ms(200);
    world.ask(client, r#"{"type":"read","id":1,"map":"m","keys":["k0","k799","kept"]}"#);
    world.serve();
    let answer = world.received(client).remove(0);
    let values = answer["entries"].as_array().unwrap().iter().filter(|entry| entry.get("value").is_some());
    assert_eq!(values.count(), 1, "{answer}");
    assert_eq!(world.metrics().expirations, 800);
    world.pass_ms(6_000);
    assert_eq!(world.metrics().expirations, 801, "a loaded map is on the schedule");
}

#[test]
fn a_connection_that_is_gone_leaves_its_requests_harmless() {
    let (disk, _) = filled(1);
    let mut world = World::over(disk, 1, |_| {});
    let client = world.connect(0);
    world.send(client, r#"{"type":"subscribe","id":1,"map":"todos"}"#);
    world.send(client, r#"{"type":"write","id":2,"ops":[{"map":"todos","key":"n","op":"set","value":1}]}"#);
    world.send(client, r#"{"type":"read","id":3,"map":"todos","keys":["n"]}"#);
    world.settle();
    world.close(client);
    world.settle();
    world.serve();
    assert_eq!((world.metrics().connections, world.metrics().subscriptions), (0, 0));
    assert_eq!(world.metrics().changes, 1);
}

#[test]
fn two_shards_that_both_load_agree_on_the_type() {
    // Both find nothing stored, and both want to write: the home decides, after its own load.
    let mut world = World::new(2);
    let (first, second) = (world.connect(0), world.connect(1));
    let map = world.map_of(0, "m");
    let (here, there) = (world.key_of(0, &map, 0), world.key_of(1, &map, 0));
    world.received(first);
    world.received(second);
    world.send(
        first,
        &format!(
            r#"{{"type":"write","id":1,"ops":[{{"map":"{map}","key":"{here}","op":"set","value":1}}]}}"#
        ),
    );
    world.send(
        second,
        &format!(
            r#"{{"type":"write","id":1,"ops":[{{"map":"{map}","key":"{there}","op":"increment","by":1}}]}}"#
        ),
    );
    // The other shard is loaded first, so that its claim meets a home that is loading.
    world.settle();
    world.take(1);
    let chunk = world.chunks(1, &map).remove(0);
    world.push(1, FromStorage::Chunk(chunk));
    world.settle();
    assert!(world.received(second).is_empty());
    world.serve();
    let (mine, theirs) = (world.received(first).remove(0), world.received(second).remove(0));
    assert_eq!((&mine["applied"], &theirs["applied"]), (&1.into(), &0.into()), "the home's own came first");
    assert_eq!(theirs["rejected"][0]["code"], "map_type");
}
