//! One document of a connection, as its conversation remembers it: how far it is subscribed, and who waits for its state.

use std::collections::VecDeque;

use crate::crdt::Time;
use crate::mesh::{Entries, Entry, EntryPacker, EntryState};
use crate::wire::Ticket;

/// One document of a connection.
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
    /// The state was asked for, and waits for its turn.
    #[default]
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
