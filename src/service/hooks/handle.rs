//! What others tell the thread of the hooks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use super::loaded::Loaded;
use crate::io::Event;

/// See the module.
#[derive(Clone, Debug)]
pub struct Handle {
    event: Event,
    loaded: Sender<Loaded>,
    is_stopping: Arc<AtomicBool>,
    has_nats: bool,
}

impl Handle {
    pub(super) fn new(event: Event, has_nats: bool) -> (Self, Receiver<Loaded>) {
        let (loaded, told) = mpsc::channel();
        (Self { event, loaded, is_stopping: Arc::default(), has_nats }, told)
    }

    /// What wakes it once a shard has put something into its queue.
    pub const fn event(&self) -> &Event {
        &self.event
    }

    /// Whether events can go to NATS.
    pub const fn has_nats(&self) -> bool {
        self.has_nats
    }

    /// From now on these hooks are in force.
    pub fn heed(&self, loaded: Loaded) {
        // It is gone only when the server ends.
        let _ = self.loaded.send(loaded);
        self.event.raise();
    }

    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.event.raise();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}
