//! Dropping all maps: nothing of before is left, what waits meanwhile is carried out on the empty maps, and no cursor
//! of before hides anything.

use std::fmt::Write;

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::world::{Client, World};

/// Turns in which a race is tried: more than a clear takes.
pub const TURNS: usize = 12;

fn world(shards: usize) -> World {
    World::in_memory(shards)
}

pub fn client(world: &mut World, shard: usize) -> Client {
    let client = world.connect(shard);
    world.received(client);
    client
}

/// A write of one operation, which sets or counts.
pub fn op(map: &str, key: &str, is_count: bool) -> String {
    let op = if is_count { r#""op":"increment","by":1"# } else { r#""op":"set","value":1"# };
    format!(r#"{{"type":"write","id":1,"ops":[{{"map":"{map}","key":"{key}",{op}}}]}}"#)
}

pub fn applied(ack: &Value) -> u64 {
    assert_eq!(ack["type"], "ack", "{ack}");
    ack["applied"].as_u64().unwrap()
}

pub fn subscribe(map: &str, since: Option<&Value>) -> String {
    let since = since.map_or(String::new(), |cursor| format!(r#","since":{}"#, cursor.encode()));
    format!(r#"{{"type":"subscribe","id":9,"map":"{map}"{since}}}"#)
}

/// Whether a message has this flag, and it is set.
pub fn is(message: &Value, flag: &str) -> bool {
    message.get_bool(flag) == Some(true)
}

/// The keys of all entries, in order.
pub fn keys(messages: &[Value]) -> Vec<&str> {
    let entries = messages.iter().filter_map(|message| message.get_array("entries")).flatten();
    entries.map(|entry| entry["key"].as_str().unwrap()).collect()
}

pub fn digest(map: &str) -> String {
    format!(r#"{{"type":"digest","id":2,"map":"{map}"}}"#)
}

fn clear(world: &mut World, shard: usize) {
    let request = world.clear(shard);
    world.settle();
    assert!(world.has_succeeded(request));
}

#[test]
fn everything_is_gone_on_all_shards_whichever_is_asked() {
    for (shards, asked) in [(1, 0), (2, 0), (2, 1), (3, 2)] {
        let mut world = world(shards);
        let writer = client(&mut world, shards - 1);
        for n in 0..40 {
            world.answer(writer, &op(&format!("m{}", n % 4), &format!("k{n}"), false));
        }
        world.answer(
            writer,
            r#"{"type":"write","id":1,"ops":[{"map":"m0","key":"k0","op":"delete"},
                {"map":"t","key":"k","op":"add","value":1,"tag":"a"},{"map":"t","key":"k","op":"remove","tags":["a"]}]}"#,
        );
        assert!(world.metrics().cells > 0);
        clear(&mut world, asked);
        let metrics = world.metrics();
        assert_eq!((metrics.maps, metrics.cells, metrics.resident_bytes), (0, 0, 0));
        assert_eq!(world.answer(writer, &digest("m1"))["entries"], 0);
        // Removals are forgotten, too: an older write is the first of its key, a removed tag may be added.
        for (map, change) in
            [("m0", r#""op":"set","value":1,"at":"1:0:x""#), ("t", r#""op":"add","value":1,"tag":"a""#)]
        {
            let text = format!(r#"{{"type":"write","id":1,"ops":[{{"map":"{map}","key":"k0",{change}}}]}}"#);
            assert_eq!(applied(&world.answer(writer, &text)), 1);
            assert_eq!(world.answer(writer, &digest(map))["entries"], 1);
        }
    }
}

#[test]
fn a_map_may_have_another_type_afterwards_on_every_shard() {
    for shards in [1, 2, 3] {
        let mut world = world(shards);
        let writer = client(&mut world, 0);
        let keys: Vec<String> = (0..shards).map(|shard| world.key_of(shard, "m", 0)).collect();
        keys.iter().for_each(|key| assert_eq!(applied(&world.answer(writer, &op("m", key, false))), 1));
        assert_eq!(applied(&world.answer(writer, &op("m", &keys[0], true))), 0);
        clear(&mut world, 0);
        keys.iter().for_each(|key| assert_eq!(applied(&world.answer(writer, &op("m", key, true))), 1));
        assert_eq!(applied(&world.answer(writer, &op("m", &keys[0], false))), 0);
    }
}

#[test]
fn a_cursor_of_before_is_reset_and_one_of_afterwards_resumes() {
    for shards in [1, 2] {
        let mut world = world(shards);
        let (writer, reader) = (client(&mut world, 0), client(&mut world, shards - 1));
        world.answer(writer, &op("m", "old", false));
        world.ask(reader, &subscribe("m", None));
        world.pass_ms(200);
        world.answer(writer, &op("m", "older", false));
        let before = world.received(reader).pop().unwrap()["cursor"].clone();
        // Also of a map that nobody has written to.
        let empty = world.ask(reader, &subscribe("empty", None)).pop().unwrap()["cursor"].clone();
        clear(&mut world, 0);
        let late = client(&mut world, 0);
        for (map, cursor) in [("m", &before), ("empty", &empty)] {
            let snapshot = world.answer(late, &subscribe(map, Some(cursor)));
            assert!(is(&snapshot, "reset") && !is(&snapshot, "resumed"), "{snapshot}");
            assert_eq!(keys(&[snapshot]), [] as [&str; 0]);
        }
        world.answer(writer, &op("m", "new", false));
        world.pass_ms(200);
        let other = client(&mut world, shards - 1);
        let snapshot = world.ask(other, &subscribe("m", Some(&before)));
        assert_eq!(keys(&snapshot), ["new"]);
        let end = snapshot.last().unwrap();
        assert!(is(end, "reset"), "{end}");
        world.ask(writer, &op("m", "newer", false));
        let third = client(&mut world, 0);
        let resumed = world.ask(third, &subscribe("m", Some(&end["cursor"])));
        assert!(is(resumed.last().unwrap(), "resumed"), "{resumed:?}");
        assert_eq!(keys(&resumed).last(), Some(&"newer"));
    }
}

#[test]
fn live_subscribers_stay_and_get_what_is_written_later() {
    for shards in [1, 2] {
        let mut world = world(shards);
        let (writer, reader) = (client(&mut world, 0), client(&mut world, shards - 1));
        let keys: Vec<String> = (0..shards).map(|shard| world.key_of(shard, "m", 0)).collect();
        keys.iter().for_each(|key| drop(world.answer(writer, &op("m", key, false))));
        world.ask(reader, &subscribe("m", None));
        clear(&mut world, shards - 1);
        assert_eq!(world.received(reader), [] as [Value; 0], "nothing is revoked");
        for key in &keys {
            world.answer(writer, &op("m", key, true));
            let changes = world.received(reader);
            assert_eq!(changes.len(), 1);
            assert_eq!(changes[0]["entries"][0]["count"], 1, "{}", changes[0]);
        }
    }
}

#[test]
fn a_walk_that_a_clear_meets_ends_and_hides_nothing() {
    let value = format!(r#""{}""#, "x".repeat(20_000));
    for shards in [1, 2] {
        for turns in 0..TURNS {
            let mut world = world(shards);
            let (writer, reader) = (client(&mut world, 0), client(&mut world, shards - 1));
            for n in 0..60 {
                let text = format!(
                    r#"{{"type":"write","id":1,"ops":[{{"map":"m","key":"k{n}","op":"set","value":{value}}}]}}"#
                );
                world.answer(writer, &text);
            }
            world.send(reader, &subscribe("m", None));
            (0..turns).for_each(|_| world.turn());
            let request = world.clear(0);
            world.settle();
            assert!(world.has_succeeded(request));
            let mut told = world.received(reader);
            let ends = told.iter().filter(|message| message.get_bool("more") == Some(false)).count();
            let resets = told.iter().filter(|message| is(message, "reset")).count();
            assert_eq!(ends, 1 + resets, "told anew where a part of it was of before");
            world.ask(writer, &op("m", "new", false));
            world.pass_ms(200);
            world.ask(writer, &op("m", "newer", false));
            told.extend(world.received(reader));
            assert_eq!(keys(&told[told.len() - 2..]), ["new", "newer"]);
            let other = client(&mut world, 0);
            let resumed = world.ask(other, &subscribe("m", Some(&told.last().unwrap()["cursor"])));
            assert!(is(resumed.last().unwrap(), "resumed"), "{resumed:?}");
        }
    }
}

#[test]
fn a_conflated_subscriber_is_told_to_start_anew() {
    let value = format!(r#""{}""#, "x".repeat(200_000));
    for shards in [1, 2] {
        let mut world = world(shards);
        let (writer, reader) = (client(&mut world, 0), client(&mut world, shards - 1));
        // The type is known everywhere, so that no write waits for it until the maps are empty.
        for shard in 0..shards {
            world.answer(writer, &op("m", &world.key_of(shard, "m", 0), false));
        }
        world.ask(reader, &subscribe("m", None));
        // In one turn, so that nothing is sent meanwhile and all but the first find the outbox full.
        let writers: Vec<_> = (0..4).map(|_| client(&mut world, 0)).collect();
        for (n, &writer) in writers.iter().enumerate() {
            let op = format!(r#"{{"map":"m","key":"k{n}","op":"set","value":{value}}}"#);
            world.send(writer, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#));
        }
        // What another shard is asked for is carried out in the next.
        (0..2).for_each(|_| world.turn());
        let request = world.clear(0);
        world.settle();
        assert!(world.has_succeeded(request));
        world.ask(writer, &op("m", "new", false));
        world.pass_ms(200);
        let told = world.received(reader);
        assert!(world.metrics().conflations > 0);
        let begin = told.iter().position(|message| message["type"] == "snapshot").expect("a snapshot");
        assert!(told[begin..].iter().any(|message| is(message, "reset")));
        assert_eq!(keys(&told[begin..]), ["new"]);
    }
}

// Every write is a first of its map, so that its type is being asked for when the clear comes. Whatever the moment:
// each is answered, and afterwards all shards agree on one type for each map.
#[test]
fn claims_and_parked_writes_that_a_clear_meets_are_answered_and_types_agree() {
    for shards in [2, 3] {
        for (before, after) in (0..TURNS).flat_map(|before| (0..TURNS).map(move |after| (before, after))) {
            let mut world = world(shards);
            let writers: Vec<Client> = (0..shards).map(|shard| client(&mut world, shard)).collect();
            let maps: Vec<String> = (0..shards).map(|home| world.map_of(home, "m")).collect();
            let write_all = |world: &mut World, is_count: bool| {
                for (owner, &writer) in writers.iter().enumerate() {
                    for map in &maps {
                        let key = world.key_of(owner, map, 0);
                        world.send(writers[(owner + 1) % shards], &op(map, &key, is_count));
                        world.send(writer, &op(map, &key, is_count));
                    }
                }
            };
            write_all(&mut world, false);
            (0..before).for_each(|_| world.turn());
            let requests = [world.clear(shards - 1), world.clear(0)];
            (0..after).for_each(|_| world.turn());
            let is_open = |world: &World| writers.iter().all(|&writer| !world.is_paused(writer));
            let mut sent = 1;
            if is_open(&world) {
                write_all(&mut world, true);
                sent += 1;
            }
            world.settle();
            for (&writer, of) in writers.iter().zip(0..) {
                let answers = world.received(writer);
                assert_eq!(
                    answers.len(),
                    sent * 2 * shards,
                    "shard {of}, {before} and {after} turns: {answers:?}"
                );
            }
            assert!(requests.into_iter().all(|request| world.has_succeeded(request)));
            for map in &maps {
                let keys: Vec<String> = (0..shards).map(|owner| world.key_of(owner, map, 1)).collect();
                let counted = |key: &String| applied(&world.answer(writers[0], &op(map, key, true)));
                let types: Vec<u64> = keys.iter().map(counted).collect();
                assert!(
                    types.iter().all(|&counts| counts == types[0]),
                    "{map}, {before} and {after} turns: {types:?}"
                );
            }
        }
    }
}

#[test]
fn clears_that_meet_are_all_answered_and_others_may_follow() {
    for shards in [1, 2, 3] {
        for turns in 0..TURNS {
            let mut world = world(shards);
            let writer = client(&mut world, 0);
            world.answer(writer, &op("m", "k", false));
            let mut requests: Vec<Client> = Vec::new();
            for _ in 0..3 {
                requests.extend((0..shards).map(|shard| world.clear(shard)));
                (0..turns).for_each(|_| world.turn());
            }
            world.settle();
            assert!(requests.into_iter().all(|request| world.has_succeeded(request)));
            assert_eq!(applied(&world.answer(writer, &op("m", "k", true))), 1);
        }
    }
}

#[test]
fn what_is_sent_while_maps_are_dropped_is_carried_out_on_the_empty_maps() {
    let mut world = world(2);
    let writers = [client(&mut world, 0), client(&mut world, 1)];
    let keys = [world.key_of(0, "m", 0), world.key_of(1, "m", 0)];
    world.answer(writers[0], &op("m", &keys[0], false));
    world.answer(writers[0], &op("m", &keys[1], false));
    let request = world.clear(0);
    // Shard 0 holds from here on.
    for key in &keys {
        world.send(writers[0], &op("m", key, true));
    }
    let mut read = String::new();
    let _ = write!(read, r#"{{"type":"read","id":3,"map":"m","keys":["{}","{}"]}}"#, keys[0], keys[1]);
    world.send(writers[0], &read);
    world.settle();
    assert!(world.has_succeeded(request));
    let answers = world.received(writers[0]);
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!((applied(&answers[0]), applied(&answers[1])), (1, 1));
    let counts = answers[2]["entries"].as_array().unwrap();
    assert!(counts.len() == 2 && counts.iter().all(|entry| entry["count"] == 1), "{answers:?}");
}

#[test]
fn a_client_that_leaves_before_the_end_harms_nobody() {
    for turns in 0..TURNS {
        let mut world = world(2);
        let request = world.clear(1);
        (0..turns).for_each(|_| world.turn());
        world.close(request);
        world.settle();
        let writer = client(&mut world, 1);
        assert_eq!(applied(&world.answer(writer, &op("m", "k", false))), 1);
        clear(&mut world, 0);
    }
}
