//! Spare files for the journal: zero-filled by a thread of its own, or folded segments that are used again.
//!
//! ```text
//! spares thread ──zero-filled─┐
//!                             ├─► ready ──take()──► the journal, which makes a segment of it ──► used()
//! checkpoint ─────recycled────┘
//! ```
//! Invariant: a folded segment is used again only while nobody has it open but the journal, which is done with it. Nothing of a
//! group ever waits for this: where no spare file is ready, the segment grows.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[expect(
    clippy::disallowed_types,
    reason = "threads of the storage only, and never while they read or write"
)]
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::blocks::{Blocks, DIRECT_AND_SYNCED};
use super::room::Room;
use crate::config::{Fsync, StorageConfig};
use crate::io::Event;
use crate::storage::{
    BLOCK_BYTES, Disk, FinishedSegment, HostDisk, JOURNAL_FOLDER, Spare, adopt, is_without_room, prepare,
    recycle, spare_number,
};

/// Spare files that are kept: one for the next segment, and one more while a segment is folded.
const SPARES_MAX: usize = 2;
/// Files of a spare's size that this process has made, segments among them: with more that are not folded, segments grow again,
/// as each takes all its room however little is in it.
const PREPARED_MAX: usize = 8;
/// Bytes or groups in the segment that is written to before one is prepared: segments with less, which end with the time, are
/// those of a server that hardly waits for its disk.
const PREPARE_AFTER_BYTES: u64 = 256 << 10;
const PREPARE_AFTER_GROUPS: u64 = 100;
/// What is free beyond `--disk-reserve` is so many times as much as a spare file when one is prepared: folds want some of it.
const ROOM_FACTOR: u64 = 4;
/// Written to and removed, to see whether the file system takes it.
const PROBE: &str = "spare.probe.new";

/// See the module.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub(super) struct Spares {
    /// Of each.
    bytes: u64,
    /// The journal may use them, and the file system takes what it does then.
    are_of_use: AtomicBool,
    /// Those that are ready, and those with the journal that are no segment yet.
    held: AtomicUsize,
    /// The same, and those that are segments.
    prepared: AtomicUsize,
    is_asked: AtomicBool,
    inner: Mutex<Inner>,
    changed: Condvar,
    /// How many read the segments of the running server. A segment is used again with this in hand.
    readers: Mutex<usize>,
}

#[derive(Debug, Default)]
struct Inner {
    ready: VecDeque<Spare>,
    next_number: u64,
    /// What an earlier process has left was looked at.
    is_open: bool,
    is_stopping: bool,
}

impl Spares {
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub(super) fn new(config: &StorageConfig) -> Self {
        Self {
            bytes: config.segment_bytes.next_multiple_of(BLOCK_BYTES) as u64,
            are_of_use: AtomicBool::new(config.fsync == Fsync::Always),
            held: AtomicUsize::new(0),
            prepared: AtomicUsize::new(0),
            is_asked: AtomicBool::new(false),
            inner: Mutex::default(),
            changed: Condvar::new(),
            readers: Mutex::default(),
        }
    }

    /// For the journal, which has none left and so much in its segment: one that is ready, or else one is prepared.
    pub(super) fn take(&self, (bytes, groups): (u64, u64)) -> Option<Spare> {
        if self.held.load(Ordering::Acquire) > 0 {
            return self.lock().ready.pop_front();
        }
        let is_much = bytes >= PREPARE_AFTER_BYTES || groups >= PREPARE_AFTER_GROUPS;
        let is_worth = is_much && self.are_of_use.load(Ordering::Relaxed);
        if is_worth && !self.is_asked.swap(true, Ordering::AcqRel) {
            // Who waits has looked before it waits, or sees this.
            drop(self.lock());
            self.changed.notify_all();
        }
        None
    }

    /// One that was taken is a segment now.
    pub(super) fn used(&self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
    }

    /// Makes a spare file of a folded segment; `false`: it is to be deleted.
    pub(super) fn recycle(&self, disk: &HostDisk, segment: &FinishedSegment) -> io::Result<bool> {
        // Until it has another name, under which nobody looks for it who begins to read.
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fit = segment.prepared_bytes == Some(self.bytes) && *readers == 0;
        let Some(number) = self.next_number().filter(|_| is_fit) else { return Ok(false) };
        self.put(recycle(disk, &segment.name, number, self.bytes)?);
        Ok(true)
    }

    /// A folded segment was deleted.
    pub(super) fn deleted(&self, segment: &FinishedSegment) {
        if segment.prepared_bytes.is_some() {
            self.prepared.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Removes what is ready, as the disk has no room for it. The one that the journal has got already stays with it.
    pub(super) fn give_back(&self, disk: &HostDisk) -> io::Result<()> {
        let ready = std::mem::take(&mut self.lock().ready);
        self.held.fetch_sub(ready.len(), Ordering::AcqRel);
        self.prepared.fetch_sub(ready.len(), Ordering::AcqRel);
        ready.iter().try_for_each(|spare| disk.remove(&spare.name))
    }

    /// Nobody uses a segment again until this is dropped.
    pub(super) fn reading(&self) -> Reading<'_> {
        *self.readers.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Reading(self)
    }

    pub(super) fn stop(&self) {
        self.lock().is_stopping = true;
        self.changed.notify_all();
    }

    /// Prepares what is asked for until the storage stops, and wakes the journal. That it cannot is no fault: the journal does
    /// without.
    pub(super) fn run(&self, disk: &HostDisk, room: &Room, event: &Event) {
        if let Err(error) = self.open(disk, room) {
            self.are_of_use.store(false, Ordering::Relaxed);
            tracing::info!("segments of the journal are not prepared: {error}");
            return;
        }
        while self.wait() {
            let may_go_on = || !self.lock().is_stopping && room.has_beside(0);
            let is_one_too_many = self.prepared.load(Ordering::Acquire) >= PREPARED_MAX;
            let prepared = match self.next_number().filter(|_| !is_one_too_many) {
                Some(number) if room.has_beside(ROOM_FACTOR * self.bytes) => {
                    prepare(disk, number, self.bytes, &mut || may_go_on())
                }
                _ => Ok(None),
            };
            match prepared {
                Ok(Some(spare)) => {
                    self.prepared.fetch_add(1, Ordering::AcqRel);
                    self.put(spare);
                    event.raise();
                }
                Err(error) if !is_without_room(&error) => {
                    self.are_of_use.store(false, Ordering::Relaxed);
                    tracing::warn!("segments of the journal are not prepared any more: {error}");
                    return;
                }
                // There may be room later.
                _ => _ = room.rest(),
            }
            self.is_asked.store(false, Ordering::Release);
        }
    }

    /// Waits until one is asked for; `false`: the storage stops.
    fn wait(&self) -> bool {
        let is_idle = |inner: &mut Inner| !inner.is_stopping && !self.is_asked.load(Ordering::Acquire);
        let waited = self.changed.wait_while(self.lock(), is_idle);
        !waited.unwrap_or_else(PoisonError::into_inner).is_stopping
    }

    /// Looks at what an earlier process has left, and whether the file system takes what the journal will do.
    fn open(&self, disk: &HostDisk, room: &Room) -> io::Result<()> {
        let are_of_use = self.are_of_use.load(Ordering::Relaxed);
        let probed = if are_of_use { probe(&disk.path(JOURNAL_FOLDER).join(PROBE)) } else { Ok(()) };
        let is_kept = are_of_use && probed.is_ok() && room.has_beside(0);
        let found = adopt(disk, self.bytes, if is_kept { SPARES_MAX } else { 0 })?;
        probed?;
        let mut inner = self.lock();
        inner.next_number = found.iter().filter_map(|spare| spare_number(&spare.name)).max().unwrap_or(0);
        inner.is_open = are_of_use;
        drop(inner);
        self.prepared.fetch_add(found.len(), Ordering::AcqRel);
        found.into_iter().for_each(|spare| self.put(spare));
        Ok(())
    }

    /// For another spare file; `None`: there are enough.
    fn next_number(&self) -> Option<u64> {
        let mut inner = self.lock();
        if !inner.is_open || self.held.load(Ordering::Acquire) >= SPARES_MAX {
            return None;
        }
        inner.next_number += 1;
        Some(inner.next_number)
    }

    fn put(&self, spare: Spare) {
        self.lock().ready.push_back(spare);
        self.held.fetch_add(1, Ordering::AcqRel);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Spares::reading`].
pub(super) struct Reading<'a>(&'a Spares);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        *self.0.readers.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

/// Writes a block as the journal does. What is in the way is of a process that ended in here.
fn probe(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).custom_flags(DIRECT_AND_SYNCED).open(path)?;
    let mut blocks = Blocks::default();
    let place = blocks.fill(&[0; BLOCK_BYTES]);
    let written = file.write_all_at(&blocks.0[place], 0);
    std::fs::remove_file(path)?;
    written
}
