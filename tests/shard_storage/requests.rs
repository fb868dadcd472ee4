//! What a client's requests may take, wherever they and their answers wait.
//!
//! Method: a client sends far more at once than there is room for and takes whatever it is sent. It must be answered in
//! full and never be closed, and what is made and kept for it is counted in bytes, never in time.

use annulus::config::Config;
use annulus::limits::{
    CONNECTION_REQUEST_BYTES_MAX, MESH_PENDING_BYTES_MAX, MESSAGE_BYTES_DEFAULT, OPS_PER_REQUEST_MAX,
    OUTBOX_HARD_BYTES_DEFAULT, READ_ANSWER_BYTES_MAX, WAITING_REQUEST_BYTES_MAX,
};
use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::world::{Client, World};

fn set(map: &str, key: &str, bytes: usize) -> String {
    let value = "x".repeat(bytes);
    format!(
        r#"{{"type":"write","id":1,"ops":[{{"map":"{map}","key":"{key}","op":"set","value":"{value}"}}]}}"#
    )
}

fn read(id: usize, map: &str, keys: &[String]) -> String {
    format!(r#"{{"type":"read","id":{id},"map":"{map}","keys":{keys:?}}}"#)
}

/// Some keys of `map`, all owned by `shard`, each with a value of so many bytes.
fn filled(
    world: &mut World,
    client: Client,
    (map, shard): (&str, usize),
    count: usize,
    bytes: usize,
) -> Vec<String> {
    let keys: Vec<String> = (0..count).map(|n| world.key_of(shard, map, n)).collect();
    for key in &keys {
        assert_eq!(world.answer(client, &set(map, key, bytes))["applied"], 1);
    }
    keys
}

/// Turns until nothing happens, and the most that was owed to clients, and lay in outboxes, together.
fn watch(world: &mut World, turns: usize) -> u64 {
    let mut most = 0;
    for _ in 0..turns {
        world.turn();
        let metrics = world.metrics();
        most = most.max(metrics.owed_bytes + metrics.outbox_bytes);
    }
    most
}

fn entries(answer: &Value) -> usize {
    answer["entries"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_key_that_is_named_often_is_read_once() {
    for shards in [1, 2] {
        let mut world = World::in_memory(shards);
        let client = world.connect(0);
        world.received(client);
        let keys = filled(&mut world, client, ("m", shards - 1), 12, 10 << 10);
        let often: Vec<String> = (0..OPS_PER_REQUEST_MAX).map(|n| keys[n % 12].clone()).collect();
        for named in [&often[..], &[keys[0].clone(), keys[0].clone()]] {
            let before = world.metrics().read_bytes;
            let answer = world.answer(client, &read(1, "m", named));
            let distinct = named.len().min(keys.len()).min(if named.len() == 2 { 1 } else { 12 });
            assert_eq!(entries(&answer), distinct, "{shards} shards");
            let made = world.metrics().read_bytes - before;
            assert!(made <= distinct as u64 * (11 << 10), "{made} bytes were made of {distinct} keys");
        }
    }
}

#[test]
fn an_answer_beyond_all_room_is_refused_before_it_is_made() {
    for (shards, owner) in [(1, 0), (2, 0), (2, 1)] {
        let mut world = World::in_memory(shards);
        let client = world.connect(0);
        world.received(client);
        let count = READ_ANSWER_BYTES_MAX / (200 << 10) + 2;
        let keys = filled(&mut world, client, ("m", owner), count, 200 << 10);
        let before = world.metrics().read_bytes;
        let answer = world.answer(client, &read(7, "m", &keys));
        assert_eq!((&answer["code"], &answer["id"]), (&"too_large".into(), &7.into()), "{answer:.200}");
        assert_eq!(world.metrics().read_bytes, before, "nothing is made of an answer that is not sent");
        let answer = world.answer(client, &read(8, "m", &keys[..count - 3]));
        assert_eq!(entries(&answer), count - 3, "what there is room for is sent: {answer:.200}");
        assert_eq!(world.metrics().owed_bytes, 0);
    }
}

#[test]
fn one_key_with_many_tags_is_refused_or_sent_whole() {
    // The bound of a key is far below that of an answer, but for keys of before there was one.
    let mut world = World::in_memory_with(2, |config| config.cell_bytes_max = usize::MAX / 2);
    let client = world.connect(0);
    world.received(client);
    let key = world.key_of(1, "tags", 0);
    let value = "x".repeat(200 << 10);
    let add = format!(
        r#"{{"type":"write","id":1,"ops":[{{"map":"tags","key":"{key}","op":"add","value":"{value}"}}]}}"#
    );
    let named: Vec<String> = vec![key; OPS_PER_REQUEST_MAX];
    for _ in 0..30 {
        assert_eq!(world.answer(client, &add)["applied"], 1);
    }
    let answer = world.answer(client, &read(2, "tags", &named));
    assert_eq!((entries(&answer), answer["entries"][0]["values"].as_array().unwrap().len()), (1, 30));
    for _ in 30..90 {
        assert_eq!(world.answer(client, &add)["applied"], 1);
    }
    assert_eq!(world.answer(client, &read(3, "tags", &named))["code"], "too_large");
}

#[test]
fn an_answer_is_no_longer_than_was_foreseen_and_not_much_shorter() {
    let mut world = World::in_memory(1);
    let client = world.connect(0);
    world.received(client);
    let node = "n".repeat(40);
    for op in [
        r#""map":"l","key":"k","op":"set","value":{"a":1},"ttl_ms":1000000"#.to_owned(),
        format!(r#""map":"l","key":"\u0001\"é","op":"set","value":1,"at":"1700000000000:65535:{node}""#),
        r#""map":"l","key":"gone","op":"delete""#.to_owned(),
        r#""map":"o","key":"k","op":"add","value":1"#.to_owned(),
        format!(
            r#""map":"o","key":"k","op":"add","value":2,"tag":"\u0001\"é","at":"1700000000000:65535:{node}""#
        ),
        r#""map":"o","key":"k","op":"remove","tags":["x","\u0001\"é"]"#.to_owned(),
        format!(
            r#""map":"c","key":"k","op":"increment","replica":"{node}","added":0,"subtracted":9007199254740991"#
        ),
    ] {
        let ack = world.answer(client, &format!(r#"{{"type":"write","id":1,"ops":[{{{op}}}]}}"#));
        assert_eq!(ack["applied"], 1, "{ack}");
    }
    for (map, keys) in
        [("l", r#""k""#), ("l", r#""\u0001\"é""#), ("l", r#""gone""#), ("o", r#""k""#), ("c", r#""k""#)]
    {
        let before = world.metrics().read_bytes;
        let answer =
            world.answer_text(client, &format!(r#"{{"type":"read","map":"{map}","keys":[{keys}]}}"#));
        let foreseen = (world.metrics().read_bytes - before) as usize;
        let bytes = answer.len() - r#"{"type":"entries","map":"l","entries":[]}"#.len();
        assert!(
            bytes > 0 && bytes <= foreseen && foreseen < bytes + 250,
            "{foreseen} bytes were foreseen of {answer}"
        );
    }
}

#[test]
fn reads_sent_at_once_are_all_answered_and_never_close_their_client() {
    for (shards, owner) in [(1, 0), (2, 1)] {
        let mut world = World::in_memory(shards);
        let client = world.connect(0);
        world.received(client);
        let keys = filled(&mut world, client, ("m", owner), 8, 200 << 10);
        for id in 0..200 {
            world.send_at_once(client, &read(id, "m", &keys));
        }
        let most = watch(&mut world, 3_000);
        let answers = world.received(client);
        assert_eq!(answers.len(), 200, "{shards} shards: {:?}", answers.last().map(|last| &last["code"]));
        assert!(answers.iter().all(|answer| entries(answer) == 8));
        assert!(most <= OUTBOX_HARD_BYTES_DEFAULT as u64, "{most} bytes were owed at once");
        let metrics = world.metrics();
        assert_eq!((metrics.slow_consumers, metrics.owed_bytes, metrics.outbox_bytes), (0, 0, 0));
    }
}

#[test]
fn small_reads_of_another_shard_go_on_side_by_side() {
    let mut world = World::in_memory(2);
    let client = world.connect(0);
    world.received(client);
    let keys = filled(&mut world, client, ("m", 1), 3, 1 << 10);
    for id in 0..100 {
        world.send_at_once(client, &read(id, "m", &keys));
    }
    watch(&mut world, 6);
    assert_eq!(world.received(client).len(), 100, "none waits for the answer to another");
}

#[test]
fn what_was_written_before_a_long_read_is_in_it() {
    let mut world = World::in_memory(2);
    let client = world.connect(0);
    world.received(client);
    let keys = filled(&mut world, client, ("m", 1), 4, 100 << 10);
    for id in 0..10 {
        world.send_at_once(client, &set("m", &keys[0], 100 << 10));
        world.send_at_once(client, &read(100 + id, "m", &keys));
    }
    watch(&mut world, 300);
    let answers = world.received(client);
    let ids: Vec<_> = answers.iter().filter(|answer| answer["type"] == "entries").collect();
    assert_eq!((answers.len(), ids.len()), (20, 10));
    assert!(ids.iter().all(|answer| entries(answer) == 4));
}

#[test]
fn acks_that_come_all_at_once_find_room_in_the_outbox() {
    const HARD_BYTES: usize = 4 << 20;
    let mut world = World::with(1, |config| config.outbox_hard_bytes = HARD_BYTES);
    let client = world.connect(0);
    world.received(client);
    world.send(client, &set("m", "k", 1));
    world.serve();
    world.received(client);
    let node = "n".repeat(40);
    let op = |n: usize| {
        format!(r#"{{"map":"m","key":"k{n}","op":"set","value":1,"at":"1700000000000:0:{node}"}}"#)
    };
    let ops: Vec<String> = (0..OPS_PER_REQUEST_MAX).map(op).collect();
    let write = format!(r#"{{"type":"write","id":1,"ack":"durable","ops":[{}]}}"#, ops.join(","));
    for _ in 0..300 {
        world.send_at_once(client, &write);
    }
    let mut answers = 0;
    for _ in 0..100 {
        let most = watch(&mut world, 200);
        assert!(most <= HARD_BYTES as u64, "{most} bytes were owed at once");
        world.serve();
        answers += world.received(client).len();
    }
    assert_eq!((answers, world.metrics().slow_consumers), (300, 0));
}

#[test]
fn a_connection_keeps_no_more_waiting_than_its_share_of_bytes() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let client = world.connect(0);
        world.received(client);
        let key = world.key_of(shards - 1, "m", 0);
        let write = set("m", &key, 250 << 10);
        for _ in 0..200 {
            world.send_at_once(client, &write);
        }
        watch(&mut world, 300);
        let waiting = world.metrics().waiting_request_bytes as usize;
        assert!(world.is_paused(client));
        let most = CONNECTION_REQUEST_BYTES_MAX + MESSAGE_BYTES_DEFAULT;
        assert!(waiting <= most, "{waiting} bytes wait for a map, on {shards} shards");
        world.serve();
        for _ in 0..20 {
            watch(&mut world, 100);
            world.serve();
        }
        assert_eq!(world.received(client).len(), 200, "all are carried out once the map is there");
        assert_eq!(world.metrics().waiting_request_bytes, 0);
    }
}

#[test]
fn what_waits_in_a_shard_is_bounded_however_many_clients_it_has() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let key = world.key_of(shards - 1, "m", 0);
        let write = set("m", &key, 250 << 10);
        let clients: Vec<Client> = (0..40).map(|_| world.connect(0)).collect();
        for &client in &clients {
            world.received(client);
            (0..30).for_each(|_| world.send_at_once(client, &write));
        }
        for _ in 0..50 {
            watch(&mut world, 50);
            let waiting = world.metrics().waiting_request_bytes as usize;
            assert!(waiting <= shards * WAITING_REQUEST_BYTES_MAX, "{waiting} bytes wait");
        }
        let answers: Vec<Value> = clients.iter().flat_map(|&client| world.received(client)).collect();
        let overloaded = |answer: &&Value| answer["rejected"][0]["code"] == "overloaded";
        assert!(
            answers.iter().filter(overloaded).count() > 0,
            "what finds no room is told so: {}",
            answers.len()
        );
        for _ in 0..40 {
            watch(&mut world, 50);
            world.serve();
        }
        let answered: usize = clients.iter().map(|&client| world.received(client).len()).sum();
        assert_eq!(answered + answers.len(), 40 * 30, "each has one answer");
        assert_eq!((world.metrics().waiting_request_bytes, world.metrics().owed_bytes), (0, 0));
    }
}

#[test]
fn an_envelope_takes_no_more_than_a_turn_may_and_one_message() {
    let mut world = World::in_memory(2);
    let clients: Vec<Client> = (0..100).map(|_| world.connect(0)).collect();
    let key = world.key_of(1, "m", 0);
    world.received(clients[0]);
    world.answer(clients[0], &set("m", &key, 1));
    let before = world.metrics().messages_received;
    world.stopped = Some(1);
    for &client in &clients {
        world.received(client);
        world.send_at_once(client, &set("m", &key, 250 << 10));
    }
    (0..100).for_each(|_| world.turn());
    let taken = (world.metrics().messages_received - before) as usize * (250 << 10);
    assert!(
        taken <= MESH_PENDING_BYTES_MAX + MESSAGE_BYTES_DEFAULT,
        "{taken} bytes were taken on for a shard at rest"
    );
    world.stopped = None;
    watch(&mut world, 300);
    let answered: usize = clients.iter().map(|&client| world.received(client).len()).sum();
    assert_eq!(answered, 100);
}

#[test]
fn a_read_that_never_finds_room_is_given_up_and_owes_nothing() {
    let mut world = World::with(1, |config: &mut Config| {
        config.ack_timeout_ms = 1_000;
        config.outbox_hard_bytes = 2 << 20;
    });
    let client = world.connect(0);
    world.send(client, &set("m", "k", 200 << 10));
    world.serve();
    for n in 0..6 {
        world.send(client, &set("m", &format!("k{n}"), 200 << 10));
        world.serve();
    }
    world.received(client);
    // The map of this write never comes, so that something is owed.
    world.send(client, &set("other", "k", 1));
    world.settle();
    let keys: Vec<String> = (0..6).map(|n| format!("k{n}")).collect();
    world.send(client, &read(9, "m", &keys));
    world.settle();
    assert!(world.received(client).is_empty(), "there is no room beside what is owed");
    world.pass_ms(1_500);
    let answers = world.received(client);
    assert!(answers.iter().any(|answer| answer["id"] == 9), "{:?}", answers.len());
    assert_eq!(world.metrics().owed_bytes, 0);
    assert!(!world.is_paused(client));
}

#[test]
fn reads_that_come_together_are_answered_as_far_as_clients_may_hold() {
    const LIMIT_BYTES: usize = 2 << 20;
    const VALUE_BYTES: usize = 100_000;
    let mut world = World::in_memory_with(1, |config| {
        config.memory_limit_bytes = LIMIT_BYTES;
        config.outbox_hard_bytes = 1 << 20;
    });
    let writer = world.connect(0);
    world.received(writer);
    let value = "x".repeat(VALUE_BYTES);
    for n in 0..3 {
        let op = format!(r#"{{"map":"m","key":"k{n}","op":"set","value":"{value}"}}"#);
        world.ask(writer, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#));
    }
    let clients: Vec<_> = (0..40).map(|_| world.connect(0)).collect();
    for &client in &clients {
        world.received(client);
        world.send(client, r#"{"type":"read","id":1,"map":"m","keys":["k0","k1","k2"]}"#);
    }
    let share = LIMIT_BYTES / 2;
    let mut held = 0;
    for _ in 0..10 {
        world.turn();
        held = held.max(world.metrics().outbox_held_bytes as usize);
    }
    assert!(held > share / 2 && held < share + 4 * VALUE_BYTES, "{held} bytes");
    world.settle();
    let mut refused = 0;
    for &client in &clients {
        let answer = world.received(client).remove(0);
        let is_refused = answer.get_str("code") == Some("overloaded");
        refused += usize::from(is_refused);
        assert!(is_refused || answer["entries"].as_array().unwrap().len() == 3);
    }
    // Those that a turn does not come to wait unread meanwhile.
    assert!(refused < 40, "{refused} of 40");
    let answer = world.answer(clients[0], r#"{"type":"read","id":2,"map":"m","keys":["k0"]}"#);
    assert_eq!(answer["type"], "entries", "once they are taken there is room again: {answer}");
}
