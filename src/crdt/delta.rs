//! A change as *state*: what a merge takes, what another replica or a disk is sent.
//!
//! Invariant: a delta says what is now true, never what to do, so merging it again or late is harmless.

use super::{Node, Stamp, Time};
use crate::limits::{
    COUNTER_TOTAL_MAX, KEY_BYTES_MAX, SLOTS_PER_COUNTER_MAX, TAG_BYTES_MAX, TAGS_PER_KEY_MAX,
};

/// What a map holds at each key; fixed by the first write to the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapType {
    /// One value, of the last writer.
    Lww,
    /// A set of tagged values; a removal removes the tags it has seen.
    Or,
    /// A counter that goes up and down.
    Counter,
}

impl MapType {
    pub const ALL: [Self; 3] = [Self::Lww, Self::Or, Self::Counter];

    /// The type of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|map_type| map_type.as_str() == name)
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lww => "lww",
            Self::Or => "or",
            Self::Counter => "counter",
        }
    }
}

/// A part of the state of one key. Values are canonical JSON; equal values are equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta<'a> {
    Lww {
        at: Stamp,
        /// `None`: deleted.
        value: Option<&'a [u8]>,
        /// Unix milliseconds at which the value ends; 0: never. Means nothing without a value.
        expires_ms: u64,
    },
    OrAdd {
        tag: &'a str,
        value: &'a [u8],
        at: Stamp,
    },
    OrRemove {
        tag: &'a str,
    },
    /// The totals of one replica's slot.
    Counter {
        replica: Node,
        added: u64,
        subtracted: u64,
    },
    /// What the slots had counted together that no longer are any, each of which last counted at `through` or before.
    CounterAbsorbed {
        count: Count,
        through: Time,
    },
}

/// What many slots count together, in a place for a `u64`, as every delta is moved about and few are of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(8))]
pub struct Count(pub i128);

impl Delta<'_> {
    /// The time of its stamp, if it has one.
    pub const fn stamped(&self) -> Option<Time> {
        match self {
            Self::Lww { at, .. } | Self::OrAdd { at, .. } => Some(at.time),
            Self::OrRemove { .. } | Self::Counter { .. } | Self::CounterAbsorbed { .. } => None,
        }
    }

    /// The one type of map this can be merged into.
    pub const fn map_type(&self) -> MapType {
        match self {
            Self::Lww { .. } => MapType::Lww,
            Self::OrAdd { .. } | Self::OrRemove { .. } => MapType::Or,
            Self::Counter { .. } | Self::CounterAbsorbed { .. } => MapType::Counter,
        }
    }

    /// Whether tags and totals keep within their limits.
    pub(super) const fn is_in_limits(&self) -> bool {
        match *self {
            Self::Lww { .. } | Self::CounterAbsorbed { .. } => true,
            Self::OrAdd { tag, .. } | Self::OrRemove { tag } => tag.len() <= TAG_BYTES_MAX,
            Self::Counter { added, subtracted, .. } => {
                added <= COUNTER_TOTAL_MAX && subtracted <= COUNTER_TOTAL_MAX
            }
        }
    }
}

/// A key with its hash, which was computed once, over map and key, where the key entered the server.
#[derive(Clone, Copy, Debug)]
pub struct HashedKey<'a> {
    pub hash: u64,
    pub bytes: &'a [u8],
}

impl HashedKey<'_> {
    pub(super) const fn is_in_limits(&self) -> bool {
        self.bytes.len() <= KEY_BYTES_MAX
    }
}

/// Why a delta was not merged; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the map holds another type")]
    MapType,
    /// A key, tag or total over its limit, or one tag or slot more than a key may hold.
    #[error("over a limit of the key")]
    TooLarge,
    /// The tags or slots of the key would take more bytes than the caller allows.
    #[error("over the bytes of a key")]
    CellFull,
    /// There is room only if removed tags of the key are forgotten, or slots absorbed.
    #[error("too much of the past is remembered")]
    Crowded(Lack),
}

/// What a key has too much of for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Tags or slots.
    pub parts: usize,
    pub bytes: usize,
}

/// How large the state of one key may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellLimits {
    /// Live and removed tags of a set; slots of a counter.
    pub parts: usize,
    /// Bytes of tags or slots.
    pub bytes: usize,
}

impl CellLimits {
    /// Of a cell outside any map, which may remember what its owner has forgotten.
    pub const DETACHED: Self = Self { parts: 2 * TAGS_PER_KEY_MAX, bytes: usize::MAX };

    /// Of a cell in a map, of any bytes.
    pub const OF_PARTS: Self = Self::of_bytes(usize::MAX);

    /// Of a cell in a map.
    pub const fn of_bytes(bytes: usize) -> Self {
        Self { parts: TAGS_PER_KEY_MAX, bytes }
    }
}

const _: () = assert!(TAGS_PER_KEY_MAX == SLOTS_PER_COUNTER_MAX, "one limit for what a key consists of");
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_one_name() {
        assert_eq!(MapType::ALL.map(|map_type| MapType::parse(map_type.as_str())), MapType::ALL.map(Some));
        assert_eq!(["", "Or", "lww "].map(MapType::parse), [None; 3]);
    }
}
