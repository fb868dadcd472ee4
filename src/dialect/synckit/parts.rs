//! The entries of a document as they have come from its owners, packed, before anything is made of them.
//!
//! Invariant: a chunk is kept as it came, in a buffer of its own, so that nothing that was kept is copied again as more comes.

use std::collections::VecDeque;

use super::keys::Key;
use super::text;
use crate::mesh::{Entries, Entry, EntryState};

/// See the module.
#[derive(Default)]
pub struct Parts {
    /// Fields and elements, in the order in which they were written on each shard.
    chunks: Vec<Vec<u8>>,
    bytes: usize,
    count: usize,
    /// The latest of the texts, each packed by itself, oldest first, and the bytes of them.
    texts: VecDeque<Vec<u8>>,
    text_bytes: usize,
}

/// Where one of the fields or elements lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    chunk: u32,
    start: u32,
}

impl Parts {
    /// Takes a chunk. Of texts the latest are kept, as many as are compared; older ones are passed on, as a document has no
    /// bound for all of them.
    pub fn take(&mut self, mut entries: Entries<'_>, mut pass: impl FnMut(Entry<'_>)) {
        let all = entries.packed();
        let mut chunk = Vec::new();
        loop {
            let start = all.len() - entries.packed().len();
            let Some(entry) = entries.next() else { break };
            let packed = &all[start..all.len() - entries.packed().len()];
            let EntryState::Value { value, .. } = entry.state else { continue };
            match Key::of(entry.key) {
                Key::Text if value.is_some() => self.take_text(packed, &mut pass),
                // One that is gone was contained in another.
                Key::Text => {}
                _ => {
                    if chunk.is_empty() {
                        chunk.reserve_exact(all.len() - start);
                    }
                    chunk.extend_from_slice(packed);
                    self.count += 1;
                }
            }
        }
        if !chunk.is_empty() {
            chunk.shrink_to_fit();
            self.bytes += chunk.len();
            self.chunks.push(chunk);
        }
    }

    fn take_text(&mut self, packed: &[u8], pass: &mut impl FnMut(Entry<'_>)) {
        self.text_bytes += packed.len();
        self.texts.push_back(packed.to_vec());
        while self.texts.len() > text::STATES_MAX || self.text_bytes > text::BYTES_MAX {
            let Some(oldest) = self.texts.pop_front() else { break };
            self.text_bytes -= oldest.len();
            Entries::new(&oldest).for_each(&mut *pass);
        }
    }

    /// Bytes of fields and elements.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of all.
    pub const fn all_bytes(&self) -> usize {
        self.bytes + self.text_bytes
    }

    /// Fields and elements, those that have come twice twice.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The field or element at a place, which moves on to the next; `None` at the end.
    pub fn next(&self, place: &mut Place) -> Option<(Place, Entry<'_>)> {
        let at = *place;
        let mut entries = Entries::new(self.chunks.get(at.chunk as usize)?.get(at.start as usize..)?);
        let before = entries.packed().len();
        let entry = entries.next()?;
        let rest = entries.packed().len();
        *place = match rest {
            0 => Place { chunk: at.chunk + 1, start: 0 },
            _ => Place { chunk: at.chunk, start: at.start + word(before - rest) },
        };
        Some((at, entry))
    }

    /// The field or element at a place.
    ///
    /// # Panics
    /// If there is none: places come from [`Self::next`] alone.
    pub fn entry(&self, at: Place) -> Entry<'_> {
        let (_, entry) = self.next(&mut { at }).expect("an entry was there");
        entry
    }

    /// Takes the texts, oldest first.
    pub fn take_texts(&mut self) -> impl Iterator<Item = Vec<u8>> + use<> {
        self.text_bytes = 0;
        std::mem::take(&mut self.texts).into_iter()
    }
}

/// A length within a chunk.
///
/// # Panics
/// If it does not fit, which none does: lengths in envelopes are 32 bits wide, too.
fn word(len: usize) -> u32 {
    u32::try_from(len).expect("a chunk is far below 4 GiB")
}
