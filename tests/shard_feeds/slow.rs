//! Subscribers that read slowly are conflated and never closed, however many maps they watch.

use crate::world::{Client, World};

const SOFT_BYTES: usize = 64 << 10;
const HARD_BYTES: usize = 4 * SOFT_BYTES;
/// Turns in which a slow client takes what is on its way once.
const TURNS_A_SEND: usize = 5;

fn world(shards: usize) -> World {
    World::with(shards, |config| {
        (config.outbox_soft_bytes, config.outbox_hard_bytes) = (SOFT_BYTES, HARD_BYTES);
    })
}

/// Has a stalled client read slowly until it has been told `last` so often; everything it was told.
fn read_slowly(world: &mut World, client: Client, count: usize, last: impl Fn(&str) -> bool) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..20_000 {
        (0..TURNS_A_SEND).for_each(|_| world.turn());
        let outbox_bytes = world.metrics().outbox_bytes as usize;
        assert!(outbox_bytes <= 2 * SOFT_BYTES, "{outbox_bytes} bytes wait");
        told.extend(world.received(client));
        if told.iter().filter(|text| last(text)).count() >= count {
            return told;
        }
        world.take_all(client);
    }
    panic!("{} messages, and no end", told.len());
}

#[test]
fn snapshots_of_many_maps_wait_for_who_reads_slowly() {
    for (shards, maps, keys, bytes) in [(1, 50, 2, 40_000), (2, 50, 2, 40_000), (2, 200, 8, 1_000)] {
        let mut world = world(shards);
        let writer = world.connect(0);
        for (map, key) in (0..maps).flat_map(|map| (0..keys).map(move |key| (map, key))) {
            world.ask(writer, &format!("set m{map} k{key} {}", "v".repeat(bytes)));
        }
        let slow = world.connect(shards - 1);
        world.stall(slow);
        (0..maps).for_each(|map| world.send(slow, &format!("subscribe m{map}")));
        let told = read_slowly(&mut world, slow, maps, |text| text.contains(" last"));
        assert_eq!(told.iter().map(|text| text.matches('=').count()).sum::<usize>(), maps * keys);
        assert_eq!(world.metrics().slow_consumers, 0);
    }
}

#[test]
fn who_was_conflated_in_many_maps_catches_up_with_each() {
    const MAPS: usize = 100;
    for shards in [1, 2] {
        let mut world = world(shards);
        let (writer, slow) = (world.connect(0), world.connect(shards - 1));
        (0..MAPS).for_each(|map| drop(world.ask(slow, &format!("subscribe m{map}"))));
        world.stall(slow);
        for (round, map) in (0..3).flat_map(|round| (0..MAPS).map(move |map| (round, map))) {
            world.ask(writer, &format!("set m{map} k {round}{}", "v".repeat(17_000)));
        }
        assert!(world.metrics().conflations >= MAPS as u64 - 10, "{}", world.metrics().conflations);
        let told = read_slowly(&mut world, slow, MAPS, |text| text.contains(" k=2"));
        for map in 0..MAPS {
            let of_map = format!("change m{map} ");
            let last = told.iter().rfind(|text| text.starts_with(&of_map)).unwrap();
            assert!(last.starts_with(&format!("change m{map} k=2v")));
        }
        assert!(told.len() < 2 * MAPS, "{} states of {MAPS} keys", told.len());
        assert_eq!(world.metrics().slow_consumers, 0);
        // It is live again.
        world.resume(slow);
        world.settle();
        world.received(slow);
        world.ask(writer, "set m7 k end");
        assert_eq!(world.received(slow), ["change m7 k=end"]);
    }
}

#[test]
fn a_slow_client_is_conflated_though_changes_go_on_and_hears_the_last() {
    let mut world = world(2);
    let (writer, slow) = (world.connect(0), world.connect(1));
    (0..20).for_each(|map| drop(world.ask(slow, &format!("subscribe m{map}"))));
    world.stall(slow);
    let mut told = Vec::new();
    for round in 0..200 {
        for map in 0..20 {
            world.send(writer, &format!("set m{map} k{} {round}{}", round % 7, "v".repeat(4_000)));
        }
        world.turn();
        if round % 3 == 0 {
            world.take_all(slow);
        }
        told.extend(world.received(slow));
        assert!(world.metrics().outbox_bytes as usize <= 2 * SOFT_BYTES);
    }
    world.resume(slow);
    world.settle();
    told.extend(world.received(slow));
    assert_eq!(world.metrics().slow_consumers, 0);
    assert!(told.len() < 2_000, "{} of 4000 changes", told.len());
    for (map, round) in (0..20).flat_map(|map| (193..200).map(move |round| (map, round))) {
        let last = format!("k{}={round}v", round % 7);
        let of_map = format!("change m{map} ");
        assert!(told.iter().any(|text| text.starts_with(&of_map) && text.contains(&last)), "{map} {last}");
    }
}
