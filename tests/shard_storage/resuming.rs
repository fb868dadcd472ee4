//! Cursors, and what they promise over a restart.

use annulus::crdt::Time;
use annulus::wire::{Cursor, Scope};
use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::world::{CLOCK_FLOOR, Client, UNIX_START_MS, World};

fn cursor_of(message: &Value) -> Time {
    let text = message["cursor"].as_str().unwrap();
    Cursor::parse(text).unwrap().time
}

fn set(world: &mut World, client: Client, key: &str) {
    world.ask(
        client,
        &format!(r#"{{"type":"write","id":1,"ops":[{{"map":"m","key":"{key}","op":"set","value":1}}]}}"#),
    );
}

fn subscribe(world: &mut World, client: Client, since: Option<Time>) -> Vec<Value> {
    let since = since.map_or(String::new(), |time| {
        let mut text = Vec::new();
        Cursor { epoch: 1, time, scope: Scope::of_map("m") }.write_to(&mut text);
        format!(r#","since":"{}""#, String::from_utf8(text).unwrap())
    });
    world.send(client, &format!(r#"{{"type":"subscribe","id":9,"map":"m"{since}}}"#));
    world.serve();
    world.received(client)
}

fn entries(messages: &[Value]) -> usize {
    messages.iter().map(|message| message["entries"].as_array().unwrap().len()).sum()
}

#[test]
fn no_cursor_names_a_tick_that_is_not_durable() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let (writer, reader) = (world.connect(0), world.connect(shards - 1));
        world.received(reader);
        let snapshot = subscribe(&mut world, reader, None);
        assert_eq!(cursor_of(snapshot.last().unwrap()), CLOCK_FLOOR, "nothing since the start is durable");
        let keys: Vec<String> = (0..shards).map(|shard| world.key_of(shard, "m", 0)).collect();
        for key in &keys {
            set(&mut world, writer, key);
        }
        // The map's type may still have been asked for; nothing of it was durable.
        for _ in 0..3 {
            world.settle();
        }
        let durable = world.progress.durable_clock();
        for change in world.received(reader) {
            assert_eq!(change["type"], "change");
            assert!(cursor_of(&change) <= durable, "{change}");
        }
        world.serve();
        let durable = world.progress.durable_clock();
        assert!(durable.millis() >= UNIX_START_MS);
        set(&mut world, writer, &keys[0]);
        world.pass_ms(200);
        set(&mut world, writer, &keys[0]);
        let changes = world.received(reader);
        assert_eq!(cursor_of(changes.last().unwrap()), durable, "as much as there is");
    }
}

#[test]
fn a_cursor_from_before_a_restart_resumes_whatever_the_number_of_shards() {
    let mut world = World::new(2);
    let client = world.connect(0);
    world.received(client);
    subscribe(&mut world, client, None);
    for n in 0..20 {
        set(&mut world, client, &format!("k{n}"));
        world.serve();
    }
    set(&mut world, client, "k20");
    world.serve();
    let reader = world.connect(1);
    world.received(reader);
    world.pass_ms(200);
    let cursor = cursor_of(subscribe(&mut world, reader, None).last().unwrap());
    for n in 0..5 {
        set(&mut world, client, &format!("late{n}"));
        world.serve();
    }
    for shards in [1, 2, 3] {
        let mut world = World::over(world.disk.clone(), shards, |_| {});
        let reader = world.connect(0);
        world.received(reader);
        let snapshot = subscribe(&mut world, reader, Some(cursor));
        assert_eq!(snapshot.last().unwrap()["resumed"], true);
        assert_eq!(entries(&snapshot), 5, "{snapshot:?}");
        // A new change is above every cursor ever given.
        set(&mut world, reader, "new");
        world.serve();
        let other = world.connect(0);
        world.received(other);
        let floor = world.disk.clock();
        let snapshot = subscribe(&mut world, other, Some(cursor));
        assert!(entries(&snapshot) >= 6 && cursor_of(snapshot.last().unwrap()) <= floor);
    }
}

#[test]
fn clocks_start_above_everything_found() {
    let mut world = World::new(1);
    let client = world.connect(0);
    world.received(client);
    // As if the wall clock had been set back by a minute.
    let far = Time::new(UNIX_START_MS + 30_000, 7);
    world.send(
        client,
        &format!(
            r#"{{"type":"write","id":1,"ops":[{{"map":"m","key":"k","op":"set","value":1,"at":"{}:7:x"}}]}}"#,
            far.millis()
        ),
    );
    world.serve();
    let mut world = World::over(world.disk, 2, |_| {});
    let client = world.connect(1);
    world.received(client);
    for shard in [0, 1] {
        let key = world.key_of(shard, "m", 0);
        world.send(
            client,
            &format!(r#"{{"type":"write","id":1,"ops":[{{"map":"m","key":"{key}","op":"set","value":1}}]}}"#),
        );
        world.serve();
        let stamp = world.received(client)[0]["stamps"][0].as_str().unwrap().to_owned();
        let mut parts = stamp.split(':');
        let (millis, counter) = (parts.next().unwrap(), parts.next().unwrap());
        assert!(Time::new(millis.parse().unwrap(), counter.parse().unwrap()) > far, "{stamp}");
    }
}

#[test]
fn a_cursor_of_a_lost_future_or_a_forgotten_past_is_reset() {
    let mut world = World::new(1);
    let client = world.connect(0);
    world.received(client);
    set(&mut world, client, "k");
    world.serve();
    let pruned = Time::new(UNIX_START_MS - 500, 0);
    world.disk.set_pruned_through("m", pruned);
    let mut world = World::over(world.disk, 1, |_| {});
    for (since, is_reset) in [
        (world.progress.durable_clock().next(), true),
        (world.progress.durable_clock(), false),
        (pruned, false),
        (pruned.previous(), true),
    ] {
        let client = world.connect(0);
        world.received(client);
        let snapshot = subscribe(&mut world, client, Some(since));
        let last = snapshot.last().unwrap();
        assert_eq!(last["reset"], is_reset, "{since:?}: {last}");
        assert_eq!(last["resumed"], !is_reset);
    }
}
