//! What is known of the types of maps.
//!
//! A map has one type for good where it is kept on a disk. Where it is not, a map that has nothing is none, and its type is
//! gone with it (`docs/protocol.md`). When that is so nobody can tell from outside. But a map surely has something while an
//! acknowledged operation has left something at a key at which nobody has ever asked for what may end: that *holds* the map.

use std::collections::{BTreeMap, BTreeSet};

/// How a type was seen.
pub struct Sight<'a> {
    pub map: usize,
    pub map_type: &'static str,
    /// When it was asked for, and when it was answered, in microseconds.
    pub asked_us: u64,
    pub now_us: u64,
    /// The key at which something was left, if that is certain.
    pub left_at: Option<&'a str>,
}

/// See the module. Maps are named by their index in the scenario.
#[derive(Clone, Default)]
pub struct Types {
    known: BTreeMap<usize, Known>,
    /// Keys at which what is left may be gone by now.
    fleeting: BTreeSet<(usize, String)>,
}

#[derive(Clone)]
struct Known {
    map_type: &'static str,
    /// Keys that hold the map, and since when for certain.
    held: BTreeMap<String, u64>,
}

impl Types {
    pub fn of(&self, map: usize) -> Option<&'static str> {
        self.known.get(&map).map(|known| known.map_type)
    }

    /// Takes note of a type; whether the map has it now, as far as is known.
    pub fn saw(&mut self, sight: &Sight<'_>) -> bool {
        let &Sight { map, map_type, asked_us, now_us, .. } = sight;
        let lasts = |key: &&str| !self.fleeting.contains(&(map, (*key).to_owned()));
        let left_at = sight.left_at.filter(lasts);
        let fresh = Known { map_type, held: BTreeMap::new() };
        let known = self.known.entry(map).or_insert_with(|| fresh.clone());
        if known.map_type != map_type {
            if let Some(&since_us) = known.held.values().min() {
                let is_of_before = asked_us < since_us && left_at.is_none();
                assert!(
                    is_of_before,
                    "map {map} took operations of two types, {} and {map_type}",
                    known.map_type
                );
                return false;
            }
            *known = fresh;
        }
        if let Some(key) = left_at.filter(|key| !known.held.contains_key(*key)) {
            known.held.insert(key.to_owned(), now_us);
        }
        true
    }

    /// Something was sent that may have nothing be left of a key, at once or later.
    pub fn may_vanish(&mut self, map: usize, key: &str) {
        self.fleeting.insert((map, key.to_owned()));
        self.known.get_mut(&map).map(|known| known.held.remove(key));
    }
}
