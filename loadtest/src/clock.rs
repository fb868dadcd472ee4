//! The one place that reads clocks, and the pinning of threads to cores.
//!
//! Times are nanoseconds since the first reading, so that they are plain numbers everywhere else; the time of day is for
//! messages only.

use std::sync::OnceLock;
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

pub const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// So many a second, one as long after another.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    interval_ns: f64,
}

impl Rate {
    /// None ever is due at a rate of 0, but for the first.
    pub fn per_second(rate: f64) -> Self {
        Self { interval_ns: NANOS_PER_SECOND as f64 / rate }
    }

    /// When that one is due, of which the first is number 0.
    pub fn due_ns(self, start_ns: u64, number: u64) -> u64 {
        start_ns.saturating_add((number as f64 * self.interval_ns) as u64)
    }
}

/// Nanoseconds since the first call in this process.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock of the load generator; the rule protects the server"
)]
pub fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Milliseconds since 1970, for messages that carry the time of day.
pub fn unix_ms() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

/// CPU time the calling thread has used, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * NANOS_PER_SECOND + time.tv_nsec as u64
}

pub fn seconds(ns: u64) -> f64 {
    ns as f64 / NANOS_PER_SECOND as f64
}

/// The cores this process may use, ascending.
pub fn allowed_cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return vec![0] };
    (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()
}

/// Binds the calling thread to one core.
///
/// # Errors
/// The core does not exist or is not ours to use.
pub fn pin_to_core(core: usize) -> std::io::Result<()> {
    pin_to_cores(&[core])
}

/// Binds the calling thread, and what it starts from here on, to these cores.
///
/// # Errors
/// None of the cores exists and is ours to use.
pub fn pin_to_cores(cores: &[usize]) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    Ok(sched_setaffinity(None, &set)?)
}
