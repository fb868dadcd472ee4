//! Segments as the journal writes them, without the journal.

use annulus::crdt::{MapType, Time};
use annulus::handover::{Batch, seal, write_mark};
use annulus::storage::{Disk, SegmentHeader, segment_name};

/// The data set of all tests here.
pub const EPOCH: u64 = 0x00A1_1D5E;

/// Writes one segment after the other.
pub struct JournalFiles<'a> {
    disk: &'a dyn Disk,
    pub next_sequence: u64,
}

impl<'a> JournalFiles<'a> {
    pub fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, next_sequence: 1 }
    }

    /// Writes a whole segment with these records, behind a mark as every group has one. Returns its name.
    pub fn write(&mut self, records: &Batch) -> String {
        let first_sequence = self.next_sequence;
        let salt = first_sequence as u32 ^ 0x5A17_5A17;
        let mut body = Vec::new();
        write_mark(&mut body, first_sequence - 1);
        body.extend_from_slice(&records.bytes);
        self.next_sequence = seal(&mut body, first_sequence, salt);

        let name = segment_name(first_sequence);
        let header = SegmentHeader { salt, epoch: EPOCH, first_sequence, is_prepared: false };
        let file = self.disk.create(&name).expect("the name is new");
        file.write_at(&header.encode(), 0).expect("the disk takes it");
        file.write_at(&body, header.encode().len() as u64).expect("the disk takes it");
        file.sync().expect("the disk takes it");
        name
    }
}

/// A batch with nothing but that all maps were dropped.
pub fn batch_of_clear(applied: Time) -> Batch {
    let mut batch = Batch::default();
    batch.push_clear(applied);
    batch
}

/// A batch with nothing but the type of a map.
pub fn batch_of_type(map: &str, map_type: MapType) -> Batch {
    let mut batch = Batch::default();
    batch.push_type(map, map_type, Time::new(1, 0));
    batch
}
