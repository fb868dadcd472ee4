//! Connections that send more than they may, where that waits, and what that has to do with signs of life.

use annulus::config::RateLimit;
use simd_json::prelude::*;

use crate::world::{Client, World};

const HEARTBEAT_MS: u64 = 2_000;

/// A world in which what is too much waits.
fn waiting(per_second: u32, per_minute: u32) -> (World, Client) {
    let mut world = World::with(1, |config| {
        config.messages_per_second_max = per_second;
        config.messages_per_minute_max = per_minute;
        config.rate_limit = RateLimit::Wait;
        config.heartbeat_ms = HEARTBEAT_MS;
    });
    let client = world.connect(0);
    world.received(client);
    (world, client)
}

/// Sends pings at once, as one segment of its stream each.
fn send_pings(world: &mut World, client: Client, ids: std::ops::Range<u64>) {
    ids.for_each(|id| world.send(client, &format!(r#"{{"type":"ping","id":{id}}}"#)));
    world.settle();
}

/// The ids of the pongs that have come; nothing else may have.
fn pongs(world: &mut World, client: Client) -> Vec<u64> {
    let answers = world.received(client);
    assert!(answers.iter().all(|answer| answer["type"] == "pong"), "{answers:?}");
    answers.iter().map(|answer| answer["id"].as_u64().unwrap()).collect()
}

#[test]
fn what_is_too_much_waits_in_order_and_nothing_is_refused() {
    let (mut world, client) = waiting(3, 0);
    let other = world.connect(0);
    world.received(other);
    send_pings(&mut world, client, 0..8);
    for (expected, is_paused) in [(0..3, true), (3..6, true), (6..8, false)] {
        assert_eq!(pongs(&mut world, client), expected.collect::<Vec<_>>());
        assert_eq!(world.is_paused(client), is_paused);
        // The driver must know when it is over, and not turn until then.
        let wait_us = world.nodes[0].driven.shard.wait_us().unwrap();
        assert!((1..=1_000_000).contains(&wait_us), "{wait_us}");
        send_pings(&mut world, other, 0..1);
        assert_eq!(pongs(&mut world, other), [0], "each connection has its own");
        world.pass_ms(1_000);
    }
    send_pings(&mut world, client, 8..9);
    assert_eq!(pongs(&mut world, client), [8]);
    assert_eq!(world.metrics().requests_rejected, 0);
}

#[test]
fn whoever_is_not_read_until_the_minute_is_over_is_not_taken_for_silent() {
    let (mut world, client) = waiting(0, 2);
    send_pings(&mut world, client, 0..3);
    assert_eq!(pongs(&mut world, client), [0, 1]);
    for _ in 0..119 {
        world.pass_ms(500);
        assert!(world.is_paused(client));
    }
    world.pass_ms(1_000);
    assert!(!world.is_paused(client));
    assert_eq!(pongs(&mut world, client), [2]);
    // And then for as long as anybody else.
    world.pass_ms(HEARTBEAT_MS / 2);
    assert_eq!(world.metrics().closes(4005), 0);
    (0..4).for_each(|_| world.pass_ms(HEARTBEAT_MS / 2));
    assert_eq!(world.metrics().closes(4005), 1);
}

#[test]
fn one_that_goes_while_it_waits_is_forgotten() {
    let (mut world, client) = waiting(1, 0);
    send_pings(&mut world, client, 0..2);
    assert!(world.is_paused(client));
    world.close(client);
    world.settle();
    let successor = world.connect(0);
    world.received(successor);
    world.pass_ms(1_500);
    send_pings(&mut world, successor, 0..1);
    assert_eq!(pongs(&mut world, successor), [0]);
}

/// Goal: whoever was never slowed is handled at once, whatever time it is. Method: the low 32 bits of the clock's
/// milliseconds are about to begin anew, as after 49.7 days.
#[test]
fn nobody_is_slowed_when_the_low_bits_of_the_clock_begin_anew() {
    let mut world = World::new(1);
    world.stand_still_ms((1 << 32) - 2_000);
    let client = world.connect(0);
    world.received(client);
    for id in 0..30 {
        send_pings(&mut world, client, id..id + 1);
        assert_eq!(pongs(&mut world, client), [id]);
        assert!(!world.is_paused(client));
        world.pass_ms(100);
    }
}
