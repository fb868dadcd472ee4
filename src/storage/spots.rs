//! Where the records of one transaction are in their segments, in the order of the base: what is merged is read again, a window
//! at a time.

use super::StorageError;
use super::chain::{Chain, InChain};
use super::merging::{Merged, Merging, Place, Region};
use crate::handover::Record;

/// Bytes of a window.
const WINDOW_BYTES: usize = 512 << 10;
/// Up to here it takes the rest of a region, too, so that what one key was given is merged at once.
const WINDOW_BYTES_MAX: usize = 4 * WINDOW_BYTES;

/// See the module.
#[derive(Default)]
pub(super) struct Spots {
    list: Vec<Spot>,
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

    /// Merges the records, as long as `may_go_on` says so, which is asked between windows.
    pub fn merge(
        &mut self,
        chain: &Chain,
        merging: &mut Merging<'_>,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Merged, StorageError> {
        let Self { list, window, places } = self;
        list.sort_unstable_by_key(|spot| (spot.region(), spot.segment, spot.offset));
        let mut spots = list.iter().peekable();
        while spots.peek().is_some() {
            window.clear();
            places.clear();
            let mut last = None;
            while let Some(spot) = spots.next_if(|next| has_room(window.len(), last == Some(next.region()))) {
                let offset = u32::try_from(window.len()).expect("a window is small, and so is a record");
                let record = chain.read_again((spot.segment, spot.offset), spot.bytes, window)?;
                places.push(Place::new(spot.region(), offset, record.key));
                last = Some(spot.region());
            }
            let merged = merging.write(window, places)?;
            if merged != Merged::All {
                return Ok(merged);
            }
            if spots.peek().is_some() && !may_go_on() {
                return Ok(Merged::Interrupted);
            }
        }
        Ok(Merged::All)
    }
}

/// Whether another record goes into a window of so many bytes.
const fn has_room(bytes: usize, is_of_last_region: bool) -> bool {
    bytes < if is_of_last_region { WINDOW_BYTES_MAX } else { WINDOW_BYTES }
}
