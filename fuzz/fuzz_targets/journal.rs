//! Any bytes as a delta, as an image and as a journal: no panic, and what recovery says it keeps to.
//!
//! Method: four bytes say how the rest is used: in one segment or two, and with right checksums and numbers wherever
//! the bytes could be a record or as they are, so that both sides of the checksum are reached.

#![no_main]

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/storage_journal/memory_disk.rs"]
mod memory_disk;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/storage_journal/random.rs"]
mod random;

use std::collections::BTreeMap;

use annulus::handover::{Body, Image, Kind, decode_delta, encode_delta, seal};
use annulus::storage::{
    Recovered, RecoveryOptions, Segment, SegmentHeader, StorageError, recover, segment_name,
};
use libfuzzer_sys::fuzz_target;
use memory_disk::MemoryDisk;

const EPOCH: u64 = 1;
const SALT: u32 = 0x5EED;
/// Bytes of length and checksum, which the length does not count.
const PREFIX_BYTES: usize = 8;

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, folded, split, second], body)) = data.split_first_chunk() else { return };
    check_deltas(body);
    if let Ok((_, parts)) = Image::parts(body) {
        parts.for_each(drop);
    }

    let (first, rest) = match flags & 1 {
        0 => (body, None),
        _ => {
            let (first, rest) = body.split_at(usize::from(split).min(body.len()));
            (first, Some(rest))
        }
    };
    let is_sealed = flags & 2 != 0;
    let mut files = BTreeMap::from([file(1, first, is_sealed)]);
    files.extend(rest.map(|rest| file(1 + u64::from(second), rest, is_sealed)));
    check_recovery(&files, u64::from(folded % 8));
});

fn check_deltas(body: &[u8]) {
    for kind in (0..=u8::MAX).filter_map(Kind::from_byte) {
        if let Some(delta) = decode_delta(kind, body) {
            let mut again = Vec::new();
            encode_delta(&mut again, &delta);
            assert_eq!((Kind::of(&delta), &again[..]), (kind, body));
        }
    }
}

/// A segment with a good header and this behind it.
fn file(first_sequence: u64, body: &[u8], is_sealed: bool) -> (String, Vec<u8>) {
    let mut body = body.to_vec();
    if is_sealed {
        let (mut rest, mut sequence) = (&mut body[..], first_sequence);
        while let Some(length) = rest.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize) {
            if length < 24 || PREFIX_BYTES + length > rest.len() {
                break;
            }
            let (record, tail) = rest.split_at_mut(PREFIX_BYTES + length);
            sequence = seal(record, sequence, SALT);
            rest = tail;
        }
    }
    let header = SegmentHeader { salt: SALT, epoch: EPOCH, first_sequence, is_prepared: first_sequence % 2 == 0 };
    (segment_name(first_sequence), [&header.encode()[..], &body].concat())
}

/// The numbers of the changes that were found, and what else was.
type Found = Result<(Vec<u64>, Recovered), StorageError>;

fn find(disk: &MemoryDisk, folded: u64, salvage: bool, read_only: bool) -> Found {
    let options = RecoveryOptions { epoch: EPOCH, folded, salvage, read_only };
    let mut sequences = Vec::new();
    let recovered = recover(disk, options, &mut |record, _| {
        if !matches!(record.body, Body::Mark { .. }) {
            sequences.push(record.sequence);
        }
    })?;
    Ok((sequences, recovered))
}

fn check_recovery(files: &BTreeMap<String, Vec<u8>>, folded: u64) {
    let disk = MemoryDisk::with_files(files);
    let looked = find(&disk, folded, false, true);
    let salvageable = find(&disk, folded, true, true).expect("salvaging goes over everything");
    assert_eq!(&disk.files(), files, "a look changes nothing");

    let salvaged_disk = MemoryDisk::with_files(files);
    let (kept, salvaged) = find(&salvaged_disk, folded, true, false).expect("as before");
    assert_eq!((&salvageable.0, &salvageable.1.lost), (&kept, &salvaged.lost));
    check_settled(&salvaged_disk, folded, &kept);

    match find(&disk, folded, false, false) {
        Ok((found, recovered)) => {
            assert_eq!(found, looked.expect("a look says the same").0);
            assert!(recovered.lost.is_empty() && salvaged.lost.is_empty());
            assert_eq!(found, kept, "there was nothing to salvage");
            check_settled(&disk, folded, &found);
        }
        Err(StorageError::Damaged { .. }) => {
            assert!(looked.is_err() && !salvaged.lost.is_empty());
            assert_eq!(&disk.files(), files, "a refusal changes nothing");
        }
        Err(other) => panic!("{other}"),
    }
}

/// What was recovered is found again, without a fault, by everybody.
fn check_settled(disk: &MemoryDisk, folded: u64, found: &[u64]) {
    let (again, recovered) = find(disk, folded, false, false).expect("it was settled");
    assert_eq!(again, found);
    assert!(recovered.torn.is_none() && recovered.lost.is_empty());
    for segment in &recovered.segments {
        let segment = Segment::read(disk, &segment.name, EPOCH).expect("it was recovered");
        assert!(segment.records().all(|record| record.is_ok()));
    }
}
