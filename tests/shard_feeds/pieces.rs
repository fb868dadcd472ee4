//! A set that is larger than an outbox comes in pieces.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{Client, World};

const SOFT_BYTES: usize = 64 << 10;
const HARD_BYTES: usize = 4 * SOFT_BYTES;
const TAGS: usize = 70;
const VALUE_BYTES: usize = 10_000;

/// A map with one set between two small ones, that is larger than the hard limit.
fn world(shards: usize) -> (World, Client) {
    let mut world = World::with(shards, |config| {
        (config.outbox_soft_bytes, config.outbox_hard_bytes) = (SOFT_BYTES, HARD_BYTES);
    });
    let writer = world.connect(0);
    world.ask(writer, "add m a t 1");
    for tag in 0..TAGS {
        world.ask(writer, &format!("add m set t{tag} {}", "v".repeat(VALUE_BYTES)));
    }
    (0..TAGS / 10).for_each(|tag| drop(world.ask(writer, &format!("remove m set t{}", 10 * tag))));
    world.ask(writer, "add m z t 1");
    (world, writer)
}

/// Tags of the set, live and removed, by what was told in this order.
fn merged(told: &[String]) -> (BTreeMap<String, usize>, BTreeSet<String>) {
    let (mut live, mut removed) = (BTreeMap::new(), BTreeSet::new());
    for word in told.iter().flat_map(|text| text.split(' ')) {
        if let Some(tag) = word.strip_prefix("set-") {
            live.remove(tag);
            removed.insert(tag.to_owned());
        } else if let Some((tag, value)) = word.strip_prefix("set+").and_then(|word| word.split_once('=')) {
            assert!(!removed.contains(tag), "{tag} comes after its removal");
            live.insert(tag.to_owned(), value.len());
        }
    }
    (live, removed)
}

fn is_last(told: &[String]) -> bool {
    told.last().is_some_and(|text| text.starts_with("snapshot m last"))
}

#[test]
fn a_set_larger_than_the_hard_limit_is_told_in_pieces() {
    for shards in [1, 2, 3] {
        let (mut world, _) = world(shards);
        for filter in ["", " prefix s", " keys set,z"] {
            for shard in 0..shards {
                let reader = world.connect(shard);
                world.stall(reader);
                world.send(reader, &format!("subscribe m{filter}"));
                let mut told: Vec<String> = Vec::new();
                while !is_last(&told) {
                    (0..5).for_each(|_| world.turn());
                    assert!(world.metrics().outbox_bytes as usize <= 2 * SOFT_BYTES);
                    world.take_all(reader);
                    told.extend(world.received(reader));
                    assert!(told.len() < 100);
                }
                let (live, removed) = merged(&told);
                assert_eq!((live.len(), removed.len()), (TAGS - 7, 7), "{shards} shards, {filter}");
                assert!(told.len() >= TAGS * VALUE_BYTES / SOFT_BYTES && !told[0].contains("last"));
                world.fail(reader);
                world.settle();
            }
        }
        assert_eq!(world.metrics().slow_consumers, 0);
    }
}

/// Goal: a set that changes all the time while a slow client is told of it does not hold up its snapshot, and what the client
/// ends with is what is there.
#[test]
fn a_set_that_changes_all_the_time_comes_to_an_end() {
    for shards in [1, 2] {
        let (mut world, writer) = world(shards);
        let reader = world.connect(shards - 1);
        world.stall(reader);
        world.send(reader, "subscribe m");
        let (mut told, mut turns): (Vec<String>, usize) = (Vec::new(), 0);
        while !told.iter().any(|text| text.starts_with("snapshot m last")) {
            world.send(writer, &format!("add m set n{turns} x"));
            world.send(writer, &format!("remove m set t{}", turns % TAGS));
            world.turn();
            if turns % 3 == 0 {
                world.take_all(reader);
            }
            told.extend(world.received(reader));
            turns += 1;
            assert!(turns < 300, "the snapshot does not end");
        }
        world.resume(reader);
        world.settle();
        told.extend(world.received(reader));
        let (live, removed) = merged(&told);
        let again = world.connect(0);
        let expected = merged(&world.ask(again, "subscribe m"));
        assert_eq!((live, removed), expected);
        assert_eq!(world.metrics().slow_consumers, 0);
    }
}

/// Goal: who was away or slow is told which tags have changed, not the whole set.
#[test]
fn a_slow_subscriber_of_a_large_set_is_told_what_has_changed() {
    for shards in [1, 2] {
        let (mut world, writer) = world(shards);
        let reader = world.connect(shards - 1);
        world.ask(reader, "subscribe m");
        world.stall(reader);
        for round in 0..20 {
            world.ask(writer, &format!("add m set new {round}{}", "w".repeat(VALUE_BYTES)));
        }
        assert_eq!(world.metrics().conflations, 1);
        let before = world.metrics().bytes_sent;
        world.resume(reader);
        world.settle();
        let told = world.received(reader);
        assert!(told.last().unwrap().starts_with("change m set+new=19w"), "{:.80}", told.last().unwrap());
        let sent = (world.metrics().bytes_sent - before) as usize;
        assert!(sent < 3 * SOFT_BYTES, "{sent} bytes were sent");
    }
}
