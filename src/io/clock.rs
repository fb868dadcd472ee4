//! The one place that asks for the time.
#![allow(
    clippy::disallowed_methods,
    reason = "drivers read the clock once a turn and hand it to the core, which reads none"
)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::shard::Now;

/// A wall clock and a clock that never runs back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { unix_ms: unix.as_millis() as u64, monotonic_us: self.started.elapsed().as_micros() as u64 }
    }

    /// Nanoseconds since the start.
    pub fn elapsed_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}
