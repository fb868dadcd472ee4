//! Walks over a map that leaves memory and comes back between two chunks.

use super::*;

/// The map as the next load gives it.
fn loaded_again(map: &Map, load: u32) -> Map {
    let mut again = Map::new(map.map_type());
    for (_, cell) in map.since(Time::ZERO) {
        let key = HashedKey { hash: hash(std::str::from_utf8(cell.key()).unwrap()), bytes: cell.key() };
        cell.parts(|delta, _| assert!(again.merge(key, &delta, cell.applied()).is_ok()));
    }
    again.set_load(load);
    again
}

/// Goal: a walk among large sets misses none, though the map has left memory and come back. Method: one of them has changed
/// last, so that the next load puts it elsewhere; it leaves after each chunk of the first.
#[test]
fn large_sets_are_all_told_though_their_places_are_others_after_a_load() {
    for chunks in 1..8 {
        let mut written = Written::new(MapType::Or);
        let sets = ["a", "b", "c"];
        let tags = 2 * LARGE_SET_BYTES / 1_000;
        sets.iter().for_each(|set| (0..tags).for_each(|tag| written.add(set, tag, &[b'1'; 1_000])));
        written.add("a", tags, b"2");
        let (mut walk, mut replica) = (Walk::new(CHUNK_BYTES / 4), Replica::default());
        for _ in 0..chunks {
            walk.step(&written.map, None);
            replica.merge(&walk.packed);
        }
        let map = loaded_again(&written.map, 7);
        while !walk.is_over {
            walk.step(&map, None);
            replica.merge(&walk.packed);
        }
        assert_eq!(replica.live.len(), sets.len() * tags + 1, "left after {chunks} chunks");
    }
}

/// Keys as a load gives them that were stored with these ticks, in the order of the keys where these are equal.
fn loaded(load: u32, stored: &BTreeMap<String, u64>) -> Map {
    let mut map = Map::new(MapType::Lww);
    let mut order: Vec<_> = stored.iter().map(|(key, &tick)| (tick, key)).collect();
    order.sort_unstable();
    for (tick, key) in order {
        let at = Stamp { time: Time::ZERO, node: Node::new(b"n").unwrap() };
        let value = Delta::Lww { at, value: Some(b"1"), expires_ms: 0 };
        let key = HashedKey { hash: hash(key), bytes: key.as_bytes() };
        map.restore(key, Time::from_bits(tick), [(value, Time::ZERO)]).unwrap();
    }
    map.finish_restore(Time::ZERO);
    map.set_load(load);
    map
}

/// Goal: a walk over cells that were stored with equal ticks misses none, whichever of them are other or gone when the map is
/// loaded again. Method: every stop of a walk of one cell a chunk, with every choice of the cells that were seen by then.
#[test]
fn cells_of_equal_ticks_are_all_told_though_they_move_in_another_load() {
    let ticks = [2, 3, 3, 3, 4, 4, 9, 20, 20, 21, 21, 40];
    let stored: BTreeMap<_, _> =
        ticks.iter().enumerate().map(|(n, &tick)| (format!("k{n:02}"), tick)).collect();
    let first = loaded(1, &stored);
    let room = ENTRY_BYTES + "k00".len() + 1;
    for stop in 1..ticks.len() {
        for changed in 0..1_u32 << stop {
            let mut walk = Walk::new(room);
            let mut seen = BTreeSet::new();
            let mut step = |walk: &mut Walk, map: &Map| {
                walk.step(map, None);
                seen.extend(Entries::new(&walk.packed).map(|entry| entry.key.to_owned()));
            };
            (0..stop).for_each(|_| step(&mut walk, &first));
            let is_changed = |n: &usize| *n < stop && changed >> n & 1 == 1;
            let mut stored = stored.clone();
            // Some are changed, the others were deleted and are forgotten.
            for n in (0..ticks.len()).filter(is_changed) {
                let key = format!("k{n:02}");
                if n.is_multiple_of(2) {
                    stored.remove(&key)
                } else {
                    stored.insert(key, 100 + n as u64)
                };
            }
            let second = loaded(2, &stored);
            while !walk.is_over {
                step(&mut walk, &second);
            }
            assert_eq!(seen.len(), ticks.len(), "stopped at {stop} with {changed:b}");
        }
    }
}

/// Goal: a walk ends though the map leaves memory before every chunk. Method: cells of one tick, each in a chunk of its own and a
/// load of its own; none is told twice. And the same where the last that was seen changes each time, for as long as any is there.
#[test]
fn a_walk_over_equal_ticks_ends_though_each_chunk_is_of_another_load() {
    const CELLS: usize = 40;
    let room = ENTRY_BYTES + "k00".len() + 1;
    for changes in [false, true] {
        let mut stored: BTreeMap<_, _> = (0..CELLS).map(|n| (format!("k{n:02}"), 3)).collect();
        let (mut walk, mut seen, mut load) = (Walk::new(room), Vec::new(), 0);
        while !walk.is_over {
            load += 1;
            walk.step(&loaded(load, &stored), None);
            seen.extend(Entries::new(&walk.packed).map(|entry| entry.key.to_owned()));
            let last = seen.last().filter(|_| changes && stored.values().any(|&tick| tick == 3));
            if let Some(last) = last {
                stored.insert(last.clone(), 1_000 + u64::from(load));
            }
            assert!(walk.chunks <= CELLS * CELLS, "it goes round and round");
        }
        assert!(changes || seen.len() == CELLS, "{} were told", seen.len());
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), CELLS);
    }
}

/// Goal: so does one among large sets.
#[test]
fn a_walk_among_large_sets_ends_though_each_chunk_is_of_another_load() {
    let mut written = Written::new(MapType::Or);
    let (sets, tags) = (["a", "b", "c", "d"], 2 * LARGE_SET_BYTES / 1_000);
    for tag in 0..tags {
        sets.iter().for_each(|set| written.add(set, tag, &[b'1'; 1_000]));
    }
    let (mut walk, mut replica) = (Walk::new(CHUNK_BYTES / 4), Replica::default());
    let bytes = sets.len() * tags * 1_000;
    while !walk.is_over {
        walk.step(&loaded_again(&written.map, 1 + u32::try_from(walk.chunks).unwrap()), None);
        replica.merge(&walk.packed);
        assert!(walk.chunks < 3 * bytes / (CHUNK_BYTES / 4), "it goes round and round");
    }
    assert_eq!(replica.live.len(), sets.len() * tags);
}
