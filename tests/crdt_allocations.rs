//! The hot path of a map allocates nothing once it has warmed up.
//!
//! Method: an allocator that counts what this thread asks it for.

mod counting_allocator;

use annulus::crdt::{Clock, Delta, HashedKey, Map, MapType, Merge, Node};
use xxhash_rust::xxh3::xxh3_64;

use counting_allocator::allocations;

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
