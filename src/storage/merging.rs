//! The records of one transaction, merged into the base in the order of its cells, so that a block is read and written once for
//! all of them.
//!
//! What is sorted are places of records among the bytes they were read from; a delta is decoded when it is merged. The caller has
//! records met once, in the order of the journal, and hands them over again, some at a time, by map and partition.

use std::collections::HashMap;
use std::sync::Arc;

use super::StorageError;
use super::base::{Base, Writing, failed};
use super::cells::BLOCKS;
use super::editing::{CellPlace, Edit, Editor, Edits};
use super::fold::Folded;
use super::row::{Row, partition_of};
use super::stored::{Source, merge};
use crate::crdt::{Delta, MapType, Time};
use crate::handover::{Body, RECORD_HEADER_BYTES, Record, read_record_again};

/// Bytes that a record may take of the disk beside its own: the page of its block, which is copied, and another where that is
/// split. What the record itself brings may be rounded up to twice of it.
pub(super) const RECORD_PAGES_BYTES: u64 = 2 * 4096;
/// Blocks between two looks at the room that is left, at the least.
const BLOCKS_PER_LOOK: u64 = 16;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    All,
    /// Nothing of it is in the base, as it would take too much of what the disk has left.
    TooLarge,
    /// The same, as the disk has nothing left.
    LacksRoom,
    /// The same, as it was told not to go on.
    Interrupted,
}

/// The map of a record, as a place in the list of those that its transaction has met, and the partition of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Region {
    pub map: u32,
    pub partition: u16,
}

/// Where the record of one change of a cell is among the bytes that are merged.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The bytes of the key behind what all keys of the map begin with: telling places apart by it spares most looks at keys.
    begin: u64,
    region: Region,
    offset: u32,
    key_len: u16,
}

const _: () = assert!(size_of::<Place>() == 24);

impl Place {
    pub fn new(region: Region, offset: u32, key: &[u8]) -> Self {
        let key_len = u16::try_from(key.len()).expect("a record gives it in 16 bits");
        Self { begin: 0, region, offset, key_len }
    }

    pub const fn region(&self) -> Region {
        self.region
    }
}

/// Puts places in the order in which [`Merging::write`] takes them.
pub(super) fn sort_by_region(places: &mut [Place]) {
    places.sort_unstable_by_key(|place| (place.region, place.offset));
}

/// One transaction.
pub(super) struct Merging<'a> {
    base: &'a Base,
    source: Source,
    writing: Writing<'a>,
    maps: Maps,
    /// What will have been done once it is committed.
    folded: Folded,
    /// By how much keys and values of `blocks` are longer together.
    used: i64,
    free_before: u64,
    /// Bytes that may be taken of the disk before the next look.
    unlooked: u64,
}

impl Base {
    /// Begins a transaction that goes on with what was done so far.
    pub(super) fn begin_merge(&self, source: Source, so_far: Folded) -> Result<Merging<'_>, StorageError> {
        let free_before = self.room_free();
        Ok(Merging {
            base: self,
            source,
            writing: self.begin_write()?,
            maps: Maps::default(),
            folded: so_far,
            used: 0,
            free_before,
            unlooked: self.left_of(free_before) / 2,
        })
    }
}

impl Merging<'_> {
    /// Takes note of a record, the next of the journal if it is of that: the region of what it changes, if it changes a cell.
    pub fn meet(&mut self, record: &Record<'_>) -> Result<Option<Region>, StorageError> {
        let region = self.region(record)?;
        self.writing.advance_clock(latest(record));
        self.folded.records += 1;
        if self.source == Source::Journal {
            self.folded.through = record.sequence;
        }
        Ok(region)
    }

    /// How many maps it has met.
    pub fn maps(&self) -> usize {
        self.maps.list.len()
    }

    /// Commits all that was merged; what has been done then. Or gives all of it up.
    pub fn end(mut self, merged: Merged) -> Result<(Merged, Folded), StorageError> {
        let merged = if self.base.lacks_room() { Merged::LacksRoom } else { merged };
        if merged != Merged::All {
            self.writing.abort()?;
            return Ok((merged, self.folded));
        }
        for map in self.maps.list.iter().filter(|map| map.is_changed) {
            self.writing.set_row(&map.name, &map.row)?;
        }
        if self.source == Source::Journal {
            self.writing.set_folded(self.folded.through);
        }
        self.writing.change_used(self.used);
        self.writing.commit()?;
        self.folded.transactions += 1;
        Ok((merged, self.folded))
    }

    /// Whether a record without a place is an error: what was accepted is never dropped, unless the owner says so.
    fn must_place_all(&self) -> bool {
        self.source == Source::Journal && !self.base.salvages
    }

    fn region(&mut self, record: &Record<'_>) -> Result<Option<Region>, StorageError> {
        let map_type = match record.body {
            Body::Mark { .. } | Body::Clear => return Ok(None),
            Body::Type(map_type) => map_type,
            Body::Delta(delta) => delta.map_type(),
        };
        let index = self.maps.find_or_add(record.map, map_type, self.base, &self.writing)?;
        let map = &self.maps.list[index as usize];
        let partition = partition_of(self.base.hasher, map.hash, record.key);
        match (record.body, partition) {
            (Body::Delta(_), Some(partition)) if map.row.map_type == map_type => {
                return Ok(Some(Region { map: index, partition }));
            }
            (Body::Type(_), _) if map.row.map_type == map_type => {}
            _ if self.must_place_all() => {
                return Err(StorageError::misfit(record.sequence, record.map, record.key));
            }
            _ => self.folded.skipped += 1,
        }
        Ok(None)
    }

    /// Merges records that it has met, with their places in `bytes`: region by region, and those of one key as they come in
    /// the journal. Whether there is room for them.
    pub fn write(&mut self, bytes: &[u8], places: &mut [Place]) -> Result<Merged, StorageError> {
        sort(places, |place| key_at(&self.maps.list, bytes, place));
        let mut edits = Records {
            maps: &self.maps.list,
            bytes,
            places,
            source: self.source,
            salvages: self.base.salvages,
            must_place_all: self.must_place_all(),
            folded: &mut self.folded,
            forgotten: Vec::new(),
        };
        let mut editor = Editor::default();
        let mut blocks = self.writing.transaction.open_table(BLOCKS).map_err(failed)?;
        while let Some(edited) = editor.edit_block(&mut blocks, &mut edits)? {
            self.used += edited.used;
            if edited.entries == 0 {
                continue;
            }
            self.writing.write_out()?;
            self.unlooked =
                self.unlooked.saturating_sub(edited.entries * RECORD_PAGES_BYTES + 2 * edited.bytes);
            if self.unlooked == 0 || self.base.lacks_room() {
                let free = self.base.room_free();
                // Pages that the file has already are free for everybody.
                if self.base.lacks_room() || free < self.free_before && self.base.is_short(free) {
                    return Ok(Merged::TooLarge);
                }
                self.unlooked = (self.base.left_of(free) / 2).max(BLOCKS_PER_LOOK * RECORD_PAGES_BYTES);
            }
        }
        drop(blocks);
        for (map, through) in edits.forgotten {
            self.maps.list[map as usize].raise_pruned_through(through);
        }
        Ok(Merged::All)
    }
}

/// Records with their places among `bytes`, in the order in which they are merged.
struct Records<'a> {
    maps: &'a [MapMet],
    bytes: &'a [u8],
    /// Of those that are to come.
    places: &'a [Place],
    source: Source,
    salvages: bool,
    must_place_all: bool,
    folded: &'a mut Folded,
    /// The latest removals that turned out to be forgotten, by map.
    forgotten: Vec<(u32, Time)>,
}

impl<'a> Edits<'a> for Records<'a> {
    fn next(&self) -> Option<CellPlace<'a>> {
        let place = self.places.first()?;
        let map = &self.maps[place.region.map as usize];
        Some((map.row.id, place.region.partition, key_at(self.maps, self.bytes, place)))
    }

    fn edit(&mut self, stored: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Edit, StorageError> {
        let Self { maps, bytes, places, .. } = *self;
        let Some(place) = places.first() else { return Ok(Edit::Kept) };
        let key = key_at(maps, bytes, place);
        let is_of_cell = |other: &&Place| {
            (place.region, place.begin) == (other.region, other.begin) && key == key_at(maps, bytes, other)
        };
        let (of_cell, rest) = places.split_at(1 + places[1..].iter().take_while(is_of_cell).count());
        self.places = rest;
        let map = &maps[place.region.map as usize];
        let deltas = of_cell.iter().filter_map(|place| delta_at(&bytes[place.offset as usize..]));
        let merged = match merge(map.row.map_type, stored, deltas.clone(), self.source, out) {
            Err(_) if self.salvages => {
                self.folded.damaged += 1;
                merge(map.row.map_type, None, deltas, self.source, out)
            }
            merged => merged,
        };
        let merged = merged.map_err(|_| StorageError::damaged_cell(&map.name, key))?;
        if merged.refused > 0 && self.must_place_all {
            let record = read_record_again(&bytes[place.offset as usize..]);
            let sequence = record.map_or(0, |record| record.sequence);
            return Err(StorageError::misfit(sequence, &map.name, key));
        }
        self.folded.skipped += merged.refused;
        self.folded.cells += u64::from(merged.is_changed);
        self.forgotten.extend(merged.forgotten.map(|through| (place.region.map, through)));
        Ok(if merged.is_changed { Edit::Written } else { Edit::Kept })
    }

    fn damaged(&mut self) -> Result<bool, StorageError> {
        let Some(place) = self.places.first().filter(|_| !self.salvages) else {
            self.folded.damaged += 1;
            return Ok(true);
        };
        let map = &self.maps[place.region.map as usize];
        Err(StorageError::damaged_block(&map.name, place.region.partition))
    }
}

fn key_at<'b>(maps: &[MapMet], bytes: &'b [u8], place: &Place) -> &'b [u8] {
    let map = &maps[place.region.map as usize];
    let key_at = place.offset as usize + RECORD_HEADER_BYTES + map.name.len();
    &bytes[key_at..][..usize::from(place.key_len)]
}

/// Puts the places of each region in the order of the base, and those of one key as they come among the bytes.
fn sort<'b>(places: &mut [Place], key: impl Fn(&Place) -> &'b [u8]) {
    for of_map in places.chunk_by_mut(|left, right| left.region.map == right.region.map) {
        let shared = of_map.iter().map(&key).reduce(common_beginning).map_or(0, <[u8]>::len);
        for place in &mut *of_map {
            let rest = &key(place)[shared..];
            let mut begin = [0; 8];
            let len = rest.len().min(begin.len());
            begin[..len].copy_from_slice(&rest[..len]);
            place.begin = u64::from_be_bytes(begin);
        }
        for of_region in of_map.chunk_by_mut(|left, right| left.region == right.region) {
            // A key that ends is before one that goes on with zeros, so equal beginnings need the keys.
            of_region.sort_unstable_by(|left, right| {
                let by_key = left.begin.cmp(&right.begin).then_with(|| key(left).cmp(key(right)));
                by_key.then(left.offset.cmp(&right.offset))
            });
        }
    }
}

fn common_beginning<'b>(left: &'b [u8], right: &'b [u8]) -> &'b [u8] {
    if right.starts_with(left) {
        return left;
    }
    let len = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    &left[..len]
}

/// The latest time in a record. Where a server has written it that is the tick it was applied at; an import says when.
fn latest(record: &Record<'_>) -> Time {
    match &record.body {
        Body::Delta(delta) => delta.stamped().map_or(record.applied, |stamped| stamped.max(record.applied)),
        Body::Type(_) | Body::Mark { .. } | Body::Clear => record.applied,
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
struct Maps {
    list: Vec<MapMet>,
    by_name: HashMap<Arc<str>, u32>,
    /// The place that was asked for last.
    latest: u32,
}

struct MapMet {
    name: Arc<str>,
    hash: u64,
    row: Row,
    /// Whether the row has to be written.
    is_changed: bool,
}

impl MapMet {
    fn raise_pruned_through(&mut self, forgotten: Time) {
        if forgotten > self.row.pruned_through {
            self.row.pruned_through = forgotten;
            self.is_changed = true;
        }
    }
}

impl Maps {
    /// The place of a map in the list. One that is new to the base gets its row, with that type.
    fn find_or_add(
        &mut self,
        name: &str,
        map_type: MapType,
        base: &Base,
        writing: &Writing<'_>,
    ) -> Result<u32, StorageError> {
        // Records of one map often come in a row.
        if self.list.get(self.latest as usize).is_some_and(|map| &*map.name == name) {
            return Ok(self.latest);
        }
        if let Some(&place) = self.by_name.get(name) {
            self.latest = place;
            return Ok(place);
        }
        let row = writing.row_or_new(name, map_type)?;
        self.latest = u32::try_from(self.list.len()).expect("each has a record, and offsets of records fit");
        let name: Arc<str> = name.into();
        self.list.push(MapMet {
            name: Arc::clone(&name),
            hash: base.hasher.map(&name),
            row,
            is_changed: false,
        });
        self.by_name.insert(name, self.latest);
        Ok(self.latest)
    }
}
