//! What the entries of a document come to: its fields, texts and elements, each key once.
//!
//! ```text
//! parts ─► index: the last change of each key ─► sort out: fields, elements, what is gone of both
//! ```
//! Entry by entry, so that whoever sorts out many can stop and go on another time.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry as Found;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::changes::{SetChange, SetStep, Told};
use super::keys::Key;
use super::parts::{Parts, Place};
use crate::crdt::{Stamp, Time};
use crate::mesh::{Entries, Entry, EntryState};
use crate::shard::work;
use crate::wire::json::string_bytes;

/// Units of looking up one key, and of finding its entry again.
const INDEXED: u64 = work::CELL / 4;
const FOUND: u64 = work::CELL / 8;

/// Keys of no use that are remembered. What is left is found again.
const OF_NO_USE_MAX: usize = 1_000;

/// See the module.
#[derive(Default)]
pub struct State {
    parts: Parts,
    hasher: DefaultHashBuilder,
    /// Where the last change of each key is.
    last: HashTable<Place>,
    /// The entry that comes next.
    next: Place,
    /// When the set was last cleared.
    cleared: Time,
    /// In the order in which they were written.
    pub fields: Vec<Place>,
    pub elements: Vec<Place>,
    /// Those that are no longer there; once all are sorted out, oldest change first.
    pub removed_fields: Vec<(Time, Place)>,
    pub removed_elements: Vec<(Time, Place)>,
    /// The texts, newest first, each packed by itself.
    pub texts: Vec<Vec<u8>>,
    /// Texts that another contains, and elements that were cleared.
    pub of_no_use: Vec<(String, Stamp)>,
    /// The oldest change among the fields.
    pub oldest: Option<Time>,
    /// Bytes of names and values of fields as JSON.
    pub fields_bytes: usize,
}

impl State {
    pub fn of(mut parts: Parts) -> Self {
        let texts = latest_texts(&mut parts);
        let last = HashTable::with_capacity(parts.count());
        Self { last, texts, parts, ..Self::default() }
    }

    pub fn entry(&self, at: Place) -> Entry<'_> {
        self.parts.entry(at)
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        let places = self.fields.capacity() + self.elements.capacity();
        let removed = self.removed_fields.capacity() + self.removed_elements.capacity();
        self.parts.all_bytes()
            + self.texts.iter().map(Vec::len).sum::<usize>()
            + self.last.allocation_size()
            + places * size_of::<Place>()
            + removed * size_of::<(Time, Place)>()
    }

    /// Looks up the key of the next entry; what that costs, and `None` once there is no more.
    pub fn index_next(&mut self) -> Option<u64> {
        let Some((at, entry)) = self.parts.next(&mut self.next) else {
            self.next = Place::default();
            return None;
        };
        let (parts, hasher) = (&self.parts, &self.hasher);
        let is_it = |&known: &Place| parts.entry(known).key == entry.key;
        let hash_of = |&known: &Place| hasher.hash_one(parts.entry(known).key);
        match self.last.entry(hasher.hash_one(entry.key), is_it, hash_of) {
            // Of one key an owner tells in the order of its changes.
            Found::Occupied(mut last) => *last.get_mut() = at,
            Found::Vacant(none) => {
                none.insert(at);
            }
        }
        if let (Key::Cleared, EntryState::Value { at, value: Some(_), .. }) =
            (Key::of(entry.key), entry.state)
        {
            self.cleared = at.time;
        }
        Some(INDEXED + work::copied(entry.key.len()))
    }

    /// Sorts out the next entry, once all are indexed; what that costs, and `None` once there is no more.
    pub fn sort_out_next(&mut self) -> Option<u64> {
        let Some((place, entry)) = self.parts.next(&mut self.next) else {
            self.last = HashTable::new();
            return None;
        };
        let hash = self.hasher.hash_one(entry.key);
        let found = FOUND + work::copied(entry.key.len());
        if self.last.find(hash, |&last| last == place).is_none() {
            // The key has changed again.
            return Some(found);
        }
        let read =
            if matches!(Key::of(entry.key), Key::Element(_)) { work::decoded(entry.key.len()) } else { 0 };
        match Told::of(entry) {
            Some(Told::Field { at, is_deleted: false, name, value }) => {
                self.oldest = Some(self.oldest.map_or(at.time, |oldest| oldest.min(at.time)));
                self.fields_bytes += string_bytes(name) + value.len();
                self.fields.push(place);
            }
            Some(Told::Field { at, .. }) => self.removed_fields.push((at.time, place)),
            Some(Told::Set(SetStep { change: SetChange::Add(_), at, .. })) if at.time > self.cleared => {
                self.elements.push(place);
            }
            Some(Told::Set(SetStep { change: SetChange::Add(_), at, key })) => {
                if self.of_no_use.len() < OF_NO_USE_MAX {
                    self.of_no_use.push((key.to_owned(), at));
                }
                self.removed_elements.push((at.time, place));
            }
            Some(Told::Set(SetStep { change: SetChange::Remove(_), at, .. })) => {
                self.removed_elements.push((at.time, place));
            }
            Some(Told::Set(_) | Told::Text { .. }) | None => {}
        }
        Some(found + read)
    }

    /// Puts what is gone in the order of its changes, once all is sorted out; what that costs. It comes nearly in that order.
    pub fn order_removed(&mut self) -> u64 {
        self.removed_fields.sort_by_key(|&(time, _)| time);
        self.removed_elements.sort_by_key(|&(time, _)| time);
        work::PASSED_OVER * (self.removed_fields.len() + self.removed_elements.len()) as u64
    }

    /// Takes out the texts that others contain: a bit each, the first the lowest.
    pub fn take_out_texts(&mut self, contained: u32) {
        let (mut place, of_no_use) = (0, &mut self.of_no_use);
        self.texts.retain(|packed| {
            let is_contained = contained >> place & 1 == 1;
            place += 1;
            if is_contained && let Some((key, at, _)) = text_of(packed) {
                of_no_use.push((key.to_owned(), at));
            }
            !is_contained
        });
    }
}

/// The last text of each client, newest first.
fn latest_texts(parts: &mut Parts) -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = Vec::new();
    for packed in parts.take_texts() {
        let Some((key, ..)) = text_of(&packed) else { continue };
        texts.retain(|known| text_of(known).is_some_and(|(of, ..)| of != key));
        texts.push(packed);
    }
    // Two shards may give the same stamp.
    texts.sort_by(|one, other| order_of(one).cmp(&order_of(other)));
    texts
}

fn order_of(packed: &[u8]) -> Option<(std::cmp::Reverse<Stamp>, &str)> {
    text_of(packed).map(|(key, at, _)| (std::cmp::Reverse(at), key))
}

/// The key, the stamp and the operation of a packed text; `None` if it is none.
pub fn text_of(packed: &[u8]) -> Option<(&str, Stamp, &[u8])> {
    match Told::of(Entries::new(packed).next()?)? {
        Told::Text { key, at, operation } => Some((key, at, operation)),
        Told::Field { .. } | Told::Set(_) => None,
    }
}
