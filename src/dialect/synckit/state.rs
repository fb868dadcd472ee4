//! What the entries of a document come to: its fields, texts and elements, each key once.
//!
//! ```text
//! parts ─► index: the last change of each key ─► sort out: fields, elements, what is gone of both
//! ```
//! Entry by entry, so that whoever sorts out many can stop and go on another time.

use hashbrown::{DefaultHashBuilder, HashTable};

use std::hash::BuildHasher;

use super::changes::{SetChange, SetStep, Told};
use super::keys::Key;
use super::parts::{Parts, Place};
use crate::crdt::{Stamp, Time};
use crate::mesh::{Entries, Entry, EntryState};
use crate::shard::work;
use crate::wire::json::string_bytes;

/// Units of looking up one key, and of looking at one entry again.
const INDEXED: u64 = work::CELL / 4;
const LOOKED_AT: u64 = work::CELL / 16;

/// Keys of no use that are remembered. What is left is found again.
const OF_NO_USE_MAX: usize = 1_000;

/// See the module.
#[derive(Default)]
pub struct State {
    parts: Parts,
    hasher: DefaultHashBuilder,
    /// Places in `last`, by their key: the hash of that, halved, and the place.
    by_key: HashTable<(u32, u32)>,
    /// The last change of each key, in their order; `None`: of a key that has changed again.
    last: Vec<Option<Place>>,
    indexed: Place,
    sorted_out: usize,
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
        let last = Vec::with_capacity(parts.count());
        let by_key = HashTable::with_capacity(parts.count());
        Self { by_key, last, texts, parts, ..Self::default() }
    }

    pub fn entry(&self, at: Place) -> Entry<'_> {
        self.parts.entry(at)
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.parts.all_bytes() + self.texts.iter().map(Vec::len).sum::<usize>()
    }

    /// Looks up the key of the next entry; what that costs, and `None` once there is no more.
    pub fn index_next(&mut self) -> Option<u64> {
        let (at, entry) = self.parts.next(&mut self.indexed)?;
        let hash = self.hasher.hash_one(entry.key);
        let half = (hash >> 32) as u32;
        let (parts, last) = (&self.parts, &mut self.last);
        let is_it = |&(of, place): &(u32, u32)| {
            of == half && last[place as usize].is_some_and(|at| parts.entry(at).key == entry.key)
        };
        let spread = |half: u32| u64::from(half) << 32 | u64::from(half);
        let place = u32::try_from(last.len()).expect("entries have more than one byte each");
        match self.by_key.find_mut(spread(half), is_it) {
            // Of one key an owner tells in the order of its changes.
            Some((_, known)) => {
                last[*known as usize] = None;
                *known = place;
            }
            None => {
                self.by_key.insert_unique(spread(half), (half, place), |&(half, _)| spread(half));
            }
        }
        self.last.push(Some(at));
        if let (Key::Cleared, EntryState::Value { at, value: Some(_), .. }) =
            (Key::of(entry.key), entry.state)
        {
            self.cleared = at.time;
        }
        Some(INDEXED + work::copied(entry.key.len()))
    }

    /// Sorts out the next entry, once all are indexed; what that costs, and `None` once there is no more.
    pub fn sort_out_next(&mut self) -> Option<u64> {
        let Some(&last) = self.last.get(self.sorted_out) else {
            (self.last, self.by_key) = (Vec::new(), HashTable::new());
            self.sorted_out = 0;
            return None;
        };
        self.sorted_out += 1;
        let Some(place) = last else { return Some(LOOKED_AT) };
        let entry = self.parts.entry(place);
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
        Some(LOOKED_AT + read)
    }

    /// Puts what is gone in the order of its changes, once all is sorted out; what that costs. It comes nearly in that order.
    pub fn order_removed(&mut self) -> u64 {
        self.removed_fields.sort_by_key(|&(time, _)| time);
        self.removed_elements.sort_by_key(|&(time, _)| time);
        work::PASSED_OVER * (self.removed_fields.len() + self.removed_elements.len()) as u64
    }

    /// Takes out the texts that others contain, of the first of which there is a bit each, the first the lowest.
    pub fn take_out_texts(&mut self, contained: u32) {
        let (mut place, of_no_use) = (0, &mut self.of_no_use);
        self.texts.retain(|packed| {
            let is_contained = place < u32::BITS && contained >> place & 1 == 1;
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
