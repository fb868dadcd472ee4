//! A client's copy of a map: the merges of the protocol, written as simply as they can be and sharing no code
//! with the server.

use std::collections::{BTreeMap, BTreeSet};

use simd_json::OwnedValue;
use simd_json::prelude::*;

/// Counters of one millisecond that SyncKit's clients can tell apart.
pub const COUNTERS: u64 = 4096;

/// Ordered as the protocol orders stamps: milliseconds, counter, node by bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    pub millis: u64,
    pub counter: u64,
    pub node: String,
}

impl Stamp {
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).expect("a number in a stamp");
        let (millis, counter) = (number(), number());
        Self { millis, counter, node: parts.next().expect("a node in a stamp").to_owned() }
    }

    /// What clocks count, without who has read one.
    pub fn time(&self) -> (u64, u64) {
        (self.millis, self.counter)
    }

    /// What SyncKit's clients see of it.
    pub fn clock(&self) -> u64 {
        self.millis * COUNTERS + self.counter.min(COUNTERS - 1)
    }

    /// The stamp of node `node` that SyncKit's clients see as `clock`.
    pub fn of_clock(clock: u64, node: &str) -> Self {
        Self { millis: clock / COUNTERS, counter: clock % COUNTERS, node: node.to_owned() }
    }

    pub fn text(&self) -> String {
        format!("{}:{}:{}", self.millis, self.counter, self.node)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// The value as JSON text; `None`: deleted.
    Lww {
        at: Stamp,
        value: Option<String>,
        /// When the value ends, in milliseconds since 1970; 0: never, or not known.
        expires_at: u64,
    },
    Or {
        live: BTreeMap<String, (Stamp, String)>,
        removed: BTreeSet<String>,
    },
    Counter(i64),
}

impl Cell {
    /// Reads an entry: its key and what it says of it.
    pub fn of_entry(entry: &OwnedValue) -> (String, Self) {
        let text = |value: &OwnedValue, field: &str| value.get_str(field).map(str::to_owned);
        let key = text(entry, "key").expect("an entry has a key");
        if let Some(count) = entry.get_i64("count") {
            return (key, Self::Counter(count));
        }
        if let Some(values) = entry.get_array("values") {
            let live = values.iter().map(|tagged| {
                let field = |name| text(tagged, name).expect("a field of a tagged value");
                (field("tag"), (Stamp::parse(&field("at")), field("value")))
            });
            let removed = entry.get_array("removed").expect("an or entry names removed tags");
            let removed = removed.iter().map(|tag| tag.as_str().expect("a tag is text").to_owned());
            return (key, Self::Or { live: live.collect(), removed: removed.collect() });
        }
        let at = Stamp::parse(&text(entry, "at").expect("an lww entry has a stamp"));
        let value = entry.get("value").map(OwnedValue::encode);
        assert_eq!(value.is_none(), entry.get_bool("deleted") == Some(true), "{entry}");
        let expires_at = entry.get_u64("expires_at").unwrap_or(0);
        assert_eq!(expires_at != 0, entry.get("expires_at").is_some(), "{entry}");
        (key, Self::Lww { at, value, expires_at })
    }

    /// Merges `other`; whether that made a difference. A count is what was said last.
    fn merge(&mut self, other: &Self) -> bool {
        match (self, other) {
            (ours @ Self::Lww { .. }, Self::Lww { .. }) => {
                let is_newer = other.rank() > ours.rank();
                if is_newer {
                    *ours = other.clone();
                }
                is_newer
            }
            (Self::Or { live, removed }, Self::Or { live: other_live, removed: other_removed }) => {
                let mut changed = false;
                for tag in other_removed {
                    changed |= removed.insert(tag.clone());
                    live.remove(tag);
                }
                for (tag, tagged) in other_live {
                    if !removed.contains(tag) && live.get(tag).is_none_or(|known| known < tagged) {
                        live.insert(tag.clone(), tagged.clone());
                        changed = true;
                    }
                }
                changed
            }
            (Self::Counter(count), Self::Counter(other)) => std::mem::replace(count, *other) != *other,
            (ours, theirs) => panic!("a map changed its type: {ours:?}, then {theirs:?}"),
        }
    }

    /// The order of registers, as the protocol has it: later stamp, deleted, later end, larger value.
    fn rank(&self) -> Option<(&Stamp, bool, u64, &[u8])> {
        match self {
            Self::Lww { at, value, expires_at } => {
                Some((at, value.is_none(), *expires_at, value.as_deref().unwrap_or_default().as_bytes()))
            }
            _ => None,
        }
    }

    /// The latest stamp in it.
    pub fn latest(&self) -> Option<&Stamp> {
        match self {
            Self::Lww { at, .. } => Some(at),
            Self::Or { live, .. } => live.values().map(|(at, _)| at).max(),
            Self::Counter(_) => None,
        }
    }

    /// What a reader sees, if anything.
    fn visible(&self) -> Option<Self> {
        match self {
            Self::Lww { value, .. } => value.is_some().then(|| self.clone()),
            Self::Or { live, .. } => {
                (!live.is_empty()).then(|| Self::Or { live: live.clone(), removed: BTreeSet::new() })
            }
            Self::Counter(_) => Some(self.clone()),
        }
    }

    /// Whether everything that `floor` says is in here, or overruled in here.
    pub fn covers(&self, floor: &Self) -> bool {
        match (self, floor) {
            (Self::Lww { .. }, Self::Lww { .. }) => self.rank() >= floor.rank(),
            (Self::Or { live, removed }, Self::Or { live: floor_live, removed: floor_removed }) => {
                floor_live.keys().all(|tag| live.contains_key(tag) || removed.contains(tag))
                    && floor_removed.iter().all(|tag| !live.contains_key(tag))
            }
            _ => true,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replica {
    pub cells: BTreeMap<String, Cell>,
}

impl Replica {
    /// Merges what is said of `key`; whether that made a difference.
    pub fn merge(&mut self, key: &str, cell: &Cell) -> bool {
        match self.cells.get_mut(key) {
            Some(known) => known.merge(cell),
            None => {
                self.cells.insert(key.to_owned(), cell.clone());
                true
            }
        }
    }

    pub fn merge_all(&mut self, other: &Self) {
        for (key, cell) in &other.cells {
            self.merge(key, cell);
        }
    }

    pub fn has_counters(&self) -> bool {
        self.cells.values().any(|cell| matches!(cell, Cell::Counter(_)))
    }

    pub fn visible(&self) -> BTreeMap<String, Cell> {
        let visible = self.cells.iter().filter_map(|(key, cell)| Some((key.clone(), cell.visible()?)));
        visible.collect()
    }

    /// The first key at which something of `floor` is missing.
    pub fn lacks(&self, floor: &Self) -> Option<String> {
        let is_covered = |key: &str, cell: &Cell| self.cells.get(key).is_some_and(|ours| ours.covers(cell));
        floor.cells.iter().find(|(key, cell)| !is_covered(key, cell)).map(|(key, _)| key.clone())
    }
}
