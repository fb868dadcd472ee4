//! A small journal, cut at every offset and with every byte changed: recovery invents nothing, keeps everything
//! before the damage, tells a torn tail from damage, and with `--salvage` keeps everything beside the damage.
//!
//! Method: what was written is read once and remembered, with its place. What recovery has to say of a damaged
//! copy is worked out from that alone.

use std::collections::BTreeMap;
use std::ops::Range;

use annulus::config::Fsync;
use annulus::crdt::Time;
use annulus::storage::{Disk, JournalOptions, SEGMENT_HEADER_BYTES, Segment, StorageError, Torn};

use crate::content::{Change, KINDS};
use crate::drive::{Drive, EPOCH, LOOK, LOOK_HARD, SALVAGE, STRICT, Seen, batch, changes, find, options};
use crate::memory_disk::MemoryDisk;
use crate::random::{Random, each_seed};

/// A journal as it was written.
pub struct Written {
    pub files: BTreeMap<String, Vec<u8>>,
    pub names: Vec<String>,
    pub records: Vec<Seen>,
}

/// Several groups in each of two segments, with two changes of each kind.
pub fn small_journal() -> Written {
    let mut random = Random(11);
    let disk = MemoryDisk::default();
    let mut drive = Drive::new(&disk, JournalOptions { segment_bytes: 1100, ..options(Fsync::Always) }, 5);
    for number in 0..KINDS * 2 {
        // The last one is long enough for its bytes to count.
        let kind = (number + KINDS - 1) % KINDS;
        let change = Change::of_kind(kind, &mut random, Time::from_bits(1 + number as u64));
        drive.journal.push(number % 2, batch(number as u64 / 2 + 1, &[change]));
        if number % 5 != 0 {
            drive.run(0);
        }
    }
    drive.run(0);
    let (recovered, records) = find(&disk, LOOK).unwrap();
    let names: Vec<_> = recovered.segments.iter().map(|segment| segment.name.clone()).collect();
    assert_eq!((names.len(), recovered.records), (2, KINDS as u64 * 2), "{recovered:?}");
    for segment in 0..2 {
        let marks = records.iter().filter(|seen| seen.location.segment == segment && seen.change.is_none());
        assert!(marks.count() >= 3, "several groups in each");
    }
    Written { files: disk.files(), names, records }
}

impl Written {
    fn disk_with(&self, file: usize, bytes: Vec<u8>) -> MemoryDisk {
        let mut files = self.files.clone();
        files.insert(self.names[file].clone(), bytes);
        MemoryDisk::with_files(&files)
    }

    fn bytes(&self, file: usize) -> &[u8] {
        &self.files[&self.names[file]]
    }

    fn in_file(&self, file: usize) -> impl Iterator<Item = &Seen> {
        self.records.iter().filter(move |seen| seen.location.segment as usize == file)
    }

    /// The places of the records of a file.
    fn range(seen: &Seen) -> Range<usize> {
        let start = seen.location.offset as usize;
        start..start + seen.location.bytes as usize
    }

    /// What has to be said of the bytes `damage` of a file, whatever they are now.
    fn expect(&self, file: usize, damage: &Range<usize>) -> Expected<'_> {
        let is_hit = |seen: &Seen| {
            let range = Self::range(seen);
            range.start < damage.end && damage.start < range.end
        };
        let hits_header = damage.start < SEGMENT_HEADER_BYTES;
        let hits_salt = damage.start < 16 && damage.end > 12;
        let is_lost = |seen: &Seen| seen.location.segment as usize == file && (hits_salt || is_hit(seen));
        let kept: Vec<_> = self.records.iter().filter(|seen| !is_lost(seen)).collect();
        let first_hit =
            self.in_file(file).find(|seen| hits_header || is_hit(seen)).expect("it hits something");
        let offset = if hits_header { 0 } else { first_hit.location.offset.into() };
        let is_proven =
            file + 1 < self.names.len() || kept.iter().any(|seen| seen.synced_through >= first_hit.sequence);
        let before = self.records.iter().filter(|seen| seen.sequence < first_hit.sequence).collect();
        Expected { offset, is_proven, kept, before }
    }

    fn check(&self, file: usize, damage: &Range<usize>, bytes: Vec<u8>) {
        let Expected { mut offset, is_proven, kept, before } = self.expect(file, damage);
        let disk = self.disk_with(file, bytes);
        let files = disk.files();
        let looked = find(&disk, LOOK);
        let looked_hard = find(&disk, LOOK_HARD).unwrap();
        assert_eq!(disk.files(), files, "a look changes nothing");

        if !is_proven {
            if !before.iter().any(|seen| seen.location.segment as usize == file) {
                offset = 0;
            }
            let size = files[&self.names[file]].len() as u64;
            let torn = Torn { file: self.names[file].clone(), offset, bytes: size - offset };
            for (options, is_cut) in [(LOOK, false), (LOOK_HARD, false), (SALVAGE, false), (STRICT, true)] {
                let (recovered, seen) = find(&disk, options).unwrap();
                assert_eq!(seen.iter().collect::<Vec<_>>(), before, "{options:?}");
                assert_eq!(recovered.next_sequence, before.last().map_or(1, |seen| seen.sequence + 1));
                assert!(recovered.lost.is_empty());
                assert_eq!(recovered.torn.as_ref(), (!is_cut).then_some(&torn), "{options:?}");
            }
            return;
        }

        match looked {
            Err(StorageError::Damaged { file: named, offset: at, .. }) => {
                assert_eq!((named, at), (self.names[file].clone(), offset));
            }
            other => panic!("damage went unnoticed: {other:?}"),
        }
        assert!(matches!(find(&disk, STRICT), Err(StorageError::Damaged { .. })));
        assert_eq!(disk.files(), files, "a refusal changes nothing");

        let (salvaged, seen) = find(&disk, SALVAGE).unwrap();
        assert!(salvaged.torn.is_none() && salvaged.lost.len() == 1, "{salvaged:?}");
        let lost = &salvaged.lost[0];
        assert_eq!((&lost.file, lost.offset), (&self.names[file], offset));
        let numbered = |seen: &[&Seen]| -> Vec<(u64, Change)> {
            let numbered = seen.iter().map(|seen| (seen.sequence, seen.change.clone()));
            numbered.filter_map(|(sequence, change)| Some((sequence, change?))).collect()
        };
        let expected = numbered(&kept);
        assert_eq!(numbered(&seen.iter().collect::<Vec<_>>()), expected);
        assert_eq!(numbered(&looked_hard.1.iter().collect::<Vec<_>>()), expected);
        assert_eq!(looked_hard.0.lost, salvaged.lost);
        assert_eq!(lost.records, (self.records.len() - kept.len()) as u64);
        self.check_repaired(&disk, &seen);
    }

    /// A salvaged journal is like any other: for recovery, and for whoever folds it.
    fn check_repaired(&self, disk: &MemoryDisk, seen: &[Seen]) {
        let (recovered, seen_again) = find(disk, STRICT).unwrap();
        assert_eq!(seen_again, seen);
        assert!(recovered.lost.is_empty() && recovered.torn.is_none());
        assert_eq!(recovered.next_sequence, self.records.len() as u64 + 1);
        let folded: usize = recovered
            .segments
            .iter()
            .map(|segment| {
                let segment = Segment::read(disk, &segment.name, EPOCH).unwrap();
                segment.records().map(Result::unwrap).count()
            })
            .sum();
        assert_eq!(folded, seen.len());
    }
}

struct Expected<'a> {
    /// Of the first record that is damaged, or of the header.
    offset: u64,
    /// Whether there is proof that it was synced.
    is_proven: bool,
    /// Everything beside the damage.
    kept: Vec<&'a Seen>,
    /// Everything before the damage.
    before: Vec<&'a Seen>,
}

#[test]
fn every_changed_byte_costs_its_own_record_at_most() {
    let written = small_journal();
    let mut outcomes = BTreeMap::new();
    for file in 0..written.names.len() {
        for at in 0..written.bytes(file).len() {
            *outcomes.entry(written.expect(file, &(at..at + 1)).is_proven).or_insert(0) += 1;
            for pattern in [0x01, 0x80, 0x55, 0xFF] {
                let mut bytes = written.bytes(file).to_vec();
                bytes[at] ^= pattern;
                written.check(file, &(at..at + 1), bytes);
            }
        }
    }
    assert!(outcomes.values().all(|&count| count > 100), "both were seen: {outcomes:?}");
}

#[test]
fn damaged_ranges_cost_the_records_they_touch() {
    let written = small_journal();
    each_seed(400, |random| {
        let file = random.below(written.names.len());
        let mut bytes = written.bytes(file).to_vec();
        let start = random.below(bytes.len());
        let end = bytes.len().min(start + random.within(1..400));
        let new = match random.below(3) {
            0 => vec![0; end - start],
            1 => vec![0xFF; end - start],
            _ => random.bytes(end - start),
        };
        bytes[start..end].copy_from_slice(&new);
        // What happens to be as it was is no damage.
        let changed = |at: &usize| bytes[*at] != written.bytes(file)[*at];
        let (first, last) = ((start..end).find(changed), (start..end).rfind(changed));
        if let (Some(first), Some(last)) = (first, last) {
            written.check(file, &(first..last + 1), bytes);
        }
    });
}

#[test]
fn a_journal_cut_anywhere_is_torn_in_its_last_file_and_damaged_before() {
    let written = small_journal();
    for file in 0..written.names.len() {
        for len in 0..written.bytes(file).len() {
            check_cut(&written, file, len);
        }
    }
}

fn check_cut(written: &Written, file: usize, len: usize) {
    let name = &written.names[file];
    let is_last = file + 1 == written.names.len();
    let is_kept = |seen: &&Seen| {
        seen.location.segment as usize != file
            || (len >= SEGMENT_HEADER_BYTES && Written::range(seen).end <= len)
    };
    let kept: Vec<Seen> = written.records.iter().filter(is_kept).cloned().collect();
    let in_file = kept.iter().filter(|seen| seen.location.segment as usize == file);
    let records_end = in_file.clone().next_back().map(|seen| Written::range(seen).end);
    let disk = written.disk_with(file, written.bytes(file)[..len].to_vec());

    if is_last {
        let (recovered, seen) = find(&disk, STRICT).unwrap();
        assert_eq!(seen, kept, "cut at {len}");
        let offset = records_end.unwrap_or(0);
        let torn = Torn { file: name.clone(), offset: offset as u64, bytes: (len - offset) as u64 };
        assert_eq!(recovered.torn, (len > offset).then_some(torn));
        let (again, seen) = find(&disk, STRICT).unwrap();
        assert_eq!((again.torn, seen), (None, kept));
        assert_eq!(disk.open(name).is_ok(), records_end.is_some(), "without a record there is no file");
        return;
    }
    let offset = if len < SEGMENT_HEADER_BYTES { 0 } else { records_end.unwrap_or(SEGMENT_HEADER_BYTES) };
    match find(&disk, STRICT) {
        Err(StorageError::Damaged { file, offset: at, .. }) => {
            assert_eq!((&file, at), (name, offset as u64), "cut at {len}");
        }
        other => panic!("cut at {len}: {other:?}"),
    }
    let (looked, seen) = find(&disk, LOOK_HARD).unwrap();
    assert_eq!(changes(&seen), changes(&kept));
    let (salvaged, seen) = find(&disk, SALVAGE).unwrap();
    assert_eq!(changes(&seen), changes(&kept));
    assert_eq!((salvaged.lost.len(), &looked.lost), (1, &salvaged.lost));
    let lost = &salvaged.lost[0];
    assert_eq!(
        (lost.bytes, lost.records),
        ((len - offset) as u64, (written.records.len() - kept.len()) as u64)
    );
    written.check_repaired(&disk, &seen);
}
