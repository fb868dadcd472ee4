use super::*;
use crate::crdt::{Delta, MapType, Merge, Node, Stamp};
use crate::limits::CHUNK_BYTES;
use crate::mesh::{Entries, Entry, EntryState, KeyHasher};
use std::collections::{BTreeMap, BTreeSet};

mod reloading;

const KEYS: usize = 3 * CHUNK_CELLS_SCANNED_MAX;
const HASHER: KeyHasher = KeyHasher::new(0);

struct Written {
    map: Map,
    time: Time,
}

impl Written {
    fn new(map_type: MapType) -> Self {
        Self { map: Map::new(map_type), time: Time::ZERO }
    }

    fn merge(&mut self, key: &str, make: impl FnOnce(Stamp) -> Delta<'static>) {
        self.time = self.time.next();
        let delta = make(Stamp { time: self.time, node: Node::new(b"n").unwrap() });
        let hashed = HashedKey { hash: hash(key), bytes: key.as_bytes() };
        assert!(matches!(self.map.merge(hashed, &delta, self.time), Ok(Merge::Changed(_))));
    }

    fn set(&mut self, key: &str, value: &'static [u8]) {
        self.merge(key, |at| Delta::Lww { at, value: Some(value), expires_ms: 0 });
    }

    fn add(&mut self, key: &str, tag: usize, value: &'static [u8]) {
        let tag = format!("t{tag:05}").leak();
        self.merge(key, |at| Delta::OrAdd { tag, value, at });
    }

    fn remove(&mut self, key: &str, tag: usize) {
        let tag = format!("t{tag:05}").leak();
        self.merge(key, |_| Delta::OrRemove { tag });
    }
}

fn hash(key: &str) -> u64 {
    HASHER.key(HASHER.map("m"), key)
}

/// What a client has that merges what it is told.
#[derive(Default)]
struct Replica {
    live: BTreeMap<String, usize>,
    removed: BTreeSet<String>,
    /// Tags told, how often whatever.
    told: usize,
}

impl Replica {
    fn merge(&mut self, packed: &[u8]) {
        for Entry { key, state } in Entries::new(packed) {
            let EntryState::Tags { added, removed } = state else { continue };
            for tag in removed.iter() {
                self.live.remove(&format!("{key} {tag}"));
                self.removed.insert(format!("{key} {tag}"));
                self.told += 1;
            }
            for tagged in added {
                let name = format!("{key} {}", tagged.tag);
                assert!(!self.removed.contains(&name), "{name} comes after its removal");
                self.live.insert(name, tagged.value.len());
                self.told += 1;
            }
        }
    }
}

/// A walk that takes one chunk after the other.
struct Walk {
    position: Time,
    round: Option<Round>,
    room: usize,
    is_over: bool,
    chunks: usize,
    entries: usize,
    packed: Vec<u8>,
}

impl Walk {
    fn new(room: usize) -> Self {
        let (position, packed) = (Time::ZERO, Vec::new());
        Self { position, round: None, room, is_over: false, chunks: 0, entries: 0, packed }
    }

    fn step(&mut self, map: &Map, filter: Option<&Filter>) {
        self.packed.clear();
        let start = (self.position, self.round.as_ref());
        let mut chunk =
            Chunk::collect(map, Passed { filter, lens: None }, start, self.room, &mut self.packed);
        assert!(chunk.looked_at <= CHUNK_CELLS_SCANNED_MAX && self.packed.len() <= self.room);
        if chunk.needs > 0 {
            assert!(chunk.needs > self.room && self.packed.is_empty());
            let (needs, start) = (chunk.needs, (chunk.position, Some(&chunk.round)));
            chunk = Chunk::collect(map, Passed { filter, lens: None }, start, needs, &mut self.packed);
            assert!((1..=needs).contains(&self.packed.len()), "what it needs is enough");
        }
        let has_moved = chunk.position > self.position || self.round.as_ref() != Some(&chunk.round);
        assert!(has_moved || chunk.is_last, "no progress");
        (self.position, self.is_over) = (chunk.position, chunk.is_last);
        self.round = (!chunk.is_last).then_some(chunk.round);
        self.entries += chunk.entries as usize;
        self.chunks += 1;
    }
}

/// Goal: what a chunk looks at is bounded also where all of it is stale or filtered away.
#[test]
fn a_chunk_stops_among_stale_entries_and_the_next_goes_on_there() {
    let nothing = Filter::Prefix("x".into());
    for (rounds, filter, expected) in [(1, None, KEYS), (2, None, KEYS), (2, Some(&nothing), 0)] {
        let mut written = Written::new(MapType::Lww);
        for number in (0..rounds).flat_map(|_| 0..KEYS) {
            written.set(&format!("k{number}"), b"1");
        }
        let mut walk = Walk::new(CHUNK_BYTES);
        while !walk.is_over {
            walk.step(&written.map, filter);
        }
        assert_eq!(walk.entries, expected, "{rounds} rounds");
        // Of each further round a quarter at least is stale and not swept yet.
        let passed = KEYS + (rounds - 1) * KEYS / 4;
        assert!(walk.chunks >= passed.div_ceil(CHUNK_CELLS_SCANNED_MAX), "{} chunks", walk.chunks);
    }
}

#[test]
fn what_is_larger_than_the_room_is_asked_for_with_what_it_needs() {
    let mut written = Written::new(MapType::Lww);
    for key in ["a", "b", "c"] {
        written.set(key, &[b'1'; 5_000]);
        written.set(&key.repeat(2), b"1");
    }
    let mut walk = Walk::new(1_000);
    while !walk.is_over {
        walk.step(&written.map, None);
    }
    assert_eq!(walk.entries, 6);
}

/// Goal: a set of any size is told in pieces, each within the room, though it changes all the time, and the walk ends: what
/// is met again brings only the tags that have changed.
#[test]
fn a_set_comes_in_pieces_however_often_it_changes_meanwhile() {
    const TAGS: usize = 2_000;
    for keys in [None, Some(Filter::keys(["set", "other"].into_iter(), hash))] {
        let mut written = Written::new(MapType::Or);
        written.add("before", 0, b"1");
        (0..TAGS).for_each(|tag| written.add("set", tag, &[b'1'; 200]));
        (0..TAGS / 4).for_each(|tag| written.remove("set", 4 * tag));
        written.add("other", 0, b"1");
        let (mut walk, mut replica) = (Walk::new(4_000), Replica::default());
        while !walk.is_over {
            walk.step(&written.map, keys.as_ref());
            replica.merge(&walk.packed);
            if !walk.is_over && walk.chunks < 100 {
                // Before and behind the place where the walk is.
                written.remove("set", 4 * walk.chunks + 1);
                written.remove("set", TAGS - 4 * walk.chunks - 1);
                written.add("set", TAGS + walk.chunks, b"22");
            }
            assert!(walk.chunks < 400, "it does not end");
        }
        let index = written.map.find(HashedKey { hash: hash("set"), bytes: b"set" }).unwrap();
        let State::OrSet(set) = written.map.cell(index).state() else { panic!("a set") };
        let live: BTreeMap<String, usize> =
            set.live().map(|one| (format!("set {}", one.tag()), one.value().len())).collect();
        let removed: BTreeSet<String> = set.removed().map(|tag| format!("set {tag}")).collect();
        replica.live.retain(|name, _| name.starts_with("set "));
        assert!(replica.live == live && replica.removed == removed, "it lacks something");
        assert!(walk.chunks >= 80 && replica.told < TAGS + 600, "{} tags were told", replica.told);
    }
}

#[test]
fn a_tag_larger_than_the_room_is_asked_for_with_what_it_needs() {
    let mut written = Written::new(MapType::Or);
    for tag in 0..10 {
        written.add("set", tag, if tag % 3 == 0 { b"1" } else { &[b'1'; 5_000] });
    }
    let (mut walk, mut replica) = (Walk::new(1_000), Replica::default());
    while !walk.is_over {
        walk.step(&written.map, None);
        replica.merge(&walk.packed);
    }
    assert_eq!((replica.live.len(), replica.told), (10, 10));
}

#[test]
fn tags_that_are_no_news_count_as_looked_at_and_a_set_that_is_gone_ends() {
    let mut written = Written::new(MapType::Or);
    (0..10_000).for_each(|tag| written.add("set", tag, b"1"));
    let seen = written.time;
    written.add("set", 10_000, b"1");
    let mut walk = Walk::new(CHUNK_BYTES);
    walk.position = seen;
    while !walk.is_over {
        walk.step(&written.map, None);
    }
    assert_eq!((walk.chunks, walk.entries), (3, 1));
    walk.position = Time::ZERO;
    walk.step(&written.map, None);
    assert!(walk.round.as_ref().is_some_and(|round| round.place.is_some()));
    walk.step(&Map::new(MapType::Or), None);
    assert!(walk.is_over);
}

/// Goal: a set that is put elsewhere while a walk is among the large ones comes all the same, as a whole. Method: that, after
/// any number of chunks.
#[test]
fn a_set_that_is_put_elsewhere_while_a_walk_is_under_way_is_not_lost() {
    const SETS: [&str; 4] = ["a", "b", "c", "d"];
    const TAGS: usize = 400;
    for chunks in 1.. {
        let mut written = Written::new(MapType::Or);
        ["x", "y"].iter().for_each(|key| written.add(key, 0, b"1"));
        for set in SETS {
            (0..TAGS).for_each(|tag| written.add(set, tag, &[b'1'; 100]));
        }
        ["x", "y"].iter().for_each(|key| written.remove(key, 0));
        let (mut walk, mut replica) = (Walk::new(10_000), Replica::default());
        while !walk.is_over && walk.chunks < chunks {
            walk.step(&written.map, None);
            replica.merge(&walk.packed);
        }
        let was_over = walk.is_over;
        let _ = written.map.prune(written.time.next(), usize::MAX);
        assert_eq!(written.map.cells(), SETS.len());
        while !walk.is_over {
            walk.step(&written.map, None);
            replica.merge(&walk.packed);
        }
        assert_eq!(replica.live.len(), SETS.len() * TAGS, "pruned after {chunks} chunks");
        if was_over {
            assert!(chunks > 20, "{chunks} chunks");
            break;
        }
    }
}

/// Goal: a set that a walk has passed over for being large comes though it is small by then.
#[test]
fn a_set_that_shrinks_while_a_walk_is_under_way_is_not_lost() {
    for forgets in [false, true] {
        let mut written = Written::new(MapType::Or);
        written.add("set", 2_000, b"1");
        (0..1_000).for_each(|tag| written.add("set", tag, b"1"));
        if forgets {
            (0..1_000).for_each(|tag| written.remove("set", tag));
        }
        (0..500).for_each(|key| written.add(&format!("k{key}"), 0, &[b'1'; 100]));
        let (mut walk, mut replica) = (Walk::new(10_000), Replica::default());
        while !walk.round.as_ref().is_some_and(|round| round.has_passed) {
            walk.step(&written.map, None);
            replica.merge(&walk.packed);
        }
        if forgets {
            let _ = written.map.prune(written.time.next(), usize::MAX);
        } else {
            (0..1_000).for_each(|tag| written.remove("set", tag));
        }
        while !walk.is_over {
            walk.step(&written.map, None);
            replica.merge(&walk.packed);
        }
        replica.live.retain(|name, _| name.starts_with("set "));
        assert_eq!(replica.live.keys().collect::<Vec<_>>(), ["set t02000"], "forgets: {forgets}");
    }
}
