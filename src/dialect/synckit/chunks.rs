//! A message in pieces: `delta_batch_chunk`s, in any order, each a part of a binary message in base64.

use data_encoding::BASE64;
use hashbrown::HashMap;

use super::message::{Fields, text, whole};
use super::refusal::Refusal;

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
pub struct Chunks(HashMap<String, Set>);

struct Set {
    pieces: Vec<Option<Vec<u8>>>,
    missing: usize,
    bytes: usize,
    began_ms: u64,
}

impl Chunks {
    /// Forgets messages that have not been completed in time.
    pub fn forget_old(&mut self, now_ms: u64) {
        if !self.0.is_empty() {
            self.0.retain(|_, set| now_ms < set.began_ms + TIMEOUT_MS);
        }
    }

    /// Takes one piece; the message, if this was the last that was missing.
    ///
    /// # Errors
    /// [`Refusal::InvalidFormat`] for a piece that fits nowhere, [`Refusal::TooLarge`] if the message would be. What came
    /// of that message before is forgotten.
    pub fn take(
        &mut self,
        fields: &Fields<'_>,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<Option<Vec<u8>>, Refusal<'static>> {
        let name = fields.chunk.and_then(text).filter(|name| name.len() <= NAME_BYTES_MAX);
        let name = name.ok_or(Refusal::InvalidFormat)?;
        let taken = self.put(name, fields, bytes_max, now_ms);
        if !matches!(taken, Ok(false)) {
            let set = self.0.remove(name);
            taken?;
            return Ok(set.map(|set| set.pieces.into_iter().flatten().flatten().collect()));
        }
        Ok(None)
    }

    /// Whether the message is complete now.
    fn put(
        &mut self,
        name: &str,
        fields: &Fields<'_>,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<bool, Refusal<'static>> {
        let count = fields.chunks.and_then(whole).filter(|count| (1..=CHUNKS_MAX).contains(count));
        let count = count.ok_or(Refusal::InvalidFormat)?;
        let index = fields.chunk_index.and_then(whole).filter(|&index| index < count);
        let index = index.ok_or(Refusal::InvalidFormat)?;
        let data = fields.data.and_then(text).ok_or(Refusal::InvalidFormat)?;
        let piece = BASE64.decode(data.as_bytes()).map_err(|_| Refusal::InvalidFormat)?;
        if !self.0.contains_key(name) && self.0.len() == SETS_MAX {
            return Err(Refusal::InvalidFormat);
        }
        let set = self.0.entry_ref(name).or_insert_with(|| Set {
            pieces: vec![None; count as usize],
            missing: count as usize,
            bytes: 0,
            began_ms: now_ms,
        });
        if set.pieces.len() as u64 != count {
            return Err(Refusal::InvalidFormat);
        }
        let place = &mut set.pieces[index as usize];
        if place.is_none() {
            set.bytes += piece.len();
            set.missing -= 1;
            *place = Some(piece);
        }
        // Of one connection no more may wait in pieces than could come whole.
        let bytes: usize = self.0.values().map(|set| set.bytes).sum();
        if bytes > bytes_max {
            return Err(Refusal::TooLarge { bytes, bytes_max });
        }
        Ok(self.0.get(name).is_some_and(|set| set.missing == 0))
    }
}
