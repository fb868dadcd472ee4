//! Folding a segment of the journal into the base.
//!
//! Invariant: segments are folded oldest first, and a record whose sequence number is not above `folded` is passed
//! over, so a crash between two transactions, or before the segment was deleted, costs nothing but time.
//!
//! **A transaction copies each page once that any of its records falls into**, and keys fall anywhere, so the more records it has,
//! the fewer pages are written for each: all segments that wait are one transaction. It goes through them twice. The first time it
//! notes where records are, 16 bytes for each ([`super::spots`]); then it reads them again, a window at a time, in the order
//! of the base ([`super::merging`]). So it never holds a segment, nor what its records say.

use super::chain::Chain;
use super::database::again_if_refused;
use super::merging::{Merged, Merging, RECORD_PAGES_BYTES};
use super::spots::{Spots, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN};
use super::stored::Source;
use super::{Base, Clear, Disk, StorageError};
use crate::handover::{Body, Record};

/// Records of one transaction at the most, and reckoned at [`RECORD_BYTES`] each: some segments of the usual size.
pub(super) const TRANSACTION_RECORDS: usize = 3 << 20;
/// The same where there is hardly any room on the disk: a step that needs no more than a few hundred pages.
const TRANSACTION_RECORDS_MIN: usize = 64;
/// What a record is reckoned at where the size of a transaction is said in records: a small one.
const RECORD_BYTES: usize = 96;
/// Bytes of records that are not worth a transaction of their own.
const TRANSACTION_BYTES_MIN: usize = 8 << 10;
/// Each has its row in memory.
const TRANSACTION_MAPS_MAX: usize = 64 << 10;
/// The least records of a transaction where memory is limited.
const LIMITED_RECORDS_MIN: usize = 32 << 10;
/// Of a segment, read at once.
const PIECE_BYTES: usize = 1 << 20;

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
    /// Folds fewer records at once where maps may have only so many bytes (0: no limit): an eighth of that for where they are, and
    /// a 64th for those that are read again.
    #[must_use]
    pub fn with_memory_limit(mut self, limit: usize) -> Self {
        if limit == 0 {
            return self;
        }
        self.window_bytes = (limit / 64).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        let records = limit / 8 / Spots::RECORD_BYTES;
        self.with_transaction_records(records.clamp(LIMITED_RECORDS_MIN, TRANSACTION_RECORDS))
    }

    /// Folds one finished segment of the data set `epoch`: several transactions of bounded size, and `folded`
    /// advances with each. Segments must come oldest first.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] for a record, [`StorageError::DamagedCell`] for an image, [`StorageError::Misfit`] for a record
    /// that has no place, [`StorageError::Io`] and [`StorageError::Base`]. What was folded before it stays folded.
    pub fn fold(&self, disk: &dyn Disk, segment: &str, epoch: u64) -> Result<Folded, StorageError> {
        self.fold_while(disk, &[segment], epoch, &|| true)
    }

    /// The same with several, as long as `may_go_on` says so, which is asked between transactions and between windows of one, which is given
    /// up then. Folding the segment again goes on where the last whole transaction stopped.
    ///
    /// # Errors
    /// As [`Base::fold`].
    pub fn fold_while(
        &self,
        disk: &dyn Disk,
        segments: &[&str],
        epoch: u64,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Folded, StorageError> {
        let mut fold = Fold::new(self, disk, segments, epoch)?;
        while fold.step(self, may_go_on)? {
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
    chain: Chain,
    spots: Spots,
    /// Records of the next transaction.
    count_max: usize,
    /// What the disk had free before the last one.
    free_before: Option<u64>,
    folded: Folded,
}

impl Fold {
    /// # Errors
    /// As [`Base::fold`].
    pub fn new(base: &Base, disk: &dyn Disk, segments: &[&str], epoch: u64) -> Result<Self, StorageError> {
        Ok(Self {
            chain: Chain::open(disk, segments, epoch, PIECE_BYTES)?,
            spots: Spots::default(),
            count_max: usize::MAX,
            free_before: None,
            folded: Folded { through: base.folded(), ..Folded::default() },
        })
    }

    /// What was done so far.
    pub const fn folded(&self) -> &Folded {
        &self.folded
    }

    /// Does one transaction, which is given up where `may_go_on` says no; whether there is more to be done. There is not where
    /// [`Folded::is_interrupted`] says that it goes on another time.
    ///
    /// # Errors
    /// As [`Base::fold`].
    pub fn step(&mut self, base: &Base, may_go_on: &dyn Fn() -> bool) -> Result<bool, StorageError> {
        let begin = self.chain.position();
        let goes_on = again_if_refused(|| {
            self.chain.go_to(begin);
            self.fold_some(base, may_go_on)
        })?;
        Ok(goes_on && pass_over(&mut self.chain, self.folded.through)?.is_some())
    }

    /// Folds the next records in one transaction; whether it could.
    fn fold_some(&mut self, base: &Base, may_go_on: &dyn Fn() -> bool) -> Result<bool, StorageError> {
        let Self { chain, spots, count_max, free_before, folded } = self;
        let Some(next) = pass_over(chain, folded.through)? else { return Ok(false) };
        if let Next::Clear(clear) = next {
            base.clear(clear)?;
            folded.records += 1;
            folded.through = clear.sequence;
            folded.has_cleared = true;
            return Ok(true);
        }
        let free = base.room_free();
        // Where hardly anything is left, one step finds out whether the file of the base has what it takes.
        if base.is_short(free) && free_before.is_some_and(|before| free < before) {
            return Ok(folded.without_room());
        }
        *free_before = Some(free);
        let bytes_max = base.transaction_records.saturating_mul(RECORD_BYTES).max(TRANSACTION_BYTES_MIN);
        let bounds = Bounds { bytes_max, count_max: *count_max, room: base.left_of(free) / 4 };
        let begin = chain.position();
        let mut merging = base.begin_merge(Source::Journal, *folded)?;
        let count = gather(chain, &mut merging, bounds, spots)?;
        let merged = spots.merge(chain, &mut merging, base.window_bytes, may_go_on)?;
        match merging.end(merged)? {
            (Merged::All, done) => *folded = done,
            // What it took of the disk is the base's now, and the next, smaller try goes there first.
            (Merged::TooLarge, _) if count > TRANSACTION_RECORDS_MIN => {
                *count_max = count / 4;
                chain.go_to(begin);
            }
            (Merged::Interrupted, _) => {
                folded.is_interrupted = true;
                return Ok(false);
            }
            (Merged::TooLarge | Merged::LacksRoom, _) => return Ok(folded.without_room()),
        }
        Ok(true)
    }
}

/// The next record that the base does not have.
enum Next {
    Clear(Clear),
    Other,
}

/// Passes over what the base has; the next record, which is still to come.
fn pass_over(chain: &mut Chain, folded: u64) -> Result<Option<Next>, StorageError> {
    while let Some((_, pieces)) = chain.read_next()? {
        let mut records = pieces.records();
        let mut ahead = records.clone();
        let next = loop {
            match ahead.next().transpose()? {
                Some((_, record)) if record.sequence <= folded => records = ahead.clone(),
                Some((_, Record { sequence, applied: tick, body: Body::Clear, .. })) => {
                    break Some(Next::Clear(Clear { sequence, tick }));
                }
                Some(_) => break Some(Next::Other),
                None => break None,
            }
        };
        let position = records.position();
        if next.is_some() {
            pieces.go_to(position);
            return Ok(next);
        }
        pieces.take_up_to(position);
    }
    Ok(None)
}

/// What one transaction may take: a few records in any case, and none behind one that drops all maps.
struct Bounds {
    /// Of records.
    bytes_max: usize,
    count_max: usize,
    /// Bytes of the disk.
    room: u64,
}

/// Has a transaction meet the next records, as many as it may take; how many that are.
fn gather(
    chain: &mut Chain,
    merging: &mut Merging<'_>,
    mut bounds: Bounds,
    spots: &mut Spots,
) -> Result<usize, StorageError> {
    spots.clear();
    let (mut count, mut bytes, mut is_full) = (0, 0, false);
    while !is_full && let Some((segment, pieces)) = chain.read_next()? {
        let mut records = pieces.records();
        loop {
            let mut ahead = records.clone();
            let Some((offset, record)) = ahead.next().transpose()? else { break };
            is_full = record.body == Body::Clear
                || count >= bounds.count_max.min(TRANSACTION_RECORDS)
                || bytes >= bounds.bytes_max
                || merging.maps() >= TRANSACTION_MAPS_MAX
                || bounds.room == 0 && count >= TRANSACTION_RECORDS_MIN;
            if is_full {
                break;
            }
            count += 1;
            bytes += record.bytes;
            bounds.room = bounds.room.saturating_sub(RECORD_PAGES_BYTES + 2 * record.bytes as u64);
            if let Some(region) = merging.meet(&record)? {
                spots.push(region, (segment, pieces.in_file(offset)), &record);
            }
            records = ahead;
        }
        let position = records.position();
        match is_full {
            true => pieces.go_to(position),
            false => pieces.take_up_to(position),
        }
    }
    Ok(count)
}
