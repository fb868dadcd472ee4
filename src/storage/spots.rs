//! Where the records of one transaction are in their segments, in the order of the base: what is merged is read again, a window
//! at a time.
//!
//! ```text
//! segments   │ · a · · c · · b · · · a · · c · │        a window has a, b and c
//!              └── a read ──┘      └──────┘           in the order of the files, what lies close together at once
//! window     │ a c b a c │  ──sorted──►  a a   b   c c   merged some at a time
//! ```

use super::StorageError;
use super::chain::{Chain, InChain};
use super::merging::{Merged, Merging, Place, Region, sort_by_region};
use crate::handover::Record;

/// Bytes of a window at the least.
pub(super) const WINDOW_BYTES_MIN: usize = 512 << 10;
/// At the most: the larger, the closer together in the files are the records of one. So many of a segment of 64 MiB are read at once.
pub(super) const WINDOW_BYTES_MAX: usize = 8 << 20;
/// Beyond that it takes the rest of a region, too, so that what one key was given is merged at once, but no more than this.
const REST_BYTES_MAX: usize = 3 * WINDOW_BYTES_MIN;
/// Bytes that nobody wants between two records that are read at once: to copy more takes longer than to read twice.
const GAP_BYTES_MAX: u32 = 3 << 10;
/// Bytes that are read at once, unless a record has more.
const READ_BYTES_MAX: usize = 64 << 10;
/// Records that are merged at once, and more only of one region.
const MERGED_AT_ONCE: usize = 6 << 10;

/// See the module.
#[derive(Default)]
pub(super) struct Spots {
    list: Vec<Spot>,
    buffer: Vec<u8>,
    window: Vec<u8>,
    places: Vec<Place>,
}

/// Where a record is.
#[derive(Clone, Copy)]
struct Spot {
    map: u32,
    partition: u16,
    segment: u16,
    offset: u32,
    bytes: u32,
}

const _: () = assert!(size_of::<Spot>() == Spots::RECORD_BYTES);

impl Spot {
    const fn region(&self) -> Region {
        Region { map: self.map, partition: self.partition }
    }

    /// Whether the next one is so close behind this one that it is cheaper to read what lies between them than to read twice.
    const fn is_close_to(&self, next: &Self) -> bool {
        self.segment == next.segment && next.offset - self.offset < self.bytes + GAP_BYTES_MAX
    }
}

impl Spots {
    /// What each record takes.
    pub const RECORD_BYTES: usize = 16;

    pub fn clear(&mut self) {
        self.list.clear();
    }

    pub fn push(
        &mut self,
        Region { map, partition }: Region,
        (segment, offset): InChain,
        record: &Record<'_>,
    ) {
        let bytes = u32::try_from(record.bytes).expect("it has its length in 32 bits");
        self.list.push(Spot { map, partition, segment, offset, bytes });
    }

    /// Merges the records, as long as `may_go_on` says so, which is asked now and then.
    pub fn merge(
        &mut self,
        chain: &Chain,
        merging: &mut Merging<'_>,
        window_bytes: usize,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Merged, StorageError> {
        let Self { list, buffer, window, places } = self;
        list.sort_unstable_by_key(|spot| (spot.region(), spot.segment, spot.offset));
        let mut rest = &mut **list;
        while !rest.is_empty() {
            let of_window = rest.split_off_mut(..count_of_window(rest, window_bytes)).unwrap_or_default();
            window.clear();
            places.clear();
            of_window.sort_unstable_by_key(|spot| (spot.segment, spot.offset));
            for close in of_window.chunk_by(Spot::is_close_to) {
                read_again(chain, close, buffer, |spot, bytes, key| {
                    let offset = u32::try_from(window.len()).expect("a window is small, and so is a record");
                    window.extend_from_slice(bytes);
                    places.push(Place::new(spot.region(), offset, key));
                })?;
            }
            sort_by_region(places);
            let mut places = &mut **places;
            while !places.is_empty() {
                let merged = merging.write(window, merged_at_once(&mut places))?;
                if merged != Merged::All {
                    return Ok(merged);
                }
                let is_last = places.is_empty() && rest.is_empty();
                if !is_last && !may_go_on() {
                    return Ok(Merged::Interrupted);
                }
            }
        }
        Ok(Merged::All)
    }
}

/// How many of these go into a window of so many bytes, at least one.
fn count_of_window(spots: &[Spot], window_bytes: usize) -> usize {
    let (mut bytes, mut last) = (0, None);
    let has_room = |spot: &&Spot| {
        let room = if last == Some(spot.region()) { window_bytes + REST_BYTES_MAX } else { window_bytes };
        let has_room = bytes < room;
        (bytes, last) = (bytes + spot.bytes as usize, Some(spot.region()));
        has_room
    };
    spots.iter().take_while(has_room).count()
}

/// Reads records that lie close together in one segment, in the order of the file; `on` is told of each, its bytes and its key.
fn read_again(
    chain: &Chain,
    mut spots: &[Spot],
    buffer: &mut Vec<u8>,
    mut on: impl FnMut(&Spot, &[u8], &[u8]),
) -> Result<(), StorageError> {
    while let Some(first) = spots.first() {
        let bytes_to = |spot: &Spot| (spot.offset - first.offset + spot.bytes) as usize;
        let count = spots.iter().take_while(|spot| bytes_to(spot) <= READ_BYTES_MAX).count().max(1);
        let (at_once, rest) = spots.split_at(count);
        let bytes = at_once.last().map_or(0, bytes_to);
        let again = chain.read_again((first.segment, first.offset), bytes, buffer)?;
        for spot in at_once {
            let (bytes, record) = again.record(spot.offset)?;
            on(spot, bytes, record.key);
        }
        spots = rest;
    }
    Ok(())
}

/// Takes the first of them, and all that are of one region with the last of those.
fn merged_at_once<'p>(places: &mut &'p mut [Place]) -> &'p mut [Place] {
    let last = places.get(MERGED_AT_ONCE).map(Place::region);
    let rest = places.iter().skip(MERGED_AT_ONCE).take_while(|place| Some(place.region()) == last).count();
    let count = places.len().min(MERGED_AT_ONCE) + rest;
    places.split_off_mut(..count).unwrap_or_default()
}
