//! How the service thread and the shards wake each other: event descriptors, which rings can wait for and raise.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Something that wakes whoever waits for it; raised twice before it is waited for, it wakes once.
#[derive(Clone, Debug)]
pub struct Event(Arc<OwnedFd>);

impl Event {
    /// # Errors
    /// If no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?)))
    }

    /// Wakes with a system call. A shard does, too: a ring cannot write an event without a thread of the kernel, which
    /// comes late where the core is busy.
    pub fn raise(&self) {
        // It can fail only if the counter overflows, and then it is raised already.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }

    /// Becomes readable, eight bytes at once, when it is raised.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The same as a file of its own.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn file(&self) -> io::Result<File> {
        Ok(File::from(self.0.try_clone()?))
    }
}

/// What wakes the threads beside the shards, where there are any.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    pub storage: Option<Event>,
    pub desk: Option<Event>,
    pub hooks: Option<Event>,
    pub admin: Option<Event>,
}

/// What a shard is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Serve,
    /// Stop accepting, send everyone away, exit.
    Drain,
}

/// One for each shard, shared by the shard and whoever tells it.
#[derive(Clone, Debug)]
pub struct Control {
    signal: Arc<AtomicU8>,
    event: Event,
}

impl Control {
    /// # Errors
    /// If no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { signal: Arc::new(AtomicU8::new(Signal::Serve as u8)), event: Event::new()? })
    }

    /// Tells the shard, once and for all, to drain.
    pub fn drain(&self) {
        self.signal.store(Signal::Drain as u8, Ordering::Release);
        self.event.raise();
    }

    /// Has the shard run a turn, at whose start it looks at what the storage has done.
    pub fn wake(&self) {
        self.event.raise();
    }

    pub fn signal(&self) -> Signal {
        if self.signal.load(Ordering::Acquire) == Signal::Drain as u8 { Signal::Drain } else { Signal::Serve }
    }

    /// Becomes readable when the signal changes and when the shard is woken.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.descriptor()
    }
}
