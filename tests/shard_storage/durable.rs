//! When a write that asks for `durable` is answered, and with what.

use simd_json::prelude::*;

use crate::world::World;

fn set(id: u32, ack: &str, map: &str, keys: &[String]) -> String {
    let op = |key: &String| format!(r#"{{"map":"{map}","key":"{key}","op":"set","value":{id}}}"#);
    let ops = keys.iter().map(op).collect::<Vec<_>>().join(",");
    format!(r#"{{"type":"write","id":{id},"ack":"{ack}","ops":[{ops}]}}"#)
}

#[test]
fn a_durable_ack_waits_for_its_batch() {
    let mut world = World::new(1);
    let client = world.connect(0);
    world.serve();
    world.received(client);
    let key = world.key_of(0, "todos", 0);
    assert!(
        world.ask(client, &set(1, "memory", "todos", std::slice::from_ref(&key))).is_empty(),
        "the map is not loaded"
    );
    world.serve();
    assert_eq!(world.received(client)[0]["level"], "memory");
    world.serve();

    assert!(world.ask(client, &set(2, "durable", "todos", std::slice::from_ref(&key))).is_empty());
    assert!(world.ask(client, &set(3, "durable", "todos", &[key])).is_empty());
    let durable = world.progress.shard(0).durable();
    world.make_durable(0, durable + 1, 0, CLOCK);
    world.settle();
    let acks = world.received(client);
    assert_eq!(acks.len(), 1, "{acks:?}");
    assert_eq!((&acks[0]["id"], &acks[0]["level"]), (&2.into(), &"durable".into()));
    assert!(acks[0].get("timeout").is_none() && acks[0]["stamps"][0].is_str());
    world.make_durable(0, durable + 2, 0, CLOCK);
    world.settle();
    assert_eq!(world.received(client)[0]["id"], 3);
    assert_eq!(world.metrics().durable_acks, 2);
}

#[test]
fn a_write_of_two_owners_waits_for_both() {
    for first in [0, 1] {
        let mut world = World::new(2);
        let client = world.connect(0);
        let keys = [world.key_of(0, "todos", 0), world.key_of(1, "todos", 0)];
        world.ask(client, &set(1, "memory", "todos", &keys));
        world.serve();
        world.received(client);
        assert!(world.ask(client, &set(2, "durable", "todos", &keys)).is_empty());
        for shard in [first, 1 - first] {
            assert!(world.received(client).is_empty());
            let durable = world.progress.shard(shard).durable();
            world.make_durable(shard, durable + 1, 0, CLOCK);
            world.settle();
        }
        let acks = world.received(client);
        assert_eq!(acks[0]["level"], "durable", "{acks:?}");
        assert_eq!(acks[0]["applied"], 2);
    }
}

#[test]
fn a_write_that_lost_waits_for_what_it_lost_to() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let client = world.connect(0);
        let key = world.key_of(shards - 1, "todos", 0);
        world.ask(client, &set(1, "memory", "todos", std::slice::from_ref(&key)));
        world.serve();
        world.received(client);
        let winner = set(2, "memory", "todos", std::slice::from_ref(&key));
        assert_eq!(world.answer(client, &winner)["level"], "memory");
        let loser = format!(
            r#"{{"type":"write","id":3,"ack":"durable","ops":[{{"map":"todos","key":"{key}","op":"delete","at":"1:0:old"}}]}}"#
        );
        assert!(world.ask(client, &loser).is_empty(), "what it lost to is not durable");
        world.serve();
        assert_eq!(world.received(client)[0]["level"], "durable");
    }
}

#[test]
fn what_is_durable_already_is_answered_at_once() {
    let mut world = World::new(1);
    let client = world.connect(0);
    let key = world.key_of(0, "todos", 0);
    world.ask(client, &set(1, "memory", "todos", std::slice::from_ref(&key)));
    world.serve();
    world.received(client);
    let loser = format!(
        r#"{{"type":"write","id":3,"ack":"durable","ops":[{{"map":"todos","key":"{key}","op":"delete","at":"1:0:old"}}]}}"#
    );
    assert_eq!(world.answer(client, &loser)["level"], "durable");
    let refused = format!(
        r#"{{"type":"write","id":4,"ack":"durable","ops":[{{"map":"todos","key":"{key}","op":"increment","by":1}}]}}"#
    );
    assert_eq!(world.answer(client, &refused)["rejected"][0]["code"], "map_type");
}

#[test]
fn a_late_disk_leaves_the_level_memory() {
    let mut world = World::with(2, |config| config.ack_timeout_ms = 200);
    let client = world.connect(0);
    let keys = [world.key_of(0, "todos", 0), world.key_of(1, "todos", 0)];
    world.ask(client, &set(1, "memory", "todos", &keys));
    world.serve();
    world.received(client);
    assert!(world.ask(client, &set(2, "durable", "todos", &keys)).is_empty());
    world.pass_ms(201);
    let ack = world.received(client).remove(0);
    assert_eq!(
        (&ack["level"], &ack["timeout"], &ack["applied"]),
        (&"memory".into(), &true.into(), &2.into())
    );
    assert!(ack.get("rejected").is_none(), "it was merged: {ack}");
    world.serve();
    assert!(world.received(client).is_empty(), "answered twice");
    assert!(world.ask(client, &set(3, "durable", "todos", &keys)).is_empty());
    world.serve();
    assert_eq!(world.received(client)[0]["level"], "durable");
}

#[test]
fn hello_says_which_levels_can_be_reached() {
    for (offers_durable, levels) in [(true, 3), (false, 2)] {
        let mut world = World::with(1, |config| config.offers_durable = offers_durable);
        let client = world.connect(0);
        let hello = world.received(client).remove(0);
        assert_eq!(hello["acks"].as_array().unwrap().len(), levels, "{hello}");
        world.ask(client, &set(1, "memory", "todos", &["k".to_owned()]));
        world.serve();
        world.received(client);
        let answers = world.ask(client, &set(2, "durable", "todos", &["k".to_owned()]));
        assert_eq!(answers.is_empty(), offers_durable);
        world.serve();
        let level = if offers_durable { "durable" } else { "memory" };
        let answers = answers.into_iter().chain(world.received(client)).collect::<Vec<_>>();
        assert_eq!(answers[0]["level"], level);
    }
}

#[test]
fn a_shard_wants_to_be_woken_only_while_it_waits() {
    let mut world = World::new(2);
    let client = world.connect(0);
    let key = world.key_of(1, "todos", 0);
    world.ask(client, &set(1, "memory", "todos", std::slice::from_ref(&key)));
    world.serve();
    world.settle();
    let wants = |world: &World| world.progress.shard(0).take_wants_wake();
    wants(&world);
    world.settle();
    assert!(!wants(&world));
    world.ask(client, &set(2, "durable", "todos", &[key]));
    assert!(wants(&world), "its client waits for shard 1");
    assert!(!world.progress.shard(1).take_wants_wake(), "nobody waits there");
    world.turn();
    assert!(wants(&world), "still");
    world.serve();
    wants(&world);
    world.settle();
    assert!(!wants(&world));
}

const CLOCK: annulus::crdt::Time = annulus::crdt::Time::ZERO;
