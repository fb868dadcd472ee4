//! Whether the wall clock can be believed.
//!
//! The clock of a data set never runs back, so one wrong step of the wall clock by days would stay in it for days: what
//! clients write with right stamps would lose until then. So a step forward is followed only once it has lasted. A step back
//! is followed at once, as the clock of the data set stays where it is then.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::shard::Now;

/// For how long a step must last to be believed. Who sets a clock by hand has seen a mistake by then, and so has a time
/// server that asks others.
const LASTS_MS: u64 = 5 * 60_000;
/// No step of less is one, whatever is configured.
const STEP_MS_MIN: u64 = 10_000;
/// Steps of less are followed without a note, so that threads need not tell each other all the time.
const NOTED_MS: u64 = 1_000;
/// Instead of when it began: there is no step.
const NONE: u64 = u64::MAX;

/// What all threads believe.
#[derive(Debug)]
pub(super) struct Wall {
    step_ms: u64,
    /// Unix milliseconds at the start of the monotonic clock.
    started_ms: AtomicI64,
    /// Milliseconds of the monotonic clock at which the wall clock was seen to have stepped forward.
    stepped_at_ms: AtomicU64,
}

impl Wall {
    /// `now` is believed.
    pub(super) fn new(drift_max_ms: u64, now: Now) -> Self {
        Self {
            step_ms: drift_max_ms.max(STEP_MS_MIN),
            started_ms: AtomicI64::new(started_ms(now)),
            stepped_at_ms: AtomicU64::new(NONE),
        }
    }

    /// The time to go by.
    pub(super) fn judge(&self, now: Now) -> Now {
        let (seen_ms, believed_ms) = (started_ms(now), self.started_ms.load(Ordering::Relaxed));
        let (ahead_ms, stepped_at_ms) = (seen_ms - believed_ms, self.stepped_at_ms.load(Ordering::Relaxed));
        if ahead_ms <= self.step_ms as i64 {
            if stepped_at_ms != NONE && self.stepped_at_ms.swap(NONE, Ordering::Relaxed) != NONE {
                tracing::warn!("the wall clock is back where it was expected");
            }
            if ahead_ms.unsigned_abs() >= NOTED_MS {
                self.started_ms.store(seen_ms, Ordering::Relaxed);
            }
            return now;
        }
        let now_ms = now.timer_ms();
        let ahead_s = ahead_ms / 1000;
        if stepped_at_ms == NONE {
            let noted =
                self.stepped_at_ms.compare_exchange(NONE, now_ms, Ordering::Relaxed, Ordering::Relaxed);
            if noted.is_ok() {
                tracing::error!(
                    ahead_s,
                    "the wall clock has stepped forward further than --max-clock-drift-ms; if that is wrong, set it right \
                     within {} minutes, for then it is believed, and what it stamps stays: see `annulus clock`",
                    LASTS_MS / 60_000
                );
            }
        } else if now_ms.saturating_sub(stepped_at_ms) >= LASTS_MS {
            self.started_ms.store(seen_ms, Ordering::Relaxed);
            if self.stepped_at_ms.swap(NONE, Ordering::Relaxed) != NONE {
                tracing::warn!(ahead_s, "the step of the wall clock has lasted, and is believed now");
            }
            return now;
        }
        Now { unix_ms: (believed_ms + now_ms as i64).max(0) as u64, ..now }
    }
}

fn started_ms(now: Now) -> i64 {
    now.unix_ms as i64 - now.timer_ms() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX_MS: u64 = 1_700_000_000_000;
    const DAY_MS: i64 = 86_400_000;

    /// So many milliseconds after the start, with a wall clock that is so far off.
    fn at(monotonic_ms: u64, off_ms: i64) -> Now {
        Now {
            unix_ms: (UNIX_MS + monotonic_ms).saturating_add_signed(off_ms),
            monotonic_us: monotonic_ms * 1000,
        }
    }

    #[test]
    fn a_step_forward_is_followed_once_it_has_lasted() {
        let wall = Wall::new(60_000, at(0, 0));
        for ms in (1_000..LASTS_MS).step_by(7_000) {
            assert_eq!(wall.judge(at(ms, DAY_MS)), at(ms, 0));
        }
        let late = at(1_000 + LASTS_MS, DAY_MS);
        assert_eq!(wall.judge(late), late);
        assert_eq!(wall.judge(at(LASTS_MS + 2_000, DAY_MS)), at(LASTS_MS + 2_000, DAY_MS), "and stays so");
    }

    #[test]
    fn a_step_that_was_taken_back_must_last_anew() {
        let wall = Wall::new(60_000, at(0, 0));
        assert_eq!(wall.judge(at(1_000, DAY_MS)), at(1_000, 0));
        assert_eq!(wall.judge(at(2_000, 0)), at(2_000, 0));
        assert_eq!(wall.judge(at(3_000 + LASTS_MS, DAY_MS)), at(3_000 + LASTS_MS, 0));
    }

    #[test]
    fn steps_back_and_those_that_a_clock_may_drift_are_followed_at_once() {
        let wall = Wall::new(60_000, at(0, 0));
        for (ms, off_ms) in [(1_000, 59_000), (2_000, 118_000), (3_000, -DAY_MS), (4_000, -DAY_MS + 60_000)] {
            assert_eq!(wall.judge(at(ms, off_ms)), at(ms, off_ms));
        }
        let strict = Wall::new(0, at(0, 0));
        assert_eq!(strict.judge(at(1_000, 9_000)), at(1_000, 9_000), "time servers step by some seconds");
    }

    #[test]
    fn a_clock_that_runs_fast_is_followed_however_far_it_gets() {
        let wall = Wall::new(60_000, at(0, 0));
        for s in 0..10_000 {
            assert_eq!(wall.judge(at(s * 1_000, s as i64 * 100)), at(s * 1_000, s as i64 * 100));
        }
    }
}
