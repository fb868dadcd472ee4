//! Cells of former shards, which may have changed at the same tick.

use std::collections::BTreeSet;

use simd_json::prelude::*;

use crate::evicting::{CELLS, fill, limited_over};
use crate::world::World;

/// Goal: a walk sends every cell, though the map is evicted in its middle and cells of equal ticks get other places. Method:
/// two shards write at the same ticks; one owns all of that after a restart. Its subscriber takes nothing for a while, and
/// the first cells it has been sent change before the map is loaded again.
#[test]
fn a_walk_misses_no_cell_of_equal_ticks_when_its_map_is_loaded_again() {
    let mut world = World::new(2);
    let writer = world.connect(0);
    fill(&mut world, writer, "tied");
    let mut world = limited_over(world.disk, 1, |config| config.outbox_soft_bytes = 32 << 10);
    let (writer, watcher) = (world.connect(0), world.connect(0));
    world.received(watcher);
    world.stall(watcher);
    world.send(watcher, r#"{"type":"subscribe","id":1,"map":"tied"}"#);
    world.serve();
    world.take_bytes(watcher, usize::MAX);
    world.serve();
    let seen: Vec<String> = keys(&mut world, watcher);
    assert!((100..2 * CELLS).contains(&seen.len()), "{} cells", seen.len());
    let loads = world.metrics().loads;
    let evict = |world: &mut World| {
        for n in 0..8 {
            fill(world, writer, &format!("m{n}"));
            world.fold();
            world.pass_ms(150);
        }
    };
    evict(&mut world);
    let ops = seen[..50].iter().map(|key| format!(r#"{{"map":"tied","key":"{key}","op":"set","value":1}}"#));
    let ops = ops.collect::<Vec<_>>().join(",");
    world.ask(writer, &format!(r#"{{"type":"write","id":1,"ops":[{ops}]}}"#));
    world.serve();
    evict(&mut world);
    let mut seen: BTreeSet<String> = seen.into_iter().collect();
    for _ in 0..100 {
        world.take_bytes(watcher, usize::MAX);
        world.serve();
        seen.extend(keys(&mut world, watcher));
    }
    assert!(world.metrics().loads > loads + 10);
    assert_eq!(seen.len(), 2 * CELLS);
}

fn keys(world: &mut World, client: crate::world::Client) -> Vec<String> {
    let messages = world.received(client);
    let entries = messages.iter().flat_map(|message| message["entries"].as_array().unwrap());
    entries.map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
}
