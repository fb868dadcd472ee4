//! Members that are not set again are removed.

use annulus::limits::PRESENCE_STALE_MS;

use crate::world::{UNIX_START_MS, World};

#[test]
fn a_stale_member_is_removed_with_a_later_clock_and_one_that_is_renewed_stays() {
    for home in 0..2 {
        let mut world = World::new(2);
        let room = world.name_of(home, "room");
        let (watcher, client) = (world.connect(0), world.connect(0));
        world.ask(watcher, &format!("watch 1 {room}"));
        let far = UNIX_START_MS + 3_600_000;
        world.ask(client, &format!("set {room} renewed 1 x"));
        world.pass_ms(PRESENCE_STALE_MS / 3);
        world.ask(client, &format!("set {room} small 1 x"));
        world.ask(client, &format!("set {room} large {far} x"));
        world.received(watcher);
        for turn in 2..=6 {
            world.pass_ms(PRESENCE_STALE_MS / 2 - 10);
            let told = world.ask(client, &format!("set {room} renewed {turn} x"));
            assert!(told.is_empty());
        }
        let told = world.received(watcher);
        let changes: Vec<_> = told.iter().map(|text| text.rsplit(' ').next().unwrap()).collect();
        assert_eq!(changes.len(), 7, "{told:?}");
        let of = |member: &str| {
            let change = changes.iter().find_map(|change| change.strip_prefix(member));
            change.and_then(|clock| clock.parse::<u64>().ok())
        };
        assert_eq!(of("large=gone@"), Some(far + 1));
        assert!(of("small=gone@").is_some_and(|clock| (UNIX_START_MS..=world.unix_ms()).contains(&clock)));
        assert_eq!(world.metrics().presence_members, 1);
        assert_eq!(world.metrics().presence_stale, 2);
    }
}

#[test]
fn a_member_is_gone_within_twice_the_time_and_not_before_it_is_over() {
    // However it falls between two looks at the room, which another member began.
    for after_ms in [0, 1, 10_000, PRESENCE_STALE_MS - 1, PRESENCE_STALE_MS, PRESENCE_STALE_MS + 1] {
        let mut world = World::new(1);
        let client = world.connect(0);
        world.ask(client, "set room first 1 x");
        world.pass_ms(after_ms);
        world.ask(client, "set room a 1 x");
        world.pass_ms(PRESENCE_STALE_MS - 100);
        let members = world.ask(client, "watch 1 room");
        assert!(members[0].contains("a=x@1"), "after {after_ms}: {members:?}");
        world.pass_ms(PRESENCE_STALE_MS + 100);
        let told = world.received(client);
        assert!(
            told.iter().any(|text| text.starts_with("member room a=gone@")),
            "after {after_ms}: {told:?}"
        );
        assert_eq!((world.metrics().presence_members, world.metrics().presence_rooms), (0, 0));
    }
}

#[test]
fn many_stale_members_go_over_many_turns_and_then_the_shard_sleeps() {
    let mut world = World::with(1, |config| config.subscriptions_max = 2_000);
    let client = world.connect(0);
    for n in 0..1_000 {
        world.send(client, &format!("set room{} m{n} 1 x", n % 3));
    }
    world.settle();
    assert_eq!((world.metrics().presence_members, world.metrics().presence_rooms), (1_000, 3));
    let before = world.metrics().turns;
    world.pass_ms(2 * PRESENCE_STALE_MS);
    assert_eq!((world.metrics().presence_members, world.metrics().presence_stale), (0, 1_000));
    assert!(world.metrics().turns - before >= 1_000 / 64, "no turn removes them all");
    world.fail(client);
    world.pass_ms(2 * PRESENCE_STALE_MS);
    world.pass_ms(3_600_000);
    assert_eq!(world.nodes[0].shard.wait_us(), None);
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
    world.pass_ms(2 * PRESENCE_STALE_MS);
    assert_eq!(world.metrics().presence_members, 0);
}
