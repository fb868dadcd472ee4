//! Folding a segment of the journal into the base.
//!
//! Invariant: segments are folded oldest first, and a record whose sequence number is not above `folded` is passed
//! over, so a crash between two transactions, or before the segment was deleted, costs nothing but time.

use std::collections::HashMap;

use redb::ReadableTable;

use super::base::{Base, CELLS, Writing, failed};
use super::database::again_if_refused;
use super::row::{Row, partition_of, set_cell_key};
use super::stored::{Source, merge};
use super::{Clear, Disk, Segment, StorageError};
use crate::crdt::{Delta, MapType, Time};
use crate::handover::{Body, Record};

/// Records of one transaction: about a segment of small values. Neighbours in the tree share the page that a
/// transaction copies for them, so the more records it sorts, the fewer pages it writes: with 16k records folding a
/// million random keys cost twice the processor time. Memory for it is bounded by the segment, which is read whole.
pub(super) const TRANSACTION_RECORDS: usize = 256 << 10;
/// The same where there is hardly any room on the disk: a step that needs no more than a few hundred pages.
const TRANSACTION_RECORDS_MIN: usize = 64;
/// Bytes that a record may take beside its own: the page of its cell, which is copied, and another where that is split.
/// What the record itself brings may be rounded up to twice of it.
pub(super) const RECORD_PAGES_BYTES: u64 = 2 * 4096;
/// Cells between two looks at the room that is left, at the least.
const CELLS_PER_LOOK: u64 = 16;

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
        let segment = Segment::read(disk, segment, epoch)?;
        let before = self.folded();
        let mut folded = Folded { through: before, ..Folded::default() };
        let mut records = Vec::new();
        for record in segment.records() {
            let (_, record) = record?;
            if record.sequence <= before {
                continue;
            }
            if record.body == Body::Clear {
                self.clear(Clear { sequence: record.sequence, tick: record.applied })?;
                folded.records += records.len() as u64 + 1;
                folded.through = record.sequence;
                folded.has_cleared = true;
                records.clear();
                continue;
            }
            records.push(record);
            if records.len() >= self.transaction_records {
                self.fold_records(&records, &mut folded, may_go_on)?;
                records.clear();
                folded.is_interrupted |= !may_go_on();
                if folded.is_interrupted {
                    return Ok(folded);
                }
            }
        }
        self.fold_records(&records, &mut folded, may_go_on)?;
        Ok(folded)
    }

    /// Folds records in as many transactions as there is room for at once: one if there is enough.
    fn fold_records(
        &self,
        mut records: &[Record<'_>],
        folded: &mut Folded,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<(), StorageError> {
        let mut count_max = self.transaction_records;
        let mut free_before = None;
        while !records.is_empty() {
            let free = self.room_free();
            // Where hardly anything is left, one step finds out whether the file of the base has what it takes.
            if self.is_short(free) && free_before.is_some_and(|before| free < before) {
                (folded.is_interrupted, folded.lacks_room) = (true, true);
                return Ok(());
            }
            free_before = Some(free);
            let next = &records[..count_max.min(records.len())];
            count_max = count_max.min(records_within(self.left_of(free) / 4, next));
            let (now, later) = records.split_at(count_max.min(records.len()));
            match self.merge_records(now, Source::Journal, folded)? {
                Merged::All => records = later,
                // What it took of the disk is the base's now, and the next, smaller try goes there first.
                Merged::TooLarge if now.len() > TRANSACTION_RECORDS_MIN => count_max = now.len() / 4,
                Merged::TooLarge | Merged::LacksRoom => {
                    (folded.is_interrupted, folded.lacks_room) = (true, true);
                    return Ok(());
                }
            }
            if !records.is_empty() && !may_go_on() {
                folded.is_interrupted = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Merges records in one transaction, after which everything up to the last of them is in the base if they are of
    /// the journal.
    pub(super) fn merge_records(
        &self,
        records: &[Record<'_>],
        source: Source,
        so_far: &mut Folded,
    ) -> Result<Merged, StorageError> {
        let mut writing = self.begin_write()?;
        let mut merging = Merging { base: self, source, maps: Maps::default(), changes: Vec::new(), used: 0 };
        let mut folded = *so_far;
        merging.sort_in(records, &writing, &mut folded)?;
        let mut merged = merging.write_cells(&writing, &mut folded)?;
        if self.lacks_room() {
            merged = Merged::LacksRoom;
        }
        if merged != Merged::All {
            writing.abort()?;
            return Ok(merged);
        }
        for map in merging.maps.list.iter().filter(|map| map.is_changed) {
            writing.set_row(map.name, &map.row)?;
        }
        if let Some(clock) = records.iter().map(latest).max() {
            writing.advance_clock(clock);
        }
        if source == Source::Journal {
            folded.through = records.last().map_or(folded.through, |record| record.sequence);
            writing.set_folded(folded.through);
        }
        writing.change_used(merging.used);
        writing.commit()?;
        folded.records += records.len() as u64;
        folded.transactions += 1;
        *so_far = folded;
        Ok(Merged::All)
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    All,
    /// Nothing of it is in the base, as it would take too much of what the disk has left.
    TooLarge,
    /// The same, as the disk has nothing left.
    LacksRoom,
}

/// How many of the first records may take so many bytes together; a few in any case.
fn records_within(bytes: u64, records: &[Record<'_>]) -> usize {
    let mut left = bytes;
    let fits = |record: &&Record<'_>| {
        let after = left.checked_sub(RECORD_PAGES_BYTES + 2 * record.bytes as u64);
        left = after.unwrap_or(0);
        after.is_some()
    };
    records.iter().take_while(fits).count().max(TRANSACTION_RECORDS_MIN)
}

/// The latest time in a record. Where a server has written it that is the tick it was applied at; an import says when.
fn latest(record: &Record<'_>) -> Time {
    match &record.body {
        Body::Delta(delta) => delta.stamped().map_or(record.applied, |stamped| stamped.max(record.applied)),
        Body::Type(_) | Body::Mark { .. } | Body::Clear => record.applied,
    }
}

/// The records of one transaction, put in the order of `cells`.
struct Merging<'a> {
    base: &'a Base,
    source: Source,
    maps: Maps<'a>,
    changes: Vec<Change<'a>>,
    /// By how much keys and images are longer together.
    used: i64,
}

#[derive(Clone, Copy)]
struct Change<'a> {
    /// Of [`Maps::list`].
    map: usize,
    map_id: u32,
    partition: u16,
    key: &'a [u8],
    /// In the journal, which is the order in which changes of one key were applied.
    sequence: u64,
    delta: Delta<'a>,
    applied: Time,
}

impl<'a> Merging<'a> {
    /// Whether a record without a place is an error: what was accepted is never dropped, unless the owner says so.
    fn must_place_all(&self) -> bool {
        self.source == Source::Journal && !self.base.salvages
    }

    fn sort_in(
        &mut self,
        records: &[Record<'a>],
        writing: &Writing<'_>,
        folded: &mut Folded,
    ) -> Result<(), StorageError> {
        for record in records {
            let map_type = match record.body {
                Body::Mark { .. } | Body::Clear => continue,
                Body::Type(map_type) => map_type,
                Body::Delta(delta) => delta.map_type(),
            };
            let map = self.maps.find_or_add(record.map, map_type, self.base, writing)?;
            let MapMet { row, hash, .. } = self.maps.list[map];
            let partition = partition_of(self.base.hasher, hash, record.key);
            match (record.body, partition) {
                (Body::Delta(delta), Some(partition)) if row.map_type == map_type => {
                    let (map_id, key, sequence, applied) =
                        (row.id, record.key, record.sequence, record.applied);
                    self.changes.push(Change { map, map_id, partition, key, sequence, delta, applied });
                }
                (Body::Type(_), _) if row.map_type == map_type => {}
                _ if self.must_place_all() => {
                    return Err(StorageError::misfit(record.sequence, record.map, record.key));
                }
                _ => folded.skipped += 1,
            }
        }
        self.changes
            .sort_unstable_by_key(|change| (change.map_id, change.partition, change.key, change.sequence));
        Ok(())
    }

    fn write_cells(&mut self, writing: &Writing<'_>, folded: &mut Folded) -> Result<Merged, StorageError> {
        let (source, must_place_all) = (self.source, self.must_place_all());
        let mut cells = writing.transaction.open_table(CELLS).map_err(failed)?;
        let (mut cell_key, mut image) = (Vec::new(), Vec::new());
        // Bytes that may be taken before the next look.
        let free_before = self.base.room_free();
        let mut unlooked = self.base.left_of(free_before) / 2;
        let is_one_cell =
            |left: &Change<'_>, right: &Change<'_>| (left.map, left.key) == (right.map, right.key);
        for of_cell in self.changes.chunk_by(is_one_cell) {
            let Some(&Change { map, map_id, partition, key, sequence, .. }) = of_cell.first() else {
                continue;
            };
            let map = &mut self.maps.list[map];
            set_cell_key(&mut cell_key, map_id, partition, key);
            image.clear();
            let deltas = of_cell.iter().map(|change| (change.delta, change.applied));
            let stored = cells.get(&*cell_key).map_err(failed)?;
            let stored_image = stored.as_ref().map(|stored| stored.value());
            let bytes_before = stored_image.map_or(0, |image| cell_key.len() + image.len());
            let merged = merge(map.row.map_type, stored_image, deltas.clone(), source, &mut image);
            let merged = match merged {
                Err(_) if self.base.salvages => {
                    folded.damaged += 1;
                    merge(map.row.map_type, None, deltas, source, &mut image)
                }
                merged => merged,
            };
            drop(stored);
            let merged = merged.map_err(|_| StorageError::damaged_cell(map.name, key))?;
            if merged.refused > 0 && must_place_all {
                return Err(StorageError::misfit(sequence, map.name, key));
            }
            folded.skipped += merged.refused;
            if let Some(forgotten) = merged.forgotten.filter(|&through| through > map.row.pruned_through) {
                map.row.pruned_through = forgotten;
                map.is_changed = true;
            }
            if merged.is_changed {
                cells.insert(&*cell_key, &*image).map_err(failed)?;
                folded.cells += 1;
                self.used += (cell_key.len() + image.len()) as i64 - bytes_before as i64;
                let taken = RECORD_PAGES_BYTES + 2 * image.len() as u64;
                unlooked = unlooked.saturating_sub(taken);
                if unlooked == 0 || self.base.lacks_room() {
                    let free = self.base.room_free();
                    // Pages that the file has already are free for everybody.
                    if self.base.lacks_room() || free < free_before && self.base.is_short(free) {
                        return Ok(Merged::TooLarge);
                    }
                    unlooked = (self.base.left_of(free) / 2).max(CELLS_PER_LOOK * RECORD_PAGES_BYTES);
                }
            }
        }
        Ok(Merged::All)
    }
}

/// The maps that the records of one transaction are of.
#[derive(Default)]
struct Maps<'a> {
    list: Vec<MapMet<'a>>,
    by_name: HashMap<&'a str, usize>,
    /// The place that was asked for last.
    latest: usize,
}

#[derive(Clone, Copy)]
struct MapMet<'a> {
    name: &'a str,
    hash: u64,
    row: Row,
    /// Whether the row has to be written.
    is_changed: bool,
}

impl<'a> Maps<'a> {
    /// The place of a map in the list. One that is new to the base gets its row, with that type.
    fn find_or_add(
        &mut self,
        name: &'a str,
        map_type: MapType,
        base: &Base,
        writing: &Writing<'_>,
    ) -> Result<usize, StorageError> {
        // Records of one map often come in a row.
        if self.list.get(self.latest).is_some_and(|map| map.name == name) {
            return Ok(self.latest);
        }
        if let Some(&place) = self.by_name.get(name) {
            self.latest = place;
            return Ok(place);
        }
        let row = writing.row_or_new(name, map_type)?;
        self.list.push(MapMet { name, hash: base.hasher.map(name), row, is_changed: false });
        self.latest = self.list.len() - 1;
        self.by_name.insert(name, self.latest);
        Ok(self.latest)
    }
}
