//! The way from the storage to the shards: a queue to each, and what wakes it.

#[expect(clippy::disallowed_types, reason = "the journal and the loader share the queue to a shard")]
use std::sync::{Mutex, PoisonError};

use rtrb::{Producer, PushError};

use crate::handover::FromStorage;
use crate::io::Control;

/// See the module.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub(super) struct Shards {
    queues: Box<[Mutex<Producer<FromStorage>>]>,
    controls: Vec<Control>,
}

/// Why something did not reach a shard.
#[derive(Debug)]
pub(super) enum NotSent {
    /// Its queue is full; try again once it has run a turn.
    Full(FromStorage),
    /// It has ended.
    Gone,
}

impl Shards {
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub(super) fn new(
        queues: impl IntoIterator<Item = Producer<FromStorage>>,
        controls: Vec<Control>,
    ) -> Self {
        Self { queues: queues.into_iter().map(Mutex::new).collect(), controls }
    }

    pub(super) fn count(&self) -> usize {
        self.queues.len()
    }

    /// Puts `item` into the queue of a shard, which must be [woken](Self::wake) to see it soon.
    ///
    /// # Errors
    /// [`NotSent`].
    pub(super) fn send(&self, shard: usize, item: FromStorage) -> Result<(), NotSent> {
        let mut queue = self.queues[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if queue.is_abandoned() {
            return Err(NotSent::Gone);
        }
        queue.push(item).map_err(|PushError::Full(item)| NotSent::Full(item))
    }

    pub(super) fn wake(&self, shard: usize) {
        self.controls[shard].wake();
    }
}
