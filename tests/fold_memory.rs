//! What a fold holds: a window of the segment, and where each of its records is, however large the segment is.
//!
//! Method: an allocator that counts what this thread asks it for, which is also the thread that folds. Each record is of
//! another key, in random order, so that the base has something to do.

mod counting_allocator;

use annulus::crdt::{Delta, Node, Stamp, Time};
use annulus::handover::{Batch, seal};
use annulus::mesh::KeyHasher;
use annulus::storage::{Base, Disk, HostDisk, SegmentHeader, segment_name};

use counting_allocator::{bytes, bytes_peak};

const EPOCH: u64 = 1;
const CACHE_BYTES: usize = 8 << 20;
/// Bytes that folding a segment of so many records of some 170 bytes takes at the most.
fn peak_of_fold(records: u64, memory_limit: usize) -> i64 {
    let root = std::env::temp_dir().join(format!("annulus-fold-memory-{}-{records}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let disk = HostDisk::new(&root).expect("a folder for the test");
    let name = segment_name(1);
    {
        let mut batch = Batch::default();
        let value = [b'"'; 100];
        for number in 0..records {
            let at = Stamp { time: Time::from_bits(number + 1), node: Node::new(b"node-1").expect("a name") };
            let key = format!("key-{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let delta = Delta::Lww { at, value: Some(&value), expires_ms: 0 };
            batch.push("a-map", key.as_bytes(), &delta, at.time);
        }
        seal(&mut batch.bytes, 1, 7);
        let file = disk.create(&name).expect("the name is new");
        let header = SegmentHeader { salt: 7, epoch: EPOCH, first_sequence: 1, is_prepared: false };
        file.write_at(&header.encode(), 0).expect("the disk takes it");
        file.write_at(&batch.bytes, header.encode().len() as u64).expect("the disk takes it");
    }
    let base = Base::open(&disk, KeyHasher::new(1), CACHE_BYTES).expect("a new base");
    let base = base.with_memory_limit(memory_limit);
    let before = bytes();
    bytes_peak();
    let folded = base.fold(&disk, &name, EPOCH).expect("it is not damaged");
    let peak = bytes_peak() - before;
    assert_eq!((folded.records, folded.cells), (records, records));
    if memory_limit == 0 {
        assert_eq!(folded.transactions, 1, "so that each page is written for all records of it");
    }
    std::fs::remove_dir_all(&root).expect("the folder of the test");
    peak
}

/// Beside the cache of the base: a window, where records are, and what redb notes of the pages it has written.
#[test]
fn a_fold_holds_a_window_of_the_segment_whatever_its_size() {
    for (memory_limit, max_mib) in [(0, 20), (32 << 20, 10)] {
        for records in [50_000, 400_000] {
            let peak = peak_of_fold(records, memory_limit) - CACHE_BYTES as i64;
            let each = peak / records as i64;
            println!("{records} records take {} KiB, {each} bytes each, limit {memory_limit}", peak >> 10);
            assert!(peak < max_mib << 20, "{records} records take {} KiB, {each} bytes each", peak >> 10);
        }
    }
}
