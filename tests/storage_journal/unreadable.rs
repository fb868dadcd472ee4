//! A block of the disk that cannot be read any more: it is named, and `--salvage` keeps what lies before and behind it.

use std::collections::BTreeMap;

use annulus::config::Fsync;
use annulus::crdt::Time;
use annulus::storage::{JournalOptions, StorageError};

use crate::content::{Change, KINDS};
use crate::drive::{Drive, LOOK, LOOK_HARD, SALVAGE, STRICT, Seen, batch, find, options};
use crate::memory_disk::MemoryDisk;
use crate::random::Random;

const BLOCK_BYTES: usize = 4096;

/// Two segments of several blocks each.
fn long_journal() -> (BTreeMap<String, Vec<u8>>, Vec<String>, Vec<Seen>) {
    let mut random = Random(19);
    let disk = MemoryDisk::default();
    let segment_bytes = 6 * BLOCK_BYTES;
    let mut drive = Drive::new(&disk, JournalOptions { segment_bytes, ..options(Fsync::Always) }, 5);
    let mut number = 0;
    while disk.files().len() < 2
        || disk.files().values().next_back().is_some_and(|last| last.len() < 3 * BLOCK_BYTES)
    {
        let change = Change::of_kind(number as usize % KINDS, &mut random, Time::from_bits(1 + number));
        drive.journal.push(0, batch(number + 1, &[change]));
        drive.run(0);
        number += 1;
    }
    let (recovered, records) = find(&disk, LOOK).unwrap();
    let names = recovered.segments.iter().map(|segment| segment.name.clone()).collect();
    (disk.files(), names, records)
}

#[test]
fn an_unreadable_block_costs_the_records_in_it_and_is_reported_with_its_place() {
    let (files, names, records) = long_journal();
    assert_eq!(names.len(), 2);
    for (file, name) in names.iter().enumerate() {
        for block in 0..files[name].len().div_ceil(BLOCK_BYTES) {
            let bytes = block * BLOCK_BYTES..files[name].len().min((block + 1) * BLOCK_BYTES);
            let disk = MemoryDisk::with_files(&files);
            disk.lose(name, bytes.clone());
            for options in [LOOK, STRICT] {
                match find(&disk, options) {
                    Err(StorageError::Damaged { file, offset, fault }) => {
                        assert_eq!((&file, offset), (name, bytes.start as u64));
                        assert!(fault.contains("cannot be read"), "{fault}");
                    }
                    other => panic!("an unreadable block went unnoticed: {other:?}"),
                }
            }
            let is_kept = |seen: &&Seen| {
                let at = seen.location.offset as usize;
                let is_hit = at < bytes.end && bytes.start < at + seen.location.bytes as usize;
                // Without the salt of the first block no record can be told from chance.
                seen.location.segment as usize != file || block > 0 && !is_hit
            };
            let kept: Vec<_> =
                records.iter().filter(is_kept).filter_map(|seen| seen.change.clone()).collect();
            for options in [LOOK_HARD, SALVAGE] {
                let (recovered, seen) = find(&disk, options).unwrap();
                let found: Vec<_> = seen.iter().filter_map(|seen| seen.change.clone()).collect();
                assert_eq!(found, kept, "block {block} of {name}");
                assert_eq!((recovered.lost.len(), &recovered.torn), (1, &None), "{recovered:?}");
                let lost = &recovered.lost[0];
                assert_eq!(&lost.file, name);
                assert!(
                    lost.offset <= bytes.start as u64 && lost.fault.contains("cannot be read"),
                    "{lost:?}"
                );
                assert!(lost.offset + lost.bytes >= bytes.end as u64, "{lost:?}");
            }
            assert!(find(&disk, STRICT).unwrap().0.lost.is_empty(), "and is as any other afterwards");
        }
    }
}
