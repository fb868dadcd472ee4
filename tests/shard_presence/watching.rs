//! Who hears of what.

use crate::words::frames_made;
use crate::world::World;

#[test]
fn a_watcher_is_sent_all_members_and_then_every_change_its_own_too() {
    for (shards, here, there, home) in [(1, 0, 0, 0), (2, 0, 0, 1), (2, 0, 1, 0), (2, 0, 1, 1), (3, 0, 1, 2)]
    {
        let mut world = World::new(shards);
        let room = world.name_of(home, "room");
        let (watcher, other) = (world.connect(here), world.connect(there));
        assert!(world.ask(other, &format!("set {room} bob 5 {{}}")).is_empty());
        assert!(world.ask(other, &format!("set {room} ann 1 [1]")).is_empty());
        assert_eq!(
            world.ask(watcher, &format!("watch w {room}")),
            [format!("members w {room} ann=[1]@1 bob={{}}@5")]
        );
        world.send(other, &format!("set {room} bob 4 [2]"));
        world.send(other, &format!("set {room} bob 6 [3]"));
        world.send(other, &format!("remove {room} ann 2"));
        world.settle();
        let told = ["bob=[2]@4", "bob=[3]@6", "ann=gone@2"].map(|change| format!("member {room} {change}"));
        assert_eq!(world.received(watcher), told, "{shards} {here} {there} {home}");
        assert!(world.received(other).is_empty(), "it does not watch");
        let own = world.ask(watcher, &format!("set {room} eve 1 [4]"));
        assert_eq!(own, [format!("member {room} eve=[4]@1")]);
        assert_eq!((world.metrics().presence_rooms, world.metrics().presence_members), (1, 2));
    }
}

#[test]
fn rooms_are_apart() {
    let mut world = World::new(2);
    let (left, right) = (world.name_of(0, "left"), world.name_of(0, "right"));
    let client = world.connect(1);
    assert_eq!(world.ask(client, &format!("watch 1 {left}")), [format!("members 1 {left}")]);
    assert!(world.ask(client, &format!("set {right} a 1 1")).is_empty());
    assert_eq!(world.ask(client, &format!("watch 2 {right}")), [format!("members 2 {right} a=1@1")]);
    assert_eq!(world.ask(client, &format!("set {left} a 1 2")), [format!("member {left} a=2@1")]);
}

#[test]
fn a_second_watch_is_answered_and_nothing_is_told_twice() {
    for home in 0..2 {
        let mut world = World::new(2);
        let room = world.name_of(home, "room");
        let client = world.connect(0);
        world.send(client, &format!("watch 1 {room}"));
        world.send(client, &format!("watch 2 {room}"));
        world.settle();
        assert_eq!(world.received(client), [format!("members 1 {room}"), format!("members 2 {room}")]);
        assert_eq!(world.ask(client, &format!("set {room} a 1 x")), [format!("member {room} a=x@1")]);
        assert_eq!(world.ask(client, &format!("watch 3 {room}")), [format!("members 3 {room} a=x@1")]);
        assert_eq!(world.ask(client, &format!("set {room} a 1 y")), [format!("member {room} a=y@1")]);
        assert_eq!(world.metrics().presence_watches, 1);
    }
}

#[test]
fn a_watch_that_ends_before_its_answer_is_cancelled_and_each_is_answered_once() {
    for home in 0..2 {
        // Room for the answers of both watches, so that what ends them is read.
        let mut world = World::with(2, |config| config.outbox_hard_bytes = 64 << 20);
        let room = world.name_of(home, "room");
        let client = world.connect(0);
        world.send(client, &format!("watch 1 {room}"));
        world.send(client, &format!("watch 2 {room}"));
        world.send(client, &format!("unwatch {room}"));
        world.settle();
        assert_eq!(world.received(client), ["rejected 1 cancelled", "rejected 2 cancelled"]);
        assert_eq!(world.metrics().presence_watches, 0);
        world.send(client, &format!("watch 3 {room}"));
        world.send(client, &format!("unwatch {room}"));
        world.send(client, &format!("watch 4 {room}"));
        world.settle();
        assert_eq!(world.received(client), [format!("members 3 {room}"), format!("members 4 {room}")]);
    }
}

#[test]
fn nothing_is_told_of_a_room_before_its_members() {
    for home in 0..2 {
        let mut world = World::new(2);
        let room = world.name_of(home, "room");
        let (watcher, other) = (world.connect(0), world.connect(0));
        // In one turn, so that the change happens between the request and its answer.
        world.send(watcher, &format!("watch 1 {room}"));
        world.send(other, &format!("set {room} a 1 x"));
        world.settle();
        assert_eq!(world.received(watcher), [format!("members 1 {room} a=x@1")]);
    }
}

#[test]
fn who_has_left_a_room_hears_no_more_of_it_and_others_do() {
    for home in 0..2 {
        let mut world = World::new(2);
        let room = world.name_of(home, "room");
        let clients = [world.connect(0), world.connect(0), world.connect(1)];
        for client in clients {
            world.ask(client, &format!("watch 1 {room}"));
        }
        assert!(world.ask(clients[0], &format!("unwatch {room}")).is_empty());
        assert!(world.ask(clients[0], &format!("set {room} a 1 x")).is_empty());
        for client in &clients[1..] {
            assert_eq!(world.received(*client), [format!("member {room} a=x@1")]);
        }
        world.ask(clients[1], &format!("unwatch {room}"));
        world.ask(clients[2], &format!("unwatch {room}"));
        let sent = world.metrics().presence_deliveries;
        world.ask(clients[0], &format!("remove {room} a 2"));
        assert_eq!((world.metrics().presence_deliveries, world.metrics().presence_watches), (sent, 0));
        assert_eq!(world.ask(clients[0], &format!("watch 2 {room}")), [format!("members 2 {room}")]);
    }
}

#[test]
fn removing_nobody_is_told_to_nobody() {
    let mut world = World::new(1);
    let client = world.connect(0);
    world.ask(client, "watch 1 room");
    assert!(world.ask(client, "remove room nobody 1").is_empty());
    world.ask(client, "set room a 1 x");
    assert_eq!(world.ask(client, "remove room a 7"), ["member room a=gone@7"]);
    assert!(world.ask(client, "remove room a 8").is_empty());
}

#[test]
fn a_frame_is_made_once_for_each_dialect_and_shard() {
    let mut world = World::new(2);
    let room = world.name_of(0, "room");
    let mut clients = Vec::new();
    for shard in [0, 1] {
        clients.extend((0..5).map(|_| (world.connect(shard), "")));
        clients.extend((0..5).map(|_| (world.connect_other(shard), "~")));
    }
    for &(client, mark) in &clients {
        let members = world.ask(client, &format!("watch 1 {room}"));
        assert_eq!(members, [format!("{mark}members 1 {room}")]);
    }
    frames_made();
    let setter = clients[7].0;
    world.send(setter, &format!("set {room} a 1 x"));
    world.settle();
    for &(client, mark) in &clients {
        assert_eq!(world.received(client), [format!("{mark}member {room} a=x@1")]);
    }
    assert_eq!(frames_made(), 4);
    assert_eq!(world.metrics().presence_deliveries, 20);
}

#[test]
fn a_watch_whose_home_does_not_answer_in_time_is_refused_and_may_be_tried_again() {
    let mut world = World::new(2);
    let room = world.name_of(1, "room");
    let client = world.connect(0);
    world.nodes[1].is_stopped = true;
    world.send(client, &format!("watch 1 {room}"));
    world.send(client, &format!("set {room} a 1 x"));
    world.settle();
    world.pass_ms(6_000);
    assert_eq!(world.received(client), ["rejected 1 timeout", "rejected a timeout"]);
    assert_eq!(world.metrics().presence_watches, 0);
    world.nodes[1].is_stopped = false;
    world.settle();
    assert!(world.received(client).is_empty(), "it has been answered");
    // A set may have been carried out all the same.
    assert_eq!(world.ask(client, &format!("watch 2 {room}")), [format!("members 2 {room} a=x@1")]);
    assert_eq!(world.ask(client, &format!("set {room} a 2 y")), [format!("member {room} a=y@2")]);
}
