//! What is refused, and that the connection goes on.

use annulus::limits::{
    KEY_BYTES_MAX, MAP_NAME_BYTES_MAX, PRESENCE_MEMBERS_MAX, PRESENCE_ROOM_BYTES_MAX,
    PRESENCE_STATE_BYTES_MAX,
};

use crate::world::World;

#[test]
fn names_and_states_have_their_bounds() {
    let mut world = World::new(2);
    let client = world.connect(0);
    let longest =
        ["r".repeat(MAP_NAME_BYTES_MAX), "m".repeat(KEY_BYTES_MAX), "x".repeat(PRESENCE_STATE_BYTES_MAX)];
    let [room, member, state] = &longest;
    assert!(world.ask(client, &format!("set {room} {member} 1 {state}")).is_empty());
    assert_eq!(
        world.ask(client, &format!("watch 1 {room}")),
        [format!("members 1 {room} {member}={state}@1")]
    );
    for (request, answer) in [
        (format!("set {room}r m 1 x"), "rejected m too_large"),
        (format!("set r {member}m 1 x"), &*format!("rejected {member}m too_large")),
        (format!("set r m 1 x{state}"), "rejected m too_large"),
        (format!("remove {room}r m 1"), "rejected m too_large"),
        ("set  m 1 x".to_owned(), "rejected m key_invalid"),
        ("set r  1 x".to_owned(), "rejected  key_invalid"),
        ("set r\0 m 1 x".to_owned(), "rejected m key_invalid"),
        ("set r m\0 1 x".to_owned(), "rejected m\0 key_invalid"),
        (format!("watch 2 {room}r"), "rejected 2 too_large"),
        ("watch 2 ".to_owned(), "rejected 2 key_invalid"),
    ] {
        assert_eq!(world.ask(client, &request), [answer]);
    }
    assert_eq!(world.metrics().presence_members, 1);
}

#[test]
fn a_room_holds_so_many_members_and_each_may_still_change() {
    for home in 0..2 {
        let mut world = World::with(2, |config| config.subscriptions_max = 2 * PRESENCE_MEMBERS_MAX);
        let room = world.name_of(home, "room");
        let client = world.connect(0);
        for n in 0..PRESENCE_MEMBERS_MAX {
            world.send(client, &format!("set {room} m{n} 1 x"));
        }
        world.settle();
        assert!(world.received(client).is_empty());
        assert_eq!(world.ask(client, &format!("set {room} more 1 x")), ["rejected more too_large"]);
        assert!(world.ask(client, &format!("set {room} m0 2 y")).is_empty());
        world.ask(client, &format!("remove {room} m0 3"));
        assert!(world.ask(client, &format!("set {room} more 1 x")).is_empty());
        assert_eq!(world.metrics().presence_members, PRESENCE_MEMBERS_MAX as u64);
    }
}

#[test]
fn a_room_holds_so_many_bytes() {
    let mut world = World::with(2, |config| config.presence_bytes_max = 2 * PRESENCE_ROOM_BYTES_MAX);
    let room = world.name_of(1, "room");
    let (client, watcher) = (world.connect(0), world.connect(1));
    let state = "x".repeat(PRESENCE_STATE_BYTES_MAX);
    let fit = PRESENCE_ROOM_BYTES_MAX / (state.len() + 3);
    for n in 0..fit {
        assert!(world.ask(client, &format!("set {room} m{n:02} 1 {state}")).is_empty());
    }
    assert_eq!(world.ask(client, &format!("set {room} more 1 {state}")), ["rejected more too_large"]);
    let members = world.ask(watcher, &format!("watch 1 {room}"));
    assert_eq!(members[0].matches('@').count(), fit);
    // Room that is given back can be used again, whichever way it was given back.
    world.ask(client, &format!("set {room} m00 1 x"));
    assert!(world.ask(client, &format!("set {room} more 1 {state}")).is_empty());
    assert_eq!(world.ask(client, &format!("set {room} m00 1 {state}")), ["rejected m00 too_large"]);
    world.ask(client, &format!("remove {room} more 1"));
    assert!(world.ask(client, &format!("set {room} m00 1 {state}")).is_empty());
    world.fail(client);
    world.settle();
    let other = world.connect(0);
    for n in 0..fit {
        assert!(world.ask(other, &format!("set {room} m{n:02} 1 {state}")).is_empty());
    }
}

#[test]
fn a_connection_watches_so_many_rooms_and_sets_so_many_members() {
    let mut world = World::with(2, |config| config.subscriptions_max = 3);
    let client = world.connect(0);
    for n in 0..3 {
        world.ask(client, &format!("watch 1 room{n}"));
        world.ask(client, &format!("set room{n} m 1 x"));
    }
    assert_eq!(world.ask(client, "watch 2 more"), ["rejected 2 too_many_subscriptions"]);
    assert_eq!(world.ask(client, "watch 2 room0"), ["members 2 room0 m=x@1"], "it watches that already");
    assert_eq!(world.ask(client, "set more m 1 x"), ["rejected m too_large"]);
    assert_eq!(world.ask(client, "set room0 m 2 y"), ["member room0 m=y@2"]);
    world.ask(client, "unwatch room0");
    assert_eq!(world.ask(client, "watch 3 more"), ["members 3 more"]);
    world.ask(client, "remove room1 m 2");
    assert_eq!(world.ask(client, "set more m 1 x"), ["member more m=x@1"]);
    assert_eq!(world.metrics().presence_members, 3);
}

#[test]
fn a_connection_sets_so_many_bytes_of_members_and_not_one_more_is_kept() {
    const BYTES_MAX: usize = 100_000;
    let mut world = World::with(2, |config| config.presence_bytes_max = BYTES_MAX);
    let (client, other) = (world.connect(0), world.connect(1));
    let state = "x".repeat(9_900);
    for n in 0..10 {
        assert!(world.ask(client, &format!("set room{n} m 1 {state}")).is_empty());
    }
    let held = world.metrics().presence_bytes;
    assert!(held > 99_000 && held <= BYTES_MAX as u64, "{held}");
    assert_eq!(world.ask(client, &format!("set more m 1 {state}")), ["rejected m too_large"]);
    assert_eq!(world.ask(client, &format!("set room0 m 2 {state}{state}")), ["rejected m too_large"]);
    assert_eq!(world.metrics().presence_bytes, held);
    // Another connection has its own, what becomes smaller always may, and what is given back can be used again.
    assert!(world.ask(other, &format!("set more m 1 {state}")).is_empty());
    assert!(world.ask(client, "set room0 m 3 x").is_empty());
    assert!(world.ask(client, &format!("set more n 1 {state}")).is_empty());
    world.fail(client);
    world.fail(other);
    world.settle();
    assert_eq!((world.metrics().presence_bytes, world.metrics().presence_members), (0, 0));
}
