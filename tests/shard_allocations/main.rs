//! A steady turn of a shard allocates nothing: neither for `ping` nor for a fan-out to a hundred subscribers, with
//! a storage or without, in SyncKit, where each has a part of its own, nor for writes that wait for the disk.
//!
//! Method: one shard, driven as `io/driver.rs` drives it but without a ring, and an allocator that counts what
//! this thread asks it for. The clock moves on by 100 µs a turn; heartbeats are further apart than the test is long.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "nothing is read here")]
#[path = "../client_frames/mod.rs"]
mod client_frames;
#[path = "../counting_allocator/mod.rs"]
mod counting_allocator;
#[path = "../eager_storage/mod.rs"]
mod eager_storage;
mod host;
#[path = "../shards/mod.rs"]
mod shards;

use annulus::mesh::ConnectionId;

use client_frames::text_frame;
use counting_allocator::{bytes, bytes_peak};
use host::{Host, TURNS};

const SUBSCRIBERS: u64 = 100;
/// Keys that are overwritten in rotation.
const KEYS: u64 = 64;

#[test]
fn a_steady_turn_of_ping_allocates_nothing() {
    let mut host = Host::new();
    let clients: Vec<ConnectionId> = (0..10).map(|_| host.open()).collect();
    let ping = text_frame(br#"{"type":"ping","id":1234567}"#);
    let (allocations, done) = host.steady(|host, _| clients.iter().for_each(|&id| host.receive(id, &ping)));
    assert_eq!(done.messages_received, TURNS * 10, "every ping was read");
    assert_eq!(done.messages_sent, TURNS * 10, "every ping was answered");
    assert_eq!(allocations, 0, "allocations in {TURNS} turns of 10 pings");
}

#[test]
fn a_steady_turn_of_fanout_allocates_nothing() {
    for (window, is_stored) in [(1, false), (16, false), (1, true), (16, true)] {
        let mut host = if is_stored { Host::stored() } else { Host::new() };
        let publisher = host.open();
        for _ in 0..SUBSCRIBERS {
            let subscriber = host.open();
            host.turn_with(|host| {
                host.receive(subscriber, &text_frame(br#"{"type":"subscribe","map":"board"}"#))
            });
        }
        let writes: Vec<Vec<u8>> = (0..KEYS).map(|n| write(n, "memory")).collect();
        let (allocations, done) = host.steady(|host, turn| {
            for n in 0..window {
                host.receive(publisher, &writes[((turn * window + n) % KEYS) as usize]);
            }
        });
        assert_eq!(done.changes, TURNS * window, "every write was applied");
        assert_eq!(done.deliveries, TURNS * window * SUBSCRIBERS, "every change reached every subscriber");
        assert_eq!(done.conflations, 0);
        assert_eq!(allocations, 0, "allocations in {TURNS} turns of {window} writes");
    }
}

#[test]
fn a_steady_turn_of_fanout_that_names_each_reader_allocates_nothing() {
    for window in [1, 4, 16] {
        let mut host = Host::new();
        let publisher = host.open();
        for n in 0..SUBSCRIBERS {
            let subscriber = host.open_at("/ws");
            let subscribe = format!(
                r#"{{"type":"subscribe","timestamp":1,"id":"1","documentId":"board","clientId":"r{n}"}}"#
            );
            host.turn_with(|host| host.receive(subscriber, &text_frame(subscribe.as_bytes())));
        }
        let writes: Vec<Vec<u8>> = (0..KEYS).map(|n| write(n, "memory")).collect();
        let (allocations, done) = host.steady(|host, turn| {
            for n in 0..window {
                host.receive(publisher, &writes[((turn * window + n) % KEYS) as usize]);
            }
        });
        assert_eq!(done.deliveries, TURNS * window * SUBSCRIBERS, "every change reached every subscriber");
        // What is shared is large, and what names the reader follows it.
        assert_eq!(host.pieces_max, if window == 16 { 2 } else { 1 });
        assert_eq!(allocations, 0, "allocations in {TURNS} turns of {window} writes");
    }
}

#[test]
fn a_steady_turn_of_durable_writes_allocates_nothing() {
    let mut host = Host::stored();
    let clients: Vec<ConnectionId> = (0..10).map(|_| host.open()).collect();
    let writes: Vec<Vec<u8>> = (0..KEYS).map(|n| write(n, "durable")).collect();
    let (allocations, done) = host.steady(|host, turn| {
        for (n, &id) in (0..).zip(&clients) {
            host.receive(id, &writes[((turn * 10 + n) % KEYS) as usize]);
        }
    });
    assert_eq!(done.changes, TURNS * 10, "every write was applied");
    assert_eq!(done.durable_acks, TURNS * 10, "every write was answered");
    assert_eq!(allocations, 0, "allocations in {TURNS} turns of 10 durable writes");
}

#[test]
fn what_waits_for_its_turn_is_neither_copied_nor_moved() {
    const PINGS: usize = 64 << 10;
    let mut host = Host::new();
    host.may_pause = true;
    let client = host.open();
    let flood = text_frame(br#"{"type":"ping"}"#).repeat(PINGS);
    let before = host.shard.metrics_now().messages_received;
    bytes_peak();
    let empty = bytes();
    host.turn_with(|host| flood.chunks(8 << 10).for_each(|part| host.receive(client, part)));
    let arrived = bytes_peak() - empty;
    assert!(arrived <= 3 * flood.len() as i64, "{arrived} B for {} that came", flood.len());
    let (mut turns, kept) = (1, bytes());
    while host.shard.metrics_now().messages_received - before < PINGS as u64 {
        host.turn_with(|_| {});
        turns += 1;
    }
    assert!(turns >= 10, "{turns} turns");
    let more = bytes_peak() - kept;
    assert!(more <= 256 << 10, "{more} B more while {} were handled", flood.len());
    assert!(bytes() - empty <= 64 << 10, "{} B are left", bytes() - empty);
}

/// Bytes of an idle connection: itself, and what a list of all of them keeps for it.
const IDLE_BYTES_MAX: i64 = 560;
/// With a subscription and its place in the lists of its map.
const SUBSCRIBED_BYTES_MAX: i64 = 900;

#[test]
fn an_idle_connection_holds_little_and_leaves_little() {
    for (connections, is_subscribed) in
        [(5_000, false), (15_000, false), (60_000, false), (5_000, true), (15_000, true), (60_000, true)]
    {
        let mut host = Host::with_config(None, |config| config.accepts_per_second_max = 0);
        let mut opened = Vec::with_capacity(connections);
        // The first brings what is set up once.
        let first = host.open();
        host.subscribe(first);
        let before = bytes();
        bytes_peak();
        for _ in 0..connections {
            opened.push(host.open());
            if is_subscribed {
                host.subscribe(opened[opened.len() - 1]);
            }
        }
        let max = if is_subscribed { SUBSCRIBED_BYTES_MAX } else { IDLE_BYTES_MAX };
        // At no time was there more, as where one array takes the place of another.
        let each = (bytes_peak() - before) / connections as i64;
        println!("{connections} connections: {each} B each, subscribed: {is_subscribed}");
        assert!(each <= max, "{each} B for each of {connections}, subscribed: {is_subscribed}");
        // All are pinged, and their timers set anew, several times.
        for _ in 0..20 {
            host.now.monotonic_us += 60_000_000;
            (0..connections / 1_000 + 2).for_each(|_| host.quiet_turn());
        }
        let each = (bytes() - before) / connections as i64;
        assert!(each <= max, "{each} B for each of {connections} later, subscribed: {is_subscribed}");
        for &id in &opened {
            host.shard.failed(id);
        }
        // They end as turns have work for it.
        (0..200).for_each(|_| host.quiet_turn());
        opened.iter().for_each(|&id| host.shard.released(id));
        host.quiet_turn();
        let left = (bytes() - before) / connections as i64;
        assert!(
            left <= max / 4 + 150,
            "{left} B are left of each of {connections}, subscribed: {is_subscribed}"
        );
    }
}

/// Bytes of a map of one key, with what the table of all maps and their index by name keep for it: beside 12 bytes of its
/// name, 5 of its key and 32 for its value.
const MAP_BYTES_MAX: i64 = 330;

/// Goal: many maps of one key cost little more than the key, wherever they are kept. Method: as many maps as fill the table
/// of maps, so that what it keeps for more of them is not charged to these.
#[test]
fn a_map_of_one_key_holds_little() {
    const MAPS: usize = 1 << 15;
    for is_stored in [false, true] {
        let mut host = if is_stored { Host::stored() } else { Host::new() };
        let client = host.open();
        host.turn_with(|host| host.receive(client, &one_key(0)));
        let before = bytes();
        (1..MAPS).for_each(|n| host.turn_with(|host| host.receive(client, &one_key(n))));
        host.turn_with(|_| {});
        let each = (bytes() - before) / MAPS as i64;
        println!("{each} B a map, stored: {is_stored}");
        assert!(each <= MAP_BYTES_MAX + 12 + 5 + 32, "{each} B a map, stored: {is_stored}");
        assert_eq!(host.shard.metrics_now().maps, MAPS as u64);
    }
}

/// What one publish allocates, whatever is kept of it and whoever is there: its text, what the log keeps, the batch.
const PUBLISH_ALLOCATIONS_MAX: u64 = 24;

#[test]
fn a_publish_allocates_the_same_however_many_are_in_the_channel() {
    for members in [1, SUBSCRIBERS] {
        let mut host = Host::new();
        let publisher = host.open();
        for _ in 0..members {
            let member = host.open();
            host.turn_with(|host| host.receive(member, &text_frame(br#"{"type":"join","channel":"chat"}"#)));
        }
        let publish = text_frame(br#"{"type":"publish","channel":"chat","data":{"text":"hello"}}"#);
        let (allocations, done) = host.steady(|host, _| host.receive(publisher, &publish));
        assert_eq!(done.channel_deliveries, TURNS * members, "every message reached every member");
        let each = allocations / TURNS;
        assert!(each <= PUBLISH_ALLOCATIONS_MAX, "{each} allocations with {members} members");
    }
}

/// Goal: a channel in which nobody is and of which nothing is kept takes no memory. Method: many with a history, until that is over.
#[test]
fn channels_that_are_over_leave_no_memory_behind() {
    const CHANNELS: usize = 2_000;
    let mut host = Host::with_config(None, |config| config.channel_history.ttl_ms = 1_000);
    let client = host.open();
    host.turn_with(|_| {});
    let before = bytes();
    let say = |host: &mut Host, kind: &str, n: usize| {
        let data = "x".repeat(2_000);
        let text = format!(r#"{{"type":"{kind}","channel":"chat:{n}","data":"{data}"}}"#);
        host.turn_with(|host| host.receive(client, &text_frame(text.as_bytes())));
    };
    for kind in ["join", "publish", "leave"] {
        (0..CHANNELS).for_each(|n| say(&mut host, kind, n));
    }
    let held = bytes() - before;
    assert!(held > 2_000 * CHANNELS as i64, "{held} B of {CHANNELS} histories");
    host.now.unix_ms += 10_000;
    (0..10).for_each(|_| host.quiet_turn());
    let metrics = host.shard.metrics_now();
    assert_eq!([metrics.channels, metrics.channel_members, metrics.channel_bytes], [0; 3]);
    let left = bytes() - before;
    assert!(left < 100 * CHANNELS as i64, "{left} B are left of {CHANNELS} channels");
}

#[test]
fn the_counter_counts() {
    let mut host = Host::new();
    let (allocations, _) = host.steady(|_, _| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(allocations, TURNS);
}

/// One acknowledged write of about a hundred bytes to key `n`.
fn write(n: u64, ack: &str) -> Vec<u8> {
    let value = format!("{n:040}");
    let text = format!(
        r#"{{"type":"write","id":{n},"ack":"{ack}","ops":[{{"map":"board","key":"k{n}","op":"set","value":{{"x":"{value}"}}}}]}}"#
    );
    text_frame(text.as_bytes())
}

/// A write of the only key of map `n`.
fn one_key(n: usize) -> Vec<u8> {
    let text = format!(
        r#"{{"type":"write","id":{n},"ops":[{{"map":"map-{n:08}","key":"k{:04}","op":"set","value":"value {n:020}"}}]}}"#,
        n % 10_000
    );
    text_frame(text.as_bytes())
}
