//! `--salvage`: writes a damaged journal anew, without the damage, so that everybody can read it again.
//!
//! Where records were lost a mark is put that gives them up: its sequence number is that of the last lost one, and
//! it says that this one was synced, which no other mark does. So the numbers go on without a hole.
//!
//! Invariant: every record that verifies is kept as it is, and files are replaced in one step, so that a crash in
//! here loses nothing. The end of the journal that was torn stays for recovery to see.

use std::ops::Range;

use super::recovery::{Evidence, Lost, RecoveryOptions, lost, missing};
use super::scan::{Found, Gap};
use super::segment::{Segment, SegmentHeader, segment_name};
use super::{Disk, JOURNAL_FOLDER, StorageError, Timeline, replace_file};
use crate::handover::{seal, write_mark};

/// Repairs the segments `names`; says what was lost, in order. Before the first file is changed the timeline ends, as whoever
/// starts after a crash in here finds nothing lost any more.
///
/// # Errors
/// [`StorageError::NotOurs`], [`StorageError::TooNew`], [`StorageError::Io`].
pub(super) fn repair(
    disk: &dyn Disk,
    names: &[(u64, String)],
    options: RecoveryOptions,
) -> Result<Vec<Lost>, StorageError> {
    let mut all_lost = Vec::new();
    let mut expected = options.folded.saturating_add(1);
    for (index, (first, name)) in names.iter().enumerate() {
        if *first > expected {
            // Before the first file only: behind the others the loop has filled every hole.
            all_lost.push(missing(name.clone(), 0, expected..*first));
            fill(disk, options.epoch, expected..*first)?;
        }
        let segment = Segment::read_what_can_be(disk, name, options.epoch)?;
        let next_first = names.get(index + 1).map(|(first, _)| *first);
        let repaired = Repaired::new(&segment, next_first, options);
        repaired.write(disk, name)?;
        all_lost.extend(repaired.lost);

        expected = expected.max(repaired.end);
        if let Some(next_first) = next_first.filter(|&next_first| next_first > expected) {
            if !repaired.lacks_end {
                let size = segment.bytes().len() as u64;
                all_lost.push(missing(name.clone(), size, expected..next_first));
            }
            fill(disk, options.epoch, expected..next_first)?;
            expected = next_first;
        }
    }
    Ok(all_lost)
}

/// One segment as it should be.
struct Repaired {
    bytes: Vec<u8>,
    /// Behind its last record.
    end: u64,
    has_records: bool,
    lost: Vec<Lost>,
    /// What is lost at its end is in `lost`.
    lacks_end: bool,
}

impl Repaired {
    fn new(segment: &Segment, next_first: Option<u64>, options: RecoveryOptions) -> Self {
        let (salt, first_sequence) = (segment.salt(), segment.first_sequence());
        let header = SegmentHeader { salt, epoch: options.epoch, first_sequence, is_prepared: false };
        let mut repaired = Self {
            bytes: header.encode().to_vec(),
            end: first_sequence,
            has_records: false,
            lost: Vec::new(),
            lacks_end: false,
        };
        let mut evidence = Evidence::new(segment, next_first, options.folded);
        let mut scan = segment.scan();
        while let Some(found) = scan.next() {
            match found {
                Found::Record { offset, record } => {
                    repaired.bytes.extend_from_slice(&segment.bytes()[offset..offset + record.bytes]);
                    (repaired.end, repaired.has_records) = (scan.expected(), true);
                }
                Found::Gap(gap) if evidence.was_synced(&gap, &scan) => {
                    repaired.lost.push(lost(segment, &gap, next_first));
                    repaired.lacks_end = gap.next.is_none();
                    if let Some(next) = gap.next.filter(|&next| next > gap.expected) {
                        give_up(&mut repaired.bytes, next - 1, salt);
                    }
                }
                Found::Gap(gap) => {
                    repaired.bytes.extend_from_slice(torn(segment, &gap));
                    break;
                }
            }
        }
        repaired
    }

    /// Replaces the file, if there was anything to repair.
    fn write(&self, disk: &dyn Disk, name: &str) -> Result<(), StorageError> {
        if self.lost.is_empty() {
            return Ok(());
        }
        Timeline::end(disk)?;
        if self.has_records {
            return replace_file(disk, name, &self.bytes);
        }
        disk.remove(name).map_err(StorageError::io("remove", name))?;
        disk.sync_folder(JOURNAL_FOLDER).map_err(StorageError::io("sync", JOURNAL_FOLDER))
    }
}

/// What recovery will cut off.
fn torn<'a>(segment: &'a Segment, gap: &Gap) -> &'a [u8] {
    let rest = &segment.bytes()[gap.offset..];
    // What may be of an earlier life stays behind.
    if segment.is_prepared() { &rest[..gap.bytes] } else { rest }
}

/// Puts a segment where none is, or none with a record.
fn fill(disk: &dyn Disk, epoch: u64, sequences: Range<u64>) -> Result<(), StorageError> {
    Timeline::end(disk)?;
    // It will hold nothing that anybody could want to forge.
    let salt = 0;
    let header = SegmentHeader { salt, epoch, first_sequence: sequences.start, is_prepared: false };
    let mut bytes = header.encode().to_vec();
    give_up(&mut bytes, sequences.end - 1, salt);
    replace_file(disk, &segment_name(sequences.start), &bytes)
}

/// Appends a mark that gives up all that is missing up to `last`.
fn give_up(bytes: &mut Vec<u8>, last: u64, salt: u32) {
    let start = bytes.len();
    write_mark(bytes, last);
    seal(&mut bytes[start..], last, salt);
}
