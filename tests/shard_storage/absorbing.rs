//! Counters that more replicas count in than there is room for.

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::world::{Client, World};

const REPLICAS_MAX: usize = 10;
const RETENTION_MS: u64 = 60_000;

fn world() -> World {
    World::with(1, |config| {
        config.cell_bytes_max = 64 * REPLICAS_MAX;
        config.tombstone_retention_ms = RETENTION_MS;
    })
}

fn write(world: &mut World, client: Client, op: &str) -> Value {
    let op = format!(r#"{{"map":"m","key":"k",{op}}}"#);
    world.send(client, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#));
    world.serve();
    let received = world.received(client);
    received.into_iter().find(|message| message["type"] == "ack").unwrap_or_else(|| panic!("no ack"))
}

fn total(world: &mut World, client: Client, replica: usize, added: u64) -> Value {
    write(
        world,
        client,
        &format!(r#""op":"increment","replica":"r{replica}","added":{added},"subtracted":0"#),
    )
}

fn count(world: &mut World, client: Client) -> i64 {
    world.send(client, r#"{"type":"read","id":2,"map":"m","keys":["k"]}"#);
    world.serve();
    world.received(client)[0]["entries"][0]["count"].as_i64().unwrap()
}

fn is_taken(ack: &Value) -> bool {
    ack.get("rejected").is_none()
}

/// Goal: replicas that have stopped counting do not refuse those that come, nothing is lost and nothing counts twice, in memory,
/// after an eviction and after a restart. Method: as many as there is room for, the retention, and more.
#[test]
fn replicas_that_have_not_counted_for_the_retention_make_room_for_others() {
    let mut world = world();
    let client = world.connect(0);
    world.received(client);
    for replica in 0..REPLICAS_MAX {
        assert!(is_taken(&total(&mut world, client, replica, 5)));
    }
    let refused = total(&mut world, client, 99, 5);
    assert_eq!(refused["rejected"][0]["code"], "too_large", "{refused:?}");
    let refused = write(&mut world, client, r#""op":"increment","by":1"#);
    assert_eq!(refused["rejected"][0]["code"], "too_large", "{refused:?}");

    world.pass_ms(RETENTION_MS / 2);
    // Two count on, in time.
    assert!(is_taken(&total(&mut world, client, 0, 6)) && is_taken(&total(&mut world, client, 1, 6)));
    world.pass_ms(RETENTION_MS / 2 + 10);
    assert_eq!(count(&mut world, client), 52);
    assert!(is_taken(&write(&mut world, client, r#""op":"increment","by":1"#)));
    assert_eq!(count(&mut world, client), 53);
    for replica in 20..27 {
        assert!(is_taken(&total(&mut world, client, replica, 1)), "eight have left room");
    }
    let refused = total(&mut world, client, 27, 1);
    assert_eq!(refused["rejected"][0]["code"], "too_large", "{refused:?}");
    // A late total of one that stayed says nothing new, and a later one what it has counted since.
    assert!(is_taken(&total(&mut world, client, 0, 6)) && is_taken(&total(&mut world, client, 1, 16)));
    assert_eq!(count(&mut world, client), 70);

    let stored = world.disk.clone();
    let mut again = World::over(stored, 1, |config| config.tombstone_retention_ms = RETENTION_MS);
    let client = again.connect(0);
    again.received(client);
    assert_eq!(count(&mut again, client), 70);
    assert!(is_taken(&total(&mut again, client, 1, 17)));
    assert_eq!(count(&mut again, client), 71);
}

/// Goal: who watches a counter is told what it counts, and nothing else, when slots are absorbed.
#[test]
fn absorbing_is_no_change_for_who_watches() {
    let mut world = world();
    let (client, watcher) = (world.connect(0), world.connect(0));
    for replica in 0..REPLICAS_MAX {
        total(&mut world, client, replica, 1);
    }
    world.send(watcher, r#"{"type":"subscribe","id":3,"map":"m"}"#);
    world.serve();
    world.received(watcher);
    world.pass_ms(RETENTION_MS + 10);
    world.received(watcher);
    assert!(is_taken(&total(&mut world, client, 50, 3)));
    let told = world.received(watcher);
    let changes = told.iter().filter(|message| message["type"] == "change");
    let counts: Vec<i64> = changes.map(|message| message["entries"][0]["count"].as_i64().unwrap()).collect();
    assert_eq!(counts, [13], "{told:?}");
}
