//! A base that is mostly free pages is copied to a new file, which takes its place.
//!
//! redb gives pages of its file to nobody else: after 90 % of a million keys were deleted the file is what it was. So what
//! is used is counted with each transaction, and where the file is several times as long, that is copied, in the order of
//! the keys, while everybody reads. Nobody folds meanwhile; whoever has to goes first, and this is tried again later.
//!
//! Invariant: the copy has the same cells, rows and numbers, and takes the place of the base as a whole or not at all.

use redb::ReadableTable;

use super::base::{CELLS, CLOCK, FOLDED, MAPS, NAMES, NEXT_MAP_ID, NUMBERS, Reading, USED, failed};
use super::clear::CLEARED;
use super::database::{Pages, remove_copy};
use super::row::Row;
use super::{Base, Disk, StorageError};
use crate::crdt::Time;

/// Below this a file is not worth it.
const FILE_BYTES_MIN: u64 = 16 << 20;
/// A copy takes less than twice its keys and images, and redb makes a file at most twice as long as it has to be.
const WORTH: u64 = 4;
/// Cells, and bytes of them, that are copied in one transaction.
const TRANSACTION_CELLS: usize = 64 << 10;
const TRANSACTION_BYTES: usize = 16 << 20;
/// What redb may hold of the copy in memory.
const CACHE_BYTES: usize = 8 << 20;

/// What became of a copy.
#[derive(Debug)]
pub enum Compaction {
    /// It has taken the place of the base. Bytes of the file before and after.
    Done { before: u64, after: u64 },
    /// It was told not to go on; nothing has changed.
    Interrupted,
    /// It was not to be had: there was no room, or a page cannot be read. Nothing has changed.
    Failed(StorageError),
}

impl Base {
    /// Whether the file is so much longer than what is in it that a copy is worth it, and there is room for one.
    ///
    /// # Errors
    /// [`StorageError::Base`] and [`StorageError::Io`].
    pub fn is_worth_compacting(&self) -> Result<bool, StorageError> {
        let file_bytes = self.pages.file_bytes()?;
        if file_bytes < FILE_BYTES_MIN {
            return Ok(false);
        }
        let used = match self.used_bytes()? {
            Some(used) => used,
            None => self.count_used()?,
        };
        Ok(WORTH * used < file_bytes && 2 * used <= self.left_of(self.room_free()))
    }

    /// Copies what is used, and goes on with the copy. Nobody else may write meanwhile, and `may_go_on` is asked between
    /// transactions.
    ///
    /// # Errors
    /// [`StorageError::Base`] and [`StorageError::Io`], where a whole copy could not take its place: the next start finds the
    /// one or the other.
    pub fn compact(&self, disk: &dyn Disk, may_go_on: &dyn Fn() -> bool) -> Result<Compaction, StorageError> {
        let before = self.pages.file_bytes()?;
        let outcome = match self.copy_beside(disk, may_go_on) {
            Ok(true) => {
                self.pages.take_place(disk)?;
                return Ok(Compaction::Done { before, after: self.pages.file_bytes()? });
            }
            Ok(false) => Compaction::Interrupted,
            Err(error) => Compaction::Failed(error),
        };
        remove_copy(disk)?;
        Ok(outcome)
    }

    /// Whether all was copied.
    fn copy_beside(&self, disk: &dyn Disk, may_go_on: &dyn Fn() -> bool) -> Result<bool, StorageError> {
        let mut copy = Self::of(Pages::create_copy(disk, CACHE_BYTES)?, self.hasher)?;
        let from = Reading::of(&self.snapshot()?)?;
        let is_whole = copy_cells(&from, &copy, &mut |cell| cell.is_some() || may_go_on())?;
        if is_whole {
            copy.pages.trim()?;
        }
        Ok(is_whole)
    }

    /// Bytes of keys and images; `None` in a base of an earlier version that was not asked
    /// [whether it is worth it](Self::is_worth_compacting).
    ///
    /// # Errors
    /// [`StorageError::Base`].
    pub fn used_bytes(&self) -> Result<Option<u64>, StorageError> {
        self.begin_read()?.number_if_known(USED)
    }

    /// Counts what is used, once, in a base that does not say.
    fn count_used(&self) -> Result<u64, StorageError> {
        let mut used = 0;
        for entry in self.begin_read()?.cells.range::<&[u8]>(..).map_err(failed)? {
            let (cell_key, image) = entry.map_err(failed)?;
            used += (cell_key.value().len() + image.value().len()) as u64;
        }
        let writing = self.begin_write()?;
        writing.set_used(used)?;
        writing.commit()?;
        Ok(used)
    }
}

/// Key and image of a cell; none: a transaction is through.
type Copied<'a> = Option<(&'a [u8], &'a [u8])>;

/// Copies a base into an empty one, in transactions of bounded size. `on` is told of each cell, and after a
/// transaction says whether to go on. Whether all was copied.
pub(super) fn copy_cells(
    from: &Reading,
    to: &Base,
    on: &mut dyn FnMut(Copied<'_>) -> bool,
) -> Result<bool, StorageError> {
    let mut writing = to.begin_write()?;
    writing.set_folded(from.number(FOLDED)?);
    writing.advance_clock(Time::from_bits(from.number(CLOCK)?));
    {
        let mut maps = writing.transaction.open_table(MAPS).map_err(failed)?;
        let mut names = writing.transaction.open_table(NAMES).map_err(failed)?;
        for entry in from.maps.iter().map_err(failed)? {
            let (name, bytes) = entry.map_err(failed)?;
            let row = Row::of_bytes(bytes.value()).ok_or_else(|| StorageError::damaged_map(name.value()))?;
            maps.insert(name.value(), bytes.value()).map_err(failed)?;
            names.insert(row.id, name.value()).map_err(failed)?;
        }
        let mut numbers = writing.transaction.open_table(NUMBERS).map_err(failed)?;
        for name in [NEXT_MAP_ID, CLEARED] {
            numbers.insert(name, from.number(name)?).map_err(failed)?;
        }
    }
    let mut entries = from.cells.range::<&[u8]>(..).map_err(failed)?;
    loop {
        let (mut copied, mut bytes) = (0, 0);
        {
            let mut cells = writing.transaction.open_table(CELLS).map_err(failed)?;
            while copied < TRANSACTION_CELLS && bytes < TRANSACTION_BYTES {
                let Some(entry) = entries.next() else { break };
                let (cell_key, image) = entry.map_err(failed)?;
                let (cell_key, image) = (cell_key.value(), image.value());
                cells.insert(cell_key, image).map_err(failed)?;
                writing.write_out()?;
                bytes += cell_key.len() + image.len();
                copied += 1;
                on(Some((cell_key, image)));
            }
        }
        writing.change_used(bytes as i64);
        writing.commit()?;
        let may_go_on = on(None);
        if copied == 0 || !may_go_on {
            return Ok(may_go_on);
        }
        writing = to.begin_write()?;
    }
}
