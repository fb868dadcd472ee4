//! Which queries look at a field, so that a change of it is looked at by few of them.
//!
//! Most queries are of one user, team or document: their `where` has an `eq` or `in` that must be true, and while its field has
//! another value nothing matches. One such condition of a query is its **pin**, by which it is found. Others need a field to be in
//! a **span** of numbers, dates or names: of these it is compared with the ends of each, eight bytes at a time, which takes a
//! hundredth of asking the query.
//!
//! ```text
//!  field that has changed ─► queries without either
//!                        ├─► field of the pin  ─► value ─► queries that need it
//!                        └─► field of the span ─► first, last of each query
//! ```
//! A query that keeps an entry is told of it in any case (`looking.rs`), so only the value after a change counts here.
//!
//! Invariant: a query is in here once for each field that it looks at and value that it needs, or once for each field if it has no
//! pin. Nothing is empty but fields.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::limits::{QUERY_PIN_BYTES_MAX, QUERY_PIN_PLACES_MAX};
use crate::query::{Fields, Pin, Query, Span, leading};

/// Bytes that a field of pins takes, a value of one beside itself, and a query.
const PINNED_BYTES: usize = 64;
const VALUE_BYTES: usize = 80;
const QUERY_BYTES: usize = size_of::<u32>();
const SPANNED_BYTES: usize = size_of::<Spanned>();

/// Spans that are compared in the time that looking a value up takes.
const SPANS_PER_UNIT: usize = 8;

/// By what a query is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The place of its pin among its pins.
    Pin(usize),
    Span(Span),
    /// A change of any of its fields.
    Fields,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lookers {
    /// For each slot of a path.
    fields: Vec<Looked>,
    /// All queries without a mark.
    unmarked: Vec<u32>,
}

/// Those who look at one field.
#[derive(Debug, Default)]
struct Looked {
    unmarked: Vec<u32>,
    /// By the slots of their spans, in order.
    spanned: BTreeMap<u32, Vec<Spanned>>,
    /// By the slots of their pins, in order: who is asked first does not depend on chance.
    pinned: BTreeMap<u32, HashMap<Box<[u8]>, Vec<u32>>>,
}

/// A query that needs a field to be in a span.
#[derive(Clone, Copy, Debug)]
struct Spanned {
    first: u64,
    last: u64,
    asked: u32,
}

/// What letting go of a query comes to.
#[derive(Debug)]
pub(super) struct Left {
    pub bytes: usize,
    /// Others that were met on the way.
    pub passed_over: usize,
}

impl Lookers {
    /// Takes a query in that looks at these slots. By what it is found, and bytes that this takes.
    pub fn enter(&mut self, asked: u32, query: &Query, slots: &[u32]) -> (Mark, usize) {
        let needed = slots.iter().max().map_or(0, |&last| last as usize + 1);
        if self.fields.len() < needed {
            self.fields.resize_with(needed, Looked::default);
        }
        let pins = query.pins();
        let Some(pin) = self.choose(&pins, slots) else {
            let narrowest = query.spans().into_iter().min_by_key(|span| span.last.saturating_sub(span.first));
            return self.enter_without_pin(asked, narrowest, slots);
        };
        let (of, pin) = (&pins[pin], Mark::Pin(pin));
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

    fn enter_without_pin(&mut self, asked: u32, span: Option<Span>, slots: &[u32]) -> (Mark, usize) {
        let Some(span) = span else {
            self.unmarked.push(asked);
            slots.iter().for_each(|&slot| self.fields[slot as usize].unmarked.push(asked));
            return (Mark::Fields, QUERY_BYTES * (1 + slots.len()));
        };
        let Span { path, first, last } = span;
        for &slot in slots {
            let spanned = self.fields[slot as usize].spanned.entry(slots[usize::from(path)]).or_default();
            spanned.push(Spanned { first, last, asked });
        }
        (Mark::Span(span), SPANNED_BYTES * slots.len())
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
    pub fn leave(&mut self, asked: u32, query: &Query, slots: &[u32], mark: Mark) -> Left {
        let mut left = Left { bytes: 0, passed_over: 0 };
        let mut take_out = |queries: &mut Vec<u32>| {
            left.passed_over += queries.len();
            left.bytes += QUERY_BYTES;
            queries.retain(|&other| other != asked);
            queries.is_empty()
        };
        let pins = query.pins();
        let pin = match mark {
            Mark::Pin(pin) => &pins[pin],
            Mark::Span(Span { path, .. }) => {
                for &slot in slots {
                    let spanned = &mut self.fields[slot as usize].spanned;
                    let Some(of) = spanned.get_mut(&slots[usize::from(path)]) else { continue };
                    left.passed_over += of.len();
                    left.bytes += SPANNED_BYTES;
                    of.retain(|other| other.asked != asked);
                    if of.is_empty() {
                        spanned.remove(&slots[usize::from(path)]);
                    }
                }
                return left;
            }
            Mark::Fields => {
                take_out(&mut self.unmarked);
                for &slot in slots {
                    take_out(&mut self.fields[slot as usize].unmarked);
                }
                return left;
            }
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
        self.unmarked.iter().copied().for_each(look);
    }

    /// Calls `look` with those who may begin to match as the field in `slot` has changed, given what fields are now. How many
    /// values were looked up for it, and spans compared, [`SPANS_PER_UNIT`] of which are as much.
    pub fn changed(&self, slot: u32, fields: &Fields, mut look: impl FnMut(u32)) -> usize {
        // At what an index has nobody may look.
        let Some(looked) = self.fields.get(slot as usize) else { return 0 };
        looked.unmarked.iter().copied().for_each(&mut look);
        for (&pin, by_value) in &looked.pinned {
            let value = fields.of(pin);
            if value.len() <= QUERY_PIN_BYTES_MAX {
                by_value.get(value).into_iter().flatten().copied().for_each(&mut look);
            }
        }
        let mut compared = 0;
        for (&slot, spanned) in &looked.spanned {
            let value = leading(fields.of(slot), 0);
            compared += spanned.len();
            for of in spanned {
                if of.first <= value && value <= of.last {
                    look(of.asked);
                }
            }
        }
        looked.pinned.len() + compared.div_ceil(SPANS_PER_UNIT)
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
        queries: Vec<(Query, Vec<u32>, Mark)>,
        bytes: usize,
    }

    impl Group {
        fn enter(&mut self, condition: &str) -> u32 {
            let query = Query::parse(format!("{{\"where\":{condition}}}").as_bytes(), 100).unwrap();
            let slots: Vec<u32> = query.paths().iter().map(|path| self.paths.enter(path)).collect();
            let asked = self.queries.len() as u32;
            let (mark, bytes) = self.lookers.enter(asked, &query, &slots);
            self.bytes += bytes;
            self.queries.push((query, slots, mark));
            asked
        }

        fn leave(&mut self, asked: u32) -> usize {
            let (query, slots, mark) = &self.queries[asked as usize];
            let left = self.lookers.leave(asked, query, slots, *mark);
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
    fn who_needs_a_field_to_be_elsewhere_is_not_asked() {
        let mut group = Group::default();
        let low = group.enter(r#"{"n":{"ge":0,"lt":10}}"#);
        let high = group.enter(r#"{"n":{"gt":10},"and":[{"n":{"le":1e300}}]}"#);
        let text = group.enter(r#"{"n":{"gt":"m"}}"#);
        let begins = group.enter(r#"{"n":{"prefix":"no"}}"#);
        let truth = group.enter(r#"{"n":{"ge":false}}"#);
        let other = group.enter(r#"{"n":{"lt":10},"b":{"ge":5,"lt":6}}"#);
        let none = group.enter(r#"{"not":{"n":{"lt":10}}}"#);
        let asked = |before: &str, after: &str| group.asked(Some(before), after).0;
        assert_eq!(asked("{}", r#"{"n":0}"#), [low, none]);
        assert_eq!(asked("{}", r#"{"n":9.5}"#), [low, none]);
        assert_eq!(asked("{}", r#"{"n":-0.5}"#), [none]);
        assert_eq!(asked("{}", r#"{"n":11}"#), [high, none]);
        assert_eq!(asked("{}", r#"{"n":"north"}"#), [text, begins, none]);
        assert_eq!(asked("{}", r#"{"n":"na"}"#), [text, none]);
        assert_eq!(asked("{}", r#"{"n":true}"#), [truth, none]);
        assert_eq!(asked("{}", r#"{"n":null}"#), [none]);
        assert_eq!(asked(r#"{"n":1}"#, "{}"), [none]);
        assert_eq!(asked(r#"{"b":9,"n":1}"#, r#"{"b":5,"n":1}"#), [other]);
        assert_eq!(asked(r#"{"b":5,"n":11}"#, r#"{"b":5,"n":1}"#), [low, other, none]);
        assert_eq!(asked(r#"{"b":5,"n":11}"#, r#"{"b":6.5,"n":11}"#), [0; 0]);
    }

    #[test]
    fn a_span_that_is_compared_is_an_eighth_of_a_unit() {
        let mut group = Group::default();
        for n in 0..1000 {
            group.enter(&format!(r#"{{"n":{{"ge":{n},"lt":{}}}}}"#, n + 1));
        }
        let (asked, looked_up) = group.asked(Some(r#"{"n":1}"#), r#"{"n":700.5}"#);
        assert_eq!(asked, [700], "numbers are told apart by 44 bits of what is behind the point");
        assert_eq!(looked_up, 125);
    }

    #[test]
    fn what_is_long_or_much_is_found_by_its_span() {
        let mut group = Group::default();
        let long = group.enter(&format!(r#"{{"owner":"{}"}}"#, "x".repeat(QUERY_PIN_BYTES_MAX)));
        let values = |count: usize| {
            let values: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            format!(r#"{{"owner":{{"in":[{}]}}}}"#, values.join(","))
        };
        let many = group.enter(&values(QUERY_PIN_PLACES_MAX + 1));
        group.enter(&values(QUERY_PIN_PLACES_MAX));
        assert_eq!(group.asked(None, r#"{"owner":"xxxxxxxxx"}"#), (vec![long], 2));
        assert_eq!(group.asked(None, r#"{"owner":1.5}"#), (vec![many], 2));
    }

    #[test]
    fn nothing_is_left_of_those_who_leave() {
        let mut group = Group::default();
        let all: Vec<u32> = (0..200)
            .map(|n| match n % 4 {
                0 => group.enter(&format!(r#"{{"owner":"u{}"}}"#, n % 3)),
                1 => group.enter(&format!(r#"{{"n":{{"ge":{n}}},"owner":{{"in":["a","u{n}"]}}}}"#)),
                2 => group.enter(r#"{"n":{"ge":1}}"#),
                _ if n % 8 == 3 => group.enter(r#"{"not":{"n":1}}"#),
                _ => group.enter("{}"),
            })
            .collect();
        let passed_over: usize = all.iter().map(|&asked| group.leave(asked)).sum();
        assert!(passed_over > 200, "{passed_over}");
        assert_eq!(group.bytes, 0);
        assert!(group.lookers.unmarked.is_empty());
        let mut fields = group.lookers.fields.iter();
        assert!(fields.all(|looked| {
            looked.unmarked.is_empty() && looked.pinned.is_empty() && looked.spanned.is_empty()
        }));
    }
}
