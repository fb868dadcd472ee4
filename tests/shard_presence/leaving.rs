//! Members go with the connection that has set them last.

use annulus::shard::work;

use crate::world::{Client, World};

/// What a turn may do, the share of who goes on from earlier turns, and what is done as a whole: a few ends, and messages of
/// a few words.
const TURN_AND_SHARES: u64 = work::TURN_MAX + 3 * work::CONNECTION_MAX;

/// Every way in which a watcher on shard 0 can stand to the home of a room and to who leaves: home, and shard of the
/// client that leaves.
const PLACES: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

#[test]
fn a_member_leaves_with_its_connection() {
    for (home, shard) in PLACES {
        let mut world = World::new(2);
        let room = world.name_of(home, "room");
        let (watcher, client) = (world.connect(0), world.connect(shard));
        world.ask(watcher, &format!("watch 1 {room}"));
        world.ask(client, &format!("watch 1 {room}"));
        world.ask(client, &format!("set {room} a 7 x"));
        world.ask(client, &format!("set {room} b 1 y"));
        world.received(watcher);
        world.fail(client);
        world.settle();
        let mut told = world.received(watcher);
        told.sort();
        assert_eq!(told, [format!("member {room} a=gone@8"), format!("member {room} b=gone@2")]);
        assert_eq!((world.metrics().presence_members, world.metrics().presence_watches), (0, 1));
    }
}

#[test]
fn a_set_and_the_end_of_its_connection_in_one_turn_leave_nothing() {
    for (home, shard) in PLACES {
        let mut world = World::new(2);
        let room = world.name_of(home, "room");
        let (watcher, client) = (world.connect(0), world.connect(shard));
        world.ask(watcher, &format!("watch 1 {room}"));
        world.send(client, &format!("watch 1 {room}"));
        world.send(client, &format!("set {room} a 7 x"));
        world.fail(client);
        world.settle();
        assert_eq!(
            world.received(watcher),
            [format!("member {room} a=x@7"), format!("member {room} a=gone@8")]
        );
        assert_eq!((world.metrics().presence_members, world.metrics().presence_watches), (0, 1));
    }
}

#[test]
fn a_member_that_a_newer_connection_has_set_stays() {
    for (home, shard) in PLACES {
        let mut world = World::new(2);
        let room = world.name_of(home, "room");
        let (watcher, old, new) = (world.connect(0), world.connect(shard), world.connect(0));
        world.ask(watcher, &format!("watch 1 {room}"));
        world.ask(old, &format!("set {room} a 7 x"));
        world.ask(new, &format!("set {room} a 1 y"));
        world.received(watcher);
        world.fail(old);
        world.settle();
        assert!(world.received(watcher).is_empty());
        world.fail(new);
        world.settle();
        assert_eq!(world.received(watcher), [format!("member {room} a=gone@2")]);
    }
}

#[test]
fn a_newer_connection_in_the_same_turn_keeps_its_member() {
    let mut world = World::new(2);
    let room = world.name_of(1, "room");
    let (watcher, old, new) = (world.connect(1), world.connect(0), world.connect(1));
    world.ask(watcher, &format!("watch 1 {room}"));
    world.ask(old, &format!("set {room} a 7 x"));
    world.received(watcher);
    world.send(new, &format!("set {room} a 8 y"));
    world.fail(old);
    world.settle();
    assert_eq!(world.received(watcher), [format!("member {room} a=y@8")]);
}

#[test]
fn who_has_removed_its_member_removes_nothing_when_it_goes() {
    for (home, shard) in PLACES {
        let mut world = World::new(2);
        let room = world.name_of(home, "room");
        let (watcher, client, other) = (world.connect(0), world.connect(shard), world.connect(1));
        world.ask(watcher, &format!("watch 1 {room}"));
        world.ask(client, &format!("set {room} a 1 x"));
        world.ask(client, &format!("remove {room} a 2"));
        world.ask(other, &format!("set {room} a 1 z"));
        world.received(watcher);
        world.fail(client);
        world.settle();
        assert!(world.received(watcher).is_empty());
        assert_eq!(world.metrics().presence_members, 1);
    }
}

#[test]
fn only_who_has_set_a_member_last_removes_it() {
    for (home, shard) in PLACES {
        let mut world = World::new(2);
        let room = world.name_of(home, "room");
        let (watcher, old, new) = (world.connect(0), world.connect(shard), world.connect(1));
        world.ask(watcher, &format!("watch 1 {room}"));
        world.ask(old, &format!("set {room} a 1 x"));
        world.ask(new, &format!("remove {room} a 2"));
        assert_eq!(world.received(watcher), [format!("member {room} a=x@1")], "it has set nothing");
        world.ask(new, &format!("set {room} a 1 y"));
        world.received(watcher);
        // The client leaves with its old connection in words, and stays with the new one.
        world.ask(old, &format!("remove {room} a 9"));
        world.fail(old);
        world.settle();
        assert!(world.received(watcher).is_empty());
        world.ask(new, &format!("remove {room} a 2"));
        assert_eq!(world.received(watcher), [format!("member {room} a=gone@2")]);
        assert_eq!((world.metrics().presence_members, world.metrics().presence_watches), (0, 1));
    }
}

#[test]
fn rooms_that_come_and_go_leave_nothing_behind() {
    let mut world = World::new(1);
    let client = world.connect(0);
    for n in 0..10_000 {
        world.send(client, &format!("set room{n} a 1 x"));
        world.send(client, &format!("remove room{n} a 1"));
    }
    world.ask(client, "set kept a 1 x");
    assert_eq!((world.metrics().presence_members, world.metrics().presence_rooms), (1, 1));
    world.fail(client);
    world.pass_ms(3_600_000);
    assert_eq!((world.metrics().presence_members, world.metrics().presence_rooms), (0, 0));
    assert_eq!(world.nodes[0].shard.wait_us(), None, "the shard sleeps");
}

#[test]
fn the_largest_clock_does_not_overflow() {
    let mut world = World::new(1);
    let (watcher, client) = (world.connect(0), world.connect(0));
    world.ask(watcher, "watch 1 room");
    world.ask(client, &format!("set room a {} x", u64::MAX));
    world.received(watcher);
    world.fail(client);
    world.settle();
    assert_eq!(world.received(watcher), [format!("member room a=gone@{}", u64::MAX)]);
}

#[test]
fn many_that_go_at_once_are_told_of_over_several_turns() {
    const MEMBERS: usize = 600;
    for home in 0..2 {
        let mut world = World::new(2);
        let room = world.name_of(home, "room");
        let watchers: Vec<_> = (0..MEMBERS).map(|_| world.connect(0)).collect();
        for &watcher in &watchers {
            world.send(watcher, &format!("watch 1 {room}"));
        }
        world.settle();
        let members: Vec<_> = (0..MEMBERS).map(|_| world.connect(1)).collect();
        for (n, &member) in members.iter().enumerate() {
            world.send(member, &format!("set {room} m{n} 1 x"));
        }
        world.settle();
        for &watcher in &watchers {
            world.received(watcher);
        }
        let told = world.metrics().presence_deliveries;
        members.iter().for_each(|&member| world.fail(member));
        let all = work::RECEIVER * (MEMBERS * MEMBERS) as u64;
        assert!(all > 20 * work::TURN_MAX);
        let mut turns = 0;
        while world.metrics().presence_deliveries < told + (MEMBERS * MEMBERS) as u64 {
            world.turn();
            turns += 1;
            assert!(turns < 10_000, "nothing goes on");
            let spent = world.nodes.iter().map(|node| node.shard.work()).max().unwrap();
            assert!(spent <= TURN_AND_SHARES, "{spent} units in one turn");
        }
        world.settle();
        for &watcher in &watchers {
            assert_eq!(world.received(watcher).len(), MEMBERS, "each was told of");
        }
        assert!(turns as u64 >= all / TURN_AND_SHARES, "{turns} turns");
    }
}

#[test]
fn a_removal_whose_way_is_blocked_is_late_and_not_lost() {
    let mut world = World::new(2);
    let room = world.name_of(1, "room");
    let (watcher, client, busy) = (world.connect(1), world.connect(0), world.connect(0));
    world.ask(watcher, &format!("watch 1 {room}"));
    world.ask(client, &format!("set {room} a 1 x"));
    world.received(watcher);
    // The home takes no turns, and the queue to it is full before the client goes.
    world.nodes[1].is_stopped = true;
    for n in 0..50 {
        world.send(busy, &format!("set {room} b 1 {n}"));
        world.turn();
    }
    assert!(world.metrics().mesh_pending_envelopes > 0);
    world.fail(client);
    (0..10).for_each(|_| world.turn());
    // Nor is it lost where the connection that had set more goes meanwhile.
    world.fail(busy);
    (0..10).for_each(|_| world.turn());
    assert_eq!(world.metrics().presence_members, 1);
    world.nodes[1].is_stopped = false;
    world.settle();
    assert_eq!(world.metrics().presence_members, 0);
    let told = world.received(watcher);
    for member in ["a", "b"] {
        let gone = format!("member {room} {member}=gone");
        assert_eq!(told.iter().filter(|line| line.starts_with(&gone)).count(), 1, "{told:?}");
    }
}

/// Each has to let go of much, and no turn does that for all of them.
#[test]
fn connections_with_much_to_let_go_of_that_go_at_once_take_turns() {
    const CLIENTS: usize = 20;
    const EACH: usize = 2_000;
    let mut world = World::new(1);
    let clients: Vec<_> = (0..CLIENTS).map(|_| world.connect(0)).collect();
    clients.iter().for_each(|&client| hold_much(&mut world, client, EACH));
    let (gone, closing) = clients.split_at(CLIENTS / 2);
    gone.iter().for_each(|&client| world.fail(client));
    closing.iter().for_each(|&client| world.end(client));
    let all = (2 * work::LET_GO + work::FRAME) * (CLIENTS * EACH) as u64;
    let turns = turns_until_gone(&mut world);
    assert!(turns >= all / TURN_AND_SHARES, "{turns} turns");
    world.settle();
    let metrics = world.metrics();
    assert_eq!((metrics.presence_members, metrics.presence_rooms, metrics.connections), (0, 0, 0));
}

/// Whichever end it is, one connection with as much as it may have lets go of it over turns. Meanwhile it is told nothing, others
/// are served in each turn, and its slot is its own.
#[test]
fn one_connection_with_much_to_let_go_of_is_gone_over_turns() {
    const EACH: usize = 5_000;
    for how in [World::fail, World::end, World::close] {
        let mut world = World::new(1);
        let (client, other) = (world.connect(0), world.connect(0));
        hold_much(&mut world, client, EACH);
        world.received(client);
        how(&mut world, client);
        world.turn();
        let all = (2 * work::LET_GO + work::FRAME) * EACH as u64;
        assert!(all > 4 * work::TURN_MAX);
        let mut turns = 0;
        while world.metrics().subscriptions + world.metrics().presence_watches > 0 {
            world.send(other, &format!("publish map{turns} x"));
            world.send(other, &format!("set room{turns} b 1 x"));
            world.turn();
            let spent = world.nodes[0].shard.work();
            assert!(spent <= TURN_AND_SHARES, "{spent} units in turn {turns}");
            let metrics = world.metrics();
            if metrics.subscriptions > 0 {
                assert_eq!((metrics.connections, metrics.sockets), (2, 2), "it is there until then");
            }
            turns += 1;
            assert!(turns < 1_000, "nothing goes on");
            assert_eq!(metrics.publishes, turns, "others are served");
        }
        assert!(turns >= all / TURN_AND_SHARES, "{turns} turns");
        world.settle();
        assert!(world.is_closed(client) && world.received(client).is_empty());
        let metrics = world.metrics();
        assert_eq!((metrics.connections, metrics.sockets, metrics.presence_members), (1, 1, turns));
        assert_eq!((metrics.publish_deliveries, metrics.publishes_missed), (0, 0));
    }
}

/// Subscriptions, watches and members, so many of each.
fn hold_much(world: &mut World, client: Client, each: usize) {
    for n in 0..each {
        world.send(client, &format!("subscribe map{n}"));
        world.send(client, &format!("watch 1 room{n}"));
        world.send(client, &format!("set room{n} a 1 x"));
        if n % 100 == 0 {
            world.settle();
        }
    }
    world.settle();
}

/// How many turns it takes until nobody is subscribed to anything.
fn turns_until_gone(world: &mut World) -> u64 {
    let mut turns = 0;
    while world.metrics().subscriptions > 0 {
        world.turn();
        turns += 1;
        let spent = world.nodes[0].shard.work();
        assert!(spent <= TURN_AND_SHARES, "{spent} units in turn {turns}");
    }
    turns
}
