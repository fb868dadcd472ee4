//! The segments of the journal that are complete: they wait to be folded.
//!
//! Invariant: folded by one thread at a time, oldest first.
//!
//! The thread that writes the journal waits for this lock, and a checkpoint, which holds it too, may not get a core for long:
//! nobody holds it for more than a look at one segment, and never while it reads, writes or folds.

use std::collections::VecDeque;
#[expect(
    clippy::disallowed_types,
    reason = "threads of the storage only, and never while they read or write"
)]
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::storage::FinishedSegment;

/// Segments that may wait while the checkpoint yields to everything else. With more the disk fills up and the next
/// start takes longer, which is worse than a core that is shared.
const WAITING_MAX: usize = 16;

/// Segments that are folded at once, and their bytes: the more, the fewer pages are copied for each record, and the longer it is
/// until any of them can be used again.
const AT_ONCE_MAX: usize = 8;
const AT_ONCE_BYTES_MAX: u64 = 256 << 20;

/// How often who waits for folds looks whether they stand still.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Which of the two checkpoint threads asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The one that yields to everything else: does the usual work.
    Idle,
    /// The one that does not: catches up when too many segments wait. A thread that has once stepped back may not
    /// come forward again without privileges, so there are two.
    Hurry,
}

/// What became of [`Segments::await_folded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Folded,
    /// The disk has no room for it.
    LacksRoom,
    /// The storage ends before.
    Ending,
}

/// See the module.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub struct Segments {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    /// The first may be in the hands of a checkpoint.
    waiting: VecDeque<FinishedSegment>,
    is_folding: bool,
    /// Until nothing waits.
    is_hurrying: bool,
    is_stopping: bool,
}

impl Segments {
    /// Another segment is complete.
    pub fn finished(&self, segment: FinishedSegment) {
        let mut inner = self.lock();
        inner.waiting.push_back(segment);
        inner.is_hurrying |= inner.waiting.len() > WAITING_MAX;
        drop(inner);
        self.changed.notify_all();
    }

    /// Segments that are not folded yet.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Waits for segments to fold, those that wait or the first of them; `None` at the end. [`Segments::folded`] must follow.
    pub(super) fn next(&self, pace: Pace) -> Option<Vec<FinishedSegment>> {
        let mut inner = self.lock();
        loop {
            if inner.is_stopping {
                return None;
            }
            if let Some(segments) = inner.take(pace) {
                return Some(segments);
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The same for who does not wait: `None` also if there is nothing to do now.
    pub fn next_if_any(&self, pace: Pace) -> Option<Vec<FinishedSegment>> {
        self.lock().take(pace)
    }

    /// Whether who folds at this pace goes on; otherwise it gives up.
    pub fn may_go_on(&self, pace: Pace) -> bool {
        let inner = self.lock();
        let must_yield = pace == Pace::Idle && inner.is_hurrying;
        !(inner.is_stopping || must_yield)
    }

    /// Everything that waits, and the next segment if there is none, is folded without yielding to anybody: memory is
    /// short, and only what is folded can leave it.
    pub fn hurry(&self) {
        self.lock().is_hurrying = true;
        self.changed.notify_all();
    }

    /// So many of the segments that [`Segments::next`] gave are in the base; the others go on waiting.
    pub fn folded(&self, count: usize) {
        let mut inner = self.lock();
        inner.waiting.drain(..count);
        inner.is_folding = false;
        inner.is_hurrying &= count == 0 || !inner.waiting.is_empty();
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits until every segment that is complete now is in the base. If that takes longer than `patience`, as the
    /// checkpoint yields to everything else, it does so no more. `lacks_room` is asked whether it stands still.
    pub(super) fn await_folded(&self, patience: Duration, lacks_room: &dyn Fn() -> bool) -> Awaited {
        let mut inner = self.lock();
        let Some(last) = inner.waiting.back().map(|segment| segment.next_sequence) else {
            return Awaited::Folded;
        };
        let is_waiting = |inner: &mut Inner| {
            let first = inner.waiting.front();
            !inner.is_stopping && first.is_some_and(|segment| segment.next_sequence <= last)
        };
        let mut waited = Duration::ZERO;
        while is_waiting(&mut inner) && !lacks_room() {
            let step = patience.min(LOOK_EVERY);
            let woken = self.changed.wait_timeout_while(inner, step, is_waiting);
            inner = woken.unwrap_or_else(PoisonError::into_inner).0;
            waited += step;
            if waited >= patience && is_waiting(&mut inner) && !inner.is_hurrying {
                inner.is_hurrying = true;
                self.changed.notify_all();
            }
        }
        match is_waiting(&mut inner) {
            true => Awaited::LacksRoom,
            false if inner.is_stopping => Awaited::Ending,
            false => Awaited::Folded,
        }
    }

    /// Nothing more is folded; what waits is folded after the next start.
    pub(super) fn stop(&self) {
        self.lock().is_stopping = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What is to be folded, if it is the turn of who folds at this pace.
    fn take(&mut self, pace: Pace) -> Option<Vec<FinishedSegment>> {
        let is_turn = self.is_hurrying == (pace == Pace::Hurry) && !self.is_folding;
        if !is_turn || self.waiting.is_empty() {
            return None;
        }
        self.is_folding = true;
        Some(self.first())
    }

    /// The first segments, as many as are folded at once.
    fn first(&self) -> Vec<FinishedSegment> {
        let mut bytes = 0;
        let fits = |segment: &&FinishedSegment| {
            bytes += segment.bytes;
            bytes <= AT_ONCE_BYTES_MAX
        };
        let count = self.waiting.iter().take(AT_ONCE_MAX).take_while(fits).count();
        self.waiting.iter().take(count.max(1)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: usize) -> FinishedSegment {
        FinishedSegment {
            name: format!("{number}"),
            next_sequence: number as u64,
            bytes: 1,
            last_applied: Vec::new(),
            prepared_bytes: None,
        }
    }

    #[test]
    fn what_waits_is_folded_at_once_and_in_order() {
        let segments = Segments::default();
        let sized = |number, bytes| FinishedSegment { bytes, ..segment(number) };
        let waiting = [sized(1, 2 * AT_ONCE_BYTES_MAX), sized(2, AT_ONCE_BYTES_MAX / 2), segment(3)];
        waiting.iter().for_each(|segment| segments.finished(segment.clone()));
        assert_eq!(segments.next(Pace::Idle).unwrap(), waiting[..1], "one in any case");
        segments.folded(1);
        assert_eq!(segments.next(Pace::Idle).unwrap(), waiting[1..]);
        segments.folded(1);
        assert_eq!(segments.next(Pace::Idle).unwrap(), waiting[2..], "what was not folded waits");
        (4..=4 + AT_ONCE_MAX).for_each(|number| segments.finished(segment(number)));
        segments.folded(1);
        assert_eq!(segments.next(Pace::Idle).unwrap().len(), AT_ONCE_MAX);
        segments.stop();
        assert_eq!(segments.next(Pace::Idle), None);
        assert_eq!(segments.next(Pace::Hurry), None);
    }

    /// Goal: who waits goes on when what was there is folded, whatever comes later, and nobody starves it.
    #[test]
    fn who_waits_for_folds_waits_for_what_is_complete_now() {
        let segments = Segments::default();
        let patience = Duration::from_millis(1);
        let await_folded = || segments.await_folded(patience, &|| false);
        assert_eq!(await_folded(), Awaited::Folded, "there is nothing to wait for");
        (1..=2).for_each(|number| segments.finished(segment(number)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(await_folded);
            // Only who does not yield gets them, as the other one has not come for so long.
            for number in 1..=2 {
                assert_eq!(segments.next(Pace::Hurry).unwrap()[0], segment(number));
                assert!(!waiting.is_finished());
                segments.finished(segment(number + 2));
                segments.folded(1);
            }
            assert_eq!(waiting.join().unwrap(), Awaited::Folded);
        });
        assert_eq!(segments.waiting(), 2);
        assert_eq!(segments.await_folded(patience, &|| true), Awaited::LacksRoom);
        segments.stop();
        assert_eq!(await_folded(), Awaited::Ending, "they are folded after the next start");
    }

    #[test]
    fn who_yields_hands_over_when_there_is_a_hurry() {
        let segments = Segments::default();
        (1..=2).for_each(|number| segments.finished(segment(number)));
        let next = segments.next(Pace::Idle).unwrap();
        assert!(segments.may_go_on(Pace::Idle));
        segments.hurry();
        assert!(!segments.may_go_on(Pace::Idle) && segments.may_go_on(Pace::Hurry));
        segments.folded(0);
        assert_eq!(segments.next(Pace::Hurry), Some(next));
        segments.folded(1);
        assert!(segments.may_go_on(Pace::Hurry) && !segments.may_go_on(Pace::Idle), "one still waits");
        segments.next(Pace::Hurry).unwrap();
        segments.folded(1);
        assert!(segments.may_go_on(Pace::Idle));
        segments.stop();
        assert!(!segments.may_go_on(Pace::Idle) && !segments.may_go_on(Pace::Hurry));
    }

    // Which thread is given a segment, with both asking: the other one waits, so each asks on a thread of its own.
    #[test]
    fn the_hurried_thread_takes_over_until_nothing_waits() {
        let segments = Segments::default();
        (0..=WAITING_MAX).for_each(|number| segments.finished(segment(number)));
        let folded = |pace| {
            let mut count = 0;
            while segments.next(pace).is_some() {
                segments.folded(1);
                count += 1;
                if segments.waiting() == 0 {
                    segments.stop();
                }
            }
            count
        };
        std::thread::scope(|scope| {
            let idle = scope.spawn(|| folded(Pace::Idle));
            assert_eq!(folded(Pace::Hurry), WAITING_MAX + 1);
            assert_eq!(idle.join().unwrap(), 0);
        });
    }
}
