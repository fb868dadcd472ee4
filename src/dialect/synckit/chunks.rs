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
}

struct Set {
    pieces: Vec<Option<Vec<u8>>>,
    missing: usize,
    bytes: usize,
    began_ms: u64,
}

/// One piece, as its message says it.
pub struct Piece<'a> {
    pub name: &'a str,
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
        let [count, index] = [count, index].map(|number| usize::try_from(number).map_err(|_| Some(name)));
        Ok(Self { name, count: count?, index: index?, base64 })
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

    fn has(&self, index: usize) -> bool {
        self.pieces.get(index).is_some_and(Option::is_some)
    }
}

/// Bytes that a message takes of which nothing has come.
const fn memory_of(name: &str, pieces: usize) -> usize {
    size_of::<(String, Set)>() + name.len() + pieces * size_of::<Option<Vec<u8>>>()
}

impl Chunks {
    /// Forgets messages that have not been completed in time.
    pub fn forget_old(&mut self, now_ms: u64) {
        self.sets.retain(|_, set| now_ms < set.began_ms + TIMEOUT_MS);
    }

    /// Forgets all of them.
    pub fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// Forgets one message.
    pub fn forget(&mut self, name: &str) {
        self.sets.remove(name);
    }

    /// What they take, and how long.
    pub fn held(&self) -> Held {
        let began_ms = self.sets.values().map(|set| set.began_ms).min();
        let bytes = self.sets.iter().map(|(name, set)| set.memory_bytes(name)).sum();
        Held { bytes, due_ms: began_ms.map_or(0, |began_ms| began_ms + TIMEOUT_MS) }
    }

    /// Bytes that a piece would take in addition.
    pub fn adds(&self, piece: &Piece<'_>) -> usize {
        match self.sets.get(piece.name) {
            Some(set) if set.has(piece.index) => 0,
            Some(_) => piece.bytes(),
            None => memory_of(piece.name, piece.count) + piece.bytes(),
        }
    }

    /// What a piece stands for, if it may be taken once there is room for it.
    ///
    /// # Errors
    /// [`Refusal::InvalidFormat`] for a piece that fits nowhere, [`Refusal::TooLarge`] if the message would be.
    pub fn check(&self, piece: &Piece<'_>, bytes_max: usize) -> Result<Vec<u8>, Refusal<'static>> {
        let set = self.sets.get(piece.name);
        if set.map_or(self.sets.len() == SETS_MAX, |set| set.pieces.len() != piece.count) {
            return Err(Refusal::InvalidFormat);
        }
        let bytes = self.sets.values().map(|set| set.bytes).sum::<usize>() + piece.bytes();
        if bytes > bytes_max && !set.is_some_and(|set| set.has(piece.index)) {
            return Err(Refusal::TooLarge { bytes, bytes_max });
        }
        BASE64.decode(piece.base64).map_err(|_| Refusal::InvalidFormat)
    }

    /// Takes a piece that [may be taken](Self::check), and what it stands for; the message, if this was the last that was
    /// missing.
    pub fn take(&mut self, piece: &Piece<'_>, bytes: Vec<u8>, now_ms: u64) -> Option<Vec<u8>> {
        let &Piece { name, count, index, .. } = piece;
        let set = self.sets.entry_ref(name).or_insert_with(|| Set {
            pieces: vec![None; count],
            missing: count,
            bytes: 0,
            began_ms: now_ms,
        });
        let place = set.pieces.get_mut(index).filter(|place| place.is_none());
        if let Some(place) = place {
            set.bytes += bytes.len();
            set.missing -= 1;
            *place = Some(bytes);
        }
        if set.missing > 0 {
            return None;
        }
        self.sets.remove(name).map(|set| joined(&set))
    }
}

/// The message, with room for the padding that its parser wants, so that it is copied once.
fn joined(set: &Set) -> Vec<u8> {
    let mut message = Vec::with_capacity(set.bytes + PARSE_PADDING_BYTES);
    set.pieces.iter().flatten().for_each(|piece| message.extend_from_slice(piece));
    message
}
