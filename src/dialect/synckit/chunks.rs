//! A message in pieces: `delta_batch_chunk`s, in any order, each a part of a binary message in base64.
//!
//! Invariant: of one connection no more waits in pieces than could come whole, and none of it for longer than a message has
//! to become complete, whether its client says anything more or not. What all connections of a shard have in pieces is held
//! against one share of its memory (`unfinished.rs`).

use data_encoding::BASE64;
use hashbrown::HashMap;

use super::message::{Fields, text, whole};
use super::refusal::Refusal;
use super::unfinished::Held;
use crate::limits::PARSE_PADDING_BYTES;

/// Pieces of one message, at most.
const CHUNKS_MAX: u64 = 1_024;
/// Messages of one connection that are in pieces at the same time.
const SETS_MAX: usize = 4;
/// Milliseconds after which a message that is not complete is forgotten.
const TIMEOUT_MS: u64 = 30_000;

/// Bytes of the name of a message.
const NAME_BYTES_MAX: usize = 256;

/// The pieces that have come, by the name of their message.
#[derive(Default)]
pub struct Chunks {
    sets: HashMap<String, Set>,
    /// Bytes of all pieces, and what those take with all that is around them.
    bytes: usize,
    memory_bytes: usize,
}

struct Set {
    pieces: Vec<Option<Vec<u8>>>,
    missing: usize,
    bytes: usize,
    began_ms: u64,
}

/// One piece, as its message says it.
pub struct Piece<'a> {
    name: &'a str,
    count: usize,
    index: usize,
    base64: &'a [u8],
}

impl<'a> Piece<'a> {
    /// The name of its message, and the piece.
    ///
    /// # Errors
    /// [`Refusal::InvalidFormat`] for one that fits nowhere; of which message, if that is known.
    pub fn of(fields: &Fields<'a>) -> Result<Self, Option<&'a str>> {
        let name = fields.chunk.and_then(text).filter(|name| name.len() <= NAME_BYTES_MAX).ok_or(None)?;
        let count = fields.chunks.and_then(whole).filter(|count| (1..=CHUNKS_MAX).contains(count));
        let count = count.ok_or(Some(name))?;
        let index = fields.chunk_index.and_then(whole).filter(|&index| index < count).ok_or(Some(name))?;
        let base64 = fields.data.and_then(text).ok_or(Some(name))?.as_bytes();
        Ok(Self { name, count: count as usize, index: index as usize, base64 })
    }

    /// Bytes that it stands for, if it is base64.
    fn bytes(&self) -> usize {
        let padding = self.base64.iter().rev().take(2).take_while(|&&digit| digit == b'=').count();
        (self.base64.len() / 4 * 3).saturating_sub(padding)
    }
}

impl Set {
    fn memory_bytes(&self, name: &str) -> usize {
        memory_of(name, self.pieces.len()) + self.bytes
    }
}

/// Bytes that a message takes of which nothing has come.
const fn memory_of(name: &str, pieces: usize) -> usize {
    size_of::<(String, Set)>() + name.len() + pieces * size_of::<Option<Vec<u8>>>()
}

impl Chunks {
    /// Forgets messages that have not been completed in time.
    pub fn forget_old(&mut self, now_ms: u64) {
        let (bytes, memory_bytes) = (&mut self.bytes, &mut self.memory_bytes);
        self.sets.retain(|name, set| {
            let is_kept = now_ms < set.began_ms + TIMEOUT_MS;
            if !is_kept {
                *bytes -= set.bytes;
                *memory_bytes -= set.memory_bytes(name);
            }
            is_kept
        });
    }

    /// Forgets all of them.
    pub fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// Forgets one message.
    pub fn forget(&mut self, name: &str) {
        self.remove(name);
    }

    /// What they take, and how long.
    pub fn held(&self) -> Held {
        let began_ms = self.sets.values().map(|set| set.began_ms).min();
        Held { bytes: self.memory_bytes, due_ms: began_ms.map_or(0, |began_ms| began_ms + TIMEOUT_MS) }
    }

    /// Bytes that a piece would take in addition.
    pub fn adds(&self, piece: &Piece<'_>) -> usize {
        match self.sets.get(piece.name) {
            Some(set) if set.pieces.get(piece.index).is_some_and(Option::is_some) => 0,
            Some(_) => piece.bytes(),
            None => memory_of(piece.name, piece.count) + piece.bytes(),
        }
    }

    /// Takes one piece; the message, if this was the last that was missing.
    ///
    /// # Errors
    /// [`Refusal::InvalidFormat`] for a piece that fits nowhere, [`Refusal::TooLarge`] if the message would be. What came
    /// of that message before is forgotten.
    pub fn take(
        &mut self,
        piece: &Piece<'_>,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<Option<Vec<u8>>, Refusal<'static>> {
        match self.put(piece, bytes_max, now_ms) {
            Ok(false) => Ok(None),
            Ok(true) => Ok(self.remove(piece.name).map(|set| joined(&set))),
            Err(refusal) => {
                self.remove(piece.name);
                Err(refusal)
            }
        }
    }

    fn remove(&mut self, name: &str) -> Option<Set> {
        let set = self.sets.remove(name)?;
        self.bytes -= set.bytes;
        self.memory_bytes -= set.memory_bytes(name);
        Some(set)
    }

    /// Whether the message is complete now.
    fn put(&mut self, piece: &Piece<'_>, bytes_max: usize, now_ms: u64) -> Result<bool, Refusal<'static>> {
        let &Piece { name, count, index, base64 } = piece;
        if !self.sets.contains_key(name) {
            if self.sets.len() == SETS_MAX {
                return Err(Refusal::InvalidFormat);
            }
            self.memory_bytes += memory_of(name, count);
        }
        let bytes = self.bytes + piece.bytes();
        let set = self.sets.entry_ref(name).or_insert_with(|| Set {
            pieces: vec![None; count],
            missing: count,
            bytes: 0,
            began_ms: now_ms,
        });
        if set.pieces.len() != count {
            return Err(Refusal::InvalidFormat);
        }
        let place = &mut set.pieces[index];
        if place.is_none() {
            if bytes > bytes_max {
                return Err(Refusal::TooLarge { bytes, bytes_max });
            }
            let decoded = BASE64.decode(base64).map_err(|_| Refusal::InvalidFormat)?;
            set.bytes += decoded.len();
            set.missing -= 1;
            self.bytes += decoded.len();
            self.memory_bytes += decoded.len();
            *place = Some(decoded);
        }
        Ok(set.missing == 0)
    }
}

/// The message, with room for the padding that its parser wants, so that it is copied once.
fn joined(set: &Set) -> Vec<u8> {
    let mut message = Vec::with_capacity(set.bytes + PARSE_PADDING_BYTES);
    set.pieces.iter().flatten().for_each(|piece| message.extend_from_slice(piece));
    message
}
