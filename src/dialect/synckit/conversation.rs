//! What is remembered of one connection from message to message.

use std::collections::VecDeque;

use super::chunks::Chunks;
use super::document::{Collecting, Document, Documents, Stage, StateRequest};
use super::frame::{ClockName, MessageId};
use super::held::Held;
use super::line::{Line, Reading};
use super::shown::Shown;
use crate::crdt::Stamp;
use crate::limits::KEY_BYTES_MAX;
use crate::shard::{Caller, Session};

/// Bytes of what is to be forgotten, about.
const FORGOTTEN_BYTES: usize = 256;

/// See the module.
#[derive(Default)]
pub struct Conversation {
    /// Whether a message has come: the first decides how all are answered.
    pub has_spoken: bool,
    /// Messages written so far, of this connection.
    serial: u64,
    counted_bytes: usize,
    /// What it has said before it said who it is.
    pub held: Held,
    /// The name its client gives itself, and how it stands in clocks.
    pub client: Option<Box<str>>,
    pub clock_name: Option<ClockName>,
    /// What it is subscribed to.
    pub documents: Documents,
    /// Documents whose state was asked for, in that order, and what is being collected.
    pub queue: VecDeque<String>,
    pub collecting: Option<Collecting>,
    /// Its place among those who collect, or in the line of those who wait for one.
    pub place: Option<Caller>,
    pub in_line: Option<u64>,
    /// The state that it was sent and has not read.
    pub reading: Option<Reading>,
    /// Bytes of the requests for states that wait.
    pub waiting_bytes: usize,
    pub chunks: Chunks,
    pub shown: Shown,
    /// Document, key and stamp of what is of no use any more.
    pub to_forget: Vec<(String, String, Stamp)>,
}

impl Conversation {
    /// That of a session, which begins with the first message.
    pub fn of(session: &mut Session) -> &mut Self {
        let any = session.get_or_insert_with(|| Box::new(Self::default()));
        any.downcast_mut().expect("a session is used by one dialect")
    }

    /// That of a session, if it has begun.
    pub fn begun(session: &Session) -> Option<&Self> {
        session.as_ref()?.downcast_ref()
    }

    /// Bytes that it took when that was last asked, and that it takes now.
    pub fn count_bytes(&mut self) -> (usize, usize) {
        let now = self.bytes();
        (std::mem::replace(&mut self.counted_bytes, now), now)
    }

    /// Bytes that it takes, by and large.
    fn bytes(&self) -> usize {
        let names = self.client.as_ref().map_or(0, |name| 2 * name.len());
        let collecting = self
            .collecting
            .as_ref()
            .map_or(0, |collecting| size_of::<Collecting>() + collecting.parts.all_bytes());
        size_of::<Self>()
            + names
            + collecting
            + self.documents.bytes()
            + self.waiting_bytes
            + self.chunks.held().bytes
            + self.held.bytes()
            + self.shown.memory_bytes()
            + self.to_forget.len() * FORGOTTEN_BYTES
    }

    /// It has read the state that it was sent.
    pub fn end_reading(&mut self, line: &mut Line) {
        if let Some(reading) = self.reading.take() {
            line.end_reading(reading);
        }
    }

    /// Whether the state of a document waits to be collected, which is then the first of the queue.
    pub fn has_queued(&mut self) -> bool {
        while let Some(name) = self.queue.front() {
            if self.documents.get_mut(name).is_some_and(|document| document.stage == Stage::Queued) {
                return true;
            }
            self.queue.pop_front();
        }
        false
    }

    /// Takes its place, unless a state is being collected: it is to be given back.
    pub fn take_place(&mut self) -> Option<Caller> {
        self.place.take_if(|_| self.collecting.is_none())
    }

    /// Gives back its place, unless a state is being collected.
    pub fn end_collecting(&mut self, line: &mut Line) {
        if let Some(caller) = self.take_place() {
            line.leave(caller.connection());
        }
    }

    /// What a document waits for will not come.
    pub fn give_up(&mut self, document: &Document) {
        self.collecting.take_if(|_| document.is_collecting());
        self.waiting_bytes -= document.waiting.iter().map(StateRequest::bytes).sum::<usize>();
    }

    /// The id of the next message.
    pub fn next_id(&mut self, unix_ms: u64) -> MessageId {
        self.serial += 1;
        MessageId { unix_ms, serial: self.serial }
    }

    /// Takes note of a name that the client gives itself elsewhere than in what it writes, which counts for more.
    pub fn meet(&mut self, client: &str) {
        if self.client.is_none() {
            self.set_client(client);
        }
    }

    /// Takes note of the client's name. One longer than a key is nobody's: it stands in every clock that the client reads.
    pub fn set_client(&mut self, client: &str) {
        if client.len() <= KEY_BYTES_MAX && self.client.as_deref() != Some(client) {
            self.client = Some(client.into());
            self.clock_name = ClockName::new(client);
        }
    }
}
