//! Records: deltas on their way to the disk, as `docs/storage.md` draws them.
//!
//! Invariant: a shard writes records with sequence and checksum zero; [`seal`] fills them in, once, in the order
//! in which they go to the disk.

use super::delta::{Kind, decode_delta, encode_delta, map_type_byte, map_type_of};
use crate::crdt::{Delta, MapType, Time};
use crate::limits::{KEY_BYTES_MAX, MESSAGE_BYTES_CEILING, OWN_NAME_BYTES_MAX};

/// Bytes of a record before its map's name.
pub const RECORD_HEADER_BYTES: usize = 32;
/// Bytes of length and checksum, which the length does not count.
const PREFIX_BYTES: usize = 8;
/// The largest length a record can have: what holds more is no record.
const LENGTH_MAX: usize = MESSAGE_BYTES_CEILING + (4 << 10);
const _: () = assert!(LENGTH_MAX <= u32::MAX as usize);
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(OWN_NAME_BYTES_MAX <= u16::MAX as usize);

/// The records of one or more turns of one shard, handed over as one.
#[derive(Debug, Default)]
pub struct Batch {
    /// Counts the batches of a shard from 1.
    pub number: u64,
    pub bytes: Vec<u8>,
    pub records: u32,
    /// The tick of its latest change.
    pub last_applied: Time,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the record of one change.
    pub fn push(&mut self, map: &str, key: &[u8], delta: &Delta<'_>, applied: Time) {
        let start = self.begin(Kind::of(delta), map, key, applied);
        encode_delta(&mut self.bytes, delta);
        self.end(start, applied);
    }

    /// Appends the record of a map's type, before any of its cells.
    pub fn push_type(&mut self, map: &str, map_type: MapType, applied: Time) {
        let start = self.begin(Kind::Type, map, &[], applied);
        self.bytes.push(map_type_byte(map_type));
        self.end(start, applied);
    }

    /// Appends the record that everything before it, of all shards, is gone. The caller sees to it that nothing of
    /// before is behind it.
    pub fn push_clear(&mut self, applied: Time) {
        let start = self.begin(Kind::Clear, "", &[], applied);
        self.end(start, applied);
    }

    fn begin(&mut self, kind: Kind, map: &str, key: &[u8], applied: Time) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&header(kind, name_len(map.as_bytes()), name_len(key), applied));
        self.bytes.extend_from_slice(map.as_bytes());
        self.bytes.extend_from_slice(key);
        start
    }

    fn end(&mut self, start: usize, applied: Time) {
        set_length(&mut self.bytes, start);
        self.records += 1;
        self.last_applied = self.last_applied.max(applied);
    }
}

/// Appends a record that says: everything up to `synced_through` was synced before this was written.
pub fn write_mark(out: &mut Vec<u8>, synced_through: u64) {
    write_mark_of(Kind::Mark, out, synced_through);
}

/// The same, and that nothing more is to come in this file.
pub fn write_end(out: &mut Vec<u8>, synced_through: u64) {
    write_mark_of(Kind::End, out, synced_through);
}

fn write_mark_of(kind: Kind, out: &mut Vec<u8>, synced_through: u64) {
    let start = out.len();
    out.extend_from_slice(&header(kind, 0, 0, Time::ZERO));
    out.extend_from_slice(&synced_through.to_le_bytes());
    set_length(out, start);
}

/// Whether the record at the front of `bytes` is one that [`write_end`] has written.
pub fn is_end(bytes: &[u8], salt: u32) -> bool {
    bytes.get(24) == Some(&(Kind::End as u8)) && read_record(bytes, salt).is_ok()
}

/// Changes what the mark at the front of `bytes`, which [`write_mark`] has written, says.
pub fn set_mark(bytes: &mut [u8], synced_through: u64) {
    bytes[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + 8].copy_from_slice(&synced_through.to_le_bytes());
}

fn header(kind: Kind, map_len: u16, key_len: u16, applied: Time) -> [u8; RECORD_HEADER_BYTES] {
    let mut header = [0; RECORD_HEADER_BYTES];
    header[16..24].copy_from_slice(&applied.to_bits().to_le_bytes());
    header[24] = kind as u8;
    header[26..28].copy_from_slice(&map_len.to_le_bytes());
    header[28..30].copy_from_slice(&key_len.to_le_bytes());
    header
}

/// The length of the name of a map or a key, both of which are held against their limits where they enter.
fn name_len(name: &[u8]) -> u16 {
    u16::try_from(name.len()).expect("KEY_BYTES_MAX and OWN_NAME_BYTES_MAX fit")
}

fn set_length(bytes: &mut [u8], start: usize) {
    let length = u32::try_from(bytes.len() - start - PREFIX_BYTES).expect("LENGTH_MAX fits");
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Gives the records in `bytes`, which [`Batch`] or [`write_mark`] have written, the sequence numbers from
/// `sequence` on and their checksums. Returns the next free number.
pub fn seal(bytes: &mut [u8], mut sequence: u64, salt: u32) -> u64 {
    let mut rest = bytes;
    while rest.len() >= PREFIX_BYTES {
        let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let (record, tail) = rest.split_at_mut(PREFIX_BYTES + length);
        record[8..16].copy_from_slice(&sequence.to_le_bytes());
        let crc = checksum(record, salt);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        sequence += 1;
        rest = tail;
    }
    sequence
}

/// CRC-32C of length and body, begun with the salt.
fn checksum(record: &[u8], salt: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt, &record[..4]), &record[PREFIX_BYTES..])
}

/// A record as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub sequence: u64,
    pub applied: Time,
    pub map: &'a str,
    pub key: &'a [u8],
    pub body: Body<'a>,
    /// Bytes it takes, so that the next one begins there.
    pub bytes: usize,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    Mark {
        synced_through: u64,
    },
    Type(MapType),
    Delta(Delta<'a>),
    /// All maps were dropped: no record before this counts.
    Clear,
}

/// Why there is no record here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the file ends within a record")]
    Cut,
    #[error("the length of a record is impossible")]
    Length,
    #[error("the checksum of a record is wrong")]
    Checksum,
    /// The checksum is right and the content means nothing: written by something else.
    #[error("a record has a content that this version does not know")]
    Content,
}

/// Reads the record at the front of `bytes`.
///
/// # Errors
/// [`Fault`]; never panics, whatever the bytes are.
pub fn read_record(bytes: &[u8], salt: u32) -> Result<Record<'_>, Fault> {
    let record = first_record(bytes)?;
    let crc = u32::from_le_bytes([record[4], record[5], record[6], record[7]]);
    if crc != checksum(record, salt) {
        return Err(Fault::Checksum);
    }
    parse(record).ok_or(Fault::Content)
}

/// Reads a record that was read before, and whose checksum nobody has to compare again.
///
/// # Errors
/// [`Fault`].
pub fn read_record_again(bytes: &[u8]) -> Result<Record<'_>, Fault> {
    parse(first_record(bytes)?).ok_or(Fault::Content)
}

/// The bytes of the record at the front, which are a header at the least.
fn first_record(bytes: &[u8]) -> Result<&[u8], Fault> {
    let prefix: &[u8; PREFIX_BYTES] = bytes.first_chunk().ok_or(Fault::Cut)?;
    let length = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
    if !(RECORD_HEADER_BYTES - PREFIX_BYTES..=LENGTH_MAX).contains(&length) {
        return Err(Fault::Length);
    }
    bytes.get(..PREFIX_BYTES + length).ok_or(Fault::Cut)
}

fn parse(record: &[u8]) -> Option<Record<'_>> {
    let number = |at: usize| record.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let short = |at: usize| record.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes).map(usize::from);
    let (sequence, applied) = (number(8)?, Time::from_bits(number(16)?));
    let kind = Kind::from_byte(record[24])?;
    let (map, rest) = record[RECORD_HEADER_BYTES..].split_at_checked(short(26)?)?;
    let (key, body) = rest.split_at_checked(short(28)?)?;
    let body = match kind {
        Kind::Mark | Kind::End => Body::Mark { synced_through: u64::from_le_bytes(body.try_into().ok()?) },
        Kind::Type => Body::Type(map_type_of(*body.first().filter(|_| body.len() == 1)?)?),
        Kind::Clear => body.is_empty().then_some(Body::Clear)?,
        _ => Body::Delta(decode_delta(kind, body)?),
    };
    Some(Record { sequence, applied, map: std::str::from_utf8(map).ok()?, key, body, bytes: record.len() })
}
