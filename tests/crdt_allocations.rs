//! The hot path of a map allocates nothing once it has warmed up.
//!
//! Method: an allocator that counts what this thread asks it for.

mod counting_allocator;

use annulus::crdt::{Clock, Delta, HashedKey, Map, MapType, Merge, Node};
use xxhash_rust::xxh3::xxh3_64;

use counting_allocator::{allocations, bytes};

const KEYS: u64 = 3_000;
const ROUNDS: u64 = 20;

#[test]
fn overwriting_allocates_nothing_in_steady_state() {
    let node = Node::new(b"node-1").unwrap();
    let mut clock = Clock::new(node);
    let mut values = Map::new(MapType::Lww);
    let mut sessions = Map::new(MapType::Lww);
    let mut counters = Map::new(MapType::Counter);
    let mut overwrite_all = |round: u64| {
        for number in 0..KEYS {
            let bytes = number.to_le_bytes();
            let key = HashedKey { hash: xxh3_64(&bytes), bytes: &bytes };
            let at = clock.stamp(1_000 + round);
            let value = &[b'1'; 64][..40 + (number + round) as usize % 24];
            let set = Delta::Lww { at, value: Some(value), expires_ms: 0 };
            let keep_alive = Delta::Lww { at, value: Some(value), expires_ms: 5_000 + round };
            let count = Delta::Counter { replica: node, added: 1 + round, subtracted: 0 };
            let applied = clock.tick(1_000 + round);
            assert!(matches!(values.merge(key, &set, applied), Ok(Merge::Changed(_))));
            assert!(matches!(sessions.merge(key, &keep_alive, applied), Ok(Merge::Changed(_))));
            assert!(matches!(counters.merge(key, &count, applied), Ok(Merge::Changed(_))));
        }
    };
    // As many rounds as the values take to show every length, and the order to be swept.
    (0..30).for_each(&mut overwrite_all);
    let before = allocations();
    (30..30 + ROUNDS).for_each(&mut overwrite_all);
    let during = allocations() - before;
    assert_eq!(during, 0, "allocations in {} merges", 3 * KEYS * ROUNDS);
}

/// Goal: a key costs one allocation and a hundred bytes beside what it holds. Method: as many keys as make the index largest
/// for each of them, and what was asked of the allocator, which is what the map says, too.
#[test]
fn a_key_of_many_takes_one_allocation_and_little_beside_what_it_holds() {
    const KEYS: u64 = 131_072;
    const VALUE: [u8; 100] = [b'1'; 100];
    const BESIDE_MAX: usize = 100;
    let mut clock = Clock::new(Node::new(b"annulus-1").unwrap());
    let (allocated, before) = (allocations(), bytes());
    let mut map = Map::new(MapType::Lww);
    for number in 0..KEYS {
        let bytes = number.to_le_bytes();
        let key = HashedKey { hash: xxh3_64(&bytes), bytes: &bytes };
        let set = Delta::Lww { at: clock.stamp(1_000), value: Some(&VALUE), expires_ms: 0 };
        assert!(matches!(map.merge(key, &set, clock.tick(1_000)), Ok(Merge::Changed(_))));
    }
    let (allocated, taken) = (allocations() - allocated, (bytes() - before) as usize);
    assert_eq!(taken, map.heap_bytes());
    let beside = taken / KEYS as usize - VALUE.len() - size_of::<u64>();
    println!("{beside} bytes beside what it holds, {allocated} allocations of {KEYS} keys");
    assert!(beside <= BESIDE_MAX, "{beside} bytes beside what it holds");
    // A chunk of cells is for 256, one of the order for 1024, and a table of the index grows eleven times on its way to 2048.
    assert!(allocated <= KEYS + KEYS / 50, "{allocated} allocations of {KEYS} keys");
}

/// Goal: many maps of one key cost little more than the key. Method: the bytes asked of the allocator for a boxed map of a
/// key of 10 bytes and a value of 40, which is what the map says, too.
#[test]
fn a_map_of_one_key_is_small_and_counts_what_it_takes() {
    let node = Node::new(b"node-1").unwrap();
    let mut clock = Clock::new(node);
    for (map_type, bytes_max) in [(MapType::Lww, 180), (MapType::Or, 410), (MapType::Counter, 250)] {
        let before = bytes();
        let mut map = Box::new(Map::new(map_type));
        for round in 0..50 {
            let at = clock.stamp(1_000 + round);
            let value = Some(&[b'1'; 40][..]);
            let delta = match map_type {
                MapType::Lww => Delta::Lww { at, value, expires_ms: 0 },
                MapType::Or => Delta::OrAdd { tag: "1000:0:node-1", value: &[b'1'; 40], at },
                MapType::Counter => Delta::Counter { replica: node, added: 1 + round, subtracted: 0 },
            };
            let key = HashedKey { hash: xxh3_64(b"ten bytes."), bytes: b"ten bytes." };
            assert!(matches!(map.merge(key, &delta, clock.tick(1_000 + round)), Ok(Merge::Changed(_))));
        }
        let taken = (bytes() - before) as usize;
        assert_eq!(taken, size_of::<Map>() + map.heap_bytes(), "{map_type:?}");
        println!("{taken} bytes for {map_type:?}");
        assert!(taken <= bytes_max, "{taken} bytes for {map_type:?}");
    }
}
