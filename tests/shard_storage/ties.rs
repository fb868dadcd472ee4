//! Cells of former shards, which may have changed at the same tick.

use std::collections::BTreeSet;

use annulus::handover::Image;
use simd_json::prelude::*;

use crate::disk::Disk;
use crate::evicting::{CELLS, fill, limited_over};
use crate::world::{Client, World};

/// Goal: a walk sends every cell, though the map is evicted in its middle and cells of equal ticks get other places. Method:
/// two shards write at the same ticks; one owns all of that after a restart. Its subscriber takes nothing for a while, after
/// more and more of it, and what it has been sent changes before the map is loaded again.
#[test]
fn a_walk_misses_no_cell_of_equal_ticks_when_its_map_is_loaded_again() {
    let mut world = World::new(2);
    let writer = world.connect(0);
    // The second time both shards know the type, and begin at once.
    for _ in 0..2 {
        world.pass_ms(2);
        fill(&mut world, writer, "tied");
    }
    let chunks = world.disk.chunks("tied", |_| true);
    let images = chunks.iter().flat_map(|chunk| chunk.iter().map(|(_, image)| image));
    let ticks: BTreeSet<_> = images.map(|image| Image::parts(image).unwrap().0).collect();
    assert!(ticks.len() + CELLS / 4 < 2 * CELLS, "{} ticks", ticks.len());
    for takes in 1..=6 {
        let (seen, stopped_at) = walk_with_a_stop(world.disk.clone(), takes);
        assert!(stopped_at < 2 * CELLS);
        assert_eq!(seen, 2 * CELLS, "it was stopped after {stopped_at}");
    }
}

/// The cells that the subscriber has been sent in all, and before the stop.
fn walk_with_a_stop(disk: Disk, takes: usize) -> (usize, usize) {
    let mut world = limited_over(disk, 1, |config| config.outbox_soft_bytes = 16 << 10);
    let (writer, watcher) = (world.connect(0), world.connect(0));
    world.received(watcher);
    world.stall(watcher);
    world.send(watcher, r#"{"type":"subscribe","id":1,"map":"tied"}"#);
    world.serve();
    for _ in 0..takes {
        world.take_bytes(watcher, usize::MAX);
        world.serve();
    }
    let mut seen: BTreeSet<String> = keys(&mut world, watcher).collect();
    let stopped_at = seen.len();
    evict(&mut world, writer);
    let ops = seen.iter().map(|key| format!(r#"{{"map":"tied","key":"{key}","op":"set","value":1}}"#));
    let ops = ops.collect::<Vec<_>>().join(",");
    world.ask(writer, &format!(r#"{{"type":"write","id":1,"ops":[{ops}]}}"#));
    world.serve();
    evict(&mut world, writer);
    for _ in 0..100 {
        world.take_bytes(watcher, usize::MAX);
        world.serve();
        seen.extend(keys(&mut world, watcher));
    }
    (seen.len(), stopped_at)
}

/// Uses other maps until those before have left memory.
fn evict(world: &mut World, writer: Client) {
    for n in 0..8 {
        fill(world, writer, &format!("m{n}"));
        world.fold();
        world.pass_ms(150);
    }
}

fn keys(world: &mut World, client: Client) -> impl Iterator<Item = String> {
    let messages = world.received(client);
    let entries = messages.into_iter().flat_map(|message| message["entries"].as_array().unwrap().clone());
    entries.map(|entry| entry["key"].as_str().unwrap().to_owned())
}
