//! What clients were promised: every acknowledged operation, and for counters what may have been applied.

use std::collections::BTreeMap;

use crate::replica::{Cell, Replica};
use crate::scenario::MapSpec;

/// What the operations of one key of a counter allow.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    low: i64,
    high: i64,
}

/// The totals one client sent for its own slot, and those that were acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    acked: (i64, i64),
    sent: (i64, i64),
}

/// See the module. Maps are named by their index in the scenario.
#[derive(Default)]
pub struct Oracle {
    /// Merged from all acknowledged operations.
    floors: BTreeMap<usize, Replica>,
    counts: BTreeMap<(usize, String), Range>,
    slots: BTreeMap<(usize, String, usize), Slot>,
    /// The type each map was seen to have.
    types: BTreeMap<usize, &'static str>,
    pub acked: u64,
    pub ambiguous: u64,
}

impl Oracle {
    /// The owner has acknowledged an operation with this outcome.
    pub fn acked(&mut self, map: usize, key: &str, cell: &Cell) {
        self.floors.entry(map).or_default().merge(key, cell);
    }

    /// An operation of this type was acknowledged: the map is of this type for everybody.
    pub fn saw_type(&mut self, map: usize, map_type: &'static str) {
        let known = *self.types.entry(map).or_insert(map_type);
        assert_eq!(known, map_type, "map {map} took operations of two types");
    }

    /// What whoever asks now must see at least.
    pub fn floor(&self, map: usize) -> Replica {
        self.floors.get(&map).cloned().unwrap_or_default()
    }

    pub fn floor_of_key(&self, map: usize, key: &str) -> Option<Cell> {
        self.floors.get(&map)?.cells.get(key).cloned()
    }

    /// Tags acknowledged at `key` for this value, removed ones included.
    pub fn tags_of(&self, map: usize, key: &str, value: &str) -> Vec<String> {
        match self.floor_of_key(map, key) {
            Some(Cell::Or { live, .. }) => {
                live.iter().filter(|(_, tagged)| tagged.1 == value).map(|(tag, _)| tag.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    pub fn incremented(&mut self, map: usize, key: &str, by: i64, is_certain: bool) {
        let range = self.counts.entry((map, key.to_owned())).or_default();
        range.low += if is_certain { by } else { by.min(0) };
        range.high += if is_certain { by } else { by.max(0) };
    }

    pub fn totals_sent(&mut self, map: usize, key: &str, client: usize, totals: (i64, i64)) {
        self.slots.entry((map, key.to_owned(), client)).or_default().sent = totals;
    }

    pub fn totals_acked(&mut self, map: usize, key: &str, client: usize, totals: (i64, i64)) {
        let acked = &mut self.slots.entry((map, key.to_owned(), client)).or_default().acked;
        *acked = (acked.0.max(totals.0), acked.1.max(totals.1));
    }

    /// Checks the state of all shards, as read through the protocol, against all promises.
    pub fn verify(&self, maps: &[MapSpec], truth: &BTreeMap<usize, Replica>, forgets: bool) {
        for (map, floor) in &self.floors {
            let replica = truth.get(map).cloned().unwrap_or_default();
            if !forgets && let Some(key) = replica.lacks(floor) {
                let (is, promised) = (replica.cells.get(&key), floor.cells.get(&key));
                panic!(
                    "an acked operation is lost at {} {key}: {is:?}, promised {promised:?}",
                    maps[*map].name
                );
            }
        }
        let mut counts = self.counts.clone();
        for ((map, key, _), slot) in &self.slots {
            let range = counts.entry((*map, key.clone())).or_default();
            range.low += slot.acked.0 - slot.sent.1;
            range.high += slot.sent.0 - slot.acked.1;
        }
        for ((map, key), range) in counts {
            let cell = truth.get(&map).and_then(|replica| replica.cells.get(&key));
            let count = match cell {
                Some(Cell::Counter(count)) => *count,
                None => 0,
                Some(cell) if range.low <= 0 && range.high >= 0 && !self.is_counter(map) => {
                    // Ambiguous increments that the type of the map refused.
                    assert!(!matches!(cell, Cell::Counter(_)));
                    continue;
                }
                Some(cell) => panic!("{} {key} is no counter: {cell:?}", maps[map].name),
            };
            let is_possible = (range.low..=range.high).contains(&count);
            assert!(is_possible, "{} {key} counts {count}, promised {range:?}", maps[map].name);
        }
    }

    pub fn type_of(&self, map: usize) -> Option<&'static str> {
        self.types.get(&map).copied()
    }

    fn is_counter(&self, map: usize) -> bool {
        self.type_of(map) == Some("counter")
    }
}
