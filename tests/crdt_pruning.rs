//! What pruning gives back, and that nothing is lost when cells are put elsewhere for it.
//!
//! Method: seeded random writes (`crdt_histories/`), and an allocator that counts what this thread has.

#[allow(dead_code, reason = "bytes are counted here")]
mod counting_allocator;
#[allow(dead_code, reason = "shared with the laws")]
mod crdt_histories;

use std::collections::BTreeMap;

use annulus::crdt::{Delta, Map, MapType, Merge, Pruned, Stamp, Time};
use counting_allocator::bytes;
use crdt_histories::{Random, each_seed, hashed_well, node};

/// Work of one call, as a shard asks for.
const BUDGET: usize = 256;

/// A map that is written one change after the other.
struct Written {
    map: Map,
    tick: Time,
}

impl Written {
    fn new(map_type: MapType) -> Self {
        Self { map: Map::new(map_type), tick: Time::ZERO }
    }

    /// Sets a key, or adds a tag to it.
    fn set(&mut self, key: u64, expires_ms: u64) {
        let at = self.next();
        self.merge(
            key,
            &match self.map.map_type() {
                MapType::Or => Delta::OrAdd { tag: "t", value: b"1", at },
                _ => Delta::Lww { at, value: Some(b"1"), expires_ms },
            },
        );
    }

    /// Deletes the key, or removes what was added.
    fn remove(&mut self, key: u64) {
        let at = self.next();
        self.merge(
            key,
            &match self.map.map_type() {
                MapType::Or => Delta::OrRemove { tag: "t" },
                _ => Delta::Lww { at, value: None, expires_ms: 0 },
            },
        );
    }

    fn next(&mut self) -> Stamp {
        self.tick = self.tick.next();
        Stamp { time: self.tick, node: node(0) }
    }

    fn merge(&mut self, key: u64, delta: &Delta<'_>) {
        let merged = self.map.merge(hashed_well(&key.to_le_bytes()), delta, self.tick);
        assert!(matches!(merged, Ok(Merge::Changed(_) | Merge::Lost)));
    }

    /// Forgets all that was removed, in as many calls as that takes; what they did.
    fn prune_all(&mut self) -> Pruned {
        let mut all = Pruned::default();
        loop {
            let pruned = self.map.prune(self.tick.next(), BUDGET);
            all.forgotten += pruned.forgotten;
            all.passed += pruned.passed;
            if !pruned.has_more {
                return all;
            }
        }
    }
}

#[test]
fn a_map_takes_what_is_left_in_it_after_most_is_pruned() {
    const KEYS: u64 = 20_000;
    for (map_type, expires_ms) in [(MapType::Lww, 0), (MapType::Lww, 1_000), (MapType::Or, 0)] {
        let before = bytes();
        let mut written = Written::new(map_type);
        (0..KEYS).for_each(|key| written.set(key, expires_ms));
        let mut keys: Vec<u64> = (0..KEYS).collect();
        Random::from(1).shuffle(&mut keys);
        let (gone, left) = keys.split_at(KEYS as usize / 10 * 9);
        gone.iter().for_each(|&key| written.remove(key));
        let pruned = written.prune_all();
        assert_eq!((pruned.forgotten, written.map.cells()), (gone.len(), left.len()));
        assert!(pruned.passed <= 3 * KEYS as usize, "{pruned:?}");
        let taken = (bytes() - before) as usize - KEYS as usize * size_of::<u64>();

        let before = bytes();
        let mut anew = Written::new(map_type);
        left.iter().for_each(|&key| anew.set(key, expires_ms));
        let needed = (bytes() - before) as usize;
        // The index may have twice as many places, the order half as many again, and there may be an empty chunk.
        let bytes_max = needed + 60 * left.len();
        assert!(taken <= bytes_max, "{map_type:?}: {taken} bytes, {needed} made anew");
        assert!(written.map.heap_bytes() <= bytes_max, "{map_type:?}: what it says");
        assert!(written.map.is_consistent() && written.map.digest() != 0);

        left.iter().for_each(|&key| written.remove(key));
        written.prune_all();
        assert_eq!(written.map.cells(), 0);
        assert!(written.map.heap_bytes() < 32 << 10, "{} bytes of nothing", written.map.heap_bytes());
        // There is room again.
        (0..KEYS).for_each(|key| written.set(key, expires_ms));
        assert!(written.map.cells() == KEYS as usize && written.map.is_consistent());
    }
}

/// Goal: what is known of each cell stays right, and a walk misses none, wherever pruning has put it. Method: random writes,
/// ends and prunings between the steps of a walk, which has heard the latest change of each cell in the end.
#[test]
fn cells_are_found_and_walked_wherever_pruning_puts_them() {
    each_seed(|random| {
        for (map_type, keys) in
            [(MapType::Lww, 1_000), (MapType::Or, 1_000), (MapType::Lww, 6), (MapType::Or, 6)]
        {
            let mut written = Written::new(map_type);
            let (mut position, mut heard) = (Time::ZERO, BTreeMap::new());
            for step in 0..2_000 {
                let key = random.below(keys);
                match random.below(8) {
                    0..4 => written.set(key, random.below(3) * (1 + random.below(500))),
                    4..7 => written.remove(key),
                    _ if random.below(20) == 0 => {
                        let before = written.tick.to_bits().saturating_sub(random.below(300));
                        let digest = written.map.digest();
                        let _ = written.map.prune(Time::from_bits(before), 1 + random.below(200) as usize);
                        assert_eq!(written.map.digest(), digest, "pruning shows");
                    }
                    _ => {
                        let (map, tick) = (&mut written.map, &mut written.tick);
                        let mut budget = 3;
                        while map.expire(random.below(500), &mut budget, |_| tick.next()).is_some() {
                            *tick = map.last_applied();
                        }
                    }
                }
                for (_, cell) in written.map.since(position).take(random.below(2) as usize) {
                    position = cell.applied();
                    heard.insert(cell.key().to_vec(), position);
                }
                if step % 50 == 0 {
                    assert_consistent(&written.map);
                }
            }
            for (_, cell) in written.map.since(position) {
                heard.insert(cell.key().to_vec(), cell.applied());
            }
            assert_consistent(&written.map);
            for (_, cell) in written.map.since(Time::ZERO) {
                assert_eq!(heard.get(cell.key()), Some(&cell.applied()));
            }
            written.prune_all();
            assert_consistent(&written.map);
            assert_eq!(written.map.cells(), written.map.live_entries());
        }
    });
}

fn assert_consistent(map: &Map) {
    assert!(map.is_consistent());
    for (index, cell) in map.since(Time::ZERO) {
        assert_eq!(map.find(hashed_well(cell.key())), Some(index));
    }
}
