//! Reads everything in a segment that verifies, and says where something does not.
//!
//! Invariant: never panics, whatever the bytes are, and yields no record that was not written: the checksum, the
//! segment's salt and the sequence number all have to fit.

use std::ops::Range;

use super::segment::{BLOCK_BYTES, SEGMENT_HEADER_BYTES};
use crate::handover::{Body, Fault, Kind, RECORD_HEADER_BYTES, Record, read_record};

/// Walks over the bytes of one segment.
#[derive(Clone, Debug)]
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    salt: u32,
    offset: usize,
    expected: u64,
    /// Groups fill blocks, and what is behind them may be of an earlier life of the file.
    is_in_blocks: bool,
}

#[derive(Debug)]
pub(super) enum Found<'a> {
    Record { offset: usize, record: Record<'a> },
    Gap(Gap),
}

/// Bytes that are no record, or records that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub offset: usize,
    /// 0: nothing is damaged here, but a record may have been.
    pub bytes: usize,
    /// The sequence number of the record that should be here.
    pub expected: u64,
    /// The sequence number of the next record in this file that verifies.
    pub next: Option<u64>,
    pub flaw: Flaw,
}

impl Gap {
    /// Where the last thing ends that it, or a record `behind` it, shows to have been written.
    pub fn end(&self, behind: Scan<'_>) -> usize {
        let records = behind.filter_map(|found| match found {
            Found::Record { offset, record } => Some(offset + record.bytes),
            Found::Gap(_) => None,
        });
        records.last().unwrap_or(self.offset + self.bytes)
    }

    /// Where it is; the first byte where there is nothing.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.bytes.max(1)
    }
}

/// What is wrong at the beginning of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("the header of the segment is wrong")]
    Header,
    #[error(transparent)]
    Record(#[from] Fault),
    #[error("records are missing")]
    Missing,
    #[error("no record is here, and none behind")]
    Nothing,
}

impl<'a> Scan<'a> {
    /// Reads a segment whose first record should have the sequence number `expected`. Without a good header the
    /// walk begins with a gap, and the salt is a guess.
    pub fn new(bytes: &'a [u8], salt: u32, expected: u64, has_header: bool) -> Self {
        let offset = if has_header { SEGMENT_HEADER_BYTES } else { 0 };
        Self { bytes, salt, offset, expected, is_in_blocks: false }
    }

    /// For a segment that was prepared.
    pub fn in_blocks(self) -> Self {
        Self { is_in_blocks: true, ..self }
    }

    /// The same walk, begun at an offset.
    pub const fn at(self, offset: usize) -> Self {
        Self { offset, ..self }
    }

    /// Whether these bytes may end in the middle of what comes next: of a record that begins like the zeros between two groups, too.
    pub fn ends_in_a_cut(mut self) -> bool {
        let begin = self.offset;
        self.skip_padding();
        [begin, self.offset].into_iter().any(|offset| {
            let rest = self.bytes.get(offset..).map(|rest| read_record(rest, self.salt));
            matches!(rest, Some(Err(Fault::Cut)))
        })
    }

    /// The sequence number that the next record should have.
    pub const fn expected(&self) -> u64 {
        self.expected
    }

    /// The next record that verifies, at `from` or behind it.
    ///
    /// Looks at every byte, and computes a checksum only where the rest looks like the header of a record:
    /// else a random length would have megabytes checked at each of them.
    fn resynchronise(&self, from: usize) -> Option<(usize, Record<'a>)> {
        let last = self.bytes.len().checked_sub(RECORD_HEADER_BYTES)?;
        (from..=last).find_map(|offset| {
            let bytes = &self.bytes[offset..];
            if !looks_like_record(bytes, self.expected) {
                return None;
            }
            read_record(bytes, self.salt).ok().map(|record| (offset, record))
        })
    }

    fn gap(&mut self, behind: usize, flaw: Flaw) -> Gap {
        let (offset, expected) = (self.offset, self.expected);
        let next = self.resynchronise(behind);
        self.offset = next.map_or(self.bytes.len(), |(offset, _)| offset);
        let next = next.map(|(_, record)| record.sequence);
        self.expected = next.unwrap_or(expected);
        let bytes = self.offset - offset;
        if !self.is_in_blocks || next.is_some() {
            return Gap { offset, bytes, expected, next, flaw };
        }
        // Whatever is behind the block may be of an earlier life.
        let bytes = bytes.min(to_block_end(offset));
        match flaw {
            Flaw::Record(_) if bytes == BLOCK_BYTES => {
                Gap { offset, bytes: 0, expected, next, flaw: Flaw::Nothing }
            }
            _ => Gap { offset, bytes, expected, next, flaw },
        }
    }

    /// Passes over the zeros between two groups.
    fn skip_padding(&mut self) {
        if !self.is_in_blocks || self.offset.is_multiple_of(BLOCK_BYTES) {
            return;
        }
        let end = self.bytes.len().min(self.offset + to_block_end(self.offset));
        let is_zero = self.bytes.get(self.offset..end).is_some_and(|rest| rest.iter().all(|&byte| byte == 0));
        // The length of a record may begin with zeros, too: one that begins so close to the end of a block and verifies is one.
        let is_record = || {
            end - self.offset < size_of::<u32>() && read_record(&self.bytes[self.offset..], self.salt).is_ok()
        };
        if is_zero && !is_record() {
            self.offset = end;
        }
    }
}

/// Bytes up to the end of the block, at least one.
fn to_block_end(offset: usize) -> usize {
    BLOCK_BYTES - offset % BLOCK_BYTES
}

impl<'a> Iterator for Scan<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.offset == 0 && !self.bytes.is_empty() {
            return Some(Found::Gap(self.gap(SEGMENT_HEADER_BYTES, Flaw::Header)));
        }
        self.skip_padding();
        if self.offset >= self.bytes.len() {
            return None;
        }
        let record = match read_record(&self.bytes[self.offset..], self.salt) {
            Ok(record) => record,
            Err(fault) => return Some(Found::Gap(self.gap(self.offset + 1, fault.into()))),
        };
        if record.sequence > self.expected && !gives_up_what_is_missing(&record) {
            let gap = Gap {
                offset: self.offset,
                bytes: 0,
                expected: self.expected,
                next: Some(record.sequence),
                flaw: Flaw::Missing,
            };
            self.expected = record.sequence;
            return Some(Found::Gap(gap));
        }
        let offset = self.offset;
        self.offset += record.bytes;
        // A record that is there twice is harmless, and so is one that comes late.
        self.expected = self.expected.max(record.sequence.saturating_add(1));
        Some(Found::Record { offset, record })
    }
}

/// A mark that calls itself synced, which no other does: `--salvage` has put it where records were lost.
fn gives_up_what_is_missing(record: &Record<'_>) -> bool {
    matches!(record.body, Body::Mark { synced_through } if synced_through == record.sequence)
}

/// How far ahead of the expected one the sequence number of a record behind a gap may be. More than a segment
/// can hold; together with the bytes that are always zero it makes checksums of chance finds rare.
const SEQUENCE_LEAP_MAX: u64 = 1 << 32;

/// Whether length, sequence number, kind, and the bytes that are always zero could be those of a record.
fn looks_like_record(bytes: &[u8], expected: u64) -> bool {
    let Some(header) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else { return false };
    let Some(sequence) = header[8..16].first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return false;
    };
    Kind::from_byte(header[24]).is_some()
        && header[25] == 0
        && header[30..32] == [0, 0]
        && sequence >= expected
        && sequence - expected < SEQUENCE_LEAP_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{Delta, Node, Stamp, Time};
    use crate::handover::{Batch, seal};

    #[test]
    fn a_length_that_begins_with_a_zero_at_the_end_of_a_block_is_no_padding() {
        const SALT: u32 = 7;
        let at = Stamp { time: Time::new(1, 0), node: Node::new(b"n").expect("a node") };
        let record = |bytes: usize| {
            let value = vec![b'1'; bytes];
            let mut batch = Batch::default();
            batch.push("m", b"k", &Delta::Lww { at, value: Some(&value), expires_ms: 0 }, at.time);
            batch.bytes
        };
        let base = record(0).len();
        // The length of the second, which does not count itself and the checksum, is 512: its first byte is zero.
        let second = record(512 + 8 - base);
        for left in 1..4 {
            let mut records = [record(BLOCK_BYTES - left - base), second.clone()].concat();
            seal(&mut records, 1, SALT);
            let mut bytes = [vec![0; BLOCK_BYTES], records].concat();
            bytes.resize(3 * BLOCK_BYTES, 0);
            let scan = Scan::new(&bytes, SALT, 1, true).in_blocks().at(BLOCK_BYTES);
            let found = scan.filter(|found| matches!(found, Found::Record { .. })).count();
            assert_eq!(found, 2, "{left} bytes are left in the block");
        }
    }
}
