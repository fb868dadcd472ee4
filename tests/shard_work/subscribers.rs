//! What many hear of costs once for each of them, and a turn counts that before it begins anything more.

use annulus::config::{Config, DialectPath};
use annulus::mesh::{self, ConnectionId};
use annulus::shard::{Shard, work};

use crate::driven_shard::{Driven, LOCALHOST, next_turn};
use crate::shards::{BEGIN, shared};

const SUBSCRIBERS: usize = 30;
const KEYS: usize = 18;
const VALUE_BYTES: usize = 100_000;
/// What one change costs, and what is small beside that.
const CHANGE: u64 = work::receivers(SUBSCRIBERS, VALUE_BYTES) + work::CONNECTION_MAX / 2;

#[test]
fn large_changes_that_many_hear_of_are_told_over_turns() {
    tells_within_the_bounds_of_each_turn(1, 1);
}

#[test]
fn large_changes_of_another_shard_are_told_over_turns() {
    tells_within_the_bounds_of_each_turn(2, 1);
}

#[test]
fn large_changes_of_one_message_are_told_over_turns() {
    tells_within_the_bounds_of_each_turn(1, 9);
}

/// Has clients of the first of so many shards write large values, so many in each message, all in one turn. All clients of
/// the last shard hear of them, and each is owned by any of the shards.
fn tells_within_the_bounds_of_each_turn(count: usize, values: usize) {
    let config = || Config {
        heartbeat_ms: 3_600_000,
        dialects: vec![DialectPath::NATIVE],
        outbox_soft_bytes: 8 << 20,
        ..Config::default()
    };
    let ports = mesh::connect(count).into_iter().enumerate();
    let of_all = shared(config(), None);
    let shard =
        |(index, ports)| Shard::new(of_all.clone(), u16::try_from(index).unwrap(), ports, None, BEGIN, 1);
    let mut shards: Vec<Driven> = ports.map(|ports| Driven::new(shard(ports))).collect();
    let mut now = BEGIN;
    let mut settle = |shards: &mut Vec<Driven>| {
        let mut most = 0;
        while !shards.iter().all(Driven::is_idle) {
            next_turn(&mut now);
            for driven in shards.iter_mut() {
                driven.turn(now);
                most = most.max(driven.shard.work());
            }
        }
        most
    };
    let connect = |driven: &mut Driven| driven.connect(LOCALHOST, "/v1", None);
    let writers: Vec<ConnectionId> = (0..KEYS).map(|_| connect(&mut shards[0])).collect();
    let subscribers: Vec<ConnectionId> = (0..SUBSCRIBERS).map(|_| connect(&mut shards[count - 1])).collect();
    settle(&mut shards);
    for &id in &subscribers {
        shards[count - 1].send(id, r#"{"type":"subscribe","id":1,"map":"m"}"#);
    }
    // So that the type is known everywhere.
    for key in 0..KEYS {
        shards[0].send(writers[0], &write(&[key], "first"));
    }
    settle(&mut shards);
    subscribers.iter().for_each(|&id| drop(texts(&mut shards[count - 1], id)));

    let value = "x".repeat(VALUE_BYTES);
    let keys: Vec<usize> = (0..KEYS).collect();
    for (keys, &id) in keys.chunks(values).zip(&writers) {
        shards[0].send(id, &write(keys, &value));
    }
    shards.iter_mut().for_each(Driven::stir);
    let most = settle(&mut shards);
    let read = work::decoded(values * VALUE_BYTES) + work::copied(values * VALUE_BYTES);
    assert!(most <= work::TURN_MAX + read + CHANGE, "{most} units in one turn, {CHANGE} for one change");
    for id in subscribers {
        let texts = texts(&mut shards[count - 1], id);
        for key in 0..KEYS {
            let told = texts.iter().filter(|text| text.contains(&format!(r#""key":"k{key}","value":"xxx"#)));
            assert_eq!(told.count(), 1, "k{key} is told once");
        }
    }
}

/// What a client has been sent since it was last asked.
fn texts(driven: &mut Driven, id: ConnectionId) -> Vec<String> {
    driven.read_frames(id).into_iter().map(|(_, text)| String::from_utf8(text).unwrap()).collect()
}

fn write(keys: &[usize], value: &str) -> String {
    let set = |key| format!(r#"{{"map":"m","key":"k{key}","op":"set","value":"{value}"}}"#);
    let ops: Vec<String> = keys.iter().map(set).collect();
    format!(r#"{{"type":"write","id":1,"ops":[{}]}}"#, ops.join(","))
}
