//! The states of documents on one shard, whoever asks for them: few are collected at the same time, and each version of one
//! is made once and lies in the outboxes of all who are sent it.
//!
//! Invariant: what is collected, and what was made and has not been read, has a bound. Who asks while it is reached waits in
//! line; who does not read what it was sent while others wait is closed as a slow consumer.

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::rc::Rc;

use hashbrown::DefaultHashBuilder;
use xxhash_rust::xxh3::Xxh3;

use super::compared::Compared;
use super::frame::Framing;
use super::made::MadeState;
use super::making::Making;
use super::parts::Parts;
use crate::crdt::Stamp;
use crate::mesh::ConnectionId;
use crate::shard::{Caller, work};

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
    /// Who waits, by when they came.
    waiting: BTreeMap<u64, Caller>,
    /// States that are being made, in turn.
    making: VecDeque<Job>,
    /// The state that was made just now, while those are answered who wait for it.
    finished: Option<Finished>,
    made: VecDeque<Kept>,
    bytes: usize,
    /// Bytes of those that nobody reads.
    read_bytes: usize,
    /// Who reads a state, by when they were sent it.
    reading: BTreeMap<u64, Since>,
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

/// A state that is being made, and who waits for it: each has a place among those who collect.
struct Job {
    key: StateKey,
    making: Making,
    waiting: Vec<Caller>,
}

struct Finished {
    key: StateKey,
    state: Rc<MadeState>,
    of_no_use: Vec<(String, Stamp)>,
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
    version: u128,
}

impl StateKey {
    pub const fn new(framing: Framing, version: u128) -> Self {
        Self { framing, version }
    }
}

impl Line {
    /// Takes a place among those who collect; if there is none, the connection waits in line, where it has the place that is
    /// returned, and may have one.
    pub fn enter(&mut self, caller: Caller, waits: Option<u64>, now_ms: u64) -> Option<u64> {
        let is_first = self.waiting.keys().next().is_none_or(|&first| Some(first) == waits);
        if !(self.has_place() && is_first) {
            let serial = waits.unwrap_or_else(|| self.next_serial());
            self.waiting.insert(serial, caller);
            return Some(serial);
        }
        self.collecting.push(Since { caller, ms: now_ms });
        self.forget(waits);
        None
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn has_place(&self) -> bool {
        self.collecting.len() < COLLECTING_MAX && self.bytes < UNREAD_BYTES_MAX
    }

    /// Gives the place back. What nobody waits for any more is not made.
    pub fn leave(&mut self, id: ConnectionId) {
        self.collecting.retain(|since| since.caller.connection() != id);
        for job in &mut self.making {
            job.waiting.retain(|caller| caller.connection() != id);
        }
        self.making.retain(|job| !job.waiting.is_empty());
    }

    /// Leaves the line, if it has a place in it.
    pub fn forget(&mut self, waits: Option<u64>) {
        waits.map(|serial| self.waiting.remove(&serial));
    }

    /// Leaves the line, if it is first in it.
    pub fn forget_first(&mut self, caller: Caller) {
        if let Some(first) = self.waiting.first_entry()
            && first.get().connection() == caller.connection()
        {
            first.remove();
        }
    }

    /// Who may go on.
    pub fn next(&self) -> Option<Caller> {
        self.waiting.values().next().copied().filter(|_| self.has_place())
    }

    /// Who has had a place, or has not read its state, for so long that it must go, as others wait.
    pub fn next_slow(&mut self, now_ms: u64) -> Option<Caller> {
        if self.waiting.is_empty() || self.has_place() || self.ending.is_some() {
            return None;
        }
        let candidates = self.collecting.iter().chain(self.reading.values().next());
        let slow = candidates.min_by_key(|since| since.ms).filter(|since| now_ms >= since.ms + SLOW_MS)?;
        self.ending = Some(slow.caller.connection());
        Some(slow.caller)
    }

    /// The connection is gone, and has given back what it had.
    pub fn ended(&mut self, id: ConnectionId) {
        self.ending.take_if(|ending| *ending == id);
    }

    /// What the hashes of a document's versions begin with.
    pub fn version(&self, document: &str) -> Xxh3 {
        let mut hasher = Xxh3::with_seed(self.hasher.hash_one(document));
        hasher.update(document.as_bytes());
        hasher
    }

    /// A state that was made already.
    pub fn find(&self, key: StateKey) -> Option<Rc<MadeState>> {
        let finished = self.finished.iter().map(|finished| (finished.key, &finished.state));
        let mut all = finished.chain(self.made.iter().map(|kept| (kept.key, &kept.state)));
        all.find(|&(of, _)| of == key).map(|(_, state)| Rc::clone(state))
    }

    /// Has a state made, unless it is being made already, for one who has a place.
    pub fn make(&mut self, key: StateKey, document: &str, parts: Parts, caller: Caller) {
        let job = self.making.iter().position(|job| job.key == key).unwrap_or_else(|| {
            let making = Making::new(key.framing, document, parts);
            self.making.push_back(Job { key, making, waiting: Vec::new() });
            self.making.len() - 1
        });
        let waiting = &mut self.making[job].waiting;
        if waiting.iter().all(|known| known.connection() != caller.connection()) {
            waiting.push(caller);
        }
    }

    /// States that are being made.
    pub fn making(&self) -> usize {
        self.making.len()
    }

    /// Goes on with the state whose turn it is; units that took, and who waited for it, if it is done now. Each is answered
    /// before the next is gone on with.
    pub fn make_on(&mut self) -> (u64, Vec<Caller>) {
        let Some(mut job) = self.making.pop_front() else { return (0, Vec::new()) };
        let units = job.making.go_on(&mut self.compared, work::CONNECTION_MAX);
        if !job.making.is_done() {
            self.making.push_back(job);
            return (units, Vec::new());
        }
        let (made, of_no_use) = job.making.finish();
        let state = Rc::new(made);
        self.keep(job.key, &state);
        self.finished = Some(Finished { key: job.key, state, of_no_use });
        (units, job.waiting)
    }

    /// Bytes of what is being made, and of what is kept though nobody is sent it.
    pub fn held_bytes(&self) -> usize {
        let made: usize = self.making.iter().map(|job| job.making.bytes()).sum();
        made + self.read_bytes
    }

    /// What was found to be of no use in the state that was made just now, for the first who takes it.
    pub fn take_of_no_use(&mut self) -> Vec<(String, Stamp)> {
        self.finished.as_mut().map(|finished| std::mem::take(&mut finished.of_no_use)).unwrap_or_default()
    }

    /// Those who waited have been answered.
    pub fn end_finished(&mut self) {
        self.finished = None;
    }

    /// Keeps a state as long as somebody reads it, and for a while.
    fn keep(&mut self, key: StateKey, state: &Rc<MadeState>) {
        if state.bytes() < SMALL_BYTES {
            return;
        }
        self.bytes += state.bytes();
        self.read_bytes += state.bytes();
        let serial = self.next_serial();
        self.made.push_back(Kept { key, state: Rc::clone(state), serial, readers: 0 });
    }

    /// The connection is sent this state; what it must give back once it has read it.
    pub fn begin_reading(&mut self, key: StateKey, caller: Caller, now_ms: u64) -> Option<Reading> {
        let kept = self.made.iter_mut().find(|kept| kept.key == key)?;
        kept.readers += 1;
        self.read_bytes -= if kept.readers == 1 { kept.state.bytes() } else { 0 };
        let state = kept.serial;
        let serial = self.next_serial();
        self.reading.insert(serial, Since { caller, ms: now_ms });
        Some(Reading { state, serial })
    }

    /// The connection has read its state, or is gone.
    pub fn end_reading(&mut self, reading: Reading) {
        if let Some(kept) = self.made.iter_mut().find(|kept| kept.serial == reading.state) {
            kept.readers -= 1;
            self.read_bytes += if kept.readers == 0 { kept.state.bytes() } else { 0 };
        }
        self.reading.remove(&reading.serial);
        self.forget_read();
    }

    /// Forgets the oldest states that everybody has read, beyond what is kept of them.
    fn forget_read(&mut self) {
        while self.read_bytes > READ_BYTES_MAX
            && let Some(place) = self.made.iter().position(|kept| kept.readers == 0)
            && let Some(kept) = self.made.remove(place)
        {
            self.read_bytes -= kept.state.bytes();
            self.bytes -= kept.state.bytes();
        }
    }
}

/// That a connection has a state to read.
#[derive(Clone, Copy)]
pub struct Reading {
    state: u64,
    serial: u64,
}
