//! A message in pieces: `delta_batch_chunk`s, in any order, each a part of a binary message in base64.
//!
//! Invariant: of one connection no more waits in pieces than could come whole, and none of it for longer than a message has
//! to become complete, whether its client says anything more or not.

use std::collections::VecDeque;

use data_encoding::BASE64;
use hashbrown::HashMap;

use super::message::{Fields, text, whole};
use super::refusal::Refusal;
use crate::shard::Caller;

/// Pieces of one message, at most.
const CHUNKS_MAX: u64 = 1_024;
/// Messages of one connection that are in pieces at the same time.
const SETS_MAX: usize = 4;
/// Milliseconds after which a message that is not complete is forgotten.
const TIMEOUT_MS: u64 = 30_000;

/// Bytes of the name of a message.
const NAME_BYTES_MAX: usize = 256;

/// Connections with messages that are not complete, and when they must be: of all of a shard, the first first.
#[derive(Default)]
pub struct Unfinished(VecDeque<(u64, Caller)>);

impl Unfinished {
    pub fn push(&mut self, caller: Caller, now_ms: u64) {
        self.0.push_back((now_ms + TIMEOUT_MS, caller));
    }

    /// Takes one whose time is over.
    pub fn next(&mut self, now_ms: u64) -> Option<Caller> {
        let is_due = self.0.front().is_some_and(|&(due_ms, _)| due_ms <= now_ms);
        if is_due { self.0.pop_front().map(|(_, caller)| caller) } else { None }
    }
}

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

    /// Messages that are not complete.
    pub fn count(&self) -> usize {
        self.0.len()
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
        if !self.0.contains_key(name) && self.0.len() == SETS_MAX {
            return Err(Refusal::InvalidFormat);
        }
        let bytes = self.0.values().map(|set| set.bytes).sum::<usize>() + decoded_len(data.as_bytes());
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
            if bytes > bytes_max {
                return Err(Refusal::TooLarge { bytes, bytes_max });
            }
            let piece = BASE64.decode(data.as_bytes()).map_err(|_| Refusal::InvalidFormat)?;
            set.bytes += piece.len();
            set.missing -= 1;
            *place = Some(piece);
        }
        Ok(set.missing == 0)
    }
}

/// Bytes that so much base64 stands for, if it is.
fn decoded_len(base64: &[u8]) -> usize {
    let padding = base64.iter().rev().take(2).take_while(|&&digit| digit == b'=').count();
    (base64.len() / 4 * 3).saturating_sub(padding)
}
