//! What the entries of a document come to: its fields, texts and elements, each key once.

use hashbrown::HashMap;

use super::changes::{SetChange, SetStep, Told};
use super::compared::Compared;
use super::text;
use crate::crdt::{Stamp, Time};
use crate::mesh::{Entry, EntryState};

/// See the module.
#[derive(Default)]
pub struct State<'a> {
    pub fields: Vec<Entry<'a>>,
    /// The texts, newest first: none that another contains.
    pub texts: Vec<(&'a str, Stamp, &'a [u8])>,
    /// Texts that another contains, and elements that were cleared.
    pub of_no_use: Vec<(&'a str, Stamp)>,
    /// Elements of a set.
    pub elements: Vec<SetStep<'a>>,
    /// Elements and fields that are no longer there, oldest change first.
    pub removed_elements: Vec<SetStep<'a>>,
    pub removed_fields: Vec<Entry<'a>>,
    /// The oldest change among the fields.
    pub oldest: Option<Time>,
}

impl<'a> State<'a> {
    /// Of entries, the last change of each key.
    pub fn of(document: &str, entries: impl Iterator<Item = Entry<'a>>, compared: &mut Compared) -> Self {
        let mut latest: HashMap<&str, Entry<'a>> = HashMap::new();
        for entry in entries {
            let known = latest.entry(entry.key).or_insert(entry);
            if stamp_of(&entry) >= stamp_of(known) {
                *known = entry;
            }
        }
        let mut state = Self::default();
        let mut cleared = Time::ZERO;
        for entry in latest.into_values() {
            match Told::of(entry) {
                Some(Told::Field { at, is_deleted: false, .. }) => {
                    state.oldest = Some(state.oldest.map_or(at.time, |oldest| oldest.min(at.time)));
                    state.fields.push(entry);
                }
                Some(Told::Field { .. }) => state.removed_fields.push(entry),
                Some(Told::Text { key, at, operation }) => state.texts.push((key, at, operation)),
                Some(Told::Set(step)) => match step.change {
                    SetChange::Add(_) => state.elements.push(step),
                    SetChange::Remove(_) => state.removed_elements.push(step),
                    SetChange::Clear => cleared = step.at.time,
                },
                None => {}
            }
        }
        // In the order in which they were written, as they would have come one by one.
        let by_time = |step: &SetStep<'a>| (step.at, step.key);
        state.elements.sort_by_key(by_time);
        state.take_out_cleared(cleared);
        state.removed_elements.sort_by_key(by_time);
        let by_time = |entry: &Entry<'a>| (stamp_of(entry).map(|at| at.time), entry.key);
        state.fields.sort_by_key(by_time);
        state.removed_fields.sort_by_key(by_time);
        // Two shards may give the same stamp.
        state.texts.sort_by_key(|&(key, at, _)| (std::cmp::Reverse(at), key));
        state.take_out_contained(document, compared);
        state
    }

    fn take_out_cleared(&mut self, cleared: Time) {
        let (of_no_use, removed) = (&mut self.of_no_use, &mut self.removed_elements);
        self.elements.retain(|step| {
            let is_there = step.at.time > cleared;
            if let (SetChange::Add(element), false) = (step.change, is_there) {
                of_no_use.push((step.key, step.at));
                removed.push(SetStep { change: SetChange::Remove(element), ..*step });
            }
            is_there
        });
    }

    fn take_out_contained(&mut self, document: &str, compared: &mut Compared) {
        if self.texts.len() < 2 {
            return;
        }
        let looked_at = self.texts.iter().take(text::STATES_MAX);
        let names: Vec<(&str, Stamp)> = looked_at.clone().map(|&(key, at, _)| (key, at)).collect();
        let contained = compared.get_or_compare((document, names), || {
            let operations: Vec<&[u8]> = looked_at.map(|&(_, _, operation)| operation).collect();
            text::contained(&operations)
        });
        let (mut place, of_no_use) = (0, &mut self.of_no_use);
        self.texts.retain(|&(key, at, _)| {
            let is_contained = place < text::STATES_MAX && contained >> place & 1 == 1;
            place += 1;
            if is_contained {
                of_no_use.push((key, at));
            }
            !is_contained
        });
    }
}

fn stamp_of(entry: &Entry<'_>) -> Option<Stamp> {
    match entry.state {
        EntryState::Value { at, .. } => Some(at),
        EntryState::Tags { .. } | EntryState::Count(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Node;
    use crate::mesh::{Entries, EntryPacker};

    // To compare texts costs as much as to read them all: as long as they are the same, nobody does it again.
    #[test]
    fn the_same_texts_are_compared_once() {
        let mut compared = Compared::default();
        let block = |text: &str| {
            let id = r#"{\"client_id\":\"a\",\"clock\":1,\"offset\":0}"#;
            let block = format!(r#"{{\"id\":{id},\"text\":\"{text}\",\"deleted\":false}}"#);
            format!(r#"{{"type":"text-state","state":"{{\"blocks\":[[{id},{block}]]}}"}}"#)
        };
        let mut told = |document: &str, times: [u64; 3]| {
            let mut packed = Vec::new();
            for (client, (time, text)) in ["a", "b", "c"].iter().zip(times.into_iter().zip(["x", "x", "y"])) {
                let at = Stamp { time: Time::new(time, 0), node: Node::new(b"n").unwrap() };
                let key = format!("__synckit:text:{client}");
                EntryPacker(&mut packed).value(&key, &at, Some(block(text).as_bytes()));
            }
            let state = State::of(document, Entries::new(&packed), &mut compared);
            let keys = |state: &State<'_>| state.texts.iter().map(|(key, ..)| (*key).to_owned()).collect();
            let (kept, of_no_use): (Vec<String>, usize) = (keys(&state), state.of_no_use.len());
            (kept, of_no_use, compared.comparisons)
        };
        let kept = ["c", "b"].map(|client| format!("__synckit:text:{client}"));
        for _ in 0..3 {
            assert_eq!(told("d", [1, 2, 3]), (kept.to_vec(), 1, 1));
        }
        assert_eq!(told("d", [1, 2, 4]).2, 2, "another state");
        assert_eq!(told("e", [1, 2, 3]).2, 3, "another document");
    }
}
