//! The tail of the journal: which records that were found at start are not folded yet, by map.
//!
//! A map that is loaded after a restart needs them on top of the base. Invariant: each is in here, or in the base,
//! or in both; who takes them out of here *before* looking at the base has them all.
//!
//! Loads and checkpoints, which may not get a core for long, share a lock that nobody holds for more than a look at the few
//! segments: the index never changes once it is there, and is given back with the last of them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
#[expect(
    clippy::disallowed_types,
    reason = "storage threads only: loads read what checkpoints take away"
)]
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::row::partition_of;
use super::{
    Clear, Disk, DiskFile, Location, Recovered, RecoveredSegment, RecoveryOptions, StorageError, recover,
};
use crate::crdt::{Delta, MapType, Time};
use crate::handover::{Body, RECORD_HEADER_BYTES, Record, read_record, read_record_again};
use crate::mesh::KeyHasher;

/// Bytes that are read of a segment at once: one read for hundreds of neighbours, and not much of a waste for one
/// record alone.
const WINDOW_BYTES: usize = 64 << 10;

/// The index. Filled while the journal is recovered, then [`Tail::attach`]ed to its files.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub struct Tail {
    hasher: KeyHasher,
    /// The base has everything up to this sequence number.
    folded: u64,
    /// The latest record that dropped all maps.
    clear: Option<Clear>,
    index: Mutex<Index>,
}

/// What of it is kept goes by the segments.
#[derive(Debug, Default)]
struct Index {
    maps: Arc<Maps>,
    segments: Segments,
}

type Maps = HashMap<Box<str>, MapTail>;

/// By [`Location::segment`]; `None` once it was folded.
#[derive(Clone, Debug, Default)]
struct Segments(Vec<Option<Arc<SegmentFile>>>);

impl Segments {
    fn get(&self, segment: u32) -> Option<&SegmentFile> {
        self.0.get(segment as usize)?.as_deref()
    }

    fn has(&self, segment: u32) -> bool {
        self.get(segment).is_some()
    }
}

#[derive(Debug)]
struct MapTail {
    map_type: MapType,
    hash: u64,
    /// In the order of the journal.
    records: Vec<Entry>,
    /// The segment of the last record of this map.
    last_segment: u32,
}

/// Where a record is.
#[derive(Clone, Copy, Debug)]
struct Entry {
    segment: u32,
    offset: u32,
    bytes: u32,
    partition: u16,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// A segment that stays readable while somebody holds this, even after it was deleted.
#[derive(Debug)]
struct SegmentFile {
    name: String,
    file: Arc<dyn DiskFile>,
    salt: u32,
    size: u64,
    last_sequence: u64,
}

impl Tail {
    /// An empty one, of a journal of which the base has everything up to `folded`.
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub fn new(hasher: KeyHasher, folded: u64) -> Self {
        Self { hasher, folded, clear: None, index: Mutex::new(Index::default()) }
    }

    /// The tail of a journal, with what recovery has found beside it.
    ///
    /// # Errors
    /// As [`recover`].
    pub(super) fn read(
        disk: &dyn Disk,
        hasher: KeyHasher,
        options: RecoveryOptions,
    ) -> Result<(Self, Recovered), StorageError> {
        let mut tail = Self::new(hasher, options.folded);
        let recovered = recover(disk, options, &mut |record, location| tail.add(record, location))?;
        tail.attach(disk, &recovered.segments)?;
        Ok((tail, recovered))
    }

    /// Notes a record that recovery has found.
    pub fn add(&mut self, record: &Record<'_>, location: Location) {
        let map_type = match record.body {
            _ if record.sequence <= self.folded => return,
            Body::Mark { .. } => return,
            Body::Clear => return self.add_clear(record),
            Body::Type(map_type) => map_type,
            Body::Delta(delta) => delta.map_type(),
        };
        let hasher = self.hasher;
        let maps = self.maps_mut();
        if !maps.contains_key(record.map) {
            let map =
                MapTail { map_type, hash: hasher.map(record.map), records: Vec::new(), last_segment: 0 };
            maps.insert(record.map.into(), map);
        }
        let Some(map) = maps.get_mut(record.map) else { return };
        map.last_segment = location.segment;
        if let (Body::Delta(_), Some(partition)) = (record.body, partition_of(hasher, map.hash, record.key)) {
            let Location { segment, offset, bytes } = location;
            map.records.push(Entry { segment, offset, bytes, partition });
        }
    }

    /// What it knows so far is gone.
    fn add_clear(&mut self, record: &Record<'_>) {
        self.clear = Some(Clear { sequence: record.sequence, tick: record.applied });
        self.maps_mut().clear();
    }

    fn maps_mut(&mut self) -> &mut Maps {
        let index = self.index.get_mut().unwrap_or_else(PoisonError::into_inner);
        Arc::get_mut(&mut index.maps).expect("nobody has taken anything before all is added")
    }

    /// The record, if there is one, that makes what the base has worth nothing; see [`super::Base::follow`].
    pub(super) fn clear(&self) -> Option<Clear> {
        self.clear
    }

    /// Opens the segments that [`super::Recovered`] names, after all records were added.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn attach(&mut self, disk: &dyn Disk, segments: &[RecoveredSegment]) -> Result<(), StorageError> {
        let open =
            |segment: &RecoveredSegment| SegmentFile::open(disk, segment).map(|file| Some(Arc::new(file)));
        let segments = segments.iter().map(open).collect::<Result<_, _>>()?;
        self.maps_mut().values_mut().for_each(|map| map.records.shrink_to_fit());
        self.index.get_mut().unwrap_or_else(PoisonError::into_inner).segments = Segments(segments);
        Ok(())
    }

    /// Forgets the segments that have nothing behind `sequence`, as the base has them now.
    pub fn drop_through(&self, sequence: u64) {
        let mut index = self.lock();
        let is_folded = |segment: &mut Arc<SegmentFile>| segment.last_sequence <= sequence;
        let dropped: Vec<_> =
            index.segments.0.iter_mut().filter_map(|segment| segment.take_if(is_folded)).collect();
        let maps = index.segments.0.iter().all(Option::is_none).then(|| std::mem::take(&mut index.maps));
        drop(index);
        // Files are closed, and the index is freed, with nothing held.
        drop((dropped, maps));
    }

    /// The type of a map of which there is a record here.
    pub fn map_type(&self, map: &str) -> Option<MapType> {
        let index = self.lock();
        let found = index.maps.get(map)?;
        index.segments.has(found.last_segment).then_some(found.map_type)
    }

    /// The names of all maps that have a record here, sorted.
    pub fn maps(&self) -> Vec<String> {
        let (maps, segments) = self.kept();
        let has_record = |map: &MapTail| segments.has(map.last_segment);
        let found = maps.iter().filter(|(_, map)| has_record(map));
        let mut names: Vec<String> = found.map(|(name, _)| String::from(&**name)).collect();
        names.sort_unstable();
        names
    }

    /// Records of cells that are indexed here.
    pub fn records(&self) -> usize {
        let (maps, segments) = self.kept();
        let entries = maps.values().flat_map(|map| &map.records);
        entries.filter(|entry| segments.has(entry.segment)).count()
    }

    /// The records of one map in some partitions, to be [read](Taken::read) without holding anybody up.
    pub(super) fn take(&self, map: &str, partitions: &Range<u16>) -> Taken {
        let (maps, segments) = self.kept();
        let Some(found) = maps.get(map).filter(|map| segments.has(map.last_segment)) else {
            return Taken::default();
        };
        let is_wanted = |entry: &&Entry| partitions.contains(&entry.partition) && segments.has(entry.segment);
        let entries = found.records.iter().filter(is_wanted).copied().collect();
        Taken { map_type: Some(found.map_type), entries, segments }
    }

    /// The index, of which only what is in these segments is kept.
    fn kept(&self) -> (Arc<Maps>, Segments) {
        let index = self.lock();
        (Arc::clone(&index.maps), index.segments.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SegmentFile {
    fn open(disk: &dyn Disk, segment: &RecoveredSegment) -> Result<Self, StorageError> {
        let name = segment.name.clone();
        let file = disk.open(&name).map_err(StorageError::io("open", &name))?;
        let size = file.size().map_err(StorageError::io("read", &name))?;
        let (salt, last_sequence) = (segment.salt, segment.next_sequence.saturating_sub(1));
        Ok(Self { name, file, salt, size, last_sequence })
    }

    fn damaged(&self, entry: &Entry, fault: String) -> StorageError {
        StorageError::Damaged { file: self.name.clone(), offset: u64::from(entry.offset), fault }
    }
}

/// What [`Tail::take`] has found.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub map_type: Option<MapType>,
    entries: Vec<Entry>,
    segments: Segments,
}

impl Taken {
    /// Reads the records of `map` behind the sequence number `folded` and sorts them as the base sorts its cells.
    ///
    /// # Errors
    /// [`StorageError::Io`]; [`StorageError::Damaged`] if a record is not there any more.
    pub fn read(self, map: &str, folded: u64) -> Result<TailCells, StorageError> {
        let mut cells = TailCells { key_at: RECORD_HEADER_BYTES + map.len(), ..TailCells::default() };
        cells.bytes.reserve_exact(self.entries.iter().map(|entry| entry.bytes as usize).sum());
        cells.index.reserve_exact(self.entries.len());
        let mut window = Window::default();
        for entry in &self.entries {
            let Some(segment) = self.segments.get(entry.segment) else { continue };
            let bytes = window.read(segment, entry)?;
            match read_record(bytes, segment.salt) {
                Ok(Record { sequence, .. }) if sequence <= folded => continue,
                Ok(Record { map: found, key, body: Body::Delta(_), .. }) if found == map => {
                    let key_len = u16::try_from(key.len()).expect("a record gives it in 16 bits");
                    let at = cells.bytes.len();
                    let Entry { partition, .. } = *entry;
                    cells.index.push(Place { at, begin: 0, key_len, partition });
                }
                Ok(_) => return Err(segment.damaged(entry, "another record stands there".to_owned())),
                Err(fault) => return Err(segment.damaged(entry, fault.to_string())),
            }
            cells.bytes.extend_from_slice(bytes);
        }
        cells.sort();
        Ok(cells)
    }
}

/// A piece of a segment, so that neighbours are read together.
#[derive(Default)]
struct Window {
    segment: Option<u32>,
    start: usize,
    bytes: Vec<u8>,
}

impl Window {
    fn read(&mut self, segment: &SegmentFile, entry: &Entry) -> Result<&[u8], StorageError> {
        let (start, len) = (entry.offset as usize, entry.bytes as usize);
        let is_in = self.segment == Some(entry.segment)
            && start >= self.start
            && start + len <= self.start + self.bytes.len();
        if !is_in {
            let to_end = segment.size.saturating_sub(start as u64);
            if to_end < len as u64 {
                return Err(segment.damaged(entry, "the file ends before a record".to_owned()));
            }
            self.segment = None;
            self.bytes.resize(len.max(WINDOW_BYTES.min(to_end as usize)), 0);
            let read = segment.file.read_at(&mut self.bytes, start as u64);
            read.map_err(StorageError::io("read", &segment.name))?;
            (self.segment, self.start) = (Some(entry.segment), start);
        }
        Ok(&self.bytes[start - self.start..][..len])
    }
}

/// Records of one map in the order of the base: by partition and key, those of one key as they were applied.
#[derive(Debug, Default)]
pub(super) struct TailCells {
    bytes: Vec<u8>,
    /// Where the key begins in a record of this map.
    key_at: usize,
    index: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    /// The bytes of the key behind what all keys begin with: telling places apart by it spares most looks at keys.
    begin: u64,
    key_len: u16,
    partition: u16,
}

/// The records of one key.
#[derive(Clone, Copy)]
pub(super) struct TailCell<'a> {
    pub partition: u16,
    pub key: &'a [u8],
    cells: &'a TailCells,
    places: &'a [Place],
}

impl TailCells {
    fn sort(&mut self) {
        let mut index = std::mem::take(&mut self.index);
        let Some(first) = index.first() else { return };
        let shared = index.iter().fold(self.key(first), |shared, place| {
            let differs = shared.iter().zip(self.key(place)).position(|(left, right)| left != right);
            &shared[..differs.unwrap_or(shared.len().min(self.key(place).len()))]
        });
        let shared = shared.len();
        for place in &mut index {
            let mut begin = [0; 8];
            let rest = &self.key(place)[shared..];
            let len = rest.len().min(begin.len());
            begin[..len].copy_from_slice(&rest[..len]);
            place.begin = u64::from_be_bytes(begin);
        }
        // A key that ends is before one that goes on with zeros, so equal beginnings need the keys.
        index.sort_unstable_by(|left, right| {
            (left.partition, left.begin)
                .cmp(&(right.partition, right.begin))
                .then_with(|| self.key(left).cmp(self.key(right)))
                .then(left.at.cmp(&right.at))
        });
        self.index = index;
    }

    fn key(&self, place: &Place) -> &[u8] {
        &self.bytes[place.at + self.key_at..][..usize::from(place.key_len)]
    }

    /// The cells in a range of partitions, in order.
    pub fn cells(&self, partitions: Range<u16>) -> impl Iterator<Item = TailCell<'_>> {
        let before = |end: u16| self.index.partition_point(|place| place.partition < end);
        let places = &self.index[before(partitions.start)..before(partitions.end)];
        places
            .chunk_by(|left, right| {
                (left.partition, left.begin) == (right.partition, right.begin)
                    && self.key(left) == self.key(right)
            })
            .map(|places| TailCell {
                partition: places[0].partition,
                key: self.key(&places[0]),
                cells: self,
                places,
            })
    }
}

impl<'a> TailCell<'a> {
    /// The deltas of the key, in the order in which they were applied.
    pub fn deltas(self) -> impl Iterator<Item = (Delta<'a>, Time)> + Clone {
        self.places.iter().filter_map(move |place| {
            // It has been read before.
            match read_record_again(&self.cells.bytes[place.at..]) {
                Ok(Record { applied, body: Body::Delta(delta), .. }) => Some((delta, applied)),
                _ => None,
            }
        })
    }
}
