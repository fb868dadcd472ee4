//! Walks that nobody needs any more cost nothing, and those of one connection hold up no other.

use annulus::shard::work;

use crate::world::World;

/// Subscribes that one connection sends at once.
const SUBSCRIBES: usize = 10_000;
/// Turns in which they are read, at most.
const TURNS: usize = 2 * SUBSCRIBES * work::FRAME as usize / work::CONNECTION_MAX as usize;

/// Goal: subscribes that another one replaces are not served. Method: one connection sends thousands of the same in one turn,
/// of a map that is elsewhere or here, and the chunks are counted.
#[test]
fn a_subscribe_that_another_replaces_makes_no_chunk() {
    for (shards, client_shard) in [(1, 0), (2, 0), (2, 1)] {
        let mut world = World::new(shards);
        let writer = world.connect(0);
        for n in 0..20 {
            world.ask(writer, &format!("set m k{n} {n}"));
        }
        let client = world.connect(client_shard);
        let before = world.metrics().chunks;
        for _ in 0..SUBSCRIBES {
            world.send(client, "subscribe m");
        }
        world.settle();
        let told = world.received(client);
        let entries: usize = told.iter().map(|text| text.matches('=').count()).sum();
        let chunks = world.metrics().chunks - before;
        // One in each of the turns that it takes to read them.
        let served = told.iter().filter(|text| text.starts_with("snapshot m last")).count();
        assert!((1..=TURNS).contains(&served), "{served} were served");
        assert!(entries <= 40 * TURNS, "{entries} entries");
        assert!(chunks <= (2 * shards * TURNS) as u64, "{chunks} chunks");
        assert_eq!(world.metrics().subscriptions, 1);
    }
}

/// Goal: who asks for one small map does not wait until another connection has all that it has asked for.
#[test]
fn another_clients_subscribe_is_answered_before_all_that_one_has_asked_for() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let writer = world.connect(0);
        for n in 0..400 {
            world.ask(writer, &format!("set m{n} k {}", "v".repeat(3_000)));
        }
        let (greedy, other) = (world.connect(0), world.connect(shards - 1));
        for n in 0..400 {
            world.send(greedy, &format!("subscribe m{n}"));
        }
        world.turn();
        let chunks = world.metrics().chunks;
        world.send(other, "subscribe empty");
        let mut turns = 0;
        while !world.received(other).contains(&"snapshot empty last".to_owned()) {
            world.turn();
            turns += 1;
            assert!(turns < 10, "it waits for what another has asked for");
        }
        world.settle();
        let made = world.metrics().chunks - chunks;
        assert!(made > 200, "the other had {made} chunks to come");
        assert_eq!(world.received(greedy).iter().filter(|text| text.contains(" last")).count(), 400);
    }
}

/// Goal: cancelling holds in every state that a walk may be in: waiting, asked for here or elsewhere, under way. Method: at
/// every turn of a snapshot it is replaced, left, or its client goes; afterwards nothing is under way, and another subscribe
/// gets everything.
#[test]
fn a_walk_may_end_in_any_turn() {
    for shards in [1, 2, 3] {
        for turns in 0..12 {
            for how in ["subscribe m0", "unsubscribe m0", "go"] {
                let mut world = World::with(shards, |config| config.outbox_soft_bytes = 20_000);
                let writer = world.connect(0);
                for n in 0..30 {
                    world.ask(writer, &format!("set m{} k{n} {}", n % 3, "v".repeat(2_000)));
                }
                let client = world.connect(shards - 1);
                (0..3).for_each(|n| world.send(client, &format!("subscribe m{n}")));
                (0..turns).for_each(|_| world.turn());
                if how == "go" {
                    world.fail(client)
                } else {
                    world.send(client, how)
                }
                world.settle();
                let told = world.received(client);
                let lasts = |map: &str| told.iter().filter(|text| text.starts_with(map)).count();
                if how != "go" {
                    assert_eq!((lasts("snapshot m1 last"), lasts("snapshot m2 last")), (1, 1));
                }
                if how == "unsubscribe m0" {
                    world.ask(client, "subscribe m1");
                }
                let again = world.connect(0);
                let told = (0..3).flat_map(|n| world.ask(again, &format!("subscribe m{n}")));
                assert_eq!(told.map(|text| text.matches('=').count()).sum::<usize>(), 30, "{how} {turns}");
                let chunks = world.metrics().chunks;
                (0..10).for_each(|_| world.turn());
                assert_eq!(world.metrics().chunks, chunks, "nothing is left to be made");
            }
        }
    }
}
