//! A segment that is read piece by piece, so that who walks over it holds a bounded part of it.
//!
//! Invariant: the pieces together yield what [`Segment::records`] yields, or the same error.

use std::sync::Arc;

use super::scan::{Found, Scan};
use super::segment::{BLOCK_BYTES, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, end_behind};
use super::{Disk, DiskFile, StorageError};
use crate::handover::{Record, read_record};

/// See the module.
pub(super) struct Pieces {
    name: String,
    file: Arc<dyn DiskFile>,
    /// Up to the end record of one that was prepared, once that was met.
    size: usize,
    salt: u32,
    is_prepared: bool,
    piece_bytes: usize,
    /// Of the first record.
    begin: Position,
    /// Behind what was taken.
    next: Position,
    /// Where in the file `bytes` begins.
    start: usize,
    bytes: Vec<u8>,
}

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    offset: usize,
    /// The sequence number that it should have.
    expected: u64,
}

impl Pieces {
    /// Opens a segment of the data set `epoch`. So many bytes of it are held at once, and more only for a record that has more.
    ///
    /// # Errors
    /// As [`Segment::read`].
    pub fn open(disk: &dyn Disk, name: &str, epoch: u64, piece_bytes: usize) -> Result<Self, StorageError> {
        let file = disk.open(name).map_err(StorageError::io("open", name))?;
        let size = Segment::size_of(&*file, name)?;
        let mut begin = vec![0; size.min(SEGMENT_HEADER_BYTES)];
        file.read_at(&mut begin, 0).map_err(StorageError::io("read", name))?;
        let (header, expected) = Segment::check_begin(&begin, name, epoch)?;
        let salt = header.map_or_else(|| SegmentHeader::salt_of(&begin), |header| header.salt);
        let is_prepared =
            header.map_or_else(|| SegmentHeader::is_prepared_of(&begin), |header| header.is_prepared);
        // Without a header the walk begins where it should be.
        let offset = header.map_or(0, |_| SEGMENT_HEADER_BYTES);
        let begin = Position { offset, expected };
        Ok(Self {
            name: name.to_owned(),
            file,
            size,
            salt,
            is_prepared,
            piece_bytes: piece_bytes.max(2 * BLOCK_BYTES),
            begin,
            next: begin,
            start: 0,
            bytes: Vec::new(),
        })
    }

    /// Reads the next piece; whether there is one. It has a record, an error or the end of the segment.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn read_next(&mut self) -> Result<bool, StorageError> {
        if self.is_to_end() {
            return Ok(false);
        }
        // Pieces begin with a block, and before the record: a walk that begins where its bytes do looks for a header there.
        self.start = self.next.offset.saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES;
        let mut piece_bytes = self.piece_bytes;
        loop {
            self.bytes.resize(piece_bytes.min(self.size - self.start), 0);
            let read = self.file.read_at(&mut self.bytes, self.start as u64);
            read.map_err(StorageError::io("read", &self.name))?;
            self.cut_behind_end();
            if self.is_to_end() || self.records().next().is_some() {
                return Ok(true);
            }
            piece_bytes *= 2;
        }
    }

    /// What is behind an end record is of an earlier life of the file.
    fn cut_behind_end(&mut self) {
        let from = if self.start == 0 { BLOCK_BYTES } else { 0 };
        if self.is_prepared
            && let Some(end) = end_behind(&self.bytes, from, self.salt)
        {
            self.bytes.truncate(end);
            self.size = self.start + end;
        }
    }

    /// The records of this piece.
    pub fn records(&self) -> PieceRecords<'_> {
        let scan = Scan::new(&self.bytes, self.salt, self.next.expected, true);
        let scan = if self.is_prepared { scan.in_blocks() } else { scan };
        PieceRecords { pieces: self, scan: Some(scan.at(self.next.offset - self.start)), position: self.next }
    }

    /// The next piece begins there, which is the end of this one.
    pub fn take_up_to(&mut self, position: Position) {
        self.next = position;
    }

    /// The next piece begins there, wherever that is.
    pub fn go_to(&mut self, position: Position) {
        self.next = position;
        self.start = 0;
        self.bytes.clear();
    }

    /// The same with the first piece.
    pub fn go_to_begin(&mut self) {
        self.go_to(self.begin);
    }

    /// Lets go of the piece at the end of the segment.
    pub fn release(&mut self) {
        self.start += self.bytes.len();
        self.bytes = Vec::new();
    }

    /// Where the next piece begins.
    pub const fn position(&self) -> Position {
        self.next
    }

    /// The offset in the file of what is at this one in the piece.
    pub fn in_file(&self, offset: u32) -> u32 {
        u32::try_from(self.start).expect("the size of a segment fits") + offset
    }

    /// Reads some bytes that were read before into `buffer`, which only grows.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn read_again<'b>(
        &'b self,
        start: u32,
        bytes: usize,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Again<'b>, StorageError> {
        if buffer.len() < bytes {
            buffer.resize(bytes, 0);
        }
        let bytes = &mut buffer[..bytes];
        self.file.read_at(bytes, start.into()).map_err(StorageError::io("read", &self.name))?;
        Ok(Again { pieces: self, start, bytes })
    }

    fn is_to_end(&self) -> bool {
        self.start + self.bytes.len() == self.size
    }
}

/// Bytes of a segment that were read before, and are read again.
pub(super) struct Again<'a> {
    pieces: &'a Pieces,
    /// Where in the file they begin.
    start: u32,
    bytes: &'a [u8],
}

impl<'a> Again<'a> {
    /// A record that was met at this offset of the file, and its bytes.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if it is not what it was.
    pub fn record(&self, offset: u32) -> Result<(&'a [u8], Record<'a>), StorageError> {
        let rest = &self.bytes[(offset - self.start) as usize..];
        let record = read_record(rest, self.pieces.salt).map_err(|fault| StorageError::Damaged {
            file: self.pieces.name.clone(),
            offset: offset.into(),
            fault: fault.to_string(),
        })?;
        Ok((&rest[..record.bytes], record))
    }
}

/// The records of one piece with their offsets in it, up to its end or to the first error.
#[derive(Clone)]
pub(super) struct PieceRecords<'a> {
    pieces: &'a Pieces,
    /// `None` behind an error.
    scan: Option<Scan<'a>>,
    position: Position,
}

impl PieceRecords<'_> {
    /// Behind the record that was yielded last.
    pub const fn position(&self) -> Position {
        self.position
    }
}

impl<'a> Iterator for PieceRecords<'a> {
    type Item = Result<(u32, Record<'a>), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let scan = self.scan.as_mut()?;
        let before = scan.clone();
        match scan.next()? {
            Found::Record { offset, record } => {
                let end = self.pieces.start + offset + record.bytes;
                self.position = Position { offset: end, expected: scan.expected() };
                // The size of the segment fits in 32 bits.
                Some(Ok((offset as u32, record)))
            }
            Found::Gap(gap) => {
                self.scan = None;
                let goes_on = !self.pieces.is_to_end() && before.ends_in_a_cut();
                (!goes_on).then(|| {
                    Err(StorageError::Damaged {
                        file: self.pieces.name.clone(),
                        offset: (self.pieces.start + gap.offset) as u64,
                        fault: gap.flaw.to_string(),
                    })
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{MapType, Time};
    use crate::handover::{Batch, seal, write_end};
    use crate::storage::segment::pad;
    use crate::storage::{HostDisk, segment_name};

    const EPOCH: u64 = 5;

    /// A segment of records of many sizes, one of them larger than a piece; one that was prepared in groups of blocks, with an end
    /// and what is left of an earlier life behind it.
    fn segment_bytes(is_prepared: bool) -> Vec<u8> {
        let header = SegmentHeader { salt: 7, epoch: EPOCH, first_sequence: 1, is_prepared };
        let mut bytes = header.encode().to_vec();
        let mut sequence = 1;
        for group in 0..100 {
            let mut batch = Batch::default();
            for number in 20 * group..20 * (group + 1) {
                let map = "m".repeat(1 + number * 7 % 200);
                batch.push_type(&map, MapType::Lww, Time::new(number as u64, 0));
                if number == 1_000 {
                    batch.push_type(&"x".repeat(40_000), MapType::Lww, Time::new(1, 0));
                }
            }
            if is_prepared {
                pad(&mut bytes);
            }
            sequence = seal(&mut batch.bytes, sequence, 7);
            bytes.extend_from_slice(&batch.bytes);
        }
        if is_prepared {
            pad(&mut bytes);
            let (mut end, former) = (Vec::new(), bytes[BLOCK_BYTES..].to_vec());
            write_end(&mut end, sequence - 1);
            seal(&mut end, sequence, 7);
            bytes.extend_from_slice(&end);
            pad(&mut bytes);
            bytes.extend_from_slice(&former);
        }
        bytes
    }

    fn found(result: Result<(u64, Record<'_>), StorageError>) -> Result<(u64, u64, usize), String> {
        let (offset, record) = result.map_err(|error| error.to_string())?;
        Ok((offset, record.sequence, record.bytes))
    }

    /// Reads in both ways, which are to yield the same; how many pieces and good records there were.
    fn read_both_ways(bytes: &[u8]) -> (usize, usize) {
        let root = std::env::temp_dir().join(format!("annulus-pieces-{}", std::process::id()));
        let disk = HostDisk::new(&root).unwrap();
        let name = segment_name(1);
        let _ = disk.remove(&name);
        disk.create(&name).unwrap().write_at(bytes, 0).unwrap();

        let segment = Segment::read(&disk, &name, EPOCH).unwrap();
        let wanted: Vec<_> = segment
            .records()
            .map(|result| found(result.map(|(offset, record)| (u64::from(offset), record))))
            .collect();
        let mut pieces = Pieces::open(&disk, &name, EPOCH, 0).unwrap();
        let (mut got, mut count) = (Vec::new(), 0);
        while pieces.read_next().unwrap() {
            count += 1;
            let mut records = pieces.records();
            let mut has_failed = false;
            for result in records.by_ref() {
                has_failed |= result.is_err();
                let in_file = |(offset, record)| (pieces.start as u64 + u64::from(offset), record);
                got.push(found(result.map(in_file)));
            }
            if has_failed {
                break;
            }
            let position = records.position();
            pieces.take_up_to(position);
        }
        assert_eq!(got, wanted);
        std::fs::remove_dir_all(root).unwrap();
        (count, wanted.iter().filter(|found| found.is_ok()).count())
    }

    /// Method: a record that begins 1 to 3 bytes before the end of a block, with a length whose first bytes are zero and that is
    /// more than a piece has.
    #[test]
    fn a_record_that_begins_like_padding_may_be_longer_than_a_piece() {
        let record = |bytes: usize| {
            let mut batch = Batch::default();
            batch.push_type(&"m".repeat(bytes), MapType::Lww, Time::new(1, 0));
            batch.bytes
        };
        let base = record(1).len() - 1;
        for left in 1..4 {
            let header = SegmentHeader { salt: 7, epoch: EPOCH, first_sequence: 1, is_prepared: true };
            let mut bytes = header.encode().to_vec();
            pad(&mut bytes);
            // The length counts neither itself nor the checksum.
            let mut records = [record(BLOCK_BYTES - left - base), record((4 << 12) + 8 - base)].concat();
            write_end(&mut records, 2);
            let sequence = seal(&mut records, 1, 7);
            assert_eq!(sequence, 4, "two records and the end");
            bytes.extend_from_slice(&records);
            pad(&mut bytes);
            assert_eq!(read_both_ways(&bytes).1, 3, "{left} bytes before the end of the block");
        }
    }

    /// Goal: who reads pieces meets what who reads the whole meets. Method: a good segment, cut short, and with a byte flipped
    /// in many places.
    #[test]
    fn pieces_have_what_the_segment_has() {
        for is_prepared in [false, true] {
            let bytes = segment_bytes(is_prepared);
            let used = if is_prepared { bytes.len() / 2 } else { bytes.len() };
            let (pieces, _) = read_both_ways(&bytes);
            assert!(pieces > used / (2 * BLOCK_BYTES) / 2, "{pieces} pieces");
            for len in [0, 10, 64, 65, 4_096, 4_097, bytes.len() / 3, used - BLOCK_BYTES, bytes.len() - 1] {
                read_both_ways(&bytes[..len]);
            }
            let mut damaged = bytes.clone();
            for offset in [0, 70].into_iter().chain((100..bytes.len()).step_by(9_973)) {
                damaged[offset] ^= 0x40;
                read_both_ways(&damaged);
                damaged[offset] ^= 0x40;
            }
        }
    }
}
