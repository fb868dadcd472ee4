//! What clients hold is bounded in all, whoever they are: the account of memory.

use crate::world::{Client, World};

const LIMIT_BYTES: usize = 8 << 20;
const ROOM_BYTES: usize = 500_000;
const SHARE_BYTES: u64 = LIMIT_BYTES as u64 / 2;

/// A server with a room of so many bytes, whose members one connection has set.
fn world(change: impl FnOnce(&mut annulus::config::Config)) -> (World, Client) {
    let mut world = World::with(1, |config| {
        config.memory_limit_bytes = LIMIT_BYTES;
        config.outbox_soft_bytes = 256 << 10;
        config.outbox_hard_bytes = 1 << 20;
        config.drain_bytes_per_second_min = 4 << 10;
        change(config);
    });
    let keeper = world.connect(0);
    for n in 0..10 {
        let state = "x".repeat(ROOM_BYTES / 10);
        assert!(world.ask(keeper, &format!("set room m{n} 1 {state}")).is_empty());
    }
    (world, keeper)
}

/// Clients that take nothing, each of which has asked for all of the room.
fn stalled(world: &mut World, count: usize) -> Vec<Client> {
    let ask = |_| {
        let client = world.connect(0);
        world.stall(client);
        world.send(client, "watch 1 room");
        world.settle();
        client
    };
    (0..count).map(ask).collect()
}

#[test]
fn peers_that_take_nothing_hold_no_more_than_the_share_of_clients() {
    let (mut world, keeper) = world(|_| {});
    let mut held = 0;
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.extend(stalled(&mut world, 1));
        held = held.max(world.metrics().outbox_held_bytes);
        world.pass_ms(1_200);
    }
    assert!(held > SHARE_BYTES / 2 && held < SHARE_BYTES + 2 * ROOM_BYTES as u64, "{held} at most");
    // Whoever was told has its time to read that.
    (0..15).for_each(|_| world.pass_ms(1_000));
    let closed = clients.iter().filter(|&&client| world.is_closed(client)).count();
    assert!(closed > 25 && closed < 40, "{closed} of 40");
    assert_eq!(world.metrics().slow_consumers, closed as u64);
    assert!(!world.is_closed(keeper));
}

#[test]
fn without_a_limit_each_holds_what_it_may() {
    let (mut world, _) = world(|config| config.memory_limit_bytes = 0);
    let clients = stalled(&mut world, 20);
    world.pass_ms(60_000);
    assert!(world.metrics().outbox_held_bytes > 20 * ROOM_BYTES as u64);
    assert!(clients.iter().all(|&client| !world.is_closed(client)));
}

#[test]
fn who_drains_too_slowly_is_closed_and_who_does_not_stays() {
    let (mut world, _) = world(|_| {});
    let clients = stalled(&mut world, 4);
    world.pass_ms(150);
    assert!(world.metrics().outbox_held_bytes > SHARE_BYTES / 4);
    let [slow, steady, other, another] = clients[..] else { panic!() };
    for second in 0..20 {
        world.take(slow, 512);
        [steady, other, another].into_iter().for_each(|client| world.take(client, 5 << 10));
        world.pass_ms(1_000);
        assert!(!world.is_closed(steady), "after {second} s");
    }
    // It was told so, and had its time to read that.
    assert!(world.is_closed(slow));
    assert_eq!(world.metrics().slow_consumers, 1);
}

/// Goal: no speed that can be asked for is one that cannot be counted with. Method: the largest, of peers that take some bytes.
#[test]
fn whoever_drains_slower_than_anybody_can_is_closed() {
    let (mut world, _) = world(|config| config.drain_bytes_per_second_min = usize::MAX);
    let clients = stalled(&mut world, 4);
    for _ in 0..20 {
        clients.iter().for_each(|&client| world.take(client, 5 << 10));
        world.pass_ms(1_000);
    }
    assert!(world.metrics().slow_consumers > 0);
    assert!(clients.iter().any(|&client| world.is_closed(client)));
}

#[test]
fn who_drains_slowly_stays_while_there_is_memory() {
    let (mut world, _) = world(|config| config.memory_limit_bytes = 16 * LIMIT_BYTES);
    let clients = stalled(&mut world, 2);
    for _ in 0..20 {
        world.take(clients[0], 512);
        world.pass_ms(1_000);
    }
    assert!(!world.is_closed(clients[0]) && !world.is_closed(clients[1]));
}

#[test]
fn states_of_members_take_a_part_of_what_clients_may_and_no_more() {
    let (mut world, keeper) = world(|config| config.memory_limit_bytes = 16 << 20);
    let share = (16 << 20) / 2 / 4;
    let state = "x".repeat(60_000);
    let mut refused = 0;
    for n in 0..40 {
        let client = world.connect(0);
        let answers = world.ask(client, &format!("set other{n} m 1 {state}"));
        refused += usize::from(answers == ["rejected m overloaded"]);
        assert!(world.metrics().presence_bytes <= share + 70_000, "{}", world.metrics().presence_bytes);
    }
    assert!(refused > 10 && refused < 20, "{refused} of 40");
    assert!(world.ask(keeper, "set room m0 2 x").is_empty(), "what becomes smaller always may");
    assert_eq!(world.metrics().presence_rooms, 41 - refused as u64);
}
