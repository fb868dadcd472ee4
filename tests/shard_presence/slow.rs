//! A watcher that does not read.

use annulus::limits::PRESENCE_STATE_BYTES_MAX;

use crate::world::World;

const STATE_BYTES: usize = 1_000;

#[test]
fn rooms_that_are_watched_at_once_find_room_in_the_outbox() {
    const ROOMS: usize = 16;
    const MEMBERS: usize = 30;
    for home in 0..2 {
        let mut world = World::with(2, |config| config.presence_bytes_max = 64 << 20);
        let (watcher, client) = (world.connect(0), world.connect(0));
        let state = "x".repeat(PRESENCE_STATE_BYTES_MAX);
        let rooms: Vec<String> = (0..ROOMS).map(|n| world.name_of(home, &format!("room{n}x"))).collect();
        for room in &rooms {
            for n in 0..MEMBERS {
                assert!(world.ask(client, &format!("set {room} m{n} 1 {state}")).is_empty());
            }
        }
        world.stall(watcher);
        rooms.iter().for_each(|room| world.send(watcher, &format!("watch 1 {room}")));
        world.settle();
        assert_eq!(world.metrics().slow_consumers, 0, "31 MB for a client that takes nothing for a moment");
        world.resume(watcher);
        world.settle();
        assert_eq!(world.received(watcher).len(), ROOMS);
    }
}

#[test]
fn a_slow_watcher_is_told_removals_and_ends_with_the_last_state_of_each() {
    for (home, shards) in [(0, 1), (0, 2), (1, 2)] {
        let mut world = World::with(shards, |config| config.outbox_soft_bytes = 10_000);
        let room = world.name_of(home, "room");
        let (slow, quick, client) = (world.connect(0), world.connect(0), world.connect(0));
        for watcher in [slow, quick] {
            world.ask(watcher, &format!("watch 1 {room}"));
        }
        world.ask(client, &format!("set {room} leaves 1 x"));
        world.received(slow);
        world.received(quick);
        world.stall(slow);
        let filler = "f".repeat(STATE_BYTES);
        for clock in 0..100 {
            world.ask(client, &format!("set {room} a {clock} {filler}"));
        }
        world.ask(client, &format!("remove {room} leaves 2"));
        world.ask(client, &format!("set {room} a 100 last"));
        assert_eq!(world.received(quick).len(), 102, "who reads is told everything");
        assert_eq!(world.metrics().presence_conflations, 1);
        assert!(world.metrics().outbox_bytes < 20 * STATE_BYTES as u64);
        world.resume(slow);
        world.settle();
        let told = world.received(slow);
        assert!(told.len() < 20, "{} messages", told.len());
        assert!(told.contains(&format!("member {room} leaves=gone@2")));
        assert_eq!(told.last().unwrap(), &format!("members - {room} a=last@100"));
        assert_eq!(world.ask(client, &format!("set {room} a 101 y")).len(), 0);
        assert_eq!(world.received(slow), [format!("member {room} a=y@101")], "it hears everything again");
    }
}

#[test]
fn a_slow_watcher_of_many_rooms_catches_up_with_each() {
    let mut world = World::with(2, |config| config.outbox_soft_bytes = 10_000);
    let (slow, client) = (world.connect(0), world.connect(1));
    let filler = "f".repeat(STATE_BYTES);
    for n in 0..20 {
        world.ask(slow, &format!("watch 1 room{n}"));
    }
    world.stall(slow);
    for round in 0..3 {
        for n in 0..20 {
            world.ask(client, &format!("set room{n} a {round} {filler}{round}"));
        }
    }
    assert_eq!(world.metrics().presence_conflations, 20);
    world.resume(slow);
    world.settle();
    let told = world.received(slow);
    for n in 0..20 {
        let members = format!("members - room{n} a={filler}2@2");
        assert_eq!(told.iter().filter(|&text| *text == members).count(), 1, "room{n}");
    }
}

#[test]
fn a_slow_watcher_that_goes_leaves_nothing_behind() {
    let mut world = World::with(2, |config| config.outbox_soft_bytes = 10_000);
    let room = world.name_of(1, "room");
    let (slow, client) = (world.connect(0), world.connect(1));
    world.ask(slow, &format!("watch 1 {room}"));
    world.stall(slow);
    for clock in 0..100 {
        world.ask(client, &format!("set {room} a {clock} {}", "f".repeat(STATE_BYTES)));
    }
    world.send(slow, &format!("unwatch {room}"));
    world.fail(slow);
    world.settle();
    assert_eq!(world.metrics().presence_watches, 0);
    let sent = world.metrics().envelopes_sent;
    world.ask(client, &format!("set {room} a 100 x"));
    assert_eq!(world.metrics().envelopes_sent, sent, "no other shard watches");
}
