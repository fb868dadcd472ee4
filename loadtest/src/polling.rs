//! Whether the load thread sleeps while it has nothing to do, or looks again and again.
//!
//! A sleeping thread has to be woken by the server's send, which in a virtual machine costs the server several
//! microseconds; one that is busy need not be. So the faster the client, the dearer the server, and never the
//! floor's. Clients on other hosts cost a server nothing of the kind. With a core of its own, the load polls.

use std::cell::Cell;

thread_local! {
    static POLLS: Cell<bool> = const { Cell::new(false) };
    static IDLE_NS: Cell<u64> = const { Cell::new(0) };
}

/// Has the rings that this thread makes from here on poll instead of sleep.
pub fn set(polls: bool) {
    POLLS.set(polls);
}

pub fn is_on() -> bool {
    POLLS.get()
}

/// Counts time in which this thread looked for work and found none.
pub fn add_idle_ns(ns: u64) {
    IDLE_NS.set(IDLE_NS.get() + ns);
}

/// Nanoseconds this thread has looked for work and found none.
pub fn idle_ns() -> u64 {
    IDLE_NS.get()
}
