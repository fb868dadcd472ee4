//! Merging deltas of each type into a map.

use std::hint::black_box;

use annulus::crdt::{Clock, Delta, HashedKey, Map, MapType, Merge, Node, Stamp};
use annulus::mesh::KeyHasher;

use super::{Meter, many, one};

/// Keys of a map: few enough to stay in the cache, as the keys of a busy map do.
const KEYS: usize = 1000;
/// Tags of one key of an or map.
const TAGS: usize = 4;
const NOW_MS: u64 = 1_700_000_000_000;

pub fn measure(meter: &mut impl Meter) {
    let keys = Keys::new();
    overwrite(meter, &keys);
    lose(meter, &keys);
    insert(meter, &keys);
    add_and_remove(meter, &keys);
    count(meter, &keys);
}

fn overwrite(meter: &mut impl Meter, keys: &Keys) {
    let (mut map, mut clock) = (Map::new(MapType::Lww), Clock::new(node()));
    set_all(&mut map, keys, &mut clock);
    let value = [b'2'; 100];
    let mut number = 0;
    meter.steady(one("merge", "lww, overwrite"), || {
        number = (number + 1) % KEYS;
        let set = Delta::Lww { at: clock.stamp(NOW_MS), value: Some(&value), expires_ms: 0 };
        changes(&mut map, keys.key(number), &set, &mut clock);
    });
}

fn lose(meter: &mut impl Meter, keys: &Keys) {
    let (mut map, mut clock) = (Map::new(MapType::Lww), Clock::new(node()));
    let stale = Delta::Lww { at: clock.stamp(0), value: Some(&[b'1'; 100]), expires_ms: 0 };
    set_all(&mut map, keys, &mut clock);
    let mut number = 0;
    meter.steady(one("merge", "lww, loses"), || {
        number = (number + 1) % KEYS;
        let applied = clock.tick(NOW_MS);
        assert_eq!(map.merge(black_box(keys.key(number)), &stale, applied), Ok(Merge::Lost));
    });
}

fn insert(meter: &mut impl Meter, keys: &Keys) {
    let empty = || (Map::new(MapType::Lww), Clock::new(node()));
    meter.fresh(many("merge", "lww, insert, a map of 1000", KEYS as u64), empty, |(map, clock)| {
        set_all(map, keys, clock);
    });
}

fn set_all(map: &mut Map, keys: &Keys, clock: &mut Clock) {
    for number in 0..KEYS {
        let set = Delta::Lww { at: clock.stamp(NOW_MS), value: Some(&[b'1'; 100]), expires_ms: 0 };
        changes(map, keys.key(number), &set, clock);
    }
}

fn add_and_remove(meter: &mut impl Meter, keys: &Keys) {
    let empty = || (Map::new(MapType::Or), Clock::new(node()));
    let tags = tags(KEYS);
    let add_all = |map: &mut Map, clock: &mut Clock| {
        for (number, tag) in tags.iter().enumerate() {
            let add = Delta::OrAdd { tag, value: b"\"urgent\"", at: clock.stamp(NOW_MS) };
            changes(map, keys.key(number / TAGS), &add, clock);
        }
    };
    let remove_all = |map: &mut Map, clock: &mut Clock| {
        for (number, tag) in tags.iter().enumerate() {
            changes(map, keys.key(number / TAGS), &Delta::OrRemove { tag }, clock);
        }
    };
    meter.fresh(many("merge", "or, add, 250 keys of 4 tags", KEYS as u64), empty, |(map, clock)| {
        add_all(map, clock);
    });
    let full = || {
        let (mut map, mut clock) = empty();
        add_all(&mut map, &mut clock);
        (map, clock)
    };
    meter.fresh(many("merge", "or, remove, 250 keys of 4 tags", KEYS as u64), full, |(map, clock)| {
        remove_all(map, clock);
    });
}

fn count(meter: &mut impl Meter, keys: &Keys) {
    let (mut map, mut clock) = (Map::new(MapType::Counter), Clock::new(node()));
    let mut increment = |number: usize| {
        let key = keys.key(number);
        let delta = map.increment(key, node(), 1).expect("the total is far from its limit");
        changes(&mut map, key, &delta, &mut clock);
    };
    (0..KEYS).for_each(&mut increment);
    let mut number = 0;
    meter.steady(one("merge", "counter, increment"), || {
        number = (number + 1) % KEYS;
        increment(number);
    });
}

fn changes(map: &mut Map, key: HashedKey<'_>, delta: &Delta<'_>, clock: &mut Clock) {
    let merged = map.merge(black_box(key), delta, clock.tick(NOW_MS));
    assert!(matches!(merged, Ok(Merge::Changed(_))));
}

/// Keys with the hashes they had been given on their way in.
struct Keys(Vec<(String, u64)>);

impl Keys {
    fn new() -> Self {
        let hasher = KeyHasher::new(0);
        let map_hash = hasher.map("todos");
        let hashed = |number: usize| {
            let key = format!("item-{number:04}");
            let hash = hasher.key(map_hash, &key);
            (key, hash)
        };
        Self((0..KEYS).map(hashed).collect())
    }

    fn key(&self, number: usize) -> HashedKey<'_> {
        let (key, hash) = &self.0[number];
        HashedKey { hash: *hash, bytes: key.as_bytes() }
    }
}

/// As the server names tags: the text of a stamp.
fn tags(count: usize) -> Vec<String> {
    let mut clock = Clock::new(node());
    let text = |stamp: Stamp| {
        let mut text = Vec::new();
        stamp.write_to(&mut text);
        String::from_utf8(text).expect("stamps are ASCII")
    };
    (0..count).map(|_| text(clock.stamp(NOW_MS))).collect()
}

fn node() -> Node {
    Node::new(b"annulus").expect("a plain name")
}
