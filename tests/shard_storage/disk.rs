//! What a storage keeps, in memory: records merged into cells, and cells given back in chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

use annulus::crdt::{Cell, MapType, Time};
use annulus::handover::{Batch, Body, Chunk, Image, Record, read_record, seal};

/// Bytes of cells in one chunk: small, so that a load takes many.
const CHUNK_BYTES: usize = 512;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    maps: BTreeMap<String, Stored>,
    clock: Time,
    cleared_through: Time,
}

#[derive(Clone, Debug)]
struct Stored {
    map_type: MapType,
    pruned_through: Time,
    /// Image of each cell with when it last changed.
    cells: BTreeMap<Vec<u8>, (Time, Vec<u8>)>,
}

impl Disk {
    /// With nothing on it but that this tick was given.
    pub fn at(clock: Time) -> Self {
        Self { clock, ..Self::default() }
    }

    /// The latest tick it has seen.
    pub fn clock(&self) -> Time {
        self.clock
    }

    /// When all maps were dropped last.
    pub fn cleared_through(&self) -> Time {
        self.cleared_through
    }

    pub fn map_type(&self, map: &str) -> Option<MapType> {
        self.maps.get(map).map(|stored| stored.map_type)
    }

    pub fn set_type(&mut self, map: &str, map_type: MapType) {
        let stored = Stored { map_type, pruned_through: Time::ZERO, cells: BTreeMap::new() };
        let stored = self.maps.entry(map.to_owned()).or_insert(stored);
        assert_eq!(stored.map_type, map_type, "a map has one type");
    }

    pub fn set_pruned_through(&mut self, map: &str, pruned_through: Time) {
        self.maps.get_mut(map).unwrap().pruned_through = pruned_through;
    }

    /// Merges the records of a batch.
    pub fn take(&mut self, batch: &Batch) {
        for_each_record(batch, |record| {
            self.clock = self.clock.max(record.applied);
            match record.body {
                Body::Mark { .. } => panic!("a shard makes no marks"),
                Body::Clear => {
                    self.maps.clear();
                    self.cleared_through = record.applied;
                }
                Body::Type(map_type) => self.set_type(record.map, map_type),
                Body::Delta(delta) => {
                    self.set_type(record.map, delta.map_type());
                    let stored = self.maps.get_mut(record.map).unwrap();
                    let mut cell = Cell::detached(stored.map_type);
                    if let Some((_, image)) = stored.cells.get(record.key) {
                        for part in Image::parts(image).unwrap().1 {
                            let part = part.unwrap();
                            let _ = cell.join(&part.delta, part.applied).unwrap();
                        }
                    }
                    assert!(cell.join(&delta, record.applied).unwrap(), "only changes are handed over");
                    let mut image = Vec::new();
                    let mut parts = Image::begin(&mut image, record.applied);
                    cell.parts(|delta, applied| parts.push(&delta, applied));
                    stored.cells.insert(record.key.to_vec(), (record.applied, image));
                }
            }
        });
    }

    /// The cells of the map whose keys are wanted, in applied order.
    pub fn chunks(&self, map: &str, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<Chunk> {
        let empty = |is_last| Chunk {
            map: Arc::from(map),
            map_type: self.map_type(map),
            pruned_through: self.maps.get(map).map_or(Time::ZERO, |stored| stored.pruned_through),
            cells: Vec::new(),
            is_last,
        };
        let mut chunks = vec![empty(true)];
        let stored = self.maps.get(map).into_iter().flat_map(|stored| &stored.cells);
        let mut cells: Vec<_> = stored.filter(|(key, _)| is_wanted(key)).collect();
        cells.sort_by_key(|(_, (applied, _))| *applied);
        for (key, (_, image)) in cells {
            if chunks.last().unwrap().cells.len() > CHUNK_BYTES {
                chunks.last_mut().unwrap().is_last = false;
                chunks.push(empty(true));
            }
            chunks.last_mut().unwrap().push(key, image);
        }
        chunks
    }
}

/// Reads the records of a batch as they would be read from a file.
pub fn for_each_record(batch: &Batch, mut each: impl FnMut(&Record<'_>)) {
    const SALT: u32 = 5;
    let mut bytes = batch.bytes.clone();
    seal(&mut bytes, 1, SALT);
    let mut rest = &bytes[..];
    let mut count = 0;
    while !rest.is_empty() {
        let record = read_record(rest, SALT).unwrap();
        each(&record);
        rest = &rest[record.bytes..];
        count += 1;
    }
    assert_eq!(count, batch.records);
}
