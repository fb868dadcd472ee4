//! The states of documents on one shard, whoever asks for them: few are collected at the same time, and each version of one
//! is made once and lies in the outboxes of all who are sent it.
//!
//! Invariant: what is collected, and what was made and has not been read, has a bound. Who asks while it is reached waits in
//! line; who does not read what it was sent while others wait is closed as a slow consumer.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::rc::Rc;

use hashbrown::DefaultHashBuilder;

use super::compared::Compared;
use super::frame::Framing;
use super::made::MadeState;
use crate::mesh::ConnectionId;
use crate::shard::Caller;

/// States that are collected at the same time. Each takes what a document has, up to what there is room for in an outbox.
const COLLECTING_MAX: usize = 4;
/// Bytes of states that were made and not all read, past which no more are collected: those of some ten large documents.
const UNREAD_BYTES_MAX: usize = 64 << 20;
/// Bytes of states that everybody has read and that are kept for who asks next.
const READ_BYTES_MAX: usize = 8 << 20;
/// A state under so many bytes is not counted: it is less than what waits in an outbox anyway.
const SMALL_BYTES: usize = 64 << 10;
/// Milliseconds that a peer has to take a state while others wait for room.
pub const SLOW_MS: u64 = 30_000;

/// See the module.
#[derive(Default)]
pub struct Line {
    collecting: Vec<Since>,
    waiting: VecDeque<Caller>,
    made: VecDeque<Kept>,
    bytes: usize,
    /// Who reads a state, in the order in which they were sent it.
    reading: VecDeque<(Since, u64)>,
    serial: u64,
    /// Who was told to go, as others wait.
    ending: Option<ConnectionId>,
    pub compared: Compared,
    hasher: DefaultHashBuilder,
}

/// A connection that has had something since a moment of the monotonic clock.
#[derive(Clone, Copy)]
struct Since {
    caller: Caller,
    ms: u64,
}

struct Kept {
    key: StateKey,
    state: Rc<MadeState>,
    serial: u64,
    /// Connections that have it in their outbox.
    readers: usize,
}

/// Which version of which document, as bytes of which dialect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StateKey {
    framing: Framing,
    hash: [u64; 2],
}

impl Line {
    /// Takes a place among those who collect; if there is none, the connection waits in line.
    pub fn enter(&mut self, caller: Caller, is_waiting: bool, now_ms: u64) -> bool {
        let is_first = match self.waiting.front() {
            Some(first) => first.connection() == caller.connection(),
            None => true,
        };
        if !(self.has_place() && is_first) {
            if !is_waiting {
                self.waiting.push_back(caller);
            }
            return false;
        }
        self.waiting.pop_front();
        self.collecting.push(Since { caller, ms: now_ms });
        true
    }

    fn has_place(&self) -> bool {
        self.collecting.len() < COLLECTING_MAX && self.bytes < UNREAD_BYTES_MAX
    }

    /// Gives the place back.
    pub fn leave(&mut self, id: ConnectionId) {
        self.collecting.retain(|since| since.caller.connection() != id);
    }

    /// Leaves the line.
    pub fn forget(&mut self, id: ConnectionId) {
        self.waiting.retain(|waiting| waiting.connection() != id);
    }

    /// Leaves the line, if it is first in it.
    pub fn forget_first(&mut self, caller: Caller) {
        if self.waiting.front().is_some_and(|first| first.connection() == caller.connection()) {
            self.waiting.pop_front();
        }
    }

    /// Who may go on.
    pub fn next(&self) -> Option<Caller> {
        self.waiting.front().copied().filter(|_| self.has_place())
    }

    /// Who has had a place, or has not read its state, for so long that it must go, as others wait.
    pub fn next_slow(&mut self, now_ms: u64) -> Option<Caller> {
        if self.waiting.is_empty() || self.has_place() || self.ending.is_some() {
            return None;
        }
        let candidates = self.collecting.iter().chain(self.reading.front().map(|(since, _)| since));
        let slow = candidates.min_by_key(|since| since.ms).filter(|since| now_ms >= since.ms + SLOW_MS)?;
        self.ending = Some(slow.caller.connection());
        Some(slow.caller)
    }

    /// The connection is gone, and has given back what it had.
    pub fn ended(&mut self, id: ConnectionId) {
        self.ending.take_if(|ending| *ending == id);
    }

    /// Names a version of a document by all that is in it.
    pub fn key<'b>(
        &self,
        framing: Framing,
        document: &str,
        packed: impl Iterator<Item = &'b [u8]>,
    ) -> StateKey {
        let seed = self.hasher.hash_one(document);
        let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(seed);
        hasher.update(document.as_bytes());
        packed.for_each(|bytes| hasher.update(bytes));
        let hash = hasher.digest128();
        StateKey { framing, hash: [hash as u64, (hash >> 64) as u64] }
    }

    /// A state that was made already.
    pub fn find(&self, key: StateKey) -> Option<Rc<MadeState>> {
        self.made.iter().find(|kept| kept.key == key).map(|kept| Rc::clone(&kept.state))
    }

    /// Keeps a state as long as somebody reads it, and for a while.
    pub fn keep(&mut self, key: StateKey, state: &Rc<MadeState>) {
        if state.bytes() < SMALL_BYTES {
            return;
        }
        self.serial += 1;
        self.bytes += state.bytes();
        self.made.push_back(Kept { key, state: Rc::clone(state), serial: self.serial, readers: 0 });
    }

    /// The connection is sent this state; what it must give back once it has read it.
    pub fn begin_reading(&mut self, key: StateKey, caller: Caller, now_ms: u64) -> Option<Reading> {
        let kept = self.made.iter_mut().find(|kept| kept.key == key)?;
        kept.readers += 1;
        let serial = kept.serial;
        self.serial += 1;
        self.reading.push_back((Since { caller, ms: now_ms }, serial));
        Some(Reading { caller, serial })
    }

    /// The connection has read its state, or is gone.
    pub fn end_reading(&mut self, reading: Reading) {
        let id = reading.caller.connection();
        if let Some(kept) = self.made.iter_mut().find(|kept| kept.serial == reading.serial) {
            kept.readers -= 1;
        }
        let is_it =
            |(since, serial): &(Since, u64)| since.caller.connection() == id && *serial == reading.serial;
        if let Some(place) = self.reading.iter().position(is_it) {
            self.reading.remove(place);
        }
        self.forget_read();
    }

    /// Forgets the oldest states that everybody has read, beyond what is kept of them.
    fn forget_read(&mut self) {
        let is_read = |kept: &&Kept| kept.readers == 0;
        let mut read_bytes: usize = self.made.iter().filter(is_read).map(|kept| kept.state.bytes()).sum();
        while read_bytes > READ_BYTES_MAX
            && let Some(place) = self.made.iter().position(|kept| kept.readers == 0)
            && let Some(kept) = self.made.remove(place)
        {
            read_bytes -= kept.state.bytes();
            self.bytes -= kept.state.bytes();
        }
    }
}

/// That a connection has a state to read.
#[derive(Clone, Copy)]
pub struct Reading {
    caller: Caller,
    serial: u64,
}
