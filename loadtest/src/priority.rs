//! The priority of a thread that measures beside another one that works on the same core.
#![allow(
    unsafe_code,
    reason = "no safe crate of ours has `sched_setscheduler`; the block below says why it is sound"
)]

use std::fmt;

use rustix::process::setpriority_process;

/// What the kernel has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// `SCHED_FIFO`: runs as soon as it can, whatever else wants the core.
    RealTime,
    /// Nice -20: nearly as soon.
    Highest,
    Normal,
}

/// The highest priority taken: half of all, where the kernel has its interrupt threads.
const FIFO_PRIORITY_MAX: i32 = 50;
const NICE_HIGHEST: i32 = -20;

/// Raises the calling thread, alone, as far as this process may.
pub fn raise_own() -> Priority {
    if enter_fifo() {
        Priority::RealTime
    } else if setpriority_process(None, NICE_HIGHEST).is_ok() {
        // On Linux a nice value belongs to the calling thread, not to its process.
        Priority::Highest
    } else {
        Priority::Normal
    }
}

/// One above what the thread has inherited: 0 for an ordinary one, more when we were all started as real-time threads.
fn enter_fifo() -> bool {
    let parameters = libc::sched_param { sched_priority: (own_fifo_priority() + 1).min(FIFO_PRIORITY_MAX) };
    // SAFETY: 0 is the calling thread; the kernel only reads `parameters`, which outlives the call.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) == 0 }
}

/// 0 for a thread that is not real-time.
fn own_fifo_priority() -> i32 {
    let mut parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread; the kernel writes only `parameters`, which outlives the call.
    let read = unsafe { libc::sched_getparam(0, &raw mut parameters) == 0 };
    if read { parameters.sched_priority } else { 0 }
}

impl fmt::Display for Priority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::RealTime => "real-time priority (SCHED_FIFO)",
            Self::Highest => "nice -20 (SCHED_FIFO is not allowed here)",
            Self::Normal => {
                "normal priority (no higher one is allowed here: a ping may wait for the load itself)"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a pinger preempts a load that is real-time itself. Method: raise one thread twice, as its child would.
    #[test]
    fn raised_thread_is_above_what_it_inherited() {
        let levels = std::thread::spawn(|| {
            let first = raise_own();
            let before = own_fifo_priority();
            raise_own();
            (first, before, own_fifo_priority())
        });
        let (first, before, after) = levels.join().unwrap();
        // Where real-time threads are not allowed there is nothing to compare.
        assert!(first != Priority::RealTime || after > before, "{first:?} {before} {after}");
    }
}
