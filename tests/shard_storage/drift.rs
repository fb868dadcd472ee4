//! Clocks that are ahead, of clients and of the host: what is taken, what `hello` tells, and when values end.

use annulus::crdt::Time;
use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::clearing::client;
use crate::world::{Client, UNIX_START_MS, World};

const DRIFT_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;

/// A `set` and what it was answered with.
fn set(world: &mut World, client: Client, key: &str, more: &str) -> Value {
    let op = format!(r#"{{"map":"todos","key":"{key}","op":"set","value":1{more}}}"#);
    world.send(client, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#));
    world.serve();
    world.received(client).remove(0)
}

fn entry(world: &mut World, client: Client, key: &str) -> Value {
    world.send(client, &format!(r#"{{"type":"read","id":2,"map":"todos","keys":["{key}"]}}"#));
    world.serve();
    world.received(client)[0]["entries"][0].clone()
}

fn millis(stamp: &Value) -> u64 {
    stamp.as_str().unwrap().split(':').next().unwrap().parse().unwrap()
}

/// What the server says the time is.
fn told_ms(world: &mut World, client: Client) -> u64 {
    millis(&world.answer(client, r#"{"type":"ping","id":3}"#)["time"])
}

fn at(millis: u64) -> String {
    format!(r#","at":"{millis}:65535:phone""#)
}

#[test]
fn a_time_to_live_counts_from_the_arrival_however_far_the_clock_was_pushed() {
    for mut world in [World::in_memory(2), World::stored_at(Time::new(UNIX_START_MS + 14 * HOUR_MS, 0), 2)] {
        let client = client(&mut world, 0);
        let key = world.key_of(1, "todos", 0);
        let ahead_ms = world.unix_ms() + DRIFT_MS - 1_000;
        assert_eq!(set(&mut world, client, "pushed", &at(ahead_ms))["applied"], 1);
        assert_eq!(set(&mut world, client, &key, r#","ttl_ms":1000"#)["applied"], 1);
        let ends_ms = entry(&mut world, client, &key)["expires_at"].as_u64().unwrap();
        let left_ms = ends_ms - world.unix_ms();
        assert!((900..=1_000).contains(&left_ms), "it ends in {left_ms} ms");
        world.pass_ms(1_100);
        assert_eq!(entry(&mut world, client, &key)["deleted"], true);
        // By its own stamp the client knows when.
        set(&mut world, client, "given", &format!(r#"{},"ttl_ms":2000"#, at(ahead_ms)));
        assert_eq!(entry(&mut world, client, "given")["expires_at"], ahead_ms + 2_000);
    }
}

#[test]
fn a_wall_clock_that_was_ahead_makes_nothing_live_longer() {
    let mut world = World::in_memory(1);
    let client = client(&mut world, 0);
    world.skews_ms = vec![HOUR_MS as i64];
    assert_eq!(set(&mut world, client, "then", "")["applied"], 1);
    let then_ms = told_ms(&mut world, client);
    assert!(then_ms >= UNIX_START_MS + HOUR_MS);
    world.skews_ms = vec![0];
    set(&mut world, client, "now", r#","ttl_ms":1000"#);
    world.pass_ms(1_100);
    assert_eq!(entry(&mut world, client, "now")["deleted"], true);
    // Who follows the server's clock is taken, and later than what was written then.
    let told = told_ms(&mut world, client);
    assert_eq!(set(&mut world, client, "then", &at(told + 1))["applied"], 1);
    assert_eq!(millis(&entry(&mut world, client, "then")["at"]), told + 1);
}

#[test]
fn what_hello_tells_is_taken_whatever_clients_and_the_host_have_done() {
    let mut random = 7_u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    for stored_ms in [0, DRIFT_MS / 2, DRIFT_MS, DRIFT_MS + 1, HOUR_MS, 14 * 8_766 * HOUR_MS] {
        let mut world = World::stored_at(Time::new(UNIX_START_MS + stored_ms, 9), 2);
        let began_ms = world.unix_ms();
        let clients: Vec<Client> = (0..2).map(|shard| client(&mut world, shard)).collect();
        for n in 0..200 {
            let client = clients[below(2) as usize];
            let key = format!("k{}", below(20));
            let reference_ms = world.unix_ms() + if stored_ms > DRIFT_MS { stored_ms } else { 0 };
            // Somebody who pushes as far as it goes, somebody whose clock is right, and somebody who asks first.
            let push_ms = reference_ms + DRIFT_MS + below(3) - 1;
            set(&mut world, client, &key, &at(push_ms));
            set(&mut world, client, &key, &at(began_ms));
            let told = told_ms(&mut world, client);
            let taken = set(&mut world, client, &key, &format!(r#","at":"{}:0:phone""#, told + 1));
            assert_eq!(taken["applied"], 1, "{n}: {told} + 1 was refused: {taken}");
            let given = millis(&set(&mut world, client, &key, "")["stamps"][0]);
            let passed_ms = world.unix_ms() - began_ms;
            let limit_ms = began_ms + passed_ms + if stored_ms > DRIFT_MS { stored_ms } else { 0 } + DRIFT_MS;
            // A client's counter may be full, which carries.
            assert!(given <= limit_ms + 1, "{n}: the clock is {} ms beyond", given - limit_ms);
            world.pass_ms(below(50));
        }
    }
}
