//! How the service thread and the shards wake each other: event descriptors, which rings can wait for and raise.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

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
    /// The same, but that the listeners go on to listen: whoever connects waits in their backlogs for who accepts next.
    HandOver,
}

/// Whether a thread makes turns: one that does answers in its next what it was asked.
#[derive(Clone, Debug)]
pub struct Pulse {
    event: Event,
    asked: Arc<AtomicU32>,
    answered: Arc<AtomicU32>,
}

impl Pulse {
    /// Of a thread that `event` wakes.
    pub fn new(event: Event) -> Self {
        Self { event, asked: Arc::default(), answered: Arc::default() }
    }

    /// Asks, and wakes the thread.
    pub fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
        self.event.raise();
    }

    /// By the thread itself, in each turn that the event has begun.
    pub fn answer(&self) {
        self.answered.store(self.asked.load(Ordering::Acquire), Ordering::Release);
    }

    /// Whether everything that was asked is answered.
    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire) == self.asked.load(Ordering::Acquire)
    }

    /// What wakes the thread, as a file of its own.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn file(&self) -> io::Result<File> {
        self.event.file()
    }
}

/// One for each shard, shared by the shard and whoever tells it.
#[derive(Clone, Debug)]
pub struct Control {
    signal: Arc<AtomicU8>,
    event: Event,
    pulse: Pulse,
}

impl Control {
    /// # Errors
    /// If no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let event = Event::new()?;
        let pulse = Pulse::new(event.clone());
        Ok(Self { signal: Arc::new(AtomicU8::new(Signal::Serve as u8)), event, pulse })
    }

    /// Tells the shard, once and for all, to drain.
    pub fn drain(&self) {
        self.signal.store(Signal::Drain as u8, Ordering::Release);
        self.event.raise();
    }

    /// Tells the shard, once and for all, to drain and to leave its listeners as they are.
    pub fn hand_over(&self) {
        self.signal.store(Signal::HandOver as u8, Ordering::Release);
        self.event.raise();
    }

    /// Whether the shard makes turns.
    pub const fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Has the shard run a turn, at whose start it looks at what the storage has done.
    pub fn wake(&self) {
        self.event.raise();
    }

    pub fn signal(&self) -> Signal {
        const DRAIN: u8 = Signal::Drain as u8;
        const HAND_OVER: u8 = Signal::HandOver as u8;
        match self.signal.load(Ordering::Acquire) {
            DRAIN => Signal::Drain,
            HAND_OVER => Signal::HandOver,
            _ => Signal::Serve,
        }
    }

    /// Becomes readable when the signal changes and when the shard is woken.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.descriptor()
    }
}
