//! What a view shows of cells, and of changes: the one place where values are cut for those who may not see all of them.
//!
//! Invariant: no byte of a key, a tag or a value comes out unless the rules allow it for a value that is or was there. Of what
//! was removed nothing is left but its name, so it is told only where keys alone decide, or as a change of what could be seen.

use std::borrow::Cow;

use super::pack::{entry_text_bytes, pack_cell};
use crate::auth::rules::{Asked, Facts, Parts};
use crate::crdt::{Cell, OrSet, State, Tagged};
use crate::mesh::{Entries, Entry, EntryPacker, EntryState, TaggedValue};

/// A view of one map, and what it has cost to look through it.
pub struct Lens<'a> {
    parts: &'a Parts,
    map: &'a str,
    pub asked: Asked,
}

/// What a change was told as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether that is all that was changed, so that who made it knows it.
    pub is_whole: bool,
    /// Whether it takes something away that could be seen.
    pub is_leaving: bool,
}

/// Tags with what may be seen of their values.
pub type SeenTags<'a> = Vec<(&'a Tagged, Cow<'a, [u8]>)>;

impl<'a> Lens<'a> {
    pub fn new(parts: &'a Parts, map: &'a str) -> Self {
        Self { parts, map, asked: Asked::default() }
    }

    /// Whether keys alone do not decide.
    pub const fn needs_values(&self) -> bool {
        self.parts.need_values()
    }

    /// Whether a key may be seen, as far as keys decide.
    pub fn passes(&mut self, key: &str) -> bool {
        self.parts.allow_key(self.map, key, &mut self.asked)
    }

    /// What may be seen of a value.
    pub fn seen<'v>(&mut self, key: &str, value: &'v [u8]) -> Option<Cow<'v, [u8]>> {
        let facts = Facts::read(self.map, key, value);
        self.parts.fields(&facts, &mut self.asked)?.seen(value)
    }

    /// Packs what may be seen of a cell, of a set no more than a tag past `bytes_max`; whether there is anything.
    pub fn pack(&mut self, out: &mut Vec<u8>, cell: &Cell, bytes_max: usize) -> bool {
        let key = cell_key(cell);
        if !self.needs_values() {
            let passes = self.passes(key);
            if passes {
                pack_cell(out, cell);
            }
            return passes;
        }
        match cell.state() {
            State::Lww(lww) => {
                let seen = lww.value().and_then(|value| self.seen(key, value));
                if let Some(seen) = &seen {
                    EntryPacker(out).ending(key, &lww.at(), seen, lww.expires_ms());
                }
                seen.is_some()
            }
            State::OrSet(set) => {
                let seen = self.seen_tags(key, set, bytes_max);
                if !seen.is_empty() {
                    pack_tags(out, key, &seen);
                }
                !seen.is_empty()
            }
            State::Counter(counter) => {
                let is_seen = self.sees_count(key, counter.count());
                if is_seen {
                    EntryPacker(out).count(key, counter.count());
                }
                is_seen
            }
        }
    }

    fn seen_tags<'s>(&mut self, key: &str, set: &'s OrSet, bytes_max: usize) -> SeenTags<'s> {
        let (mut seen, mut bytes) = (SeenTags::new(), 0);
        for tagged in set.live() {
            if bytes > bytes_max {
                break;
            }
            if let Some(value) = self.seen(key, tagged.value()) {
                bytes += tagged.tag().len() + value.len();
                seen.push((tagged, value));
            }
        }
        seen
    }

    fn sees_count(&mut self, key: &str, count: i128) -> bool {
        self.seen(key, count.to_string().as_bytes()).is_some()
    }

    /// Packs what of a change is told, given what it has taken away; `None`: nothing.
    ///
    /// What may be seen now is told as it is now. Where that is nothing, but what was there could be seen, it has left the view,
    /// and is told as gone: that names nothing that was not shown to all who have the view, or could have been.
    pub fn change(
        &mut self,
        out: &mut Vec<u8>,
        packed: &[u8],
        before: Option<EntryState<'_>>,
    ) -> Option<Told> {
        let Entry { key, state } = Entries::new(packed).next()?;
        if !self.needs_values() {
            return self.passes(key).then(|| {
                out.extend_from_slice(packed);
                Told { is_whole: true, is_leaving: false }
            });
        }
        let mut entry = EntryPacker(out);
        match state {
            EntryState::Value { at, value, expires_ms } => {
                if let Some(value) = value
                    && let Some(seen) = self.seen(key, value)
                {
                    entry.ending(key, &at, &seen, expires_ms);
                    return Some(Told { is_whole: *seen == *value, is_leaving: false });
                }
                let EntryState::Value { value: Some(before), .. } = before? else { return None };
                self.seen(key, before)?;
                entry.value(key, &at, None);
                Some(Told { is_whole: value.is_none(), is_leaving: true })
            }
            EntryState::Count(count) => {
                if self.sees_count(key, count) {
                    entry.count(key, count);
                    return Some(Told { is_whole: true, is_leaving: false });
                }
                let EntryState::Count(before) = before? else { return None };
                if !self.sees_count(key, before) {
                    return None;
                }
                entry.gone(key);
                Some(Told { is_whole: false, is_leaving: true })
            }
            EntryState::Tags { added, removed } => {
                let known = added.count() + removed.iter().count();
                let mut seen: Vec<(TaggedValue<'_>, Cow<'_, [u8]>)> = Vec::new();
                let mut is_whole = true;
                for tagged in added {
                    if let Some(value) = self.seen(key, tagged.value) {
                        is_whole &= *value == *tagged.value;
                        seen.push((tagged, value));
                    }
                }
                let before = before.and_then(|before| match before {
                    EntryState::Tags { added, .. } => Some(added),
                    _ => None,
                });
                let mut left = Vec::new();
                for tagged in before.into_iter().flatten() {
                    let is_there = seen.iter().any(|(shown, _)| shown.tag == tagged.tag);
                    if !is_there && self.seen(key, tagged.value).is_some() {
                        left.push(tagged.tag);
                    }
                }
                if seen.is_empty() && left.is_empty() {
                    return None;
                }
                is_whole &= seen.len() + left.len() == known;
                let added = seen.iter().map(|(tagged, value)| TaggedValue { value, ..*tagged });
                let is_leaving = !left.is_empty();
                entry.tags(key, added, left.into_iter());
                Some(Told { is_whole, is_leaving })
            }
            EntryState::Gone => None,
        }
    }
}

/// Packs tags of a set with what may be seen of them.
pub fn pack_tags(out: &mut Vec<u8>, key: &str, seen: &[(&Tagged, Cow<'_, [u8]>)]) {
    let added = seen.iter().map(|(tagged, value)| TaggedValue { tag: tagged.tag(), value, at: *tagged.at() });
    EntryPacker(out).tags(key, added, std::iter::empty());
}

/// Bytes as text of entries that are packed.
pub fn packed_text_bytes(packed: &[u8]) -> usize {
    Entries::new(packed).map(|entry| entry_text_bytes(&entry)).sum()
}

fn cell_key(cell: &Cell) -> &str {
    std::str::from_utf8(cell.key()).expect("keys enter as text")
}
