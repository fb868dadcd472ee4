//! Keys on their way to their owner, and what it has of them on the way back.
//!
//! ```text
//! hash u64 | len u16, key        one for each key
//! ```

use std::sync::Arc;

use super::Span;
use super::entry::{pack_name, take_name, take_number};
use crate::auth::rules::Parts;
use crate::wire::Reject;

/// Keys of one map that one shard owns, to be read at once.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    pub map: &'a str,
    pub map_hash: u64,
    pub keys: KeyList<'a>,
    /// Bytes that the asker has room for, as text; nothing is packed of what takes more.
    pub room: usize,
    /// What the reader may see; `None`: everything.
    pub view: Option<&'a Arc<Parts>>,
}

/// Packed keys, each with its hash.
#[derive(Clone, Copy, Debug)]
pub struct KeyList<'a>(pub &'a [u8]);

impl<'a> KeyList<'a> {
    /// Appends a key to a packed list.
    pub fn push(packed: &mut Vec<u8>, key: &str, hash: u64) {
        packed.extend_from_slice(&hash.to_le_bytes());
        pack_name(key, packed);
    }

    pub fn iter(self) -> impl Iterator<Item = (&'a str, u64)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let hash = u64::from_le_bytes(take_number(&mut rest));
            Some((take_name(&mut rest), hash))
        })
    }
}

/// A [`Read`] whose names lie in the bytes of an envelope.
#[derive(Debug)]
pub struct PackedRead {
    map: Span,
    map_hash: u64,
    keys: Span,
    room: usize,
    view: Option<Arc<Parts>>,
}

impl PackedRead {
    /// Copies what `read` borrows to the end of `bytes`.
    pub fn pack(read: &Read<'_>, bytes: &mut Vec<u8>) -> Self {
        let map = Span::append(bytes, read.map.as_bytes());
        let keys = Span::append(bytes, read.keys.0);
        Self { map, map_hash: read.map_hash, keys, room: read.room, view: read.view.cloned() }
    }

    pub fn unpack<'a>(&'a self, bytes: &'a [u8]) -> Read<'a> {
        Read {
            map: self.map.text(bytes),
            map_hash: self.map_hash,
            keys: KeyList(self.keys.of(bytes)),
            room: self.room,
            view: self.view.as_ref(),
        }
    }
}

/// What one owner has of the keys it was asked for.
#[derive(Clone, Copy, Debug)]
pub enum ReadPart<T> {
    /// [`super::Entries`] of those it knows, and at most how many bytes they take as text.
    Entries {
        text_bytes: usize,
        entries: T,
    },
    /// More than the room there was; the keys once more.
    TooLong {
        room: usize,
        keys: T,
    },
    Refused(Reject),
}

impl<T> ReadPart<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> ReadPart<U> {
        match self {
            Self::Entries { text_bytes, entries } => {
                ReadPart::Entries { text_bytes, entries: change(entries) }
            }
            Self::TooLong { room, keys } => ReadPart::TooLong { room, keys: change(keys) },
            Self::Refused(reject) => ReadPart::Refused(reject),
        }
    }
}

impl ReadPart<&[u8]> {
    pub const NOTHING: Self = Self::Entries { text_bytes: 0, entries: &[] };

    /// Copies what it borrows to the end of `bytes`.
    pub fn pack(self, bytes: &mut Vec<u8>) -> ReadPart<Span> {
        self.map(|content| Span::append(bytes, content))
    }
}

impl ReadPart<Span> {
    pub fn of(self, bytes: &[u8]) -> ReadPart<&[u8]> {
        self.map(|content| content.of(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_as_they_were_packed() {
        let mut packed = Vec::new();
        let long = "k".repeat(crate::limits::KEY_BYTES_MAX);
        for (key, hash) in [("a", 1), (&*long, u64::MAX), ("é", 0)] {
            KeyList::push(&mut packed, key, hash);
        }
        let keys: Vec<_> = KeyList(&packed).iter().collect();
        assert_eq!(keys, [("a", 1), (&*long, u64::MAX), ("é", 0)]);
        let mut bytes = b"before".to_vec();
        let read = Read { map: "m", map_hash: 5, keys: KeyList(&packed), room: 9, view: None };
        let unpacked = PackedRead::pack(&read, &mut bytes);
        let read = unpacked.unpack(&bytes);
        assert_eq!((read.map, read.map_hash, read.room, read.keys.0), ("m", 5, 9, &packed[..]));
    }
}
