//! The cells of one map as they are now: those of the base, with the tail of the journal merged in.

use std::ops::Range;

use redb::ReadTransaction;

use super::base::{Base, FOLDED, Reading};
use super::cells::Found;
use super::row::{Row, set_cell_key};
use super::stored::{Glance, Source, StoredCell, glance, merge};
use super::tail::{TailCell, TailCells, Taken};
use super::{StorageError, Tail};
use crate::crdt::{MapType, Time};
use crate::limits::PARTITIONS;

/// The partitions of a whole map.
pub(super) const WHOLE: Range<u16> = 0..PARTITIONS as u16;

/// One map at one moment.
pub(super) struct View {
    map: String,
    /// `None`: nothing is stored under that name.
    pub map_type: Option<MapType>,
    /// Removals up to here may be missing.
    pub pruned_through: Time,
    row: Option<Row>,
    tail: TailCells,
    reading: Reading,
    salvages: bool,
}

/// Who looks at the cells.
pub(super) trait Visitor {
    /// One cell; whether to go on.
    fn cell(&mut self, key: &[u8], image: &[u8], glance: &Glance) -> Result<bool, StorageError>;

    /// A cell, or what is left of a block, that is damaged in the base. If this returns, it counts as absent.
    fn damaged(&mut self, error: StorageError) -> Result<(), StorageError> {
        Err(error)
    }
}

impl View {
    /// Takes the records of the tail first: what is folded meanwhile is then in both, and not in neither. What the base has
    /// is left out of the tail's: where a removal was forgotten since, merging it once more would bring that back.
    ///
    /// # Errors
    /// [`StorageError::Base`], and of the segments of the tail.
    pub fn open(base: &Base, tail: &Tail, map: &str, partitions: Range<u16>) -> Result<Self, StorageError> {
        Self::open_behind(base, tail.take(map, &partitions), map)
    }

    /// The same, where the records of the tail were taken before.
    ///
    /// # Errors
    /// As [`View::open`].
    pub fn open_behind(base: &Base, taken: Taken, map: &str) -> Result<Self, StorageError> {
        Self::of(base, base.begin_read()?, taken, map)
    }

    /// All of the map at the moment of a snapshot, on top of which come the records of a tail that nobody folds.
    ///
    /// # Errors
    /// As [`View::open`].
    pub fn open_at(
        base: &Base,
        snapshot: &ReadTransaction,
        tail: &Tail,
        map: &str,
    ) -> Result<Self, StorageError> {
        let taken = tail.take(map, &WHOLE);
        Self::of(base, Reading::of(snapshot)?, taken, map)
    }

    fn of(base: &Base, reading: Reading, taken: Taken, map: &str) -> Result<Self, StorageError> {
        let row = reading.row(map)?;
        Ok(Self {
            map: map.to_owned(),
            map_type: row.map(|row| row.map_type).or(taken.map_type),
            pruned_through: row.map_or(Time::ZERO, |row| row.pruned_through),
            row,
            tail: taken.read(map, reading.number(FOLDED)?)?,
            reading,
            salvages: base.salvages,
        })
    }

    /// Shows every cell in a range of partitions, in the order of the base, as if removals applied before
    /// `forget_before` had never been. Returns when the latest removal was applied that is left out so.
    ///
    /// # Errors
    /// [`StorageError::Base`], and what the visitor returns.
    pub fn visit(
        &self,
        partitions: Range<u16>,
        forget_before: Time,
        visitor: &mut dyn Visitor,
    ) -> Result<Time, StorageError> {
        let Some(map_type) = self.map_type else { return Ok(Time::ZERO) };
        let mut visit =
            Visit { view: self, map_type, forget_before, forgotten: Time::ZERO, visitor, merged: Vec::new() };
        let mut tail = self.tail.cells(partitions.clone()).peekable();
        if let Some(row) = self.row {
            let (mut start, mut end) = (Vec::new(), Vec::new());
            set_cell_key(&mut start, row.id, partitions.start, &[]);
            set_cell_key(&mut end, row.id, partitions.end, &[]);
            let mut goes_on = true;
            self.reading.cells.each(&*start..&*end, &mut |Found { partition, cell, .. }| {
                let Ok((key, image)) = cell else { return visit.damaged_block(partition).map(|()| true) };
                let place = (partition, key);
                while let Some(before) = tail.next_if(|cell| (cell.partition, cell.key) < place) {
                    goes_on = visit.cell(before.key, None, Some(before))?;
                    if !goes_on {
                        return Ok(false);
                    }
                }
                let same = tail.next_if(|cell| (cell.partition, cell.key) == place);
                goes_on = visit.cell(key, Some(image), same)?;
                Ok(goes_on)
            })?;
            if !goes_on {
                return Ok(visit.forgotten);
            }
        }
        for cell in tail {
            if !visit.cell(cell.key, None, Some(cell))? {
                break;
            }
        }
        Ok(visit.forgotten)
    }
}

struct Visit<'a> {
    view: &'a View,
    map_type: MapType,
    forget_before: Time,
    forgotten: Time,
    visitor: &'a mut dyn Visitor,
    /// The image that was made last.
    merged: Vec<u8>,
}

impl Visit<'_> {
    /// Shows one cell, which is in the base, in the tail or in both; whether to go on.
    fn cell(
        &mut self,
        key: &[u8],
        image: Option<&[u8]>,
        tail: Option<TailCell<'_>>,
    ) -> Result<bool, StorageError> {
        // A damaged image that counts as absent leaves what the tail has of the key.
        let (image, glanced) = match image.map(|image| (image, glance(Some(self.map_type), image))) {
            Some((_, Err(_))) => {
                self.damaged(key)?;
                (None, None)
            }
            Some((image, Ok(glanced))) => (Some(image), Some(glanced)),
            None => (None, None),
        };
        let mut merged = std::mem::take(&mut self.merged);
        merged.clear();
        let goes_on = match (image, glanced, tail) {
            (None, _, None) => Ok(true),
            (Some(image), Some(glanced), None) => self.show(key, image, &glanced),
            (image, _, Some(tail)) => self.merge(tail, image, &mut merged),
            (Some(_), None, None) => Ok(true),
        };
        self.merged = merged;
        goes_on
    }

    fn merge(
        &mut self,
        tail: TailCell<'_>,
        image: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<bool, StorageError> {
        let Ok(merged) = merge(self.map_type, image, tail.deltas(), Source::Journal, out) else {
            return self.damaged(tail.key).map(|()| true);
        };
        if merged.refused > 0 {
            return self.damaged(tail.key).map(|()| true);
        }
        self.forgotten = self.forgotten.max(merged.forgotten.unwrap_or(Time::ZERO));
        let Some(image) = (if merged.is_changed { Some(&out[..]) } else { image }) else { return Ok(true) };
        match glance(Some(self.map_type), image) {
            Ok(glanced) => self.show(tail.key, image, &glanced),
            Err(_) => self.damaged(tail.key).map(|()| true),
        }
    }

    /// Shows what is left of an image once old removals are forgotten.
    fn show(&mut self, key: &[u8], image: &[u8], glanced: &Glance) -> Result<bool, StorageError> {
        if glanced.oldest_removal.is_none_or(|removal| removal >= self.forget_before) {
            return self.visitor.cell(key, image, glanced);
        }
        let Ok(mut cell) = StoredCell::read(self.map_type, image) else {
            return self.damaged(key).map(|()| true);
        };
        let forgotten = cell.forget_removals(self.forget_before);
        self.forgotten = self.forgotten.max(forgotten.unwrap_or(Time::ZERO));
        if cell.is_vacant() {
            return Ok(true);
        }
        let mut left = Vec::new();
        cell.write(&mut left);
        match glance(Some(self.map_type), &left) {
            Ok(glanced) => self.visitor.cell(key, &left, &glanced),
            Err(_) => self.damaged(key).map(|()| true),
        }
    }

    fn damaged(&mut self, key: &[u8]) -> Result<(), StorageError> {
        self.leave_out(StorageError::damaged_cell(&self.view.map, key))
    }

    fn damaged_block(&mut self, partition: u16) -> Result<(), StorageError> {
        self.leave_out(StorageError::damaged_block(&self.view.map, partition))
    }

    fn leave_out(&mut self, error: StorageError) -> Result<(), StorageError> {
        if self.view.salvages {
            tracing::warn!("left out: {error}");
            return Ok(());
        }
        self.visitor.damaged(error)
    }
}
