//! The file of the base with a checksum of each page beside it, so that redb, which compares none when it reads, never
//! meets a damaged page: it would panic there, or hand out what nobody wrote.
//!
//! ```text
//! base.redb        base.redb.sums
//! ┌───────────┐    0      4      8      12
//! │ header    │    ┌──────┬──────┬──────┬─────
//! │ page 1    │    │ 0    │ sum 1│ sum 2│ …         sum: CRC-32C of the number of the page (8) and of its bytes,
//! │ page 2 …  │    └──────┴──────┴──────┴─────      0 written as 1; 0: never written, all zeros
//! ```
//! Invariant: when a commit is synced, so are the sums of its pages. redb writes no page that the last commit needs, so
//! after a crash all those have theirs. The header alone is changed in place, has no sum and is checked by `redb_header`.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
#[expect(clippy::disallowed_types, reason = "redb calls from whatever thread of the storage uses it")]
use std::sync::{Mutex, MutexGuard};

use super::repeats::Repeats;
use super::sums::Sums;
use super::{BASE_FILE, Disk, DiskFile, StorageError, replace_file};

/// The sums of a base.
pub(super) const SUMS_FILE: &str = "base.redb.sums";
pub(super) const PAGE_BYTES: usize = 4096;
const SUM_BYTES: usize = 4;
const NEVER_WRITTEN: [u8; SUM_BYTES] = [0; SUM_BYTES];
/// Pages that are read at once to compute their sums anew.
const PIECE_PAGES: usize = 256;

/// Bytes that a transaction has written and the disk has not taken yet, beyond which it waits for that. The sync of a commit
/// would bring all of them at once, and the next group of the journal would be in the queue of the disk behind them.
const UNSYNCED_BYTES: u64 = 1 << 20;
/// The same where redb writes by itself: a commit writes once more what has a checksum since, which may be all of it.
const UNSYNCED_BYTES_MAX: u64 = 2 * UNSYNCED_BYTES;

/// See the module.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub(super) struct PageFile {
    pages: Arc<dyn DiskFile>,
    sums: Sums,
    repeats: Mutex<Repeats>,
    /// A read has failed.
    has_failed: AtomicBool,
    /// Bytes of pages written since the last sync.
    unsynced: AtomicU64,
}

impl PageFile {
    pub fn new(pages: Arc<dyn DiskFile>, sums: Arc<dyn DiskFile>) -> Self {
        Self {
            pages,
            sums: Sums::new(sums),
            repeats: Default::default(),
            has_failed: AtomicBool::new(false),
            unsynced: AtomicU64::new(0),
        }
    }

    /// Whether a read has failed: redb refuses everybody from then on.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    pub fn note_failure(&self) {
        self.has_failed.store(true, Ordering::Release);
    }

    pub fn forget_failure(&self) {
        self.has_failed.store(false, Ordering::Release);
    }

    /// Where it finds no room nothing is lost, and it may be tried again, unlike a sync.
    pub fn write_sums(&self) -> io::Result<()> {
        self.sums.write_changed()
    }

    /// Syncs what there is without sums: the length, and the header.
    pub fn sync_length(&self) -> io::Result<()> {
        self.sync_pages()
    }

    /// Has the disk take what a transaction has written so far, if that is much. To be called between changes of it, where nobody
    /// waits for what redb has locked while it writes.
    pub fn write_out(&self) -> io::Result<()> {
        self.write_out_beyond(UNSYNCED_BYTES)
    }

    fn write_out_beyond(&self, unsynced: u64) -> io::Result<()> {
        if self.unsynced.load(Ordering::Relaxed) < unsynced { Ok(()) } else { self.sync_pages() }
    }

    fn sync_pages(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        let synced = self.pages.sync();
        if synced.is_err() {
            // Nobody knows what is in the file.
            self.repeats().clear();
        }
        synced
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_checked(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.pages.read_at(buffer, offset).map_err(|error| {
            let place = format!("{} bytes at byte {offset} of {BASE_FILE}", buffer.len());
            io::Error::new(error.kind(), format!("{place} cannot be read: {error}"))
        })?;
        let Some((first, whole)) = whole_pages(offset, buffer.len()) else { return Ok(()) };
        let pages = buffer[whole].chunks_exact(PAGE_BYTES);
        let mut expected = vec![0; pages.len() * SUM_BYTES];
        self.sums
            .read(&mut expected, sum_offset(first))
            .map_err(|error| io::Error::new(error.kind(), format!("{SUMS_FILE} cannot be read: {error}")))?;
        for (number, (page, expected)) in (first..).zip(pages.zip(expected.chunks_exact(SUM_BYTES))) {
            let is_sound = number == 0
                || sum(number, page) == expected
                || expected == NEVER_WRITTEN && page.iter().all(|byte| *byte == 0);
            if !is_sound {
                let byte = number * PAGE_BYTES as u64;
                let what = format!("the page at byte {byte} of {BASE_FILE} is not what {SUMS_FILE} says");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
        Ok(())
    }
}

impl DiskFile for PageFile {
    fn size(&self) -> io::Result<u64> {
        self.pages.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = self.read_checked(buffer, offset);
        if read.is_err() {
            self.note_failure();
        }
        read
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let whole = whole_pages(offset, bytes.len()).map(|(first, whole)| (first, &bytes[whole]));
        let pages = whole.filter(|(_, pages)| pages.len() == bytes.len());
        match pages {
            Some((first, pages)) if self.repeats().is_there(first, pages) => return Ok(()),
            Some(_) => {}
            None => self.repeats().forget(pages_touched(offset, bytes.len())),
        }
        self.pages.write_at(bytes, offset)?;
        self.unsynced.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if let Some((first, pages)) = whole {
            self.sums.write(&sums(first, pages), sum_offset(first))?;
        }
        if let Some((first, pages)) = pages {
            self.repeats().note(first, pages);
        }
        self.write_out_beyond(UNSYNCED_BYTES_MAX)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.repeats().forget(len / PAGE_BYTES as u64..u64::MAX);
        self.pages.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.repeats().clear();
        self.sums.sync()?;
        self.sync_pages()
    }
}

/// Computes the sums of a file that has none, or none to be trusted, and whose pages are known to be sound.
///
/// # Errors
/// [`StorageError::Io`].
pub(super) fn write_sums(disk: &dyn Disk, pages: &dyn DiskFile) -> Result<(), StorageError> {
    let read = || -> io::Result<Vec<u8>> {
        let (mut all, mut piece) = (Vec::new(), vec![0; PIECE_PAGES * PAGE_BYTES]);
        let (size, mut offset) = (pages.size()?, 0);
        while offset < size {
            let bytes = usize::try_from(size - offset).map_or(piece.len(), |left| left.min(piece.len()));
            pages.read_at(&mut piece[..bytes], offset)?;
            all.extend(sums(offset / PAGE_BYTES as u64, &piece[..bytes]));
            offset += bytes as u64;
        }
        Ok(all)
    };
    replace_file(disk, SUMS_FILE, &read().map_err(StorageError::io("read", BASE_FILE))?)
}

/// The pages that lie wholly in so many bytes at `offset`: the number of the first one, and which of the bytes they are.
fn whole_pages(offset: u64, bytes: usize) -> Option<(u64, Range<usize>)> {
    let first = offset.div_ceil(PAGE_BYTES as u64);
    let start = usize::try_from(first * PAGE_BYTES as u64 - offset).ok()?;
    let pages = bytes.checked_sub(start)? / PAGE_BYTES;
    (pages > 0).then(|| (first, start..start + pages * PAGE_BYTES))
}

/// The pages that have at least one of so many bytes at `offset`.
fn pages_touched(offset: u64, bytes: usize) -> Range<u64> {
    offset / PAGE_BYTES as u64..(offset + bytes as u64).div_ceil(PAGE_BYTES as u64)
}

const fn sum_offset(page: u64) -> u64 {
    page * SUM_BYTES as u64
}

fn sums(first: u64, pages: &[u8]) -> Vec<u8> {
    (first..).zip(pages.chunks_exact(PAGE_BYTES)).flat_map(|(number, page)| sum(number, page)).collect()
}

fn sum(number: u64, page: &[u8]) -> [u8; SUM_BYTES] {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), page).max(1).to_le_bytes()
}
