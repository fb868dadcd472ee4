//! What others tell a thread that reads files: the desk, or that of the certificates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::watching::Watch;
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

    /// Waits until anybody tells something, a file has changed or the pause is over; whether that was before.
    pub(super) fn wait(&self, watch: &Watch, pause: Option<Duration>) -> bool {
        let event = self.event.descriptor();
        let mut waited = vec![PollFd::from_borrowed_fd(event, PollFlags::IN)];
        if let Some(watch) = watch.descriptor() {
            waited.push(PollFd::from_borrowed_fd(watch, PollFlags::IN));
        }
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        // What can fail is that a signal comes, and then everything is looked at a little early.
        let is_woken = poll(&mut waited, pause.as_ref()).is_ok_and(|ready| ready > 0);
        if waited[0].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(event, &mut [0; 8]);
        }
        is_woken
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
