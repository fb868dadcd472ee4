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
        again_if_refused(|| self.fold_segment(disk, segment, epoch, may_go_on))
    }

    fn fold_segment(
        &self,
        disk: &dyn Disk,
        segment: &str,
        epoch: u64,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Folded, StorageError> {
        let mut pieces = Pieces::open(disk, segment, epoch, self.transaction_records * RECORD_BYTES)?;
        let mut folded = Folded { through: self.folded(), ..Folded::default() };
        let mut places = Places::default();
        while !folded.is_interrupted && pieces.read_next()? {
            let mut records = pieces.records();
            self.fold_piece(pieces.bytes(), &mut records, &mut places, &mut folded, may_go_on)?;
            let position = records.position();
            pieces.take_up_to(position);
        }
        Ok(folded)
    }

    /// Folds the records of a piece in as many transactions as there is room for at once: one if there is enough.
    fn fold_piece<'a>(
        &self,
        bytes: &'a [u8],
        records: &mut PieceRecords<'a>,
        places: &mut Places,
        folded: &mut Folded,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<(), StorageError> {
        let mut count_max = usize::MAX;
        let mut free_before = None;
        while let Some(next) = pass_over(records, folded.through)? {
            if folded.transactions > 0 && !may_go_on() {
                folded.is_interrupted = true;
                return Ok(());
            }
            if next.body == Body::Clear {
                self.clear(Clear { sequence: next.sequence, tick: next.applied })?;
                folded.records += 1;
                folded.through = next.sequence;
                folded.has_cleared = true;
                continue;
            }
            let free = self.room_free();
            // Where hardly anything is left, one step finds out whether the file of the base has what it takes.
            if self.is_short(free) && free_before.is_some_and(|before| free < before) {
                (folded.is_interrupted, folded.lacks_room) = (true, true);
                return Ok(());
            }
            free_before = Some(free);
            let begin = records.clone();
            let mut step = Step { records, count: 0, count_max, room: self.left_of(free) / 4 };
            let merged = self.merge_records(bytes, &mut step, Source::Journal, places, folded)?;
            let count = step.count;
            match merged {
                Merged::All => {}
                // What it took of the disk is the base's now, and the next, smaller try goes there first.
                Merged::TooLarge if count > TRANSACTION_RECORDS_MIN => {
                    count_max = count / 4;
                    *records = begin;
                }
                Merged::TooLarge | Merged::LacksRoom => {
                    (folded.is_interrupted, folded.lacks_room) = (true, true);
                    return Ok(());
                }
            }
        }
        Ok(())
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
