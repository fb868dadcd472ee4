//! The order of stamps: whatever a connection has been told is below what it asks for next, on any shard.

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::clearing::client;
use crate::world::{Client, World};

/// Shards whose clocks disagree by seconds, in both directions.
fn world() -> World {
    let mut world = World::in_memory(3);
    world.skews_ms = vec![0, 4_000, -4_000];
    world
}

/// Milliseconds and counter.
type Tick = (u64, u64);

fn tick(stamp: &str) -> Tick {
    let mut parts = stamp.split(':').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

/// One operation, awaited: the tick of its stamp.
fn write(world: &mut World, client: Client, map: &str, key: &str, op: &str) -> Tick {
    let text =
        format!(r#"{{"type":"write","id":1,"ops":[{{"map":"{map}","key":"{key}","op":{op},"value":1}}]}}"#);
    let answers = world.ask(client, &text);
    let ack = answers.iter().find(|answer| answer["type"] == "ack").unwrap();
    tick(ack["stamps"][0].as_str().unwrap())
}

/// The latest tick that messages tell of.
fn told(messages: &[Value]) -> Tick {
    let entries = messages.iter().filter_map(|message| message.get_array("entries")).flatten();
    entries.map(|entry| tick(entry["at"].as_str().unwrap())).max().unwrap()
}

#[test]
fn awaited_writes_have_growing_stamps_whatever_shard_owns_the_key() {
    let mut world = world();
    for shard in 0..3 {
        let client = client(&mut world, shard);
        let mut last = (0, 0);
        for n in 0..300 {
            let (map, op) = [("todos", r#""set""#), ("tags", r#""add""#), ("more", r#""set""#)][n % 3];
            let stamp = write(&mut world, client, map, &format!("k{shard}-{n}"), op);
            assert!(stamp > last, "write {n} on shard {shard} has {stamp:?} after {last:?}");
            last = stamp;
        }
    }
}

#[test]
fn a_write_is_later_than_all_that_its_connection_has_been_told() {
    let mut world = world();
    let writers: Vec<Client> = (0..3).map(|shard| client(&mut world, shard)).collect();
    let readers: Vec<Client> = (0..3).map(|shard| client(&mut world, shard)).collect();
    for &reader in &readers {
        world.ask(reader, r#"{"type":"subscribe","id":9,"map":"todos"}"#);
    }
    for n in 0..60 {
        let (writer, reader) = (writers[n % 3], readers[n / 3 % 3]);
        let key = world.key_of(n / 9 % 3, "todos", n);
        write(&mut world, writer, "todos", &key, r#""set""#);
        // Of a change on the one side, of the answer to a read on the other.
        let change = told(&world.received(reader));
        let key = world.key_of(n / 2 % 3, "other", n);
        let answer = write(&mut world, reader, "other", &key, r#""set""#);
        assert!(answer > change, "{n}: {answer:?} after the change {change:?}");
        let read = format!(r#"{{"type":"read","id":2,"map":"other","keys":["{key}"]}}"#);
        let read = told(&world.ask(writer, &read));
        let key = world.key_of((n + 1) % 3, "third", n);
        let after = write(&mut world, writer, "third", &key, r#""set""#);
        assert!(after > read && read == answer, "{n}: {after:?} after reading {read:?}");
    }
}

#[test]
fn a_stamp_that_a_client_brought_is_below_what_it_asks_for_next() {
    let mut world = world();
    let client = client(&mut world, 0);
    for shard in 0..3 {
        let ahead = format!("{}:7:phone", crate::world::UNIX_START_MS + 20_000 + shard as u64 * 1_000);
        let key = world.key_of(shard, "todos", 0);
        let op = format!(r#""set","at":"{ahead}""#);
        write(&mut world, client, "todos", &key, &op);
        for other in 0..3 {
            let key = world.key_of(other, "todos", 1 + shard);
            let stamp = write(&mut world, client, "todos", &key, r#""set""#);
            assert!(stamp > tick(&ahead), "on shard {other} after {ahead}: {stamp:?}");
        }
    }
}
