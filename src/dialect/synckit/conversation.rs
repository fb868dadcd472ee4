//! What is remembered of one connection from message to message.

use std::collections::VecDeque;

use super::chunks::Chunks;
use super::document::Documents;
use super::frame::{ClockName, MessageId};
use super::identity::Identity;
use crate::crdt::Stamp;
use crate::limits::KEY_BYTES_MAX;
use crate::shard::Session;

/// See the module.
pub struct Conversation {
    /// Whether a message has come: the first decides how all are answered.
    pub has_spoken: bool,
    /// Messages written so far, of this connection.
    serial: u64,
    /// Who it is.
    pub identity: Option<Identity>,
    /// The name its client gives itself, and how it stands in clocks.
    pub client: Option<Box<str>>,
    pub clock_name: Option<ClockName>,
    /// What it is subscribed to.
    pub documents: Documents,
    /// Documents whose state was asked for, in that order, and whether one is being collected.
    pub queue: VecDeque<String>,
    pub is_collecting: bool,
    /// Bytes of the requests for states that wait.
    pub waiting_bytes: usize,
    pub chunks: Chunks,
    /// Document, key and stamp of what is of no use any more.
    pub to_forget: Vec<(String, String, Stamp)>,
}

impl Default for Conversation {
    fn default() -> Self {
        Self {
            has_spoken: false,
            serial: 0,
            // Nobody is asked.
            identity: Some(Identity::anonymous()),
            client: None,
            clock_name: None,
            documents: Documents::default(),
            queue: VecDeque::new(),
            is_collecting: false,
            waiting_bytes: 0,
            chunks: Chunks::default(),
            to_forget: Vec::new(),
        }
    }
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
