//! Folding a segment of the journal into the base.
//!
//! Invariant: segments are folded oldest first, and a record whose sequence number is not above `folded` is passed
//! over, so a crash between two transactions, or before the segment was deleted, costs nothing but time.
//!
//! A fold holds one piece of the segment and a place of 24 bytes for each record in it ([`super::merging`]), beside the pages
//! that redb holds: never the segment, nor what its records say.

use super::database::again_if_refused;
use super::merging::{Merged, Places, RECORD_PAGES_BYTES};
use super::pieces::{PieceRecords, Pieces};
use super::stored::Source;
use super::{Base, Clear, Disk, StorageError};
use crate::handover::{Body, Record};

/// Records of one transaction, reckoned at [`RECORD_BYTES`] each: it takes a piece of the segment of so many. Neighbours in the tree share the page that a transaction copies for
/// them, so the more records it sorts, the fewer pages it writes: with 16k records folding a million random keys cost
/// twice the processor time.
pub(super) const TRANSACTION_RECORDS: usize = 256 << 10;
/// The same where there is hardly any room on the disk: a step that needs no more than a few hundred pages.
const TRANSACTION_RECORDS_MIN: usize = 64;
/// What a record is reckoned at where the size of a piece is said in records: a small one.
const RECORD_BYTES: usize = 96;
/// The least records of a transaction where memory is limited.
const LIMITED_RECORDS_MIN: usize = 32 << 10;

/// What a fold did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Records above `folded`, marks included.
    pub records: u64,
    /// Images written.
    pub cells: u64,
    /// Records that do not fit the type of their map or are over a limit, which imports bring and `--salvage` leaves out.
    pub skipped: u64,
    /// Images that were damaged and have been replaced, which only `--salvage` does.
    pub damaged: u64,
    pub transactions: u64,
    /// Everything up to this sequence number is in the base now.
    pub through: u64,
    /// All maps were dropped, and what is in the base now came after.
    pub has_cleared: bool,
    /// It was told not to go on, or lacks room; the rest of the segment is still to be folded.
    pub is_interrupted: bool,
    /// Not even a small step finds room on the disk.
    pub lacks_room: bool,
}

impl Folded {
    /// The disk has none for the next step; whether the fold goes on.
    const fn without_room(&mut self) -> bool {
        (self.is_interrupted, self.lacks_room) = (true, true);
        false
    }
}

impl Base {
    /// Folds fewer records at once where maps may have only so many bytes (0: no limit): an eighth of that for a piece.
    #[must_use]
    pub fn with_memory_limit(self, limit: usize) -> Self {
        if limit == 0 {
            return self;
        }
        let records = limit / 8 / RECORD_BYTES;
        self.with_transaction_records(records.clamp(LIMITED_RECORDS_MIN, TRANSACTION_RECORDS))
    }

    /// Folds one finished segment of the data set `epoch`: several transactions of bounded size, and `folded`
    /// advances with each. Segments must come oldest first.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] for a record, [`StorageError::DamagedCell`] for an image, [`StorageError::Misfit`] for a record
    /// that has no place, [`StorageError::Io`] and [`StorageError::Base`]. What was folded before it stays folded.
    pub fn fold(&self, disk: &dyn Disk, segment: &str, epoch: u64) -> Result<Folded, StorageError> {
        self.fold_while(disk, segment, epoch, &|| true)
    }

    /// The same, as long as `may_go_on` says so, which is asked between transactions. Folding the segment again goes
    /// on where it stopped.
    ///
    /// # Errors
    /// As [`Base::fold`].
    pub fn fold_while(
        &self,
        disk: &dyn Disk,
        segment: &str,
        epoch: u64,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Folded, StorageError> {
        let mut fold = Fold::new(self, disk, segment, epoch)?;
        while fold.step(self)? {
            if fold.folded.transactions > 0 && !may_go_on() {
                fold.folded.is_interrupted = true;
                break;
            }
        }
        Ok(fold.folded)
    }
}

/// [`Base::fold_while`] in steps, each of which is one transaction: anything may be read between two of them.
pub struct Fold {
    pieces: Pieces,
    /// A piece is read, and there may be records in it that are not folded.
    is_in_piece: bool,
    /// Of the next transaction, in this piece.
    count_max: usize,
    /// What the disk had free before the last one.
    free_before: Option<u64>,
    places: Places,
    folded: Folded,
}

impl Fold {
    /// # Errors
    /// As [`Base::fold`].
    pub fn new(base: &Base, disk: &dyn Disk, segment: &str, epoch: u64) -> Result<Self, StorageError> {
        let pieces = Pieces::open(disk, segment, epoch, base.transaction_records * RECORD_BYTES)?;
        Ok(Self {
            pieces,
            is_in_piece: false,
            count_max: usize::MAX,
            free_before: None,
            places: Places::default(),
            folded: Folded { through: base.folded(), ..Folded::default() },
        })
    }

    /// What was done so far.
    pub const fn folded(&self) -> &Folded {
        &self.folded
    }

    /// Does one transaction; whether there is more to be done. It is not where the disk has no room for the next.
    ///
    /// # Errors
    /// As [`Base::fold`].
    pub fn step(&mut self, base: &Base) -> Result<bool, StorageError> {
        let has_more = self.find_next()? && again_if_refused(|| self.fold_some(base))?;
        Ok(has_more && self.find_next()?)
    }

    /// Passes over what the base has; whether there is anything else.
    fn find_next(&mut self) -> Result<bool, StorageError> {
        loop {
            if self.is_in_piece {
                let mut records = self.pieces.records();
                let next = pass_over(&mut records, self.folded.through)?;
                self.is_in_piece = next.is_some();
                let position = records.position();
                self.pieces.take_up_to(position);
            }
            if self.is_in_piece {
                return Ok(true);
            }
            if !self.pieces.read_next()? {
                return Ok(false);
            }
            (self.is_in_piece, self.count_max, self.free_before) = (true, usize::MAX, None);
        }
    }

    /// Folds the records at hand in one transaction; whether it could. Those of a piece, if there is room for all of them.
    fn fold_some(&mut self, base: &Base) -> Result<bool, StorageError> {
        let Self { pieces, count_max, free_before, places, folded, .. } = self;
        let mut records = pieces.records();
        if let Some((_, next)) = records.clone().next().transpose()?
            && next.body == Body::Clear
        {
            base.clear(Clear { sequence: next.sequence, tick: next.applied })?;
            folded.records += 1;
            folded.through = next.sequence;
            folded.has_cleared = true;
            return Ok(true);
        }
        let free = base.room_free();
        // Where hardly anything is left, one step finds out whether the file of the base has what it takes.
        if base.is_short(free) && free_before.is_some_and(|before| free < before) {
            return Ok(folded.without_room());
        }
        *free_before = Some(free);
        let mut step =
            Step { records: &mut records, count: 0, count_max: *count_max, room: base.left_of(free) / 4 };
        let merged = base.merge_records(pieces.bytes(), &mut step, Source::Journal, places, folded)?;
        let count = step.count;
        match merged {
            Merged::All => {
                let position = records.position();
                pieces.take_up_to(position);
            }
            // What it took of the disk is the base's now, and the next, smaller try goes there first.
            Merged::TooLarge if count > TRANSACTION_RECORDS_MIN => *count_max = count / 4,
            Merged::TooLarge | Merged::LacksRoom => return Ok(folded.without_room()),
        }
        Ok(true)
    }
}

/// Passes over what the base has; the next record, which is still to come.
fn pass_over<'a>(records: &mut PieceRecords<'a>, folded: u64) -> Result<Option<Record<'a>>, StorageError> {
    loop {
        let mut ahead = records.clone();
        match ahead.next().transpose()? {
            Some((_, record)) if record.sequence <= folded => *records = ahead,
            next => return Ok(next.map(|(_, record)| record)),
        }
    }
}

/// The next records that one transaction may take: a few in any case, and none behind one that drops all maps.
struct Step<'r, 'a> {
    records: &'r mut PieceRecords<'a>,
    count: usize,
    count_max: usize,
    /// Bytes of the disk that they may take.
    room: u64,
}

impl<'a> Iterator for Step<'_, 'a> {
    type Item = Result<(u32, Record<'a>), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.count >= self.count_max || self.room == 0 && self.count >= TRANSACTION_RECORDS_MIN {
            return None;
        }
        let mut ahead = self.records.clone();
        let found = ahead.next()?;
        if let Ok((_, record)) = &found {
            if record.body == Body::Clear {
                return None;
            }
            self.count += 1;
            self.room = self.room.saturating_sub(RECORD_PAGES_BYTES + 2 * record.bytes as u64);
        }
        *self.records = ahead;
        Some(found)
    }
}
