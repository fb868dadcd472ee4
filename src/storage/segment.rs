//! A segment of the journal: its name, its header, and its records read one after the other.
//!
//! Invariant: what [`Segment::records`] yields is exactly what was written, in order and without a hole, or an
//! error that names the file and the offset.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::scan::{Found, Scan};
use super::{Disk, DiskFile, JOURNAL_FOLDER, StorageError};
use crate::handover::{Record, is_end};

/// Bytes of a segment before its first record.
pub const SEGMENT_HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"annulusJ";
/// Of a file that grows, and of one that was prepared.
const GROWING: u32 = 1;
const PREPARED: u32 = 2;
/// The checksum covers everything before it.
const CHECKSUM_AT: usize = 60;
/// What a device writes as one, and gives at least: groups in a prepared segment begin and end at multiples of it.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes that are read at once, and block by block where that fails.
const PIECE_BYTES: usize = 1 << 20;
const SUFFIX: &str = ".log";
const SEQUENCE_DIGITS: usize = 16;

/// The name, within the data directory, of the segment whose first record has the sequence number `first`.
pub fn segment_name(first: u64) -> String {
    format!("{JOURNAL_FOLDER}/{first:016x}{SUFFIX}")
}

/// The first sequence number that a name within the journal's folder tells; `None` if it names no segment.
pub fn first_sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != SEQUENCE_DIGITS || !digits.bytes().all(is_hex) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// The first 64 bytes of a segment, as `docs/storage.md` draws them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// What the checksum of every record in this file begins with: random, so that neither a client nor the
    /// former content of the disk can bring forth a record that verifies.
    pub salt: u32,
    pub epoch: u64,
    pub first_sequence: u64,
    /// Records end at an end record or where none verifies, and not only with the file; zeros are between groups.
    pub is_prepared: bool,
}

/// Why there is no header at the front of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Cut short, or changed.
    Damaged,
    TooNew {
        version: u32,
    },
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        let version = if self.is_prepared { PREPARED } else { GROWING };
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_sequence.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the front of a segment.
    ///
    /// # Errors
    /// [`HeaderFault`]; never panics, whatever the bytes are.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let header: &[u8; SEGMENT_HEADER_BYTES] = bytes.first_chunk().ok_or(HeaderFault::Damaged)?;
        let crc = crc32c::crc32c(&header[..CHECKSUM_AT]);
        if header[..8] != MAGIC || header[CHECKSUM_AT..] != crc.to_le_bytes() {
            return Err(HeaderFault::Damaged);
        }
        let version = short(header, 8);
        if !(GROWING..=PREPARED).contains(&version) {
            return Err(HeaderFault::TooNew { version });
        }
        Ok(Self {
            salt: short(header, 12),
            epoch: long(header, 16),
            first_sequence: long(header, 24),
            is_prepared: version == PREPARED,
        })
    }

    /// The salt as it stands in a header that may be damaged elsewhere; records show whether it is the right one.
    pub(super) fn salt_of(bytes: &[u8]) -> u32 {
        bytes.first_chunk().map_or(0, |header| short(header, 12))
    }

    /// The same with which kind it is. A blank one says nothing, and is read to its end.
    pub(super) fn is_prepared_of(bytes: &[u8]) -> bool {
        bytes.first_chunk().is_some_and(|header| !matches!(short(header, 8), 0 | GROWING))
    }
}

fn short(header: &[u8; SEGMENT_HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn long(header: &[u8; SEGMENT_HEADER_BYTES], at: usize) -> u64 {
    u64::from(short(header, at)) | u64::from(short(header, at + 4)) << 32
}

/// The multiple of [`BLOCK_BYTES`] that has room for so many bytes.
pub(super) const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// Appends zeros up to a multiple of [`BLOCK_BYTES`].
pub(super) fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(padded(bytes.len()), 0);
}

/// A whole segment in memory.
#[derive(Debug)]
pub struct Segment {
    name: String,
    /// Up to the end record of one that was prepared, if it has one.
    bytes: Vec<u8>,
    /// `None`: damaged.
    header: Option<SegmentHeader>,
    first_sequence: u64,
    /// Where zeros stand for what the disk does not give.
    unreadable: Vec<Unreadable>,
}

/// Bytes of a file that cannot be read.
#[derive(Debug)]
struct Unreadable {
    bytes: Range<usize>,
    error: io::Error,
}

impl Unreadable {
    fn fault(&self) -> String {
        format!("{} bytes cannot be read: {}", self.bytes.len(), self.error)
    }
}

impl Segment {
    /// Reads the segment `name` of the data set `epoch`. A damaged header is no error here: it is the first
    /// thing that [`Segment::records`] yields.
    ///
    /// # Errors
    /// Of the file system; [`StorageError::Damaged`] where the disk does not give what is in it;
    /// [`StorageError::NotOurs`] and [`StorageError::TooNew`].
    pub fn read(disk: &dyn Disk, name: &str, epoch: u64) -> Result<Self, StorageError> {
        let file = disk.open(name).map_err(StorageError::io("open", name))?;
        Self::read_file(&file, name, epoch)
    }

    pub(super) fn read_file(file: &Arc<dyn DiskFile>, name: &str, epoch: u64) -> Result<Self, StorageError> {
        let segment = Self::read_around(&**file, name, epoch)?;
        match segment.unreadable.first() {
            None => Ok(segment),
            Some(unreadable) => Err(StorageError::Damaged {
                file: name.to_owned(),
                offset: unreadable.bytes.start as u64,
                fault: unreadable.fault(),
            }),
        }
    }

    /// The same for `--salvage`: what the disk does not give is left out, and everything around it is read.
    ///
    /// # Errors
    /// As [`Segment::read`], but for what cannot be read.
    pub(super) fn read_what_can_be(disk: &dyn Disk, name: &str, epoch: u64) -> Result<Self, StorageError> {
        let file = disk.open(name).map_err(StorageError::io("open", name))?;
        Self::read_around(&*file, name, epoch)
    }

    fn read_around(file: &dyn DiskFile, name: &str, epoch: u64) -> Result<Self, StorageError> {
        let (bytes, unreadable) = read_to_end(file, Self::size_of(file, name)?);
        let (header, first) = Self::check_begin(&bytes, name, epoch)?;
        Ok(Self { name: name.to_owned(), bytes, header, first_sequence: first, unreadable })
    }

    /// The size of the file of a segment, which fits in 32 bits, as the offset of a record is kept in so many.
    pub(super) fn size_of(file: &dyn DiskFile, name: &str) -> Result<usize, StorageError> {
        let size = file.size().map_err(StorageError::io("read", name))?;
        let what = "is larger than any segment";
        let size = u32::try_from(size).map_err(|_| StorageError::NotOurs { file: name.to_owned(), what })?;
        Ok(size as usize)
    }

    /// The header at the front of `bytes`, unless that is damaged, and the first sequence number.
    pub(super) fn check_begin(
        bytes: &[u8],
        name: &str,
        epoch: u64,
    ) -> Result<(Option<SegmentHeader>, u64), StorageError> {
        let not_ours = |what| StorageError::NotOurs { file: name.to_owned(), what };
        let in_folder = name.rsplit('/').next().unwrap_or(name);
        let first = first_sequence(in_folder).ok_or_else(|| not_ours("is not the name of a segment"))?;
        let header = match SegmentHeader::decode(bytes) {
            Ok(header) if header.epoch != epoch => return Err(not_ours("belongs to another data set")),
            Ok(header) if header.first_sequence != first => return Err(not_ours("was renamed")),
            Ok(header) => Some(header),
            Err(HeaderFault::TooNew { version }) => {
                return Err(StorageError::TooNew { found: version, known: PREPARED });
            }
            Err(HeaderFault::Damaged) => None,
        };
        Ok((header, first))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub const fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// What its records' checksums begin with.
    pub fn salt(&self) -> u32 {
        self.header.map_or_else(|| SegmentHeader::salt_of(&self.bytes), |header| header.salt)
    }

    /// Whether it may go on behind its records.
    pub(super) fn is_prepared(&self) -> bool {
        self.header.map_or_else(|| SegmentHeader::is_prepared_of(&self.bytes), |header| header.is_prepared)
    }

    /// Whether nothing was ever written to a spare file that was to become this.
    pub(super) fn is_blank(&self) -> bool {
        self.bytes.first_chunk() == Some(&[0; BLOCK_BYTES])
    }

    /// Its records with their offsets, up to the end or to the first error.
    pub fn records(&self) -> impl Iterator<Item = Result<(u32, Record<'_>), StorageError>> {
        let mut scan = Some(self.scan());
        std::iter::from_fn(move || match scan.as_mut()?.next()? {
            // Its size fits in 32 bits, or it had not been read.
            Found::Record { offset, record } => Some(Ok((offset as u32, record))),
            Found::Gap(gap) => {
                scan = None;
                Some(Err(StorageError::Damaged {
                    file: self.name.clone(),
                    offset: gap.offset as u64,
                    fault: gap.flaw.to_string(),
                }))
            }
        })
    }

    /// Everything that verifies, and what is between.
    pub(super) fn scan(&self) -> Scan<'_> {
        let scan = Scan::new(&self.bytes, self.salt(), self.first_sequence, self.header.is_some());
        if self.is_prepared() { scan.in_blocks() } else { scan }
    }

    /// Why some of these bytes could not be read; `None`: all could.
    pub(super) fn unreadable_in(&self, bytes: Range<usize>) -> Option<String> {
        let is_in = |it: &&Unreadable| it.bytes.start < bytes.end && bytes.start < it.bytes.end;
        self.unreadable.iter().find(is_in).map(Unreadable::fault)
    }
}

/// Reads a file of so many bytes, but nothing behind an end record. Zeros are left where nothing can be read.
fn read_to_end(file: &dyn DiskFile, size: usize) -> (Vec<u8>, Vec<Unreadable>) {
    let (mut bytes, mut unreadable) = (Vec::with_capacity(size), Vec::new());
    while bytes.len() < size {
        let start = bytes.len();
        bytes.resize(size.min(start + PIECE_BYTES), 0);
        read_piece(file, start, &mut bytes[start..], &mut unreadable);
        if SegmentHeader::is_prepared_of(&bytes)
            && let Some(end) = end_behind(&bytes, start.max(BLOCK_BYTES), SegmentHeader::salt_of(&bytes))
        {
            bytes.truncate(end);
            unreadable.retain(|unreadable| unreadable.bytes.start < end);
            break;
        }
    }
    (bytes, unreadable)
}

/// Reads at once, and where that fails block by block.
fn read_piece(file: &dyn DiskFile, start: usize, piece: &mut [u8], unreadable: &mut Vec<Unreadable>) {
    if file.read_at(piece, start as u64).is_ok() {
        return;
    }
    for (index, block) in piece.chunks_mut(BLOCK_BYTES).enumerate() {
        let start = start + index * BLOCK_BYTES;
        let Err(error) = file.read_at(block, start as u64) else { continue };
        block.fill(0);
        let end = start + block.len();
        match unreadable.last_mut() {
            Some(last) if last.bytes.end == start => last.bytes.end = end,
            _ => unreadable.push(Unreadable { bytes: start..end, error }),
        }
    }
}

/// Where the block of the end record ends that begins at `from` or behind it.
pub(super) fn end_behind(bytes: &[u8], from: usize, salt: u32) -> Option<usize> {
    let mut blocks = (from..bytes.len()).step_by(BLOCK_BYTES);
    let at = blocks.find(|&at| is_end(&bytes[at..], salt))?;
    Some(bytes.len().min(at + BLOCK_BYTES))
}
