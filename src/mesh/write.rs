//! An operation on its way to the owner of its key, and what became of it.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::Span;
use crate::auth::rules::Parts;
use crate::crdt::{HashedKey, MapType, Node, Stamp, Time};

/// An operation that was merged, and the stamp it has.
///
/// One word: it is written at the end of a merge and read right after, and a wider load of separately written
/// parts would have to wait until every store of the merge before it, cache misses and all, has left the core.
/// It cost 8 % of a `write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged(NonZeroU64);

/// Ticks below these would lie in the first milliseconds of 1970.
const UNSTAMPED: NonZeroU64 = NonZeroU64::MIN;
const GIVEN: NonZeroU64 = NonZeroU64::MIN.saturating_add(1);

/// What a [`Merged`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergedStamp {
    /// Of the owner's clock, with the name of this server.
    Own(Time),
    /// The one the client gave.
    Given,
    /// Operations on counters, and removals of tags, have none.
    None,
}

impl Merged {
    /// Merged under the stamp that the client gave.
    pub const GIVEN: Self = Self(GIVEN);
    /// Merged, of a kind that has no stamp.
    pub const UNSTAMPED: Self = Self(UNSTAMPED);

    /// Merged at a tick of the owner's clock.
    pub fn at(time: Time) -> Self {
        Self(NonZeroU64::new(time.to_bits()).unwrap_or(UNSTAMPED))
    }

    pub fn stamp(self) -> MergedStamp {
        match self.0 {
            UNSTAMPED => MergedStamp::None,
            GIVEN => MergedStamp::Given,
            bits => MergedStamp::Own(Time::from_bits(bits.get())),
        }
    }
}

/// One operation, ready to be applied: names checked, value canonical, hashes computed.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    pub map: &'a str,
    pub map_hash: u64,
    pub key: &'a str,
    pub key_hash: u64,
    pub action: Action<'a>,
    /// What the owner has to ask before it carries it out; `None`: nothing.
    pub view: Option<&'a Arc<Parts>>,
}

#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    Set {
        value: &'a [u8],
        at: At,
        ttl_ms: Option<u64>,
    },
    /// Of a map of any type, unless it has a stamp or names one.
    Delete {
        at: At,
        map_type: Option<MapType>,
    },
    Add {
        value: &'a [u8],
        tag: Option<&'a str>,
        at: At,
    },
    RemoveTags {
        tags: TagList<'a>,
    },
    RemoveValue {
        value: &'a [u8],
    },
    Increment {
        by: i64,
    },
    IncrementTotals {
        replica: Node,
        added: u64,
        subtracted: u64,
    },
}

/// Where the stamp of an operation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The owner's clock.
    Now,
    /// The owner's clock, moved past this first, unless that is too far ahead of it.
    After(Time),
    /// The client.
    Given(Stamp),
}

impl From<Option<Stamp>> for At {
    fn from(given: Option<Stamp>) -> Self {
        given.map_or(Self::Now, Self::Given)
    }
}

impl<'a> Write<'a> {
    pub const fn hashed_key(&self) -> HashedKey<'a> {
        HashedKey { hash: self.key_hash, bytes: self.key.as_bytes() }
    }

    /// Bytes of its names and its value or tags.
    pub fn bytes(&self) -> usize {
        let tag_bytes = if let Action::Add { tag: Some(tag), .. } = self.action { tag.len() } else { 0 };
        self.map.len() + self.key.len() + tag_bytes + self.action.bytes()
    }
}

impl<'a> Action<'a> {
    /// The same with another value.
    pub const fn with_value(self, value: &'a [u8]) -> Self {
        match self {
            Self::Set { at, ttl_ms, .. } => Self::Set { value, at, ttl_ms },
            Self::Add { tag, at, .. } => Self::Add { value, tag, at },
            other => other,
        }
    }
}

impl Action<'_> {
    /// The stamp that the client gave.
    pub const fn given(&self) -> Option<Stamp> {
        match *self {
            Self::Set { at: At::Given(at), .. }
            | Self::Delete { at: At::Given(at), .. }
            | Self::Add { at: At::Given(at), .. } => Some(at),
            _ => None,
        }
    }

    /// Bytes of its value or tags.
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Set { value, .. } | Self::Add { value, .. } | Self::RemoveValue { value } => value.len(),
            Self::RemoveTags { tags } => tags.0.len(),
            Self::Delete { .. } | Self::Increment { .. } | Self::IncrementTotals { .. } => 0,
        }
    }

    /// Whether it may be carried out in a map of this type.
    pub fn fits(&self, map_type: MapType) -> bool {
        matches!(self, Self::Delete { at: At::Now, map_type: None }) || self.map_type() == map_type
    }

    /// The type of map this action is for, where it has none yet.
    pub const fn map_type(&self) -> MapType {
        match self {
            Self::Delete { map_type: Some(map_type), .. } => *map_type,
            Self::Set { .. } | Self::Delete { .. } => MapType::Lww,
            Self::Add { .. } | Self::RemoveTags { .. } | Self::RemoveValue { .. } => MapType::Or,
            Self::Increment { .. } | Self::IncrementTotals { .. } => MapType::Counter,
        }
    }
}

/// Tags one after the other, each behind one byte with its length.
#[derive(Clone, Copy, Debug)]
pub struct TagList<'a>(pub &'a [u8]);

impl<'a> TagList<'a> {
    /// Appends a tag of at most 255 bytes to a packed list.
    pub fn push(packed: &mut Vec<u8>, tag: &str) {
        let len = u8::try_from(tag.len()).expect("TAG_BYTES_MAX fits a byte");
        packed.push(len);
        packed.extend_from_slice(tag.as_bytes());
    }

    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (&len, tail) = rest.split_first()?;
            let (tag, after) = tail.split_at(usize::from(len));
            rest = after;
            Some(std::str::from_utf8(tag).expect("packed from a str"))
        })
    }
}

const _: () = assert!(crate::limits::TAG_BYTES_MAX <= u8::MAX as usize);

/// A [`Write`] whose strings and value lie in the bytes of an envelope.
#[derive(Debug)]
pub struct PackedWrite {
    map: Span,
    map_hash: u64,
    key: Span,
    key_hash: u64,
    action: PackedAction,
    view: Option<Arc<Parts>>,
}

#[derive(Clone, Copy, Debug)]
enum PackedAction {
    Set { value: Span, at: At, ttl_ms: Option<u64> },
    Delete { at: At, map_type: Option<MapType> },
    Add { value: Span, tag: Option<Span>, at: At },
    RemoveTags { tags: Span },
    RemoveValue { value: Span },
    Increment { by: i64 },
    IncrementTotals { replica: Node, added: u64, subtracted: u64 },
}

impl PackedWrite {
    /// Copies what `write` borrows to the end of `bytes`.
    pub fn pack(write: &Write<'_>, bytes: &mut Vec<u8>) -> Self {
        bytes.reserve(write.bytes());
        Self {
            map: Span::append(bytes, write.map.as_bytes()),
            map_hash: write.map_hash,
            key: Span::append(bytes, write.key.as_bytes()),
            key_hash: write.key_hash,
            action: match write.action {
                Action::Set { value, at, ttl_ms } => {
                    PackedAction::Set { value: Span::append(bytes, value), at, ttl_ms }
                }
                Action::Delete { at, map_type } => PackedAction::Delete { at, map_type },
                Action::Add { value, tag, at } => PackedAction::Add {
                    value: Span::append(bytes, value),
                    tag: tag.map(|tag| Span::append(bytes, tag.as_bytes())),
                    at,
                },
                Action::RemoveTags { tags } => PackedAction::RemoveTags { tags: Span::append(bytes, tags.0) },
                Action::RemoveValue { value } => {
                    PackedAction::RemoveValue { value: Span::append(bytes, value) }
                }
                Action::Increment { by } => PackedAction::Increment { by },
                Action::IncrementTotals { replica, added, subtracted } => {
                    PackedAction::IncrementTotals { replica, added, subtracted }
                }
            },
            view: write.view.cloned(),
        }
    }

    /// The name of its map, with its hash, and the hash of its key.
    pub fn target<'a>(&self, bytes: &'a [u8]) -> (&'a str, u64, u64) {
        (self.map.text(bytes), self.map_hash, self.key_hash)
    }

    pub fn unpack<'a>(&'a self, bytes: &'a [u8]) -> Write<'a> {
        Write {
            map: self.map.text(bytes),
            map_hash: self.map_hash,
            key: self.key.text(bytes),
            key_hash: self.key_hash,
            action: match self.action {
                PackedAction::Set { value, at, ttl_ms } => Action::Set { value: value.of(bytes), at, ttl_ms },
                PackedAction::Delete { at, map_type } => Action::Delete { at, map_type },
                PackedAction::Add { value, tag, at } => {
                    Action::Add { value: value.of(bytes), tag: tag.map(|tag| tag.text(bytes)), at }
                }
                PackedAction::RemoveTags { tags } => Action::RemoveTags { tags: TagList(tags.of(bytes)) },
                PackedAction::RemoveValue { value } => Action::RemoveValue { value: value.of(bytes) },
                PackedAction::Increment { by } => Action::Increment { by },
                PackedAction::IncrementTotals { replica, added, subtracted } => {
                    Action::IncrementTotals { replica, added, subtracted }
                }
            },
            view: self.view.as_ref(),
        }
    }
}
