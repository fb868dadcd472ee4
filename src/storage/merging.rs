//! The records of one transaction, merged into the base in the order of `cells`.
//!
//! What is sorted are places of records among the bytes they were read from; a delta is decoded when it is merged. So a
//! transaction holds those bytes and 24 more for each record.

use std::collections::HashMap;

use redb::ReadableTable;

use super::StorageError;
use super::base::{Base, CELLS, Writing, failed};
use super::fold::Folded;
use super::row::{Row, partition_of, set_cell_key};
use super::stored::{Source, merge};
use crate::crdt::{Delta, MapType, Time};
use crate::handover::{Body, RECORD_HEADER_BYTES, Record, read_record_again};

/// Bytes that a record may take of the disk beside its own: the page of its cell, which is copied, and another where that is
/// split. What the record itself brings may be rounded up to twice of it.
pub(super) const RECORD_PAGES_BYTES: u64 = 2 * 4096;
/// Cells between two looks at the room that is left, at the least.
const CELLS_PER_LOOK: u64 = 16;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    All,
    /// Nothing of it is in the base, as it would take too much of what the disk has left.
    TooLarge,
    /// The same, as the disk has nothing left.
    LacksRoom,
}

impl Base {
    /// Merges records with their offsets in `bytes` in one transaction, after which everything up to the last of them is in the
    /// base if they are of the journal.
    pub(super) fn merge_records<'a>(
        &self,
        bytes: &'a [u8],
        records: impl Iterator<Item = Result<(u32, Record<'a>), StorageError>>,
        source: Source,
        Places(places): &mut Places,
        so_far: &mut Folded,
    ) -> Result<Merged, StorageError> {
        places.clear();
        let mut writing = self.begin_write()?;
        let mut merging = Merging { base: self, source, bytes, maps: Maps::default(), used: 0 };
        let mut folded = *so_far;
        for record in records {
            let (offset, record) = record?;
            places.extend(merging.place(offset, &record, &writing, &mut folded)?);
            writing.advance_clock(latest(&record));
            folded.records += 1;
            if source == Source::Journal {
                folded.through = record.sequence;
            }
        }
        merging.sort(places);
        let mut merged = merging.write_cells(places, &writing, &mut folded)?;
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
        if source == Source::Journal {
            writing.set_folded(folded.through);
        }
        writing.change_used(merging.used);
        writing.commit()?;
        folded.transactions += 1;
        *so_far = folded;
        Ok(Merged::All)
    }
}

/// The latest time in a record. Where a server has written it that is the tick it was applied at; an import says when.
fn latest(record: &Record<'_>) -> Time {
    match &record.body {
        Body::Delta(delta) => delta.stamped().map_or(record.applied, |stamped| stamped.max(record.applied)),
        Body::Type(_) | Body::Mark { .. } | Body::Clear => record.applied,
    }
}

/// Room for the places of one transaction, which the next one uses again.
#[derive(Default)]
pub(super) struct Places(Vec<Place>);

/// Where the record of one change of a cell is.
#[derive(Clone, Copy)]
struct Place {
    /// The bytes of the key behind what all keys of the map begin with: telling places apart by it spares most looks at keys.
    begin: u64,
    /// In [`Maps::list`].
    map: u32,
    offset: u32,
    partition: u16,
    key_len: u16,
}

const _: () = assert!(size_of::<Place>() == 24);

struct Merging<'a> {
    base: &'a Base,
    source: Source,
    bytes: &'a [u8],
    maps: Maps<'a>,
    /// By how much keys and images are longer together.
    used: i64,
}

impl<'a> Merging<'a> {
    /// Whether a record without a place is an error: what was accepted is never dropped, unless the owner says so.
    fn must_place_all(&self) -> bool {
        self.source == Source::Journal && !self.base.salvages
    }

    /// The place of a record, if it changes a cell.
    fn place(
        &mut self,
        offset: u32,
        record: &Record<'a>,
        writing: &Writing<'_>,
        folded: &mut Folded,
    ) -> Result<Option<Place>, StorageError> {
        let map_type = match record.body {
            Body::Mark { .. } | Body::Clear => return Ok(None),
            Body::Type(map_type) => map_type,
            Body::Delta(delta) => delta.map_type(),
        };
        let index = self.maps.find_or_add(record.map, map_type, self.base, writing)?;
        let map = &mut self.maps.list[index as usize];
        let partition = partition_of(self.base.hasher, map.hash, record.key);
        match (record.body, partition) {
            (Body::Delta(_), Some(partition)) if map.row.map_type == map_type => {
                map.note_key(record.key);
                let key_len = u16::try_from(record.key.len()).expect("a record gives it in 16 bits");
                return Ok(Some(Place { begin: 0, map: index, offset, partition, key_len }));
            }
            (Body::Type(_), _) if map.row.map_type == map_type => {}
            _ if self.must_place_all() => {
                return Err(StorageError::misfit(record.sequence, record.map, record.key));
            }
            _ => folded.skipped += 1,
        }
        Ok(None)
    }

    /// Puts the places in the order of `cells`, and those of one key as they come among the bytes, which is the order in which
    /// changes were applied.
    fn sort(&self, places: &mut [Place]) {
        for place in &mut *places {
            let shared = self.maps.list[place.map as usize].shared.map_or(0, <[u8]>::len);
            let rest = &self.key(place)[shared..];
            let mut begin = [0; 8];
            let len = rest.len().min(begin.len());
            begin[..len].copy_from_slice(&rest[..len]);
            place.begin = u64::from_be_bytes(begin);
        }
        // A key that ends is before one that goes on with zeros, so equal beginnings need the keys.
        places.sort_unstable_by(|left, right| {
            (left.map, left.partition, left.begin)
                .cmp(&(right.map, right.partition, right.begin))
                .then_with(|| self.key(left).cmp(self.key(right)))
                .then(left.offset.cmp(&right.offset))
        });
    }

    fn key(&self, place: &Place) -> &'a [u8] {
        let map = &self.maps.list[place.map as usize];
        let key_at = place.offset as usize + RECORD_HEADER_BYTES + map.name.len();
        &self.bytes[key_at..][..usize::from(place.key_len)]
    }

    fn is_one_cell(&self, left: &Place, right: &Place) -> bool {
        (left.map, left.partition, left.begin) == (right.map, right.partition, right.begin)
            && self.key(left) == self.key(right)
    }

    fn write_cells(
        &mut self,
        mut places: &[Place],
        writing: &Writing<'_>,
        folded: &mut Folded,
    ) -> Result<Merged, StorageError> {
        let (source, must_place_all) = (self.source, self.must_place_all());
        let bytes = self.bytes;
        let mut cells = writing.transaction.open_table(CELLS).map_err(failed)?;
        let (mut cell_key, mut image) = (Vec::new(), Vec::new());
        // Bytes that may be taken before the next look.
        let free_before = self.base.room_free();
        let mut unlooked = self.base.left_of(free_before) / 2;
        while let Some(place) = places.first() {
            let count = places.iter().take_while(|next| self.is_one_cell(place, next)).count();
            let (of_cell, later) = places.split_at(count);
            places = later;
            let key = self.key(place);
            let map = &mut self.maps.list[place.map as usize];
            set_cell_key(&mut cell_key, map.row.id, place.partition, key);
            image.clear();
            let deltas = of_cell.iter().filter_map(|place| delta_at(&bytes[place.offset as usize..]));
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
                let record = read_record_again(&bytes[place.offset as usize..]);
                let sequence = record.map_or(0, |record| record.sequence);
                return Err(StorageError::misfit(sequence, map.name, key));
            }
            folded.skipped += merged.refused;
            if let Some(forgotten) = merged.forgotten.filter(|&through| through > map.row.pruned_through) {
                map.row.pruned_through = forgotten;
                map.is_changed = true;
            }
            if merged.is_changed {
                cells.insert(&*cell_key, &*image).map_err(failed)?;
                writing.write_out()?;
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

/// The delta of a record that was read before, and when it was applied.
fn delta_at(bytes: &[u8]) -> Option<(Delta<'_>, Time)> {
    match read_record_again(bytes) {
        Ok(Record { applied, body: Body::Delta(delta), .. }) => Some((delta, applied)),
        _ => None,
    }
}

/// The maps that the records of one transaction are of.
#[derive(Default)]
struct Maps<'a> {
    list: Vec<MapMet<'a>>,
    by_name: HashMap<&'a str, u32>,
    /// The place that was asked for last.
    latest: u32,
}

struct MapMet<'a> {
    name: &'a str,
    hash: u64,
    row: Row,
    /// What all its keys begin with; `None` before the first.
    shared: Option<&'a [u8]>,
    /// Whether the row has to be written.
    is_changed: bool,
}

impl<'a> MapMet<'a> {
    fn note_key(&mut self, key: &'a [u8]) {
        self.shared = Some(match self.shared {
            None => key,
            Some(shared) if key.starts_with(shared) => shared,
            Some(shared) => {
                let len = shared.iter().zip(key).take_while(|(left, right)| left == right).count();
                &shared[..len]
            }
        });
    }
}

impl<'a> Maps<'a> {
    /// The place of a map in the list. One that is new to the base gets its row, with that type.
    fn find_or_add(
        &mut self,
        name: &'a str,
        map_type: MapType,
        base: &Base,
        writing: &Writing<'_>,
    ) -> Result<u32, StorageError> {
        // Records of one map often come in a row.
        if self.list.get(self.latest as usize).is_some_and(|map| map.name == name) {
            return Ok(self.latest);
        }
        if let Some(&place) = self.by_name.get(name) {
            self.latest = place;
            return Ok(place);
        }
        let row = writing.row_or_new(name, map_type)?;
        self.latest = u32::try_from(self.list.len()).expect("each has a record, and offsets of records fit");
        self.list.push(MapMet { name, hash: base.hasher.map(name), row, shared: None, is_changed: false });
        self.by_name.insert(name, self.latest);
        Ok(self.latest)
    }
}
