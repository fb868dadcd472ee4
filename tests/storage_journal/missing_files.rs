//! Journals with files that are missing, foreign, renamed, folded or not segments at all.

use std::collections::BTreeMap;

use annulus::config::Fsync;
use annulus::crdt::Time;
use annulus::handover::{Fault, RECORD_HEADER_BYTES, read_record, seal};
use annulus::storage::{
    JournalOptions, RecoveryOptions, SEGMENT_HEADER_BYTES, SegmentHeader, StorageError, segment_name,
};

use crate::content::{Change, What};
use crate::drive::{Drive, EPOCH, LOOK_HARD, SALVAGE, STRICT, Seen, batch, changes, find, options};
use crate::every_byte::small_journal;
use crate::memory_disk::MemoryDisk;
use crate::random::{Random, each_seed};

/// Three segments with three changes each, which are numbered by their ticks.
fn three_segments() -> (BTreeMap<String, Vec<u8>>, Vec<Seen>) {
    let (disk, mut random) = (MemoryDisk::default(), Random(1));
    let mut drive = Drive::new(&disk, options(Fsync::Always), 5);
    for tick in 1..=9 {
        let change = Change::random(&mut random, Time::from_bits(tick));
        drive.journal.push(0, batch(tick, &[change]));
        if tick % 3 == 0 {
            drive.journal.roll();
            drive.run(0);
        }
    }
    let (recovered, seen) = find(&disk, STRICT).unwrap();
    assert_eq!((recovered.segments.len(), recovered.next_sequence), (3, 13));
    (disk.files(), seen)
}

fn ticks(seen: &[Seen]) -> Vec<u64> {
    changes(seen).iter().map(|change| change.applied.to_bits()).collect()
}

fn damaged(disk: &MemoryDisk) -> (String, u64, String) {
    match find(disk, STRICT) {
        Err(StorageError::Damaged { file, offset, fault }) => (file, offset, fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_journal_goes_on_behind_what_is_folded() {
    for folded in [0, 41] {
        let (recovered, seen) = find(&MemoryDisk::default(), RecoveryOptions { folded, ..STRICT }).unwrap();
        assert_eq!((recovered.next_sequence, seen.len(), recovered.clock), (folded + 1, 0, Time::ZERO));
    }
}

#[test]
fn a_missing_file_is_damage() {
    let (files, seen) = three_segments();
    let size = files[&segment_name(1)].len() as u64;
    for (missing, named, offset, kept) in [
        (segment_name(1), segment_name(5), 0, vec![4, 5, 6, 7, 8, 9]),
        (segment_name(5), segment_name(1), size, vec![1, 2, 3, 7, 8, 9]),
    ] {
        let mut files = files.clone();
        files.remove(&missing);
        let disk = MemoryDisk::with_files(&files);
        let (file, at, fault) = damaged(&disk);
        assert_eq!((file, at), (named, offset));
        assert!(fault.contains("should be here and are not"), "{fault}");
        let (looked, _) = find(&disk, LOOK_HARD).unwrap();
        let (salvaged, found) = find(&disk, SALVAGE).unwrap();
        assert_eq!(ticks(&found), kept);
        assert_eq!(looked.lost, salvaged.lost);
        assert_eq!((salvaged.lost.len(), salvaged.lost[0].records), (1, 4));
        let (again, found) = find(&disk, STRICT).unwrap();
        assert_eq!((ticks(&found), again.next_sequence), (kept, 13));
    }
    // That the last one was ever there nothing can say.
    let mut files = files;
    files.remove(&segment_name(9));
    let (recovered, found) = find(&MemoryDisk::with_files(&files), STRICT).unwrap();
    assert_eq!((recovered.next_sequence, recovered.lost.len()), (9, 0));
    assert_eq!(found, seen[..8]);
}

#[test]
fn a_record_that_is_cut_out_of_a_file_is_damage() {
    let (files, seen) = three_segments();
    for cut in seen.iter().filter(|seen| seen.location.segment == 1).take(3) {
        let mut files = files.clone();
        let bytes = files.get_mut(&segment_name(5)).unwrap();
        let start = cut.location.offset as usize;
        bytes.drain(start..start + cut.location.bytes as usize);
        let disk = MemoryDisk::with_files(&files);
        let (file, at, _) = damaged(&disk);
        assert_eq!((file, at), (segment_name(5), cut.location.offset.into()));
        let (salvaged, found) = find(&disk, SALVAGE).unwrap();
        assert_eq!((salvaged.lost[0].bytes, salvaged.lost[0].records), (0, 1));
        assert_eq!(found.len(), seen.len(), "the mark that gives it up stands for it");
        assert_eq!(find(&disk, STRICT).unwrap().1, found);
    }
}

/// Goal: who starts after a crash in a salvage knows of the loss, if not from the journal then from the timeline, which has ended.
/// Method: the power is cut after each change to the disk, while a file is missing and while one is damaged.
#[test]
fn a_salvage_that_is_cut_short_leaves_the_damage_or_no_timeline() {
    let (mut files, _) = three_segments();
    files.insert("TIMELINE".to_owned(), b"of this directory".to_vec());
    let (mut without, mut flipped) = (files.clone(), files);
    without.remove(&segment_name(5));
    let bytes = flipped.get_mut(&segment_name(5)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let has_ended = std::cell::Cell::new(0);
    for (files, changes) in
        [without, flipped].iter().flat_map(|files| (0..12).map(move |changes| (files, changes)))
    {
        each_seed(20, |random| {
            let disk = MemoryDisk::with_files(files);
            disk.fail_after(changes);
            let is_whole = find(&disk, SALVAGE).is_ok();
            disk.cut_power(random);
            let is_damaged = find(&disk, STRICT).is_err();
            let has_timeline = disk.files().contains_key("TIMELINE");
            assert!(is_damaged || !has_timeline, "after {changes} changes");
            assert!(!is_whole || !is_damaged && !has_timeline);
            has_ended.set(has_ended.get() + u32::from(!has_timeline));
        });
    }
    assert!(has_ended.get() > 0);
}

#[test]
fn folded_segments_are_removed_and_folded_records_are_not_given() {
    let (files, seen) = three_segments();
    for folded in 0..=14 {
        let disk = MemoryDisk::with_files(&files);
        let options = RecoveryOptions { folded, ..STRICT };
        let (looked, _) = find(&disk, RecoveryOptions { read_only: true, ..options }).unwrap();
        assert_eq!(disk.files(), files);
        let (recovered, found) = find(&disk, options).unwrap();
        assert_eq!(recovered, looked);
        let sequences: Vec<_> = found.iter().map(|seen| seen.sequence).collect();
        assert_eq!(sequences, (folded + 1..13).collect::<Vec<_>>());
        assert_eq!(ticks(&found), ticks(&seen[folded.min(12) as usize..]));
        let left: Vec<_> = disk.files().into_keys().collect();
        let names: Vec<_> = recovered.segments.iter().map(|segment| segment.name.clone()).collect();
        assert_eq!((left.len(), &left), (3 - folded.min(12) as usize / 4, &names));
        for Seen { location, sequence, .. } in &found {
            assert!(*sequence < recovered.segments[location.segment as usize].next_sequence);
        }
        assert_eq!(recovered.next_sequence, 13.max(folded + 1));
    }
}

#[test]
fn damage_in_a_folded_segment_is_never_looked_at() {
    let (mut files, _) = three_segments();
    files.get_mut(&segment_name(1)).unwrap()[80] ^= 1;
    let (recovered, seen) =
        find(&MemoryDisk::with_files(&files), RecoveryOptions { folded: 4, ..STRICT }).unwrap();
    assert_eq!((seen.len(), recovered.segments.len()), (8, 2));
}

#[test]
fn a_folded_record_that_is_damaged_is_damage_even_at_the_end() {
    let (mut files, _) = three_segments();
    let last = files.get_mut(&segment_name(9)).unwrap();
    let at = last.len() - 1;
    last[at] ^= 1;
    let disk = MemoryDisk::with_files(&files);
    let folded = RecoveryOptions { folded: 12, ..STRICT };
    assert!(matches!(find(&disk, folded), Err(StorageError::Damaged { .. })));
    assert!(find(&disk, RecoveryOptions { folded: 11, ..STRICT }).unwrap().0.torn.is_some());
}

#[test]
fn a_folded_segment_stays_folded_when_the_one_behind_it_is_given_up() {
    let (mut files, _) = three_segments();
    files.get_mut(&segment_name(1)).unwrap()[80] ^= 1;
    files.get_mut(&segment_name(5)).unwrap().truncate(SEGMENT_HEADER_BYTES + 3);
    files.remove(&segment_name(9));
    let disk = MemoryDisk::with_files(&files);
    let (salvaged, _) = find(&disk, RecoveryOptions { folded: 8, ..SALVAGE }).unwrap();
    assert_eq!((salvaged.lost.len(), salvaged.next_sequence), (1, 9), "{salvaged:?}");
    assert_eq!(disk.files().len(), 0);
}

#[test]
fn other_names_in_the_folder_are_left_alone() {
    let (mut files, seen) = three_segments();
    for name in ["journal/0000000000000001.log.tmp", "journal/1.log", "journal/000000000000000G.log"] {
        files.insert(name.to_owned(), b"whatever".to_vec());
    }
    let disk = MemoryDisk::with_files(&files);
    assert_eq!(find(&disk, STRICT).unwrap().1, seen);
    assert_eq!(disk.files(), files);
}

#[test]
fn files_of_another_data_set_version_or_place_are_refused() {
    let (files, _) = three_segments();
    let not_ours = |disk: &MemoryDisk, options| match find(disk, options) {
        Err(StorageError::NotOurs { file, what }) => {
            assert_eq!(file, segment_name(5));
            what
        }
        other => panic!("{other:?}"),
    };
    for options in [STRICT, SALVAGE] {
        let with_header = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut files = files.clone();
            let bytes = files.get_mut(&segment_name(5)).unwrap();
            change(bytes);
            let crc = crc32c(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
            MemoryDisk::with_files(&files)
        };
        let other_epoch = with_header(&|bytes| bytes[16] ^= 1);
        assert_eq!(not_ours(&other_epoch, options), "belongs to another data set");
        let renamed = with_header(&|bytes| bytes[24] ^= 1);
        assert_eq!(not_ours(&renamed, options), "was renamed");
        let newer = with_header(&|bytes| bytes[8] = 3);
        assert!(matches!(find(&newer, options), Err(StorageError::TooNew { found: 3, known: 2 })));
    }
}

/// CRC-32C, bit by bit: what the crate computes faster.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 })
    })
}

#[test]
fn a_whole_record_of_an_unknown_kind_is_damage_and_no_torn_tail() {
    let (mut files, _) = three_segments();
    let last = files.get_mut(&segment_name(9)).unwrap();
    let salt = SegmentHeader::decode(last).unwrap().salt;
    let change = Change::random(&mut Random(4), Time::from_bits(10));
    let mut newer = batch(1, &[change]).bytes;
    newer[24] = 100;
    seal(&mut newer, 13, salt);
    assert_eq!(read_record(&newer, salt), Err(Fault::Content));
    let size = last.len() as u64;
    last.extend_from_slice(&newer);
    let disk = MemoryDisk::with_files(&files);
    assert_eq!(damaged(&disk).1, size);
    let (salvaged, seen) = find(&disk, SALVAGE).unwrap();
    assert_eq!((seen.len(), salvaged.lost[0].bytes), (12, newer.len() as u64));
    assert_eq!(find(&disk, STRICT).unwrap().1.len(), 12);
}

#[test]
fn a_record_inside_a_value_is_never_taken_for_one() {
    // The client knows everything but the salt, and gets its record damaged at the front.
    let disk = MemoryDisk::default();
    let mut drive = Drive::new(&disk, options(Fsync::Always), 5);
    let mut random = Random(1);
    let forged = Change::of_kind(1, &mut random, Time::from_bits(99));
    let mut value = batch(1, &[forged]).bytes;
    seal(&mut value, 2, 0);
    let carrier = Change::of_kind(1, &mut random, Time::from_bits(1));
    let What::Lww { at, .. } = carrier.what else { unreachable!("kind 1 is a value") };
    let carrier = Change { what: What::Lww { at, value: Some(value), expires_ms: 0 }, ..carrier };
    drive.journal.push(0, batch(1, std::slice::from_ref(&carrier)));
    drive.run(0);
    drive.journal.push(0, batch(2, &[Change::random(&mut random, Time::from_bits(2))]));
    drive.run(0);
    let mut files = disk.files();
    let carrier_at = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 8;
    files.get_mut(&segment_name(1)).unwrap()[carrier_at] ^= 1;
    let (_, seen) = find(&MemoryDisk::with_files(&files), SALVAGE).unwrap();
    assert_eq!(ticks(&seen), [2]);
}

#[test]
fn a_salvaged_journal_can_be_written_on_and_salvaged_again() {
    let written = small_journal();
    let mut files = written.files.clone();
    files.get_mut(&written.names[0]).unwrap()[200] ^= 1;
    let disk = MemoryDisk::with_files(&files);
    let (salvaged, kept) = find(&disk, SALVAGE).unwrap();

    let next_sequence = salvaged.next_sequence;
    let mut drive =
        Drive::new(&disk, JournalOptions { next_sequence, epoch: EPOCH, ..options(Fsync::Always) }, 77);
    let change = Change::random(&mut Random(9), Time::from_bits(1));
    drive.journal.push(0, batch(1, std::slice::from_ref(&change)));
    drive.run(0);
    let (recovered, seen) = find(&disk, STRICT).unwrap();
    assert_eq!(recovered.segments.len(), 3);
    assert_eq!(changes(&seen), [changes(&kept), vec![change]].concat());

    let mut files = disk.files();
    files.get_mut(&written.names[1]).unwrap()[200] ^= 1;
    let disk = MemoryDisk::with_files(&files);
    let (salvaged, seen) = find(&disk, SALVAGE).unwrap();
    assert_eq!(salvaged.lost.len(), 1, "what was given up before is not lost again");
    assert!(changes(&seen).len() + 2 > changes(&kept).len());
}
