//! Reads that need not wait until all of their map is there.

use annulus::handover::{FromStorage, LookUp, ToStorage};
use simd_json::prelude::*;

use crate::world::{Client, World};

/// A restarted server with a map of some keys, of which nothing is in memory, and two clients.
fn restarted(shards: usize) -> (World, [Client; 2]) {
    let mut world = World::new(1);
    let client = world.connect(0);
    for n in 0..100 {
        let op = format!(r#"{{"map":"todos","key":"k{n}","op":"set","value":{n}}}"#);
        world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#));
        world.serve();
    }
    let mut world = World::over(world.disk, shards, |_| {});
    let clients = [0, shards - 1].map(|shard| world.connect(shard));
    clients.iter().for_each(|&client| drop(world.received(client)));
    (world, clients)
}

fn read(world: &mut World, client: Client, id: usize, keys: &[&str]) {
    let keys = keys.iter().map(|key| format!(r#""{key}""#)).collect::<Vec<_>>().join(",");
    world.send(client, &format!(r#"{{"type":"read","id":{id},"map":"todos","keys":[{keys}]}}"#));
    world.settle();
}

fn write(world: &mut World, client: Client, key: &str) {
    let op = format!(r#"{{"map":"todos","key":"{key}","op":"set","value":"new"}}"#);
    world.send(client, &format!(r#"{{"type":"write","id":7,"ops":[{op}]}}"#));
    world.settle();
}

/// What was asked for, while the loads of the maps take long.
fn look_ups(world: &mut World, shard: usize) -> Vec<LookUp> {
    let items = world.take(shard).into_iter();
    items
        .filter_map(|item| if let ToStorage::LookUp(look_up) = item { Some(look_up) } else { None })
        .collect()
}

fn answer(world: &mut World, shard: usize, look_up: LookUp) {
    let found = world.found(look_up);
    world.push(shard, FromStorage::Found(found));
    world.settle();
}

fn values(world: &mut World, client: Client) -> Vec<(u64, Vec<String>)> {
    let answers = world.received(client).into_iter().filter(|answer| answer["type"] == "entries");
    let of = |answer: simd_json::OwnedValue| {
        let entries = answer["entries"].as_array().unwrap().iter();
        let mut values: Vec<String> = entries.map(|entry| entry["value"].to_string()).collect();
        values.sort_unstable();
        (answer["id"].as_u64().unwrap(), values)
    };
    answers.map(of).collect()
}

#[test]
fn a_read_that_has_waited_is_answered_before_its_map_is_there() {
    for shards in [1, 2] {
        let (mut world, [client, _]) = restarted(shards);
        read(&mut world, client, 1, &["k1", "k2", "k3", "none"]);
        (0..shards).for_each(|shard| assert!(look_ups(&mut world, shard).is_empty(), "a load may be quick"));
        world.pass_ms(150);
        let mut asked = 0;
        for shard in 0..shards {
            for look_up in look_ups(&mut world, shard) {
                asked += 1;
                answer(&mut world, shard, look_up);
            }
        }
        assert!((1..=shards).contains(&asked));
        assert_eq!(values(&mut world, client), [(1, ["1", "2", "3"].map(str::to_owned).to_vec())]);
        let counts = world.metrics();
        assert_eq!((counts.cells, counts.load_ns.count()), (0, 0), "no map is there");
        world.pass_ms(1_000);
        assert!((0..shards).all(|shard| look_ups(&mut world, shard).is_empty()), "it is asked for once");
    }
}

/// Goal: a client reads what it has written. Method: a write and a read behind it wait for one map, and so does the read of
/// another client.
#[test]
fn a_read_behind_a_write_of_its_client_waits_for_it() {
    let (mut world, [writer, other]) = restarted(1);
    write(&mut world, writer, "k1");
    read(&mut world, writer, 1, &["k1"]);
    read(&mut world, other, 2, &["k1"]);
    world.pass_ms(150);
    let mut asked = look_ups(&mut world, 0);
    assert_eq!(asked.len(), 1);
    let chunks = world.chunks(0, "todos");
    answer(&mut world, 0, asked.remove(0));
    assert!(values(&mut world, writer).is_empty());
    assert_eq!(values(&mut world, other), [(2, vec!["1".to_owned()])]);
    for chunk in chunks {
        world.push(0, FromStorage::Chunk(chunk));
        world.settle();
    }
    assert_eq!(values(&mut world, writer), [(1, vec!["new".to_owned()])]);
    assert!(values(&mut world, other).is_empty(), "it has its answer");
}

/// Goal: no read is answered from what is no longer so. Method: what was looked up for a load comes when that is over, and when
/// the map is loaded for another time; then nothing that was found, and a value whose time is up.
#[test]
fn what_comes_too_late_or_not_at_all_changes_nothing() {
    let (mut world, [client, _]) = restarted(1);
    read(&mut world, client, 1, &["k1"]);
    world.pass_ms(150);
    let late = look_ups(&mut world, 0).remove(0);
    let number = late.number;
    let late = world.found(late);
    world.push(0, FromStorage::LoadFailed { map: "todos".into() });
    world.pass_ms(1_200);
    assert_eq!(world.received(client)[0]["code"], "load_failed");
    read(&mut world, client, 2, &["k1"]);
    world.pass_ms(150);
    let mut again = look_ups(&mut world, 0).remove(0);
    assert_ne!(again.number, number);
    world.push(0, FromStorage::Found(late));
    world.settle();
    assert!(values(&mut world, client).is_empty());
    again.keys = Box::default();
    world.push(0, FromStorage::Found(again.answer(None)));
    world.settle();
    assert!(values(&mut world, client).is_empty());
    for chunk in world.chunks(0, "todos") {
        world.push(0, FromStorage::Chunk(chunk));
    }
    world.settle();
    assert_eq!(values(&mut world, client), [(2, vec!["1".to_owned()])]);
}

#[test]
fn a_value_whose_time_is_up_waits_for_its_end() {
    let (mut world, [client, _]) = restarted(1);
    let op = r#"{"map":"todos","key":"k1","op":"set","value":1,"ttl_ms":200}"#;
    world.send(client, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#));
    world.serve();
    let mut world = World::over(world.disk, 1, |_| {});
    let client = world.connect(0);
    world.received(client);
    read(&mut world, client, 1, &["k1"]);
    world.pass_ms(400);
    let look_up = look_ups(&mut world, 0).remove(0);
    answer(&mut world, 0, look_up);
    assert!(values(&mut world, client).is_empty());
    for chunk in world.chunks(0, "todos") {
        world.push(0, FromStorage::Chunk(chunk));
    }
    world.settle();
    let answers = world.received(client);
    assert_eq!(answers[0]["entries"][0]["deleted"], true, "{answers:?}");
}

/// Goal: what is looked up at a time is bounded, and so are its keys. Method: many reads of one key wait, and one of many keys.
#[test]
fn few_are_looked_up_at_a_time() {
    let (mut world, [client, other]) = restarted(1);
    let keys: Vec<String> = (0..17).map(|n| format!("k{n}")).collect();
    read(&mut world, other, 1, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    (0..40).for_each(|id| read(&mut world, client, id, &["k1"]));
    let mut answered = 0;
    for expected in [16, 16, 8, 0] {
        world.pass_ms(150);
        let asked = look_ups(&mut world, 0);
        assert_eq!(asked.len(), expected);
        asked.into_iter().for_each(|look_up| answer(&mut world, 0, look_up));
        answered += values(&mut world, client).len();
    }
    assert_eq!(answered, 40);
    assert!(values(&mut world, other).is_empty());
}
