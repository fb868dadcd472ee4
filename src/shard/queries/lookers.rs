//! Which queries look at a field, so that a change of it is looked at by few of them.
//!
//! Most queries are of one user, team or document: their `where` has an `eq` or `in` that must be true, and while its field has
//! another value nothing matches. One such condition of a query is its **pin**, by which it is found.
//!
//! ```text
//!  field ─► queries without a pin
//!       └─► field of the pin ─► value ─► queries that need it
//! ```
//! A query that keeps an entry is told of it in any case (`looking.rs`), so only the value after a change counts here.
//!
//! Invariant: a query is in here once for each field that it looks at and value that it needs, or once for each field if it has no
//! pin. Nothing is empty but fields.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::limits::{QUERY_PIN_BYTES_MAX, QUERY_PIN_PLACES_MAX};
use crate::query::{Fields, Pin, Query};

/// Bytes that a field of pins takes, a value of one beside itself, and a query.
const PINNED_BYTES: usize = 64;
const VALUE_BYTES: usize = 80;
const QUERY_BYTES: usize = size_of::<u32>();

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lookers {
    /// For each slot of a path.
    fields: Vec<Looked>,
    /// All queries without a pin.
    unpinned: Vec<u32>,
}

/// Those who look at one field.
#[derive(Debug, Default)]
struct Looked {
    unpinned: Vec<u32>,
    /// By the slots of their pins, in order: who is asked first does not depend on chance.
    pinned: BTreeMap<u32, HashMap<Box<[u8]>, Vec<u32>>>,
}

/// What letting go of a query comes to.
#[derive(Debug)]
pub(super) struct Left {
    pub bytes: usize,
    /// Others that were met on the way.
    pub passed_over: usize,
}

impl Lookers {
    /// Takes a query in that looks at these slots. Which of its conditions is its pin, and bytes that this takes.
    pub fn enter(&mut self, asked: u32, query: &Query, slots: &[u32]) -> (Option<usize>, usize) {
        let needed = slots.iter().max().map_or(0, |&last| last as usize + 1);
        if self.fields.len() < needed {
            self.fields.resize_with(needed, Looked::default);
        }
        let pins = query.pins();
        let pin = self.choose(&pins, slots);
        let Some(of) = pin.map(|pin| &pins[pin]) else {
            self.unpinned.push(asked);
            slots.iter().for_each(|&slot| self.fields[slot as usize].unpinned.push(asked));
            return (None, QUERY_BYTES * (1 + slots.len()));
        };
        let mut bytes = 0;
        if of.values.is_empty() {
            // Nothing matches, whatever changes.
            return (pin, bytes);
        }
        for &slot in slots {
            let by_value = self.fields[slot as usize].pinned.entry(slots[usize::from(of.path)]).or_default();
            bytes += if by_value.is_empty() { PINNED_BYTES } else { 0 };
            for value in of.values {
                let queries = by_value.entry(value.clone()).or_default();
                bytes += if queries.is_empty() { VALUE_BYTES + value.len() } else { 0 } + QUERY_BYTES;
                queries.push(asked);
            }
        }
        (pin, bytes)
    }

    /// The condition by which the fewest others are found, of those that are cheap to look up.
    fn choose(&self, pins: &[Pin<'_>], slots: &[u32]) -> Option<usize> {
        let is_small = |pin: &Pin<'_>| {
            pin.values.len() * slots.len() <= QUERY_PIN_PLACES_MAX
                && pin.values.iter().all(|value| value.len() <= QUERY_PIN_BYTES_MAX)
        };
        let others = |pin: &Pin<'_>| -> usize {
            let slot = slots[usize::from(pin.path)];
            let Some(by_value) = self.fields[slot as usize].pinned.get(&slot) else { return 0 };
            pin.values.iter().filter_map(|value| by_value.get(value)).map(Vec::len).sum()
        };
        let small = pins.iter().enumerate().filter(|(_, pin)| is_small(pin));
        small.min_by_key(|(_, pin)| others(pin)).map(|(place, _)| place)
    }

    /// Lets go of a query.
    pub fn leave(&mut self, asked: u32, query: &Query, slots: &[u32], pin: Option<usize>) -> Left {
        let mut left = Left { bytes: 0, passed_over: 0 };
        let mut take_out = |queries: &mut Vec<u32>| {
            left.passed_over += queries.len();
            left.bytes += QUERY_BYTES;
            queries.retain(|&other| other != asked);
            queries.is_empty()
        };
        let pins = query.pins();
        let Some(pin) = pin.map(|pin| &pins[pin]) else {
            take_out(&mut self.unpinned);
            for &slot in slots {
                take_out(&mut self.fields[slot as usize].unpinned);
            }
            return left;
        };
        let mut emptied = 0;
        let place = slots[usize::from(pin.path)];
        for &slot in slots {
            let pinned = &mut self.fields[slot as usize].pinned;
            let Some(by_value) = pinned.get_mut(&place) else { continue };
            for value in pin.values {
                if by_value.get_mut(value).is_some_and(&mut take_out) {
                    by_value.remove(value);
                    emptied += VALUE_BYTES + value.len();
                }
            }
            if by_value.is_empty() {
                pinned.remove(&place);
                emptied += PINNED_BYTES;
            }
        }
        left.bytes += emptied;
        left
    }

    /// Calls `look` with those who may begin to match as an entry appears that has not been there. [`Lookers::changed`] finds the
    /// others, for whom a field is there that was missing.
    pub fn appeared(&self, look: impl FnMut(u32)) {
        self.unpinned.iter().copied().for_each(look);
    }

    /// Calls `look` with those who may begin to match as the field in `slot` has changed, given what fields are now. How many
    /// values were looked up for it.
    pub fn changed(&self, slot: u32, fields: &Fields, mut look: impl FnMut(u32)) -> usize {
        let looked = &self.fields[slot as usize];
        looked.unpinned.iter().copied().for_each(&mut look);
        for (&pin, by_value) in &looked.pinned {
            let value = fields.of(pin);
            if value.len() <= QUERY_PIN_BYTES_MAX {
                by_value.get(value).into_iter().flatten().copied().for_each(&mut look);
            }
        }
        looked.pinned.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Paths;

    /// Queries in the hands of a test.
    #[derive(Default)]
    struct Group {
        paths: Paths,
        lookers: Lookers,
        queries: Vec<(Query, Vec<u32>, Option<usize>)>,
        bytes: usize,
    }

    impl Group {
        fn enter(&mut self, condition: &str) -> u32 {
            let query = Query::parse(format!("{{\"where\":{condition}}}").as_bytes(), 100).unwrap();
            let slots: Vec<u32> = query.paths().iter().map(|path| self.paths.enter(path)).collect();
            let asked = self.queries.len() as u32;
            let (pin, bytes) = self.lookers.enter(asked, &query, &slots);
            self.bytes += bytes;
            self.queries.push((query, slots, pin));
            asked
        }

        fn leave(&mut self, asked: u32) -> usize {
            let (query, slots, pin) = &self.queries[asked as usize];
            let left = self.lookers.leave(asked, query, slots, *pin);
            self.bytes -= left.bytes;
            query.paths().iter().zip(slots).for_each(|(path, &slot)| self.paths.leave(path, slot));
            left.passed_over
        }

        /// Who is asked about a change from one value to another, each once, and how many values were looked up.
        fn asked(&self, before: Option<&str>, after: &str) -> (Vec<u32>, usize) {
            let (mut was, mut is) = (Fields::default(), Fields::default());
            self.paths.read(before.map(str::as_bytes), &mut was);
            self.paths.read(Some(after.as_bytes()), &mut is);
            let (mut asked, mut looked_up) = (Vec::new(), 0);
            if before.is_none() {
                self.lookers.appeared(|one| asked.push(one));
            }
            is.compare(&was, |slot| looked_up += self.lookers.changed(slot, &is, |one| asked.push(one)));
            asked.sort_unstable();
            asked.dedup();
            (asked, looked_up)
        }
    }

    #[test]
    fn who_needs_another_value_is_not_asked() {
        let mut group = Group::default();
        let a = group.enter(r#"{"owner":"a"}"#);
        let b = group.enter(r#"{"n":{"ge":3},"owner":"b"}"#);
        let both =
            group.enter(r#"{"and":[{"and":[{"owner":{"in":["b","a"]}}]},{"other":{"exists":false}}]}"#);
        let any = group.enter(r#"{"or":[{"owner":"a"},{"n":1}]}"#);
        let none = group.enter(r#"{"not":{"owner":"a"}}"#);
        group.enter(r#"{"owner":{"in":[]}}"#);
        let asked = |before, after| group.asked(before, after).0;
        assert_eq!(asked(None, r#"{"owner":"a"}"#), [a, both, any, none]);
        assert_eq!(asked(None, "1"), [any, none]);
        assert_eq!(asked(Some(r#"{"owner":"a"}"#), r#"{"owner":"b"}"#), [b, both, any, none]);
        assert_eq!(asked(Some(r#"{"n":1,"owner":"b"}"#), r#"{"n":4,"owner":"b"}"#), [b, any]);
        assert_eq!(asked(Some(r#"{"n":1,"owner":"a"}"#), r#"{"n":4,"owner":"a"}"#), [any]);
        assert_eq!(asked(Some(r#"{"other":1,"owner":"a"}"#), r#"{"owner":"a"}"#), [both]);
        assert_eq!(asked(Some(r#"{"owner":"a"}"#), r#"{"owner":"a","x":1}"#), [0; 0]);
    }

    #[test]
    fn the_condition_that_finds_the_fewest_is_the_pin() {
        let mut group = Group::default();
        let all: Vec<u32> =
            (0..100).map(|n| group.enter(&format!(r#"{{"done":false,"owner":"u{n}"}}"#))).collect();
        let (asked, looked_up) = group.asked(None, r#"{"done":false,"owner":"u7"}"#);
        assert_eq!(asked, [all[0], all[7]], "the first alone is found by done");
        assert!(looked_up <= 4, "{looked_up}");
    }

    #[test]
    fn what_is_long_or_much_is_no_pin() {
        let mut group = Group::default();
        let long = group.enter(&format!(r#"{{"owner":"{}"}}"#, "x".repeat(QUERY_PIN_BYTES_MAX)));
        let values = |count: usize| {
            let values: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            format!(r#"{{"owner":{{"in":[{}]}}}}"#, values.join(","))
        };
        let many = group.enter(&values(QUERY_PIN_PLACES_MAX + 1));
        group.enter(&values(QUERY_PIN_PLACES_MAX));
        assert_eq!(group.asked(None, r#"{"owner":"x"}"#).0, [long, many]);
    }

    #[test]
    fn nothing_is_left_of_those_who_leave() {
        let mut group = Group::default();
        let all: Vec<u32> = (0..200)
            .map(|n| match n % 4 {
                0 => group.enter(&format!(r#"{{"owner":"u{}"}}"#, n % 3)),
                1 => group.enter(&format!(r#"{{"n":{{"ge":{n}}},"owner":{{"in":["a","u{n}"]}}}}"#)),
                2 => group.enter(r#"{"n":{"ge":1}}"#),
                _ => group.enter("{}"),
            })
            .collect();
        let passed_over: usize = all.iter().map(|&asked| group.leave(asked)).sum();
        assert!(passed_over > 200, "{passed_over}");
        assert_eq!(group.bytes, 0);
        assert!(group.lookers.unpinned.is_empty());
        assert!(
            group.lookers.fields.iter().all(|looked| looked.unpinned.is_empty() && looked.pinned.is_empty())
        );
    }
}
