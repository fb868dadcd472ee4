//! How far the journal is ahead of the folds, and how fast clients may write for that.
//!
//! ```text
//! bytes not folded ├── as fast as they like ──┤ half ├── ever slower ──┤ --journal-max-bytes ├── less than is folded ──
//! ```
//! Invariant: at the largest what comes is half of what is folded, and it changes with each byte, not at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::handover::Progress;

/// Bytes a second that clients may write in any case, so that none of them is taken for dead.
const RATE_MIN: u64 = 64 << 10;
/// Segments that the largest journal has at the least: one is written, one is folded, and others wait.
const SEGMENTS_MIN: u64 = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Pressure {
    /// 0: no limit.
    bytes_max: u64,
    progress: Arc<Progress>,
    /// Of the segment that is written to, and of what waits for it.
    current_bytes: AtomicU64,
    /// Of segments that are complete.
    waiting_bytes: AtomicU64,
    /// The fold under way: when it began, and its bytes. 0: there is none.
    fold_began_ns: AtomicU64,
    fold_bytes: AtomicU64,
    /// Bytes a second of the last fold; 0: there was none.
    fold_rate: AtomicU64,
}

impl Pressure {
    pub(super) fn new(bytes_max: u64, segment_bytes: usize, progress: Arc<Progress>) -> Self {
        let bytes_max = if bytes_max == 0 { 0 } else { bytes_max.max(SEGMENTS_MIN * segment_bytes as u64) };
        Self {
            bytes_max,
            progress,
            current_bytes: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            fold_began_ns: AtomicU64::new(0),
            fold_bytes: AtomicU64::new(0),
            fold_rate: AtomicU64::new(0),
        }
    }

    /// Whether folds should yield to nobody: before anybody is slowed.
    pub(super) fn is_high(&self) -> bool {
        self.bytes_max > 0 && self.waiting_bytes.load(Ordering::Relaxed) > self.bytes_max / 4
    }

    /// So much is in the segment that is written to, or waits for it.
    pub(super) fn set_current(&self, bytes: u64, now_ns: u64) {
        self.current_bytes.store(bytes, Ordering::Relaxed);
        self.judge(now_ns);
    }

    /// Another segment is complete.
    pub(super) fn finished(&self, bytes: u64) {
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn fold_began(&self, bytes: u64, now_ns: u64) {
        self.fold_bytes.store(bytes, Ordering::Relaxed);
        self.fold_began_ns.store(now_ns.max(1), Ordering::Release);
    }

    /// It is over: segments of so many bytes are in the base, and what is left of it waits.
    pub(super) fn fold_ended(&self, bytes: u64, now_ns: u64) {
        let began_ns = self.fold_began_ns.swap(0, Ordering::AcqRel);
        if bytes > 0 {
            self.fold_rate.store(rate(bytes, now_ns.saturating_sub(began_ns)), Ordering::Relaxed);
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.judge(now_ns);
    }

    /// Says how fast clients may write.
    pub(super) fn judge(&self, now_ns: u64) {
        let unfolded =
            self.current_bytes.load(Ordering::Relaxed) + self.waiting_bytes.load(Ordering::Relaxed);
        let allowed = allowed(unfolded, self.bytes_max, self.fold_rate_now(now_ns)).unwrap_or(0);
        self.progress.metrics().unfolded_bytes.set(unfolded);
        self.progress.metrics().write_rate_limit.set(allowed);
        self.progress.set_write_rate(allowed.div_ceil(self.progress.shards() as u64));
    }

    /// How fast segments are folded: as the last one was, unless the one under way takes longer.
    fn fold_rate_now(&self, now_ns: u64) -> u64 {
        let last = match self.fold_rate.load(Ordering::Relaxed) {
            0 => u64::MAX,
            last => last,
        };
        match self.fold_began_ns.load(Ordering::Acquire) {
            0 => last,
            began_ns => {
                last.min(rate(self.fold_bytes.load(Ordering::Relaxed), now_ns.saturating_sub(began_ns)))
            }
        }
    }
}

fn rate(bytes: u64, ns: u64) -> u64 {
    let rate = u128::from(bytes) * 1_000_000_000 / u128::from(ns.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX).max(1)
}

/// Bytes a second that may come; `None`: as many as like. At three quarters of the largest journal it is what is folded.
fn allowed(unfolded: u64, bytes_max: u64, fold_rate: u64) -> Option<u64> {
    let soft = bytes_max / 2;
    let over = unfolded.checked_sub(soft).filter(|&over| over > 0 && bytes_max > 0)?;
    let allowed = u128::from(fold_rate) * u128::from(bytes_max - soft) / (2 * u128::from(over));
    Some(u64::try_from(allowed).unwrap_or(u64::MAX).max(RATE_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Time;

    const MIB: u64 = 1 << 20;
    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn the_further_the_journal_is_ahead_the_slower_it_may_grow() {
        let of = |unfolded| allowed(unfolded * MIB, 1024 * MIB, 40 * MIB);
        assert_eq!([of(0), of(512)], [None, None]);
        assert_eq!(of(768), Some(40 * MIB), "as much as is folded");
        assert_eq!(of(1024), Some(20 * MIB), "half of it");
        let steps: Vec<u64> = (513..1100).map(|unfolded| of(unfolded).unwrap()).collect();
        assert!(steps.is_sorted_by(|one, next| one >= next) && steps[0] > 1000 * MIB, "no cliff: {steps:?}");
        assert_eq!(allowed(1 << 40, 0, 1), None, "no limit");
        assert_eq!(allowed(1 << 40, MIB, 1), Some(RATE_MIN), "never nothing");
    }

    #[test]
    fn a_fold_that_stands_still_slows_and_one_that_is_over_frees() {
        let progress = Arc::new(Progress::new(2, Time::ZERO));
        let pressure = Pressure::new(8 * MIB, 1 << 20, Arc::clone(&progress));
        (0..7).for_each(|_| pressure.finished(MIB));
        pressure.set_current(MIB / 2, 0);
        assert!(pressure.is_high());
        let mut now_ns = SECOND_NS;
        pressure.fold_began(MIB, now_ns);
        let mut rates = Vec::new();
        for _ in 0..4 {
            now_ns += SECOND_NS / 2;
            pressure.judge(now_ns);
            rates.push(progress.write_rate());
        }
        assert!(rates.is_sorted_by(|one, next| one > next), "{rates:?}");
        (0..5).for_each(|_| {
            pressure.fold_ended(MIB, now_ns);
            pressure.fold_began(MIB, now_ns);
        });
        pressure.judge(now_ns);
        assert_eq!(progress.write_rate(), 0, "half of the largest and less");
        assert_eq!(progress.metrics().unfolded_bytes.value(), 2 * MIB + MIB / 2);
    }

    #[test]
    fn a_journal_has_room_for_a_few_segments_whatever_is_asked_for() {
        let progress = Arc::new(Progress::new(1, Time::ZERO));
        let of = |bytes_max| Pressure::new(bytes_max, 64 << 20, Arc::clone(&progress)).bytes_max;
        assert_eq!([of(0), of(1), of(1 << 40)], [0, 256 * MIB, 1 << 40]);
    }
}
