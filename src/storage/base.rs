//! The base: every cell as of the last checkpoint, in redb, whose file `docs/storage.md` draws.
//!
//! Invariant: what one transaction has merged, the maps it has met and the `folded` and `clock` that say so are
//! committed together, so a crash at any moment leaves a base that the journal behind `folded` completes.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
#[expect(
    clippy::disallowed_types,
    reason = "storage threads only: the place where the next sweep begins"
)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Durability, ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::cells::{BLOCKS, CellTable};
use super::database::{Held, Pages, again_if_refused};
use super::fold::TRANSACTION_RECORDS;
use super::row::Row;
use super::spots::WINDOW_BYTES_MAX;
use super::{Disk, Room, StorageError};
use crate::crdt::{MapType, Time};
use crate::mesh::KeyHasher;

/// Name; then a [`Row`].
pub(super) const MAPS: TableDefinition<'_, &str, &[u8; Row::BYTES]> = TableDefinition::new("maps");
/// Map id; then the name.
pub(super) const NAMES: TableDefinition<'_, u32, &str> = TableDefinition::new("names");
pub(super) const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

pub(super) const FOLDED: &str = "folded";
pub(super) const CLOCK: &str = "clock";
pub(super) const NEXT_MAP_ID: &str = "next_map_id";
/// Bytes of keys and values of `blocks`.
pub(super) const USED: &str = "used";

/// The open base. Many may read while one writes; a second writer waits for the first.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub struct Base {
    pub(super) pages: Pages,
    pub(super) hasher: KeyHasher,
    folded: AtomicU64,
    clock: AtomicU64,
    /// The map id, partition and key at which the next sweep begins.
    pub(super) sweep_from: Mutex<Vec<u8>>,
    pub(super) salvages: bool,
    /// Records that one fold takes at once.
    pub(super) transaction_records: usize,
    /// Bytes of them that it reads again at once.
    pub(super) window_bytes: usize,
}

impl Base {
    /// Opens the base of a data directory, or makes it; one of an earlier version is converted. `cache_bytes` is what redb may
    /// hold of it in memory.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::DamagedBase`] and [`StorageError::Base`].
    pub fn open(disk: &dyn Disk, hasher: KeyHasher, cache_bytes: usize) -> Result<Self, StorageError> {
        match Pages::open(disk, cache_bytes)? {
            Some(pages) => Self::of(pages, hasher)?.with_blocks(disk),
            None => Self::create(disk, hasher, cache_bytes, |_| Ok(())),
        }
    }

    /// Opens it without ever writing to its file; what is written all the same is gone afterwards. One that is
    /// not there is empty.
    ///
    /// # Errors
    /// As [`Base::open`].
    pub fn open_unchanged(
        disk: &dyn Disk,
        hasher: KeyHasher,
        cache_bytes: usize,
    ) -> Result<Self, StorageError> {
        Self::of(Pages::open_unchanged(disk, cache_bytes, false)?, hasher)
    }

    /// As [`Base::open_unchanged`], after every page in use was read and compared with its checksums.
    ///
    /// # Errors
    /// [`StorageError::DamagedBase`].
    pub(super) fn open_checked(
        disk: &dyn Disk,
        hasher: KeyHasher,
        cache_bytes: usize,
    ) -> Result<Self, StorageError> {
        Self::of(Pages::open_unchanged(disk, cache_bytes, true)?, hasher)
    }

    /// Keeps going over damage, as `--salvage` wants: an image or a record that is damaged counts as absent.
    #[must_use]
    pub fn salvaging(mut self, salvages: bool) -> Self {
        self.salvages = salvages;
        self
    }

    /// Folds this many records in one transaction instead of [`TRANSACTION_RECORDS`].
    #[must_use]
    pub fn with_transaction_records(mut self, records: usize) -> Self {
        self.transaction_records = records;
        self
    }

    /// From now on a commit that finds no room waits, and what is folded is bounded by what is left.
    pub fn heed(&self, room: Arc<dyn Room>) {
        self.pages.shortage.heed(room);
    }

    /// Bytes that the disk has free. It takes a look.
    pub(super) fn room_free(&self) -> u64 {
        self.pages.shortage.free()
    }

    /// Those of `free` bytes that may still be taken.
    pub(super) fn left_of(&self, free: u64) -> u64 {
        free.saturating_sub(self.pages.shortage.floor())
    }

    /// Whether so little is free that the base should take nothing more of it.
    pub(super) fn is_short(&self, free: u64) -> bool {
        free < self.pages.shortage.floor() / 2
    }

    /// Whether something of the transaction at hand has found no room; it should be given up then.
    pub(super) fn lacks_room(&self) -> bool {
        self.pages.shortage.is_spilled()
    }

    /// Everything up to this sequence number is in the base.
    pub fn folded(&self) -> u64 {
        self.folded.load(Ordering::Acquire)
    }

    /// No tick in the base is above this.
    pub fn clock(&self) -> Time {
        Time::from_bits(self.clock.load(Ordering::Acquire))
    }

    /// The type of a map; `None` if the base does not know it. What is not folded yet, the [`super::Tail`] knows.
    ///
    /// # Errors
    /// [`StorageError::Base`].
    pub fn map_type(&self, map: &str) -> Result<Option<MapType>, StorageError> {
        again_if_refused(|| Ok(self.begin_read()?.row(map)?.map(|row| row.map_type)))
    }

    /// Makes a base with what `fill` puts in. It has another name until that is done, so that a crash leaves all of
    /// it or none.
    pub(super) fn create(
        disk: &dyn Disk,
        hasher: KeyHasher,
        cache_bytes: usize,
        fill: impl FnOnce(&Self) -> Result<(), StorageError>,
    ) -> Result<Self, StorageError> {
        let base = Self::of(Pages::create(disk, cache_bytes)?, hasher)?;
        fill(&base)?;
        base.pages.give_name(disk)?;
        Ok(base)
    }

    #[expect(clippy::disallowed_types, reason = "as above")]
    pub(super) fn of(pages: Pages, hasher: KeyHasher) -> Result<Self, StorageError> {
        let base = Self {
            pages,
            hasher,
            folded: AtomicU64::new(0),
            clock: AtomicU64::new(0),
            sweep_from: Mutex::new(Vec::new()),
            salvages: false,
            transaction_records: TRANSACTION_RECORDS,
            window_bytes: WINDOW_BYTES_MAX,
        };
        let is_new = base.pages.begin_read()?.list_tables().map_err(failed)?.count() == 0;
        if is_new {
            let writing = base.begin_write()?;
            writing.set_used(0)?;
            writing.commit()?;
        }
        let read = base.begin_read()?;
        base.folded.store(read.number(FOLDED)?, Ordering::Release);
        base.clock.store(read.number(CLOCK)?, Ordering::Release);
        Ok(base)
    }

    pub(super) fn begin_read(&self) -> Result<Reading, StorageError> {
        Reading::of(&self.snapshot()?)
    }

    /// One moment of the base, for several looks at it.
    pub(super) fn snapshot(&self) -> Result<ReadTransaction, StorageError> {
        self.pages.begin_read()
    }

    pub(super) fn begin_write(&self) -> Result<Writing<'_>, StorageError> {
        let (mut transaction, held) = self.pages.begin_write()?;
        transaction.set_durability(Durability::Immediate);
        // Commits save which pages are free, so that opening after a crash does not read the whole file.
        transaction.set_quick_repair(true);
        let writing = Writing { base: self, transaction, folded: None, clock: Time::ZERO, used: 0, held };
        writing.open_tables()?;
        Ok(writing)
    }
}

/// For `map_err`: whatever redb says.
pub(super) fn failed(error: impl Into<redb::Error>) -> StorageError {
    match error.into() {
        redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            StorageError::DamagedBase { fault: error.to_string() }
        }
        redb::Error::PreviousIo => StorageError::Refused,
        redb::Error::Corrupted(fault) => StorageError::DamagedBase { fault },
        error => StorageError::Base(Box::new(error)),
    }
}

/// The state of the base at one moment.
pub(super) struct Reading {
    pub cells: CellTable,
    pub maps: ReadOnlyTable<&'static str, &'static [u8; Row::BYTES]>,
    numbers: ReadOnlyTable<&'static str, u64>,
}

impl Reading {
    pub fn of(transaction: &ReadTransaction) -> Result<Self, StorageError> {
        Ok(Self {
            cells: CellTable::of(transaction)?,
            maps: transaction.open_table(MAPS).map_err(failed)?,
            numbers: transaction.open_table(NUMBERS).map_err(failed)?,
        })
    }

    pub fn row(&self, map: &str) -> Result<Option<Row>, StorageError> {
        row_in(&self.maps, map)
    }

    /// The names of all maps, sorted.
    pub fn map_names(&self) -> Result<Vec<String>, StorageError> {
        let entries = self.maps.iter().map_err(failed)?;
        entries.map(|entry| Ok(entry.map_err(failed)?.0.value().to_owned())).collect()
    }

    pub fn number(&self, name: &str) -> Result<u64, StorageError> {
        Ok(self.number_if_known(name)?.unwrap_or(0))
    }

    pub fn number_if_known(&self, name: &str) -> Result<Option<u64>, StorageError> {
        Ok(self.numbers.get(name).map_err(failed)?.map(|number| number.value()))
    }
}

/// One transaction that will be there wholly or not at all; dropping it is not at all.
pub(super) struct Writing<'a> {
    base: &'a Base,
    pub transaction: WriteTransaction,
    folded: Option<u64>,
    clock: Time,
    /// By how much what is used grows.
    used: i64,
    // Dropped last.
    held: Held<'a>,
}

impl Writing<'_> {
    /// Makes the tables that are not there.
    pub fn open_tables(&self) -> Result<(), StorageError> {
        self.transaction.open_table(BLOCKS).map_err(failed)?;
        self.transaction.open_table(MAPS).map_err(failed)?;
        self.transaction.open_table(NAMES).map_err(failed)?;
        self.transaction.open_table(NUMBERS).map_err(failed)?;
        Ok(())
    }

    /// To be called now and then by who writes many cells: what is written goes to the disk little by little.
    pub fn write_out(&self) -> Result<(), StorageError> {
        self.held.write_out()
    }

    /// Everything up to this sequence number is in the base with this transaction.
    pub fn set_folded(&mut self, through: u64) {
        self.folded = Some(through);
    }

    /// The base has a change of that tick now.
    pub fn advance_clock(&mut self, to: Time) {
        self.clock = self.clock.max(to);
    }

    /// What is used is no longer what it was.
    pub fn set_used(&self, bytes: u64) -> Result<(), StorageError> {
        let mut numbers = self.transaction.open_table(NUMBERS).map_err(failed)?;
        numbers.insert(USED, bytes).map_err(failed)?;
        Ok(())
    }

    /// So many bytes of keys and values of `blocks` more, or fewer, are in the base with this transaction.
    pub fn change_used(&mut self, by: i64) {
        self.used += by;
    }

    /// The row of a map, which is made if there is none. One that is changed goes to [`Writing::set_row`].
    pub fn row_or_new(&self, map: &str, map_type: MapType) -> Result<Row, StorageError> {
        let mut maps = self.transaction.open_table(MAPS).map_err(failed)?;
        if let Some(row) = row_in(&maps, map)? {
            return Ok(row);
        }
        let mut numbers = self.transaction.open_table(NUMBERS).map_err(failed)?;
        let next = numbers.get(NEXT_MAP_ID).map_err(failed)?.map_or(0, |number| number.value());
        let id = u32::try_from(next).map_err(|_| StorageError::MapsFull)?;
        let row = Row { id, map_type, pruned_through: Time::ZERO };
        maps.insert(map, &row.to_bytes()).map_err(failed)?;
        numbers.insert(NEXT_MAP_ID, next + 1).map_err(failed)?;
        self.transaction.open_table(NAMES).map_err(failed)?.insert(id, map).map_err(failed)?;
        Ok(row)
    }

    pub fn set_row(&self, map: &str, row: &Row) -> Result<(), StorageError> {
        let mut maps = self.transaction.open_table(MAPS).map_err(failed)?;
        maps.insert(map, &row.to_bytes()).map_err(failed)?;
        Ok(())
    }

    /// Raises what is forgotten of each map, given by its id.
    pub fn raise_pruned_through(&self, forgotten: &HashMap<u32, Time>) -> Result<(), StorageError> {
        let names = self.transaction.open_table(NAMES).map_err(failed)?;
        let maps = self.transaction.open_table(MAPS).map_err(failed)?;
        let mut rows = Vec::new();
        for (&id, &through) in forgotten {
            let Some(name) = names.get(id).map_err(failed)? else { continue };
            if let Some(row) = row_in(&maps, name.value())?.filter(|row| row.pruned_through < through) {
                rows.push((name.value().to_owned(), Row { pruned_through: through, ..row }));
            }
        }
        drop(maps);
        rows.iter().try_for_each(|(name, row)| self.set_row(name, row))
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// [`StorageError::Base`]; whether it is there is not known then, and the base must be opened anew.
    pub fn commit(self) -> Result<(), StorageError> {
        let Self { base, transaction, folded, clock, used, held: _held } = self;
        let folded = folded.map_or(base.folded(), |folded| folded.max(base.folded()));
        let clock = clock.max(base.clock());
        let mut numbers = transaction.open_table(NUMBERS).map_err(failed)?;
        numbers.insert(FOLDED, folded).map_err(failed)?;
        numbers.insert(CLOCK, clock.to_bits()).map_err(failed)?;
        let used_before = numbers.get(USED).map_err(failed)?.map(|number| number.value());
        if let Some(before) = used_before {
            numbers.insert(USED, before.saturating_add_signed(used)).map_err(failed)?;
        }
        drop(numbers);
        transaction.commit().map_err(failed)?;
        base.clock.fetch_max(clock.to_bits(), Ordering::AcqRel);
        base.folded.fetch_max(folded, Ordering::AcqRel);
        Ok(())
    }

    pub fn abort(self) -> Result<(), StorageError> {
        self.transaction.abort().map_err(failed)?;
        self.base.pages.shortage.forget();
        Ok(())
    }
}

fn row_in(
    maps: &impl ReadableTable<&'static str, &'static [u8; Row::BYTES]>,
    map: &str,
) -> Result<Option<Row>, StorageError> {
    match maps.get(map).map_err(failed)? {
        None => Ok(None),
        Some(bytes) => match Row::of_bytes(bytes.value()) {
            Some(row) => Ok(Some(row)),
            None => Err(StorageError::damaged_map(map)),
        },
    }
}
