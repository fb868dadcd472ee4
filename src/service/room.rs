//! The room on the disk. Below `--disk-reserve` writes are refused; what is left then lets the server fold and stop in
//! order. It is judged before each group of the journal and each step of a fold, by what that will take.
//!
//! ```text
//! free ├── journal and folds ──┤ reserve ├── folds in small steps ──┤ half the floor ├── the journal alone ──┤ 0
//!                        writes are refused                      folds wait                     it waits as well
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[expect(clippy::disallowed_types, reason = "threads of the storage only")]
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::handover::Progress;
use crate::io::volume;
use crate::storage;

/// How often it is looked at though nobody asks: others may use the disk, too.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often that is said of a base that waits: once a minute.
const WAITS_PER_WORD: u64 = 60;
/// Free bytes beyond the reserve at which writes are taken again; else a server at the edge would refuse and take
/// them by turns. An eighth of the reserve, within these.
const MARGIN_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=32 << 20;
/// Free bytes below which writes are refused even without a reserve: there is hardly room for a group.
const GROUP_BYTES: u64 = 1 << 20;
/// Free bytes that folds leave to the journal: a quarter of the reserve, within these. What redb holds back in memory
/// of one transaction is less than the least.
const FLOOR_BYTES: std::ops::RangeInclusive<u64> = 8 << 20..=64 << 20;
/// Bytes by which what is free has to grow for another try of a fold, unless it is the floor.
const FOLD_BYTES_MIN: u64 = 1 << 20;
/// What the base may grow by with what is folded, in bytes of that: each leaf may be half full. The segments are gone only then.
const GROWTH: u64 = 2;

/// See the module.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub(super) struct Room {
    root: PathBuf,
    reserve: u64,
    progress: Arc<Progress>,
    /// Bytes of the journal that may be written until somebody has to look again.
    unlooked: AtomicU64,
    /// Bytes that have come for the journal and are in no file.
    unwritten: AtomicU64,
    /// A write of the journal found no room, and has not been carried out since.
    is_journal_refused: AtomicBool,
    /// The base waits in the middle of a transaction.
    is_base_waiting: AtomicBool,
    /// Rests since a segment was folded.
    base_waits: AtomicU64,
    /// Free bytes with which the fold that lacks room will surely end; 0: none does. Until it has, writes are refused: the
    /// journal would take what is freed, and there would never be enough.
    fold_wants: AtomicU64,
    is_stopping: Mutex<bool>,
    stops: Condvar,
}

impl Room {
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub(super) fn new(root: PathBuf, reserve: u64, progress: Arc<Progress>) -> Self {
        Self {
            root,
            reserve,
            progress,
            unlooked: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
            is_journal_refused: AtomicBool::new(false),
            is_base_waiting: AtomicBool::new(false),
            base_waits: AtomicU64::new(0),
            fold_wants: AtomicU64::new(0),
            is_stopping: Mutex::new(false),
            stops: Condvar::new(),
        }
    }

    /// Looks, and refuses writes or takes them. Returns what is free; `None`: nobody knows.
    pub(super) fn look(&self) -> Option<u64> {
        let free = match volume::free_bytes(&self.root) {
            Ok(free) => free,
            Err(error) => {
                tracing::debug!("free space of {} is not known: {error}", self.root.display());
                return None;
            }
        };
        self.progress.metrics().free_bytes.set(free);
        // A part of it, as folds and others take from the same.
        self.unlooked.store(free.saturating_sub(self.reserve) / 4, Ordering::Relaxed);
        self.judge(free);
        Some(free)
    }

    /// Whether writes would still be taken if `bytes` more were in use.
    pub(super) fn has_beside(&self, bytes: u64) -> bool {
        let taken = bytes.saturating_add(self.unwritten.load(Ordering::Relaxed));
        let free = self.look().unwrap_or(u64::MAX);
        free.saturating_sub(taken) >= wanted(true, self.reserve) && !self.progress.is_read_only()
    }

    fn judge(&self, free: u64) {
        let was_read_only = self.progress.is_read_only();
        let left = free.saturating_sub(self.unwritten.load(Ordering::Relaxed));
        let fold_wants = self.fold_wants.load(Ordering::Acquire);
        let is_read_only = left < wanted(was_read_only, self.reserve)
            || fold_wants > 0
            || self.is_journal_refused.load(Ordering::Acquire);
        let all_want = wanted(true, self.reserve).max(fold_wants);
        let short = if is_read_only { all_want.saturating_sub(left).max(1) } else { 0 };
        self.progress.metrics().short_bytes.set(short);
        if is_read_only == was_read_only {
            return;
        }
        self.progress.set_read_only(is_read_only);
        let (free_mib, reserve_mib, short_mib) = (free >> 20, self.reserve >> 20, (short >> 20) + 1);
        let directory = self.root.display();
        if is_read_only {
            let why = if fold_wants > 0 { "too little to fold the journal" } else { "too little for writes" };
            tracing::warn!(
                "the disk of {directory} has {free_mib} MiB left, {why}, and --disk-reserve is {reserve_mib} MiB: writes \
                 are refused with read_only; free {short_mib} MiB there, and they are taken again, without a restart"
            );
        } else {
            tracing::info!("the disk of {directory} has {free_mib} MiB left again: writes are taken");
        }
    }

    /// The journal is about to write `bytes`, and has `unwritten` behind them.
    pub(super) fn before_write(&self, bytes: u64, unwritten: u64) {
        self.unwritten.store(bytes + unwritten, Ordering::Relaxed);
        let unlooked = self.unlooked.load(Ordering::Relaxed);
        if unlooked > bytes + unwritten {
            self.unlooked.store(unlooked - bytes, Ordering::Relaxed);
        } else {
            self.look();
        }
    }

    /// It has done so.
    pub(super) fn wrote(&self, unwritten: u64) {
        self.unwritten.store(unwritten, Ordering::Relaxed);
        if self.is_journal_refused.swap(false, Ordering::AcqRel) {
            tracing::info!("the journal has room again and goes on");
            self.look();
        }
    }

    /// It found no room for that.
    pub(super) fn refused(&self, unwritten: u64) {
        self.unwritten.store(unwritten, Ordering::Relaxed);
        if !self.is_journal_refused.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                "the journal finds no room on the disk of {}: {} KiB wait for it",
                self.root.display(),
                (unwritten >> 10) + 1
            );
        }
        self.look();
    }

    /// Whether a fold stands still in the middle of a transaction.
    pub(super) fn is_base_waiting(&self) -> bool {
        self.is_base_waiting.load(Ordering::Acquire)
    }

    /// A fold lacked room. Waits until it is worth another try, or the storage ends.
    pub(super) fn await_fold(&self) {
        self.is_base_waiting.store(true, Ordering::Release);
        self.fold_lacks_room();
        let free = || storage::Room::free(self);
        let worth = free().saturating_add(FOLD_BYTES_MIN).min(floor(self.reserve));
        while !self.rest_for_base() && free() < worth {}
        self.is_base_waiting.store(false, Ordering::Release);
    }

    /// Refuses writes until [`Self::folded`], and says how much has to be freed for all that is not folded.
    fn fold_lacks_room(&self) {
        let Some(free) = self.look() else { return };
        let unfolded = self.progress.metrics().unfolded_bytes.value();
        let enough = floor(self.reserve).saturating_add(GROWTH.saturating_mul(unfolded));
        // More than there is, as that was not enough.
        self.fold_wants.store(enough.max(free.saturating_add(FOLD_BYTES_MIN)), Ordering::Release);
        self.judge(free);
    }

    /// A segment was folded whole: who waits next is said to wait.
    pub(super) fn folded(&self) {
        self.base_waits.store(0, Ordering::Relaxed);
        if self.fold_wants.swap(0, Ordering::AcqRel) > 0 {
            tracing::info!("the disk of {} has room to fold again", self.root.display());
            self.look();
        }
    }

    /// Rests as the base lacks room, which is said now and then. Whether the storage ends.
    fn rest_for_base(&self) -> bool {
        if self.base_waits.fetch_add(1, Ordering::Relaxed).is_multiple_of(WAITS_PER_WORD) {
            let short_mib = (self.progress.metrics().short_bytes.value() >> 20) + 1;
            tracing::warn!(
                "the disk of {} has no room to fold: the journal stays; free {short_mib} MiB there",
                self.root.display()
            );
        }
        self.rest()
    }

    /// Whether the storage ends.
    pub(super) fn is_stopping(&self) -> bool {
        *self.lock()
    }

    /// Nobody waits for room any more.
    pub(super) fn stop(&self) {
        *self.lock() = true;
        self.stops.notify_all();
    }

    /// Rests until it is worth another look. Whether the storage ends.
    pub(super) fn rest(&self) -> bool {
        let waited = self.stops.wait_timeout_while(self.lock(), INTERVAL, |is_stopping| !*is_stopping);
        let (is_stopping, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *is_stopping
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl storage::Room for Room {
    fn free(&self) -> u64 {
        self.look().unwrap_or(u64::MAX)
    }

    fn floor(&self) -> u64 {
        floor(self.reserve)
    }

    fn wait(&self) -> bool {
        self.is_base_waiting.store(true, Ordering::Release);
        self.fold_lacks_room();
        let ends = self.rest_for_base();
        self.is_base_waiting.store(false, Ordering::Release);
        !ends
    }
}

/// Free bytes below which writes are refused.
fn wanted(was_read_only: bool, reserve: u64) -> u64 {
    let reserve = reserve.max(GROUP_BYTES);
    if was_read_only { reserve.saturating_add(margin(reserve)) } else { reserve }
}

fn margin(reserve: u64) -> u64 {
    (reserve / 8).clamp(*MARGIN_BYTES.start(), *MARGIN_BYTES.end())
}

fn floor(reserve: u64) -> u64 {
    (reserve / 4).clamp(*FLOOR_BYTES.start(), *FLOOR_BYTES.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_taken_again_only_with_room_to_spare() {
        let reserve = 256 << 20;
        assert_eq!([wanted(false, reserve), wanted(true, reserve)], [reserve, reserve + (32 << 20)]);
        assert_eq!([wanted(false, 0), wanted(true, 0)], [1 << 20, 2 << 20], "0 means no reserve");
        assert_eq!(wanted(true, u64::MAX), u64::MAX);
    }

    // What has come and is in no file will take from the reserve, so it counts as if it had.
    #[test]
    fn what_waits_to_be_written_counts_as_taken() {
        let progress = Arc::new(Progress::new(1, crate::crdt::Time::ZERO));
        let room = |reserve| Room::new(std::env::temp_dir(), reserve, Arc::clone(&progress));
        let free = room(0).look().unwrap();
        assert!(!progress.is_read_only());
        let (reserve, much) = (free / 2, free / 4 * 3);
        let room = room(reserve);
        room.before_write(1, 0);
        assert!(!progress.is_read_only());
        room.before_write(much, 0);
        assert!(progress.is_read_only(), "{much} of {free} bytes are promised");
        assert!(progress.metrics().short_bytes.value() > 0);
        room.refused(much);
        room.wrote(0);
        assert!(!progress.is_read_only());
        assert_eq!(progress.metrics().short_bytes.value(), 0);
        room.refused(0);
        room.look();
        assert!(progress.is_read_only(), "whatever the file system says");
    }
    // What is freed for a fold must not go to the journal, or there is never enough.
    #[test]
    fn a_fold_that_lacks_room_refuses_writes_and_says_what_it_needs() {
        let progress = Arc::new(Progress::new(1, crate::crdt::Time::ZERO));
        let room = Room::new(std::env::temp_dir(), 0, Arc::clone(&progress));
        let free = room.look().unwrap();
        assert!(!progress.is_read_only());
        progress.metrics().unfolded_bytes.set(free);
        room.fold_lacks_room();
        assert!(progress.is_read_only(), "{free} bytes are free, but they are the fold's");
        // Others use the same disk meanwhile.
        let short = progress.metrics().short_bytes.value();
        assert!((free / 2..2 * free).contains(&short), "{short} bytes are to be freed, of {free}");
        room.look();
        assert!(progress.is_read_only(), "until it is folded");
        progress.metrics().unfolded_bytes.set(0);
        room.fold_lacks_room();
        assert!(progress.metrics().short_bytes.value() > 0, "what is free was not enough");
        room.folded();
        assert!(!progress.is_read_only());
        assert_eq!(progress.metrics().short_bytes.value(), 0);
    }
}
