//! The documents of a connection, as its conversation remembers them: how far each is subscribed, and who waits for its
//! state.
//!
//! Invariant: what all of them take, here and in the shard, is counted before any of it is kept.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::keys::Key;
use super::refusal::Reason;
use super::text;
use crate::config::Config;
use crate::crdt::Time;
use crate::mesh::{Entries, Entry, EntryPacker, EntryState};
use crate::wire::{Reject, Ticket};

/// Bytes that a document takes beside its name where one connection alone has it: subscription, map, watch and room. Each of
/// them, and this dialect, has the name. Measured: 1 966 bytes with a name of 200 bytes.
const DOCUMENT_BYTES: usize = (1 << 10) + 256;
const COPIES_OF_NAME: usize = 4;

/// What the documents of one connection may be.
#[derive(Clone, Copy)]
pub struct Limits {
    documents: usize,
    bytes: usize,
}

impl Limits {
    pub fn of(config: &Config) -> Self {
        Self { documents: config.subscriptions_max, bytes: config.synckit_subscription_bytes_max }
    }
}

/// See the module.
#[derive(Default)]
pub struct Documents {
    by_name: HashMap<String, Document>,
    /// What they take.
    bytes: usize,
}

impl Documents {
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Document> {
        self.by_name.get_mut(name)
    }

    /// The document of this name, one more unless it is there.
    ///
    /// # Errors
    /// Why there may be no more.
    pub fn admit(&mut self, name: &str, limits: Limits) -> Result<&mut Document, Reason<'static>> {
        if !self.by_name.contains_key(name) {
            if self.by_name.len() >= limits.documents {
                return Err(Reason::of(Reject::TooManySubscriptions));
            }
            let bytes_max = limits.bytes;
            if self.bytes + bytes_of(name) > bytes_max {
                let reason = Reason::of(Reject::TooManySubscriptions).limit(bytes_max);
                return Err(reason.flag("--synckit-max-subscription-bytes"));
            }
            self.bytes += bytes_of(name);
        }
        Ok(self.by_name.entry_ref(name).or_default())
    }

    pub fn remove(&mut self, name: &str) -> Option<Document> {
        let removed = self.by_name.remove(name)?;
        self.bytes -= bytes_of(name);
        Some(removed)
    }
}

fn bytes_of(name: &str) -> usize {
    DOCUMENT_BYTES + COPIES_OF_NAME * name.len()
}

/// One of them.
#[derive(Default)]
pub struct Document {
    pub stage: Stage,
    /// Requests for its state that have not been answered, oldest first.
    pub waiting: VecDeque<StateRequest>,
    /// Whether the client may know of fields that were removed since it was told everything: from an earlier subscription, or
    /// because it has written them itself. The state has no word of them.
    pub knows_more: bool,
}

/// The state of the one document of a connection that is being collected.
pub struct Collecting {
    pub name: String,
    /// [`Entries`] of fields and elements, as far as they have come.
    packed: Vec<u8>,
    /// The latest of the texts, each packed by itself, oldest first, and the bytes of them.
    texts: VecDeque<Vec<u8>>,
    text_bytes: usize,
    /// For how many requests, and whether any of them is answered by the state alone.
    pub answering: usize,
    pub takes_one: bool,
    /// Bytes that all that is answered with it at one time may have.
    pub room: usize,
    /// Up to when the client had been told everything when this began.
    pub told: Time,
    /// The last chunk has come.
    pub is_whole: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is told of its fields. Its awareness may be.
    #[default]
    Unsubscribed,
    /// The state was asked for, and waits for its turn.
    Queued,
    /// The whole state is on its way.
    Collecting,
    /// The whole state is on its way, and of no use, as there is no room for it.
    Ignoring,
    /// The connection has written without having asked for anything; changes are told as they come.
    Recent,
    Live,
}

/// A request for the state of a document.
pub struct StateRequest {
    /// Its `id` as JSON, if it had one.
    pub id: Option<Ticket>,
    /// Whether the fields are sent one by one as well: the SDK reads them from nothing else. What names its requests reads
    /// the answer.
    pub wants_fields: bool,
    /// What is said when it fails.
    pub failure: &'static str,
}

impl StateRequest {
    /// Bytes it takes while it waits.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.id.as_ref().map_or(0, |id| id.as_bytes().len())
    }
}

impl Document {
    pub fn is_collecting(&self) -> bool {
        matches!(self.stage, Stage::Collecting | Stage::Ignoring)
    }
}

impl Collecting {
    /// Begins with nothing.
    pub fn new(name: String, waiting: &VecDeque<StateRequest>, room: usize, told: Time) -> Self {
        Self {
            name,
            packed: Vec::new(),
            texts: VecDeque::new(),
            text_bytes: 0,
            answering: waiting.len(),
            takes_one: waiting.iter().any(|request| !request.wants_fields),
            room,
            told,
            is_whole: false,
        }
    }

    /// Takes a chunk. Of texts the latest are kept, as many as are compared; older ones are passed on, as a document has no
    /// bound for all of them.
    pub fn collect(&mut self, entries: Entries<'_>, mut pass: impl FnMut(Entry<'_>)) {
        for Entry { key, state } in entries {
            let EntryState::Value { at, value, .. } = state else { continue };
            if Key::of(key) != Key::Text || value.is_none() {
                EntryPacker(&mut self.packed).value(key, &at, value);
                continue;
            }
            let mut text = Vec::new();
            EntryPacker(&mut text).value(key, &at, value);
            self.text_bytes += text.len();
            self.texts.push_back(text);
            while self.texts.len() > text::STATES_MAX || self.text_bytes > text::BYTES_MAX {
                let Some(oldest) = self.texts.pop_front() else { break };
                self.text_bytes -= oldest.len();
                Entries::new(&oldest).for_each(&mut pass);
            }
        }
    }

    /// Whether there is no room to answer anybody who waits.
    pub fn is_too_large(&self) -> bool {
        self.packed.len() > if self.takes_one { self.room } else { self.room / 2 }
    }

    /// What has come, each part packed.
    pub fn packed(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&*self.packed).chain(self.texts.iter().map(|text| &**text))
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.packed().flat_map(Entries::new)
    }

    /// Forgets what has come, as it is of no use.
    pub fn clear(&mut self) {
        (self.packed, self.texts, self.text_bytes) = (Vec::new(), VecDeque::new(), 0);
    }
}
