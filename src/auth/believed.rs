//! What was believed, by its fingerprint, so that the same token is verified once however often it comes.
//!
//! Only what was signed rightly is in here: what is not differs each time where somebody wants it to, so that to remember it
//! would help nobody but who fills the memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::api_keys::Fingerprint;
use super::{Principal, Refused};
use crate::limits::{BELIEVED_BYTES_MAX, BELIEVED_MAX};

/// Bounded in entries and in bytes; the oldest goes first.
#[derive(Debug, Default)]
pub(super) struct Believed {
    entries: HashMap<Fingerprint, Entry>,
    order: VecDeque<Fingerprint>,
    bytes: usize,
}

/// Somebody who was believed.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub principal: Arc<Principal>,
    /// It was signed rightly, and yet it does not count.
    pub refused: Option<Refused>,
    /// Of the standing by which that was found.
    pub version: u64,
}

impl Entry {
    /// What an entry takes beside its identity and its grant: its place in two tables.
    const BYTES: usize = 512;

    fn bytes(&self) -> usize {
        Self::BYTES + self.principal.identity.bytes() + self.principal.grant.bytes()
    }
}

impl Believed {
    pub fn get_mut(&mut self, fingerprint: &Fingerprint) -> Option<&mut Entry> {
        self.entries.get_mut(fingerprint)
    }

    /// Adds what was not there.
    pub fn insert(&mut self, fingerprint: Fingerprint, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.insert(fingerprint, entry);
        self.order.push_back(fingerprint);
        while self.entries.len() > BELIEVED_MAX || self.bytes > BELIEVED_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.bytes();
            }
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len());
        self.entries.len()
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}
