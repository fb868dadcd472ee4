//! How the service thread reaches a shard: a flag, and an event descriptor that wakes its ring.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// What a shard is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Serve,
    /// Stop accepting, send everyone away, exit.
    Drain,
}

/// One for each shard, shared by the shard and whoever tells it.
#[derive(Clone, Debug)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    signal: AtomicU8,
    event: OwnedFd,
}

impl Control {
    /// # Errors
    /// If no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self(Arc::new(Inner { signal: AtomicU8::new(Signal::Serve as u8), event })))
    }

    /// Tells the shard, once and for all, to drain.
    pub fn drain(&self) {
        self.0.signal.store(Signal::Drain as u8, Ordering::Release);
        // It can fail only if the counter overflows, and then the shard is awake already.
        let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
    }

    pub fn signal(&self) -> Signal {
        if self.0.signal.load(Ordering::Acquire) == Signal::Drain as u8 {
            Signal::Drain
        } else {
            Signal::Serve
        }
    }

    /// Becomes readable when the signal changes.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}
