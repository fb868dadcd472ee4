//! Seeded random histories of CRDT maps, and a replica to play them on.
//!
//! Few keys, stamps, nodes and tags, so that collisions are the rule. Each failure names its seed;
//! `ANNULUS_SEED=<n>` runs that one alone.

use std::collections::{BTreeMap, BTreeSet};

use annulus::crdt::{
    Cell, CellIndex, Count, Delta, HashedKey, Map, MapType, Merge, Node, Stamp, State, Time,
};
use xxhash_rust::xxh3::xxh3_64;

/// Seeds each law is tried with.
const SEEDS: u64 = 60;

/// After every expiry of a random history.
pub const EXPIRED_MS: u64 = 1_000;

/// Runs `law` for many seeds, or for `ANNULUS_SEED` alone, and says which one failed.
pub fn each_seed(law: impl Fn(&mut Random)) {
    let chosen = std::env::var("ANNULUS_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in chosen.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let _seed = NamesSeed(seed);
        law(&mut Random(seed));
    }
}

struct NamesSeed(u64);

impl Drop for NamesSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with ANNULUS_SEED={}", self.0);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl From<u64> for Random {
    fn from(seed: u64) -> Self {
        Self(seed)
    }
}

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

/// Random deltas. Stamps, tags and slots collide often, and then with different content.
pub fn history(random: &mut Random, map_type: MapType, len: usize) -> Vec<Change> {
    let mut change = || {
        let key = format!("k{}", random.below(12)).into_bytes();
        let value = random.below(200).to_string().into_bytes();
        let time = Time::new(1 + random.below(20), random.below(2) as u16);
        let at = Stamp { time, node: node(random.below(3)) };
        let tag = format!("t{}", random.below(6));
        let what = match map_type {
            MapType::Lww => {
                let expires_ms = if random.below(3) == 0 { 1 + random.below(EXPIRED_MS) } else { 0 };
                let value = (random.below(4) != 0).then_some(value);
                What::Lww { at, value, expires_ms }
            }
            MapType::Or if random.below(3) == 0 => What::OrRemove { tag },
            MapType::Or => What::OrAdd { tag, value, at },
            MapType::Counter => {
                let (added, subtracted) = (random.below(30), random.below(30));
                What::Counter { replica: node(random.below(5)), added, subtracted }
            }
        };
        Change { key, what }
    };
    (0..len).map(|_| change()).collect()
}

pub fn node(number: u64) -> Node {
    Node::new(format!("n{number}").as_bytes()).expect("a plain name")
}

/// Only a few bits of hash, so that keys share buckets.
pub fn hashed(key: &[u8]) -> HashedKey<'_> {
    HashedKey { hash: xxh3_64(key) & 0xF000_0000_0000_0003, bytes: key }
}

/// A hash as the server has it, for more keys than a few.
pub fn hashed_well(key: &[u8]) -> HashedKey<'_> {
    HashedKey { hash: xxh3_64(key), bytes: key }
}

/// A delta with its key, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Vec<u8>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Lww { at: Stamp, value: Option<Vec<u8>>, expires_ms: u64 },
    OrAdd { tag: String, value: Vec<u8>, at: Stamp },
    OrRemove { tag: String },
    Counter { replica: Node, added: u64, subtracted: u64 },
    CounterAbsorbed { count: i128, through: Time },
}

impl What {
    pub fn of(delta: &Delta<'_>) -> Self {
        match *delta {
            Delta::Lww { at, value, expires_ms } => {
                Self::Lww { at, value: value.map(<[u8]>::to_vec), expires_ms }
            }
            Delta::OrAdd { tag, value, at } => Self::OrAdd { tag: tag.to_owned(), value: value.to_vec(), at },
            Delta::OrRemove { tag } => Self::OrRemove { tag: tag.to_owned() },
            Delta::Counter { replica, added, subtracted } => Self::Counter { replica, added, subtracted },
            Delta::CounterAbsorbed { count: Count(count), through } => {
                Self::CounterAbsorbed { count, through }
            }
        }
    }

    pub fn delta(&self) -> Delta<'_> {
        match self {
            Self::Lww { at, value, expires_ms } => {
                Delta::Lww { at: *at, value: value.as_deref(), expires_ms: *expires_ms }
            }
            Self::OrAdd { tag, value, at } => Delta::OrAdd { tag, value, at: *at },
            Self::OrRemove { tag } => Delta::OrRemove { tag },
            Self::Counter { replica, added, subtracted } => {
                Delta::Counter { replica: *replica, added: *added, subtracted: *subtracted }
            }
            &Self::CounterAbsorbed { count, through } => {
                Delta::CounterAbsorbed { count: Count(count), through }
            }
        }
    }
}

/// A map with a clock of its own, as a shard has it.
pub struct Replica {
    pub map: Map,
    /// Deltas that were not lost.
    pub changes: usize,
    applied: Time,
}

impl Replica {
    pub fn new(map_type: MapType) -> Self {
        Self { map: Map::new(map_type), changes: 0, applied: Time::ZERO }
    }

    /// The cell, if it changed.
    pub fn merge(&mut self, change: &Change) -> Option<CellIndex> {
        self.applied = self.applied.next();
        let merged = self.map.merge(hashed(&change.key), &change.what.delta(), self.applied);
        match merged.expect("histories keep within the limits") {
            Merge::Changed(index) => {
                self.changes += 1;
                assert_eq!(self.map.cell(index).key(), change.key);
                assert_eq!(self.map.cell(index).applied(), self.applied);
                Some(index)
            }
            Merge::Lost => None,
        }
    }

    pub fn merge_all(&mut self, changes: &[Change]) {
        for change in changes {
            self.merge(change);
        }
    }

    /// Ends every value whose time is up.
    pub fn expire(&mut self, now_ms: u64) {
        let mut budget = usize::MAX;
        while let Some(index) = self.map.expire(now_ms, &mut budget, |_| {
            self.applied = self.applied.next();
            self.applied
        }) {
            assert!(!self.map.cell(index).is_live());
        }
    }

    /// The whole state, tombstones and removed tags included.
    pub fn entries(&self) -> BTreeMap<Vec<u8>, Vec<Change>> {
        self.map.since(Time::ZERO).map(|(_, cell)| (cell.key().to_vec(), exported(cell))).collect()
    }

    /// The whole state as deltas.
    pub fn exported(&self) -> Vec<Change> {
        self.entries().into_values().flatten().collect()
    }

    /// Key and tag of everything removed; a tombstone has an empty tag.
    pub fn removed(&self) -> BTreeSet<(Vec<u8>, String)> {
        let mut all = BTreeSet::new();
        for (_, cell) in self.map.since(Time::ZERO) {
            all.extend(removed_of(cell).into_iter().map(|tag| (cell.key().to_vec(), tag)));
        }
        all
    }
}

/// The state of one cell as deltas.
pub fn exported(cell: &Cell) -> Vec<Change> {
    let mut changes = Vec::new();
    cell.parts(|delta, _| changes.push(Change { key: cell.key().to_vec(), what: What::of(&delta) }));
    changes
}

/// The removed tags of one cell; a tombstone has an empty tag.
pub fn removed_of(cell: &Cell) -> Vec<String> {
    match cell.state() {
        State::Lww(lww) if lww.value().is_none() => vec![String::new()],
        State::OrSet(set) => set.removed().map(str::to_owned).collect(),
        State::Lww(_) | State::Counter(_) => Vec::new(),
    }
}

/// Same state, removals included, and same digest.
pub fn assert_same(left: &Replica, right: &Replica) {
    assert_eq!(left.entries(), right.entries());
    assert_eq!(left.map.digest(), right.map.digest());
    assert_eq!(left.map.live_entries(), right.map.live_entries());
    assert!(left.map.is_consistent() && right.map.is_consistent());
}
