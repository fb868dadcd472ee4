//! The one place that asks for the time.
#![allow(
    clippy::disallowed_methods,
    reason = "drivers read the clock once a turn and hand it to the core, which reads none"
)]

mod wall;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::shard::Now;
use wall::Wall;

/// A wall clock and a clock that never runs back.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    wall: Option<Arc<Wall>>,
}

impl Clock {
    pub fn start() -> Self {
        Self { started: Instant::now(), wall: None }
    }

    /// A clock that does not follow the wall clock at once where that steps forward by more than `drift_max_ms`; all that are
    /// cloned from it agree.
    pub fn start_wary(drift_max_ms: u64) -> Self {
        let clock = Self::start();
        let wall = Wall::new(drift_max_ms, clock.now());
        Self { wall: Some(Arc::new(wall)), ..clock }
    }

    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now =
            Now { unix_ms: unix.as_millis() as u64, monotonic_us: self.started.elapsed().as_micros() as u64 };
        self.wall.as_ref().map_or(now, |wall| wall.judge(now))
    }

    /// Nanoseconds since the start.
    pub fn elapsed_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}
