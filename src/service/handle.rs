//! What others tell a thread that reads files: the desk, or that of the certificates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::io::Event;

/// See the module.
#[derive(Clone, Debug)]
pub struct Handle {
    event: Event,
    asked: Arc<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// Read everything again.
    reload: AtomicBool,
    stop: AtomicBool,
}

impl Handle {
    pub(super) fn new(event: Event) -> Self {
        Self { event, asked: Arc::default() }
    }

    /// What wakes the thread.
    pub(super) const fn event(&self) -> &Event {
        &self.event
    }

    /// Has everything read again.
    pub fn reload(&self) {
        self.asked.reload.store(true, Ordering::Release);
        self.event.raise();
    }

    pub(super) fn take_reload(&self) -> bool {
        self.asked.reload.swap(false, Ordering::AcqRel)
    }

    pub(super) fn stop(&self) {
        self.asked.stop.store(true, Ordering::Release);
        self.event.raise();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.asked.stop.load(Ordering::Acquire)
    }
}
