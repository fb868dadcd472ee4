//! A storage that is slow or full.

use annulus::crdt::Time;
use annulus::handover::ToStorage;
use annulus::limits::{JOURNAL_BACKLOG_BYTES, JOURNAL_OVERLOAD_BYTES};
use simd_json::prelude::*;

use crate::world::{Client, World};

const VALUE_BYTES: usize = 200 << 10;

fn write(ack: &str, key: &str, bytes: usize) -> String {
    let value = "x".repeat(bytes);
    format!(
        r#"{{"type":"write","id":1,"ack":"{ack}","ops":[{{"map":"m","key":"{key}","op":"set","value":"{value}"}}]}}"#
    )
}

/// A world with the map loaded, and a client of shard 0.
fn loaded(shards: usize) -> (World, Client) {
    load(World::new(shards), shards)
}

fn load(mut world: World, shards: usize) -> (World, Client) {
    let client = world.connect(0);
    for shard in 0..shards {
        let key = world.key_of(shard, "m", 0);
        world.ask(client, &write("memory", &key, 1));
        world.serve();
    }
    world.received(client);
    (world, client)
}

/// Writes to the key until more than `bytes` are handed over by its shard and not durable.
fn pile_up(world: &mut World, client: Client, key: &str, bytes: usize) {
    for _ in 0..=bytes / VALUE_BYTES {
        world.send(client, &write("memory", key, VALUE_BYTES));
        world.settle();
    }
    world.received(client);
}

/// Makes durable what `shard` has handed over.
fn sync(world: &mut World, shard: usize) {
    for item in world.take(shard) {
        if let ToStorage::Records(batch) = item {
            world.make_durable(shard, batch.number, batch.bytes.len() as u64, Time::ZERO);
        }
    }
}

#[test]
fn durable_writers_are_told_to_come_back_and_memory_writers_are_not() {
    let (mut world, client) = loaded(1);
    pile_up(&mut world, client, "k", JOURNAL_OVERLOAD_BYTES);
    assert_eq!(world.answer(client, &write("memory", "k", 1))["applied"], 1);
    let ack = world.answer(client, &write("durable", "k", 1));
    assert_eq!((&ack["applied"], &ack["rejected"][0]["code"]), (&0.into(), &"overloaded".into()));
    assert!(ack["rejected"][0]["retry_after_ms"].as_u64().unwrap() >= 50);
    assert_eq!(world.metrics().durable_acks, 0);
    assert!(world.metrics().journal_pending_bytes > JOURNAL_OVERLOAD_BYTES as u64);
    sync(&mut world, 0);
    assert!(world.ask(client, &write("durable", "k", 1)).is_empty());
    sync(&mut world, 0);
    world.settle();
    assert_eq!(world.received(client)[0]["level"], "durable");
    assert_eq!(world.metrics().journal_pending_bytes, 0);
}

#[test]
fn a_shard_far_behind_reads_no_client_until_the_disk_has_caught_up() {
    let (mut world, client) = loaded(1);
    pile_up(&mut world, client, "k", JOURNAL_BACKLOG_BYTES - 2 * VALUE_BYTES);
    assert!(!world.is_paused(client));
    for _ in 0..4 {
        if !world.is_paused(client) {
            world.send(client, &write("memory", "k", VALUE_BYTES));
            world.settle();
        }
    }
    world.received(client);
    assert!(world.is_paused(client));
    let changes = world.metrics().changes;
    world.pass_ms(500);
    assert_eq!(world.metrics().changes, changes);
    assert!(world.progress.shard(0).take_wants_wake(), "it must hear when that is over");
    sync(&mut world, 0);
    world.settle();
    assert!(!world.is_paused(client));
    assert_eq!(world.metrics().changes, changes + 1, "what it had sent is handled");
}

#[test]
fn a_client_that_is_not_read_lives_as_long_as_it_takes_pings() {
    let (mut world, client) = load(World::with(1, |config| config.heartbeat_ms = 2_000), 1);
    pile_up(&mut world, client, "k", JOURNAL_BACKLOG_BYTES - 2 * VALUE_BYTES);
    while !world.is_paused(client) {
        world.send(client, &write("memory", "k", VALUE_BYTES));
        world.settle();
    }
    (0..40).for_each(|_| world.pass_ms(500));
    assert_eq!(world.metrics().closes(4005), 0);
    sync(&mut world, 0);
    world.settle();
    assert!(!world.is_paused(client));
    (0..6).for_each(|_| world.pass_ms(500));
    assert_eq!(world.metrics().closes(4005), 1, "it is heard again, and says nothing");
}

// Each write has the time that its bytes take, one after the other, whoever sends it.
#[test]
fn writers_are_slowed_alike_as_far_as_the_folds_are_behind_and_who_reads_is_not() {
    let (mut world, one) = loaded(1);
    let (two, reader) = (world.connect(0), world.connect(0));
    [two, reader].iter().for_each(|&client| drop(world.received(client)));
    world.progress.set_write_rate(100_000);
    for _ in 0..40 {
        [one, two].iter().for_each(|&client| world.send_at_once(client, &write("memory", "k", 10_000)));
    }
    world.settle();
    let acked = |world: &mut World| [one, two].map(|client| world.received(client).len());
    assert_eq!(acked(&mut world), [1, 1]);
    assert!(world.is_paused(one) && world.is_paused(two));
    for second in 0..5 {
        world.pass_ms(1_000);
        let [of_one, of_two] = acked(&mut world);
        assert!(of_one.abs_diff(of_two) <= 1, "{of_one} and {of_two} in second {second}");
        assert!((8..=10).contains(&(of_one + of_two)), "{of_one} and {of_two} in second {second}");
        assert!(!world.is_paused(reader));
        assert_eq!(
            world.answer(reader, r#"{"type":"read","id":1,"map":"m","keys":["k"]}"#)["type"],
            "entries"
        );
    }
    assert!(world.metrics().writes_slowed >= 50);
    world.progress.set_write_rate(0);
    world.pass_ms(500);
    let [of_one, of_two] = acked(&mut world);
    assert!(of_one > 10 && of_two > 10, "they are behind no longer: {of_one} and {of_two}");
    assert!(!world.is_paused(one) && !world.is_paused(two));
}

// What is refused adds nothing, and who reads has nothing to do with the disk.
#[test]
fn a_shard_far_behind_reads_its_clients_while_writes_are_refused() {
    let (mut world, client) = loaded(1);
    pile_up(&mut world, client, "k", JOURNAL_BACKLOG_BYTES - 2 * VALUE_BYTES);
    while !world.is_paused(client) {
        world.send(client, &write("memory", "k", VALUE_BYTES));
        world.settle();
    }
    world.received(client);
    world.progress.set_read_only(true);
    let reader = world.connect(0);
    world.received(reader);
    assert_eq!(world.answer(reader, r#"{"type":"read","id":1,"map":"m","keys":["k"]}"#)["type"], "entries");
    let ack = world.answer(reader, &write("memory", "k", 1));
    assert_eq!(ack["rejected"][0]["code"], "read_only");
}

#[test]
fn requests_of_other_shards_wait_too_and_answers_flow() {
    let (mut world, client) = loaded(2);
    let (here, there) = (world.key_of(0, "m", 0), world.key_of(1, "m", 0));
    let other = world.connect(1);
    world.received(other);
    pile_up(&mut world, client, &there, JOURNAL_BACKLOG_BYTES);
    assert!(world.ask(client, &write("memory", &there, 1)).is_empty(), "shard 1 takes nothing on");
    assert_eq!(world.answer(client, &write("memory", &here, 1))["applied"], 1, "shard 0 does");
    world.pass_ms(100);
    assert!(world.received(client).is_empty());
    sync(&mut world, 1);
    world.settle();
    assert_eq!(world.received(client)[0]["applied"], 1);
    assert_eq!(world.answer(other, &write("memory", &here, 1))["applied"], 1);
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let (mut world, client) = loaded(2);
    let (here, there) = (world.key_of(0, "m", 0), world.key_of(1, "m", 0));
    world.progress.set_read_only(true);
    for key in [&here, &there] {
        for ack in ["memory", "durable"] {
            let answer = world.answer(client, &write(ack, key, 1));
            assert_eq!(
                (&answer["applied"], &answer["rejected"][0]["code"]),
                (&0.into(), &"read_only".into())
            );
        }
        let read = world.answer(client, &format!(r#"{{"type":"read","id":1,"map":"m","keys":["{key}"]}}"#));
        assert_eq!(read["type"], "entries");
    }
    world.progress.set_read_only(false);
    assert_eq!(world.answer(client, &write("memory", &here, 1))["applied"], 1);
}
