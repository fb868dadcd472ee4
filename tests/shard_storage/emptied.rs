//! Maps that nothing is left of: they are gone with their types, and nobody is told less for it. In memory alone, as a
//! storage keeps types.

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::world::{Client, World};

const RETENTION_MS: u64 = 1_000;

fn world(shards: usize) -> (World, Client) {
    let mut world = World::in_memory_with(shards, |config| config.tombstone_retention_ms = RETENTION_MS);
    let client = world.connect(0);
    world.received(client);
    (world, client)
}

fn write(world: &mut World, client: Client, op: &str) -> Value {
    world.answer(client, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#))
}

fn set(map: &str, key: &str) -> String {
    format!(r#"{{"map":"{map}","key":"{key}","op":"set","value":1}}"#)
}

fn delete(map: &str, key: &str) -> String {
    format!(r#"{{"map":"{map}","key":"{key}","op":"delete"}}"#)
}

fn increment(map: &str, key: &str) -> String {
    format!(r#"{{"map":"{map}","key":"{key}","op":"increment","by":1}}"#)
}

/// How many operations were refused because the map holds another type.
fn refused(answer: &Value) -> usize {
    let Some(rejected) = answer.get_array("rejected") else { return 0 };
    rejected.iter().for_each(|reject| assert_eq!(reject["code"], "map_type", "{answer}"));
    rejected.len()
}

/// Lets removals be forgotten, on every shard.
fn forget(world: &mut World) {
    for _ in 0..4 {
        world.pass_ms(RETENTION_MS);
    }
}

fn held(world: &World) -> (u64, u64, u64) {
    let metrics = world.metrics();
    (metrics.map_names, metrics.cells, metrics.resident_bytes)
}

#[test]
fn a_map_whose_last_removal_is_forgotten_is_gone_with_its_type() {
    for shards in [1, 2, 3] {
        let (mut world, client) = world(shards);
        for n in 0..50 {
            let (map, key) = (format!("m{n}"), format!("k{n}"));
            write(&mut world, client, &set(&map, &key));
            write(&mut world, client, &delete(&map, &key));
            assert_eq!(refused(&write(&mut world, client, &increment(&map, &key))), 1);
        }
        assert_eq!((held(&world).0, held(&world).1), (50, 50));
        forget(&mut world);
        assert_eq!(held(&world), (0, 0, 0), "{shards} shards");
        for n in 0..50 {
            let answer = write(&mut world, client, &increment(&format!("m{n}"), &format!("k{n}")));
            assert_eq!(refused(&answer), 0, "{answer}");
        }
        assert_eq!(held(&world).0, 50);
    }
}

#[test]
fn a_map_whose_first_writes_were_refused_leaves_nothing() {
    for shards in [1, 2, 3] {
        let (mut world, client) = world(shards);
        for n in 0..50 {
            let op = format!(
                r#"{{"map":"m{n}","key":"k","op":"set","value":1,"at":"{}:0:me"}}"#,
                world.unix_ms() + 3_600_000
            );
            let answer = write(&mut world, client, &format!("{op},{op}"));
            assert_eq!(answer["rejected"].as_array().unwrap().len(), 2, "{answer}");
        }
        assert_eq!(held(&world), (0, 0, 0), "{shards} shards");
    }
}

#[test]
fn a_type_stays_while_any_shard_has_a_cell() {
    let (mut world, client) = world(2);
    for home in 0..2 {
        let map = world.map_of(home, "m");
        let (near, far) = (world.key_of(home, &map, 0), world.key_of(1 - home, &map, 0));
        for key in [&near, &far] {
            write(&mut world, client, &set(&map, key));
        }
        // First the home has no cell, then only the home has one, then nobody.
        for (gone, back, left) in [(&near, Some(&near), 1), (&far, Some(&far), 1), (&near, None, 0)] {
            write(&mut world, client, &delete(&map, gone));
            if left == 0 {
                write(&mut world, client, &delete(&map, &far));
            }
            forget(&mut world);
            let ops = [&near, &far].map(|key| increment(&map, key)).join(",");
            let answer = write(&mut world, client, &ops);
            assert_eq!(refused(&answer), 2 * left, "{answer}");
            if let Some(back) = back {
                assert_eq!(refused(&write(&mut world, client, &set(&map, back))), 0);
            }
        }
    }
}

#[test]
fn a_map_that_is_watched_keeps_its_type() {
    for shards in [1, 2] {
        let (mut world, client) = world(shards);
        world.ask(client, r#"{"type":"subscribe","id":1,"map":"m"}"#);
        write(&mut world, client, &set("m", "k"));
        write(&mut world, client, &delete("m", "k"));
        world.received(client);
        forget(&mut world);
        assert_eq!(refused(&write(&mut world, client, &increment("m", "k"))), 1);
        world.ask(client, r#"{"type":"unsubscribe","id":2,"map":"m"}"#);
        assert_eq!(held(&world), (0, 0, 0), "{shards} shards");
    }
}

#[test]
fn whoever_has_not_seen_a_map_end_starts_over() {
    for shards in [1, 2] {
        let (mut world, client) = world(shards);
        write(&mut world, client, &set("m", "k"));
        let snapshot = world.ask(client, r#"{"type":"subscribe","id":1,"map":"m"}"#);
        let cursor = snapshot.last().unwrap()["cursor"].as_str().unwrap().to_owned();
        world.ask(client, r#"{"type":"unsubscribe","id":2,"map":"m"}"#);
        write(&mut world, client, &delete("m", "k"));
        forget(&mut world);
        assert_eq!(held(&world), (0, 0, 0));
        let subscribe = format!(r#"{{"type":"subscribe","id":3,"map":"m","since":"{cursor}"}}"#);
        for _ in 0..2 {
            // First it is not there, then it has come anew.
            let snapshot = world.ask(client, &subscribe);
            assert_eq!(snapshot.last().unwrap()["reset"], true, "{snapshot:?}");
            world.ask(client, r#"{"type":"unsubscribe","id":4,"map":"m"}"#);
            write(&mut world, client, &set("m", "other"));
        }
    }
}
