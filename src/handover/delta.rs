//! A delta as bytes, as `docs/storage.md` draws it. Records and images are made of these.

use crate::crdt::{Count, Delta, MapType, Node, Stamp, Time};
use crate::limits::{NODE_BYTES_MAX, TAG_BYTES_MAX};

/// What the bytes of a delta, or of a record without one, mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Everything up to a sequence number had been synced when this was written.
    Mark = 1,
    /// The type of a map was decided.
    Type = 2,
    LwwValue = 3,
    LwwTombstone = 4,
    OrAdd = 5,
    OrRemove = 6,
    Counter = 7,
    /// All maps were dropped.
    Clear = 8,
    CounterAbsorbed = 9,
    /// Nothing more is to come in this segment; a mark, too.
    End = 10,
}

impl Kind {
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Mark,
            2 => Self::Type,
            3 => Self::LwwValue,
            4 => Self::LwwTombstone,
            5 => Self::OrAdd,
            6 => Self::OrRemove,
            7 => Self::Counter,
            8 => Self::Clear,
            9 => Self::CounterAbsorbed,
            10 => Self::End,
            _ => return None,
        })
    }

    pub const fn of(delta: &Delta<'_>) -> Self {
        match delta {
            Delta::Lww { value: Some(_), .. } => Self::LwwValue,
            Delta::Lww { value: None, .. } => Self::LwwTombstone,
            Delta::OrAdd { .. } => Self::OrAdd,
            Delta::OrRemove { .. } => Self::OrRemove,
            Delta::Counter { .. } => Self::Counter,
            Delta::CounterAbsorbed { .. } => Self::CounterAbsorbed,
        }
    }
}

const _: () = assert!(TAG_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(NODE_BYTES_MAX <= u8::MAX as usize);

/// The byte of a map type at rest.
pub const fn map_type_byte(map_type: MapType) -> u8 {
    match map_type {
        MapType::Lww => 1,
        MapType::Or => 2,
        MapType::Counter => 3,
    }
}

/// The map type of a byte at rest.
pub const fn map_type_of(byte: u8) -> Option<MapType> {
    Some(match byte {
        1 => MapType::Lww,
        2 => MapType::Or,
        3 => MapType::Counter,
        _ => return None,
    })
}

/// Appends the body of `delta`; its kind is [`Kind::of`] it.
pub fn encode_delta(out: &mut Vec<u8>, delta: &Delta<'_>) {
    match *delta {
        Delta::Lww { at, value: Some(value), expires_ms } => {
            put_number(out, at.time.to_bits());
            put_number(out, expires_ms);
            put_short(out, at.node.as_bytes());
            out.extend_from_slice(value);
        }
        Delta::Lww { at, value: None, .. } => {
            put_number(out, at.time.to_bits());
            put_short(out, at.node.as_bytes());
        }
        Delta::OrAdd { tag, value, at } => {
            put_number(out, at.time.to_bits());
            put_short(out, at.node.as_bytes());
            put_short(out, tag.as_bytes());
            out.extend_from_slice(value);
        }
        Delta::OrRemove { tag } => out.extend_from_slice(tag.as_bytes()),
        Delta::Counter { replica, added, subtracted } => {
            put_number(out, added);
            put_number(out, subtracted);
            out.extend_from_slice(replica.as_bytes());
        }
        Delta::CounterAbsorbed { count: Count(count), through } => {
            out.extend_from_slice(&count.to_le_bytes());
            put_number(out, through.to_bits());
        }
    }
}

/// Reads a body of the given kind; `None` if it is none, or if `kind` has no delta.
pub fn decode_delta(kind: Kind, body: &[u8]) -> Option<Delta<'_>> {
    let mut rest = body;
    Some(match kind {
        Kind::Mark | Kind::End | Kind::Type | Kind::Clear => return None,
        Kind::LwwValue => {
            let time = take_time(&mut rest)?;
            let expires_ms = take_number(&mut rest)?;
            let at = Stamp { time, node: take_node(&mut rest)? };
            Delta::Lww { at, value: Some(rest), expires_ms }
        }
        Kind::LwwTombstone => {
            let time = take_time(&mut rest)?;
            let at = Stamp { time, node: take_node(&mut rest)? };
            rest.is_empty().then_some(Delta::Lww { at, value: None, expires_ms: 0 })?
        }
        Kind::OrAdd => {
            let time = take_time(&mut rest)?;
            let at = Stamp { time, node: take_node(&mut rest)? };
            let tag = std::str::from_utf8(take_short(&mut rest)?).ok()?;
            Delta::OrAdd { tag, value: rest, at }
        }
        Kind::OrRemove => Delta::OrRemove { tag: std::str::from_utf8(rest).ok()? },
        Kind::Counter => {
            let added = take_number(&mut rest)?;
            let subtracted = take_number(&mut rest)?;
            Delta::Counter { replica: Node::new(rest)?, added, subtracted }
        }
        Kind::CounterAbsorbed => {
            let (count, mut rest) = rest.split_first_chunk()?;
            let (count, through) = (Count(i128::from_le_bytes(*count)), take_time(&mut rest)?);
            rest.is_empty().then_some(Delta::CounterAbsorbed { count, through })?
        }
    })
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Nodes and tags are shorter than 256 bytes; see the assert above.
fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(u8::try_from(bytes.len()).expect("TAG_BYTES_MAX and NODE_BYTES_MAX fit"));
    out.extend_from_slice(bytes);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let (number, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u64::from_le_bytes(*number))
}

fn take_time(rest: &mut &[u8]) -> Option<Time> {
    take_number(rest).map(Time::from_bits)
}

fn take_node(rest: &mut &[u8]) -> Option<Node> {
    take_short(rest).and_then(Node::new)
}

fn take_short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&len, tail) = rest.split_first()?;
    let (bytes, tail) = tail.split_at_checked(usize::from(len))?;
    *rest = tail;
    Some(bytes)
}
