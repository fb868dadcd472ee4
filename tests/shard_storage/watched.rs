//! Maps that are watched after they have left memory.

use annulus::limits::OPS_PER_REQUEST_MAX;

use crate::evicting::{CELLS, digest, fill, limited, watched_and_evicted};
use crate::world::World;

/// Goal: a value's end is told however late its map can be loaded. Method: a watched map has left memory, and its load fails
/// when the value is due; the load began by then, or is begun for that.
#[test]
fn the_end_of_a_value_is_told_though_the_load_for_it_fails() {
    for was_asked_before in [false, true] {
        let mut world = limited(1);
        let client = world.connect(0);
        fill(&mut world, client, "watched");
        let op = r#"{"map":"watched","key":"k0","op":"set","value":1,"ttl_ms":10000}"#;
        world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#));
        world.serve();
        let watcher = watched_and_evicted(&mut world, client, "watched");
        let before = world.metrics();
        (0..7).for_each(|_| world.pass_ms(1_000));
        assert_eq!(world.metrics().loads, before.loads);
        if was_asked_before {
            world.ask(client, r#"{"type":"digest","id":1,"map":"watched"}"#);
            assert_eq!(world.metrics().loads, before.loads + 1);
        }
        (0..4).for_each(|_| world.pass_ms(1_000));
        world.serve_but_loads_of(0);
        assert_eq!(world.metrics().loads_failed, before.loads_failed + 1);
        assert!(world.received(watcher).is_empty());
        for _ in 0..4 {
            world.pass_ms(1_000);
            world.serve();
        }
        assert_eq!(world.metrics().expirations, before.expirations + 1);
        let changes = world.received(watcher);
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!((&changes[0]["entries"][0]["key"], &changes[0]["type"]), (&"k0".into(), &"change".into()));
    }
}

/// Goal: no write is refused for want of memory while a map can leave. Method: more maps are watched than one pass looks at,
/// and all of them have left when others come and go.
#[test]
fn watched_maps_that_have_left_are_not_in_the_way_of_those_that_can() {
    const WATCHED: usize = 1_200;
    const { assert!(WATCHED <= 2 * OPS_PER_REQUEST_MAX) };
    let mut world = World::with(1, |config| config.memory_limit_bytes = 500_000);
    let client = world.connect(0);
    for half in 0..2 {
        let op = |n| format!(r#"{{"map":"w{n}","key":"k","op":"set","value":1}}"#);
        let names = half * WATCHED / 2..(half + 1) * WATCHED / 2;
        let ops = names.map(op).collect::<Vec<_>>().join(",");
        world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{ops}]}}"#));
        world.serve();
    }
    let watcher = world.connect(0);
    for n in 0..WATCHED {
        world.ask(watcher, &format!(r#"{{"type":"subscribe","id":1,"map":"w{n}"}}"#));
    }
    world.received(client);
    world.fold();
    // What is not in the base stays, so that all that are watched must leave.
    for map in ["a", "b", "c"] {
        fill(&mut world, client, map);
        world.pass_ms(150);
    }
    assert_eq!(world.metrics().evictions, WATCHED as u64);
    ["a", "b", "c"].iter().for_each(|map| drop(digest(&mut world, client, map)));
    world.fold();
    world.pass_ms(150);
    let acks = fill(&mut world, client, "d");
    assert_eq!((acks.len(), &acks[0]["applied"]), (1, &CELLS.into()));
    assert!(world.metrics().evictions > WATCHED as u64);
}
