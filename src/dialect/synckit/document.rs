//! The documents of a connection, as its conversation remembers them: how far each is subscribed, and who waits for its
//! state.
//!
//! Invariant: what all of them take, here and in the shard, is counted before any of it is kept.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::refusal::Reason;
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
    /// Requests for its state that have not been answered, oldest first, and for how many the state is collected.
    pub waiting: VecDeque<StateRequest>,
    pub answering: usize,
    /// [`Entries`] of its state, as far as they have come.
    pub state: Vec<u8>,
    /// Bytes that its state, and all that is answered with it at one time, may have.
    pub room: usize,
    /// Up to when the client had been told everything when its state was begun to be collected.
    pub told: Time,
    /// Whether the client may know of fields that were removed since then: from an earlier subscription, or because it has
    /// written them itself. The state has no word of them.
    pub knows_more: bool,
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

    /// Whether there is no room to answer anybody who waits.
    pub fn is_too_large(&self) -> bool {
        let takes_one = self.waiting.iter().take(self.answering).any(|request| !request.wants_fields);
        self.state.len() > if takes_one { self.room } else { self.room / 2 }
    }

    pub fn collect(&mut self, entries: Entries<'_>) {
        let mut packer = EntryPacker(&mut self.state);
        for Entry { key, state } in entries {
            if let EntryState::Value { at, value, .. } = state {
                packer.value(key, &at, value);
            }
        }
    }
}
