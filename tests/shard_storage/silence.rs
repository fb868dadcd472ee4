//! Silence: what counts as a sign of life, and that time in which this server heard nobody counts for nobody.

use std::net::{IpAddr, Ipv4Addr};

use annulus::config::{Config, DialectPath, RateLimit};
use annulus::dialect::synckit;
use annulus::limits::{CONNECTION_REQUESTS_PENDING_MAX, JOURNAL_BACKLOG_BYTES};
use annulus::shard::work;

use crate::world::{Client, World};

const HEARTBEAT_MS: u64 = 2_000;
/// What a timer may be late, with room.
const LATE_MS: u64 = 200;

fn beating(config: &mut Config) {
    config.heartbeat_ms = HEARTBEAT_MS;
    // Requests wait for as long as the tests do.
    config.ack_timeout_ms = 3_600_000;
}

fn client(world: &mut World) -> Client {
    let client = world.connect(0);
    world.received(client);
    client
}

fn timeouts(world: &World) -> u64 {
    world.metrics().closes(4005)
}

fn write(map: &str, key: &str, bytes: usize) -> String {
    let value = "x".repeat(bytes);
    format!(
        r#"{{"type":"write","id":1,"ops":[{{"map":"{map}","key":"{key}","op":"set","value":"{value}"}}]}}"#
    )
}

#[test]
fn a_client_that_says_nothing_is_pinged_once_and_then_closed() {
    let mut world = World::with(1, beating);
    let silent = client(&mut world);
    world.pass_ms(HEARTBEAT_MS / 2 - LATE_MS);
    assert_eq!(world.pings(silent), 0);
    world.pass_ms(2 * LATE_MS);
    assert_eq!((world.pings(silent), timeouts(&world)), (1, 0));
    world.pass_ms(HEARTBEAT_MS / 2 - 2 * LATE_MS);
    assert_eq!((world.pings(silent), timeouts(&world)), (0, 0));
    world.pass_ms(2 * LATE_MS);
    assert_eq!(timeouts(&world), 1);
}

#[test]
fn time_in_which_the_server_stood_still_counts_for_nobody() {
    // Silent for less than half of the heartbeat before, and for more: that one has been pinged.
    for (before_ms, before) in [(HEARTBEAT_MS / 4, 0), (HEARTBEAT_MS - LATE_MS, 1)] {
        let mut world = World::with(1, beating);
        let (well, gone) = (client(&mut world), client(&mut world));
        world.pass_ms(before_ms);
        assert_eq!((world.pings(well), world.pings(gone)), (before, before));
        world.stand_still_ms(30_000);
        assert_eq!(timeouts(&world), 0, "after {before_ms} ms of silence");
        world.pass_ms(HEARTBEAT_MS / 2 - before_ms.min(HEARTBEAT_MS / 2) + LATE_MS);
        assert_eq!((world.pings(well), world.pings(gone)), (1, 1), "one ping to each");
        world.pong(well);
        world.pass_ms(HEARTBEAT_MS / 2 - 2 * LATE_MS);
        assert_eq!(timeouts(&world), 0, "both have the usual time to answer");
        world.pass_ms(2 * LATE_MS);
        assert_eq!(timeouts(&world), 1, "the one that is gone");
    }
}

#[test]
fn a_handshake_has_the_time_it_had_before_the_server_stood_still() {
    let mut world = World::with(1, |config| config.handshake_timeout_ms = 1_000);
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (prompt, _late) = (world.accept(0, address), world.accept(0, address));
    world.pass_ms(500);
    world.stand_still_ms(3_600_000);
    world.upgrade(prompt, "/v1");
    world.settle();
    assert!(world.is_open(prompt));
    world.pass_ms(400);
    assert_eq!(world.metrics().handshakes_refused, 0);
    world.pass_ms(200);
    assert_eq!((world.metrics().handshakes_refused, world.metrics().sockets), (1, 1));
}

/// Each reason for which this server does not read a client, and what brings it about.
type Reason = (&'static str, fn() -> (World, Client));

const REASONS: [Reason; 6] = [
    ("the disk is behind", || {
        let mut world = World::with(1, beating);
        let client = client(&mut world);
        while !world.is_paused(client) {
            world.send(client, &write("m", "k", 200 << 10));
            world.serve_loads();
        }
        assert!(world.metrics().journal_pending_bytes >= JOURNAL_BACKLOG_BYTES as u64);
        (world, client)
    }),
    ("all maps are being dropped", || {
        let mut world = World::with(1, beating);
        let client = client(&mut world);
        world.send(client, &write("m", "k", 1));
        world.serve_loads();
        world.clear(0);
        world.send(client, &write("m", "k", 1));
        world.settle();
        (world, client)
    }),
    ("another shard takes nothing", || {
        let mut world = World::with(2, |config| {
            beating(config);
            config.outbox_soft_bytes = 1 << 30;
            config.outbox_hard_bytes = 2 << 30;
        });
        let client = client(&mut world);
        let key = world.key_of(1, "m", 0);
        world.nodes[1].driven.is_stopped = true;
        // Others have sent what waits for it, each no more than a connection may.
        for _ in 0..2 {
            let other = world.connect(0);
            while !world.is_paused(other) {
                world.send(other, &write("m", &key, 200 << 10));
                world.settle();
            }
        }
        world.send(client, &write("m", &key, 1));
        world.settle();
        assert!(world.is_paused(client));
        (world, client)
    }),
    ("its requests wait for another shard", || {
        let mut world = World::with(2, beating);
        let client = client(&mut world);
        let key = world.key_of(1, "m", 0);
        world.nodes[1].driven.is_stopped = true;
        for _ in 0..=CONNECTION_REQUESTS_PENDING_MAX {
            world.send(client, &write("m", &key, 1));
        }
        world.settle();
        (world, client)
    }),
    ("its dialect keeps as many requests as it may", || {
        let mut world = World::with(1, |config| {
            beating(config);
            config.dialects = vec![DialectPath::NATIVE, synckit::PATH];
        });
        let client = world.connect_at(0, "/ws");
        for n in 0..2_000 {
            let id = format!("{n:0>250}");
            let text = format!(r#"{{"type":"subscribe","id":"{id}","timestamp":1,"documentId":"d{n}"}}"#);
            world.send(client, &text);
        }
        world.settle();
        (world, client)
    }),
    ("it has sent as much as it may", || {
        let mut world = World::with(1, |config| {
            beating(config);
            config.messages_per_minute_max = 1;
            config.rate_limit = RateLimit::Wait;
        });
        let client = client(&mut world);
        (0..2).for_each(|_| world.send(client, r#"{"type":"ping"}"#));
        world.settle();
        (world, client)
    }),
];

#[test]
fn a_client_that_is_not_read_is_never_silent_and_pinged_all_the_same() {
    for (reason, begin) in REASONS {
        let (mut world, client) = begin();
        assert!(world.is_paused(client), "{reason}");
        world.pings(client);
        const BEATS: u64 = 20;
        for _ in 0..BEATS {
            world.pass_ms(HEARTBEAT_MS);
        }
        assert!(world.is_paused(client), "{reason}");
        assert_eq!(timeouts(&world), 0, "{reason}");
        let pings = world.pings(client) as u64;
        // One each half of the heartbeat, as much later as a timer may be.
        assert!((BEATS * 2 - 5..=BEATS * 2).contains(&pings), "{pings} pings while {reason}");
    }
}

/// A client that is sent 200 KiB once, or so often that it is over the soft limit, of which it takes nothing by itself.
fn flooded(times: usize) -> (World, Client) {
    let mut world = World::with(1, beating);
    let client = client(&mut world);
    world.ask(client, &write("m", "k", 200 << 10));
    world.serve();
    world.stall(client);
    for _ in 0..times {
        world.send(client, r#"{"type":"read","id":1,"map":"m","keys":["k"]}"#);
    }
    world.settle();
    (world, client)
}

#[test]
fn a_slow_client_lives_as_long_as_it_takes_bytes() {
    for is_paused in [true, false] {
        let (mut world, client) = flooded(if is_paused { 3 } else { 1 });
        assert_eq!(world.is_paused(client), is_paused);
        for _ in 0..20 {
            world.pass_ms(HEARTBEAT_MS - LATE_MS);
            assert_eq!(timeouts(&world), 0, "it takes bytes, paused: {is_paused}");
            world.take_bytes(client, 100);
        }
        world.pass_ms(HEARTBEAT_MS + LATE_MS);
        assert_eq!(timeouts(&world), 1, "it takes none, paused: {is_paused}");
    }
}

#[test]
fn what_only_the_kernel_takes_is_no_sign_of_life() {
    let mut world = World::with(1, beating);
    let (gone, busy) = (client(&mut world), client(&mut world));
    world.ask(gone, r#"{"type":"subscribe","id":1,"map":"m"}"#);
    world.serve();
    for _ in 0..HEARTBEAT_MS / 100 + 2 {
        world.send(busy, &write("m", "k", 10));
        world.pass_ms(100);
        world.serve();
    }
    assert_eq!(timeouts(&world), 1);
}

#[test]
fn many_timers_that_are_due_at_once_are_looked_at_over_several_turns() {
    const CLIENTS: usize = 5_000;
    let mut world = World::with(1, beating);
    for _ in 0..CLIENTS {
        let client = world.accept(0, IpAddr::V4(Ipv4Addr::LOCALHOST));
        world.upgrade(client, "/v1");
    }
    world.settle();
    world.pass_ms(HEARTBEAT_MS / 2 - LATE_MS);
    let mut sends = world.metrics().sends;
    let mut most = 0;
    for _ in 0..2 * LATE_MS * 10 {
        world.turn();
        let now = world.metrics().sends;
        most = most.max(now - sends);
        sends = now;
    }
    assert_eq!(sends, 2 * CLIENTS as u64, "each had its hello and a ping");
    assert!(most <= 1_024, "{most} pings in one turn");
}

#[test]
fn a_drain_tells_many_over_several_turns_and_all_of_them() {
    const CLIENTS: usize = 5_000;
    let mut world = World::with(1, |config| config.drain_ms = 60_000);
    for _ in 0..CLIENTS {
        let client = world.accept(0, IpAddr::V4(Ipv4Addr::LOCALHOST));
        world.upgrade(client, "/v1");
    }
    world.settle();
    let silent = world.accept(0, IpAddr::V4(Ipv4Addr::LOCALHOST));
    world.nodes[0].driven.shard.drain();
    let (mut closes, mut turns) = (0, 0);
    while closes < CLIENTS as u64 {
        world.turn();
        let now = world.metrics().closes(1001);
        let most = work::TURN_MAX / work::DISCONNECT + 64;
        assert!(now - closes <= most, "{} were told in one turn", now - closes);
        (closes, turns) = (now, turns + 1);
        assert!(turns < 1_000, "nothing goes on");
        assert!(
            closes == CLIENTS as u64 || world.nodes[0].driven.shard.wait_us() == Some(0),
            "it goes on by itself"
        );
    }
    assert!(turns > 3, "{turns} turns");
    world.settle();
    assert_eq!(world.metrics().sockets, 1, "who has yet to ask has a moment for it");
    world.upgrade(silent, "/v1");
    world.settle();
    assert!(world.is_open(silent) && world.metrics().sockets == 0 && world.nodes[0].has_exited);
}
