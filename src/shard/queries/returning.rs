//! What has changed while a client was away, as far as owners have said it.

use crate::crdt::Time;
use crate::mesh::{Names, ShardIndex, ShardSet};

/// What owners have said of a client that resumes.
#[derive(Debug)]
pub struct Resume {
    pub since: Time,
    answered: ShardSet,
    /// Names that have changed, packed, and how many.
    pub changed: Vec<u8>,
    pub count: usize,
    /// Something has changed meanwhile, or too much before: it is told everything.
    pub is_void: bool,
}

impl Resume {
    /// Nobody has said anything yet.
    pub const fn new(since: Time) -> Self {
        Self { since, answered: ShardSet::EMPTY, changed: Vec::new(), count: 0, is_void: false }
    }

    pub fn is_answered(&self, shards: usize) -> bool {
        self.is_void || self.answered == ShardSet::first(shards)
    }

    /// An owner has told what becomes of its entries: that is not in what it has said before.
    pub fn news_arrived(&mut self, owner: ShardIndex) {
        self.is_void |= self.answered.contains(owner);
    }

    /// An owner has said which keys have changed, or that it cannot say.
    pub fn take(&mut self, owner: ShardIndex, keys: Option<&[u8]>) {
        self.answered.insert(owner);
        match keys {
            Some(keys) => {
                self.changed.extend_from_slice(keys);
                self.count += Names(keys).count();
            }
            None => self.is_void = true,
        }
    }
}
