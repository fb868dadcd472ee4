//! The documents of a connection, as its conversation remembers them: how far each is subscribed, and who waits for its
//! state.
//!
//! Invariant: what all of them take, here and in the shard, is counted before any of it is kept.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3;

use super::parts::Parts;
use super::refusal::Reason;
use crate::config::Config;
use crate::crdt::Time;
use crate::mesh::{Entries, Entry};
use crate::wire::{Reject, Ticket};

/// Bytes that a document takes beside its name where one connection alone has it: subscription, map, watch and room. Each of
/// them may have the name. With a name of 200 bytes less than 1 500 were measured (`tests/synckit_memory.rs`).
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
    /// By a hash of the name, which lies with the map: it is keyed at random, so that nobody can bring two about that are one.
    by_name: HashMap<u64, Document>,
    /// What they take.
    bytes: usize,
}

impl Documents {
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Document> {
        self.by_name.get_mut(&self.hash_of(name))
    }

    /// Bytes that they take, here and in the shard.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The document of this name, one more unless it is there.
    ///
    /// # Errors
    /// Why there may be no more.
    pub fn admit(&mut self, name: &str, limits: Limits) -> Result<&mut Document, Reason<'static>> {
        let hash = self.hash_of(name);
        if !self.by_name.contains_key(&hash) {
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
        Ok(self.by_name.entry(hash).or_default())
    }

    pub fn remove(&mut self, name: &str) -> Option<Document> {
        let removed = self.by_name.remove(&self.hash_of(name))?;
        self.bytes -= bytes_of(name);
        Some(removed)
    }

    fn hash_of(&self, name: &str) -> u64 {
        self.by_name.hasher().hash_one(name)
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
    pub parts: Parts,
    /// Of all that has come.
    version: Box<Xxh3>,
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
    /// Begins with nothing. Versions of the document are told apart by hashes that begin with `version`.
    pub fn new(
        name: String,
        version: Xxh3,
        waiting: &VecDeque<StateRequest>,
        room: usize,
        told: Time,
    ) -> Self {
        Self {
            name,
            parts: Parts::default(),
            version: Box::new(version),
            answering: waiting.len(),
            takes_one: waiting.iter().any(|request| !request.wants_fields),
            room,
            told,
            is_whole: false,
        }
    }

    /// Takes a chunk; see [`Parts::take`].
    pub fn collect(&mut self, entries: Entries<'_>, pass: impl FnMut(Entry<'_>)) {
        self.version.update(entries.packed());
        self.parts.take(entries, pass);
    }

    /// Names the version by all that has come.
    pub fn version(&self) -> u128 {
        self.version.digest128()
    }

    /// Whether there is no room to answer anybody who waits.
    pub fn is_too_large(&self) -> bool {
        self.parts.bytes() > if self.takes_one { self.room } else { self.room / 2 }
    }

    /// Forgets what has come, as it is of no use here.
    pub fn clear(&mut self) {
        self.parts = Parts::default();
    }
}
