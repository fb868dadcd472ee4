//! A base that is mostly free pages is copied to a new file, which takes its place.
//!
//! redb gives pages of its file to nobody else: after 90 % of a million keys were deleted the file is what it was. So what
//! is used is counted with each transaction, and where the file is several times as long, that is copied, in the order of
//! the keys, while everybody reads. Nobody folds meanwhile; whoever has to goes first, and this is tried again later.
//!
//! Invariant: the copy has the same cells, rows and numbers, and takes the place of the base as a whole or not at all.

use redb::ReadableTable;

use super::base::{CLOCK, FOLDED, MAPS, NAMES, NEXT_MAP_ID, NUMBERS, Reading, USED, Writing, failed};
use super::block::Cell;
use super::cells::Found;
use super::clear::CLEARED;
use super::database::{Pages, remove_copy};
use super::filling::Filling;
use super::row::Row;
use super::{Base, Disk, StorageError};
use crate::crdt::Time;

/// Below this a file is not worth it.
const FILE_BYTES_MIN: u64 = 16 << 20;
/// A copy takes less than twice what is used, and redb makes a file at most twice as long as it has to be.
const WORTH: u64 = 4;
/// Bytes that are copied in one transaction.
const TRANSACTION_BYTES: u64 = 8 << 20;
/// What redb may hold of the copy in memory.
const CACHE_BYTES: usize = 8 << 20;

/// What became of a copy.
#[derive(Debug)]
pub enum Compaction {
    /// It has taken the place of the base. Bytes of the file before and after.
    Done { before: u64, after: u64 },
    /// It was told not to go on; nothing has changed.
    Interrupted,
    /// It was not to be had: there was no room, or a page or a block cannot be read. Nothing has changed.
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
        let used = self.used_bytes()?;
        Ok(WORTH * used < file_bytes && 2 * used <= self.left_of(self.room_free()))
    }

    /// Copies what is used, and goes on with the copy. Nobody else may write meanwhile, and `may_go_on` is asked between
    /// transactions.
    ///
    /// # Errors
    /// [`StorageError::Base`] and [`StorageError::Io`], where a whole copy could not take its place: the next start finds the
    /// one or the other.
    pub fn compact(&self, disk: &dyn Disk, may_go_on: &dyn Fn() -> bool) -> Result<Compaction, StorageError> {
        self.compact_telling(disk, &mut |cell| cell.is_some() || may_go_on())
    }

    /// The same; `on` is told as [`copy_cells`] does.
    pub(super) fn compact_telling(
        &self,
        disk: &dyn Disk,
        on: &mut dyn FnMut(Option<Cell<'_>>) -> bool,
    ) -> Result<Compaction, StorageError> {
        let before = self.pages.file_bytes()?;
        let outcome = match self.copy_beside(disk, on) {
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
    fn copy_beside(
        &self,
        disk: &dyn Disk,
        on: &mut dyn FnMut(Option<Cell<'_>>) -> bool,
    ) -> Result<bool, StorageError> {
        let mut copy = Self::of(Pages::create_copy(disk, CACHE_BYTES)?, self.hasher)?;
        let from = Reading::of(&self.snapshot()?)?;
        let is_whole = copy_cells(&from, &copy, on)?;
        if is_whole {
            copy.pages.trim()?;
        }
        Ok(is_whole)
    }

    /// Bytes of keys and values of what has the cells.
    ///
    /// # Errors
    /// [`StorageError::Base`].
    pub fn used_bytes(&self) -> Result<u64, StorageError> {
        self.begin_read()?.number(USED)
    }
}

/// Copies a base of either layout into an empty one, in transactions of bounded size, and blocks that are full. `on` is told of
/// each cell, and after a transaction, with none, says whether to go on. Whether all was copied.
pub(super) fn copy_cells(
    from: &Reading,
    to: &Base,
    on: &mut dyn FnMut(Option<Cell<'_>>) -> bool,
) -> Result<bool, StorageError> {
    let mut first = to.begin_write()?;
    copy_rows(from, &mut first)?;
    let mut transaction = Some(first);
    let (mut filling, mut copied, mut goes_on) = (Filling::default(), 0, true);
    from.cells.each(.., &mut |Found { map_id, partition, cell }| {
        let damaged = |_| StorageError::DamagedBase {
            fault: format!("keys of partition {partition} of the map with number {map_id} cannot be read"),
        };
        let cell = cell.map_err(damaged)?;
        let writing = match &mut transaction {
            Some(writing) => writing,
            None => transaction.insert(to.begin_write()?),
        };
        copied += filling.push(&writing.transaction, (map_id, partition), cell)?;
        on(Some(cell));
        writing.write_out()?;
        if let Some(full) = transaction.take_if(|_| copied >= TRANSACTION_BYTES) {
            commit(full, std::mem::take(&mut copied))?;
            goes_on = on(None);
        }
        Ok(goes_on)
    })?;
    if goes_on {
        let writing = transaction.map_or_else(|| to.begin_write(), Ok)?;
        copied += filling.finish(&writing.transaction)?;
        commit(writing, copied)?;
        goes_on = on(None);
    }
    Ok(goes_on)
}

fn copy_rows(from: &Reading, writing: &mut Writing<'_>) -> Result<(), StorageError> {
    writing.set_folded(from.number(FOLDED)?);
    writing.advance_clock(Time::from_bits(from.number(CLOCK)?));
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
    Ok(())
}

fn commit(mut writing: Writing<'_>, copied: u64) -> Result<(), StorageError> {
    writing.change_used(i64::try_from(copied).unwrap_or(i64::MAX));
    writing.commit()
}
