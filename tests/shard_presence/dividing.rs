//! What all watchers of a room are told is divided over turns, in order.

use annulus::limits::{PRESENCE_STATE_BYTES_MAX, PRESENCE_TOLD_BYTES_MAX};
use annulus::shard::work;

use crate::world::{Client, World};

/// A room of many watchers on shard 0, and who sets members of it beside its home.
fn room_of(watchers: usize, home: usize) -> (World, String, Vec<Client>, Client) {
    let mut world = World::with(2, |config| config.outbox_soft_bytes = 4 << 20);
    let room = world.name_of(home, "room");
    let watchers: Vec<_> = (0..watchers).map(|_| world.connect(0)).collect();
    watchers.iter().for_each(|&watcher| world.send(watcher, &format!("watch 1 {room}")));
    world.settle();
    watchers.iter().for_each(|&watcher| drop(world.received(watcher)));
    let setter = world.connect(home);
    (world, room, watchers, setter)
}

/// The clocks that a client was told of, in order.
fn clocks(world: &mut World, client: Client) -> Vec<u64> {
    let clock = |text: String| text.rsplit_once('@').map(|(_, clock)| clock.parse().unwrap());
    world.received(client).into_iter().filter_map(clock).collect()
}

#[test]
fn a_change_is_told_over_turns_and_what_comes_meanwhile_follows_in_order() {
    const WATCHERS: usize = 300;
    for home in 0..2 {
        let (mut world, room, watchers, setter) = room_of(WATCHERS, home);
        let late = world.connect(0);
        let state = "s".repeat(PRESENCE_STATE_BYTES_MAX - 1_000);
        let before = world.metrics().presence_deliveries;
        world.send(setter, &format!("set {room} a 1 {state}"));
        world.send(setter, &format!("set {room} a 2 x"));
        let all = work::receivers(WATCHERS, state.len());
        assert!(all > 3 * work::TURN_MAX);
        let mut turns = 0;
        while world.metrics().presence_deliveries + 2 < before + 2 * WATCHERS as u64 {
            if turns == 1 {
                world.send(late, &format!("watch 1 {room}"));
                world.send(watchers[7], &format!("unwatch {room}"));
                world.send(watchers[8], &format!("watch 1 {room}"));
            }
            world.turn();
            turns += 1;
            assert!(turns < 100, "nothing goes on");
            let spent = world.nodes[0].shard.work();
            let one = work::receivers(3, state.len()) + work::copied(2 * state.len());
            assert!(spent <= work::TURN_MAX + work::CONNECTION_MAX + one, "{spent} units in turn {turns}");
        }
        world.settle();
        assert!(turns >= 3, "{turns} turns");
        for (n, &watcher) in watchers.iter().enumerate().filter(|(n, _)| *n != 7) {
            let mut told = clocks(&mut world, watcher);
            // One has asked for all members meanwhile.
            told.dedup();
            assert_eq!(told, [1, 2], "of watcher {n}, home {home}");
        }
        let told = clocks(&mut world, late);
        assert_eq!(told.last(), Some(&2));
        assert!(told.is_sorted_by(|one, next| one < next), "{told:?} of who came late, home {home}");
        assert_eq!(world.metrics().waiting_request_bytes, 0);
    }
}

#[test]
fn a_shard_with_much_to_tell_takes_no_more_of_it_from_others() {
    const SETS: usize = 500;
    const SETTERS: usize = 4;
    let (mut world, room, watchers, _) = room_of(30, 1);
    let setters: Vec<_> = (0..SETTERS).map(|_| world.connect(1)).collect();
    let state = "s".repeat(PRESENCE_STATE_BYTES_MAX - 1_000);
    let (mut most, mut sent) = (0, 0);
    let mut told = vec![Vec::new(); watchers.len()];
    for turn in 0.. {
        for _ in 0..40.min(SETS - sent) {
            sent += 1;
            let which = sent % SETTERS;
            world.send(setters[which], &format!("set {room} a{which} {sent} {state}"));
        }
        world.turn();
        for (told, &watcher) in told.iter_mut().zip(&watchers) {
            told.extend(clocks(&mut world, watcher));
        }
        most = most.max(world.nodes[0].shard.metrics_now().waiting_request_bytes as usize);
        if told.iter().all(|told| told.len() == SETS) {
            break;
        }
        assert!(turn < 2_000, "nothing goes on");
    }
    assert!(most > PRESENCE_TOLD_BYTES_MAX / 2, "{most} bytes is not much");
    // One envelope more, which is what a turn has brought.
    assert!(most < 2 * PRESENCE_TOLD_BYTES_MAX, "{most} bytes wait");
    for (told, which) in told.iter().flat_map(|told| (0..SETTERS as u64).map(move |which| (told, which))) {
        assert!(told.iter().filter(|&clock| clock % SETTERS as u64 == which).is_sorted());
    }
}
