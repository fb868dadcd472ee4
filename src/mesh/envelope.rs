//! What travels between shards. Items are small; their strings and values lie in the envelope's own bytes, so
//! that an envelope of a thousand operations is a handful of allocations.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::{Filter, MemberChanged, ReplyTo, ShardIndex, SubscriptionRef, Writer};
use crate::crdt::{MapType, Node, Stamp, Time};
use crate::metrics::Metrics;
use crate::wire::Reject;

/// Everything one shard has for another after one turn.
#[derive(Default)]
pub struct Envelope {
    /// The sender's clock when it sealed this: every change of its own up to here is in this envelope or in
    /// an earlier one.
    pub as_of: Time,
    /// The batch of the sender that holds everything its answers in here speak of; 0 without storage.
    pub journaled: u64,
    pub items: Vec<Item>,
    /// What the spans of `items` point into.
    pub bytes: Vec<u8>,
    /// Who made each of the changes in `items`.
    pub writers: Vec<Option<Writer>>,
}

pub enum Item {
    Request(Request),
    Answer(Answer),
    Changes(Changes),
    /// Whether the sender has subscribers of `map`.
    Interest {
        map: Arc<str>,
        wanted: bool,
    },
    /// A member of a room whose home is the sender.
    Member(MemberChanged),
    /// A message for the subscribers of `map`, by a connection that speaks the dialect with this index.
    Published {
        map: Arc<str>,
        dialect: u8,
        body: Span,
    },
    /// A connection that this shard had admitted for its address is gone.
    Departed {
        address: std::net::IpAddr,
    },
    Clear(ClearStep),
}

/// A step of dropping all maps of all shards. Never waits.
#[derive(Clone, Copy, Debug)]
pub enum ClearStep {
    /// The sender takes no more requests: everything it has done for the receiver is in this queue before.
    Held,
    /// The sender has dropped its maps; no tick that it has given is above `clock`.
    Dropped { clock: Time },
    /// All shards have, and everything of before was applied below `tick`.
    Ended { tick: Time },
}

/// What the receiver must do and answer. Waits while the receiver is congested.
pub enum Request {
    Write {
        reply: ReplyTo,
        write: PackedWrite,
    },
    Read {
        reply: ReplyTo,
        map: Span,
        map_hash: u64,
        key: Span,
        key_hash: u64,
    },
    Digest {
        reply: ReplyTo,
        map: Arc<str>,
    },
    Walk(Box<WalkRequest>),
    /// Fix the type of `map`, which lives on the receiver, unless it is fixed already.
    ClaimType {
        map: Arc<str>,
        map_type: MapType,
    },
    /// May one more connection from `address` be open?
    Admit {
        reply: ReplyTo,
        address: std::net::IpAddr,
    },
    /// Answer with all members of `room`, and send its changes from then on.
    WatchRoom {
        reply: ReplyTo,
        room: Arc<str>,
    },
    /// Send no more changes of `room`.
    UnwatchRoom {
        room: Arc<str>,
    },
    /// Set a member, or remove it.
    SetMember {
        reply: ReplyTo,
        room: Span,
        member: Span,
        state: Option<Span>,
        clock: u64,
    },
    /// Remove a member unless somebody else has set it since `by`, which is gone. There is no answer.
    LeaveRoom {
        room: Span,
        member: Span,
        by: Writer,
    },
    Metrics {
        reply: ReplyTo,
    },
    /// Drop all maps of all shards, please.
    Clear {
        reply: ReplyTo,
    },
}

/// What a request comes to. Never waits: handling it sends no request but a further walk.
pub enum Answer {
    Write {
        reply: ReplyTo,
        outcome: Result<Merged, Reject>,
    },
    Read {
        reply: ReplyTo,
        entry: Span,
    },
    Digest {
        reply: ReplyTo,
        entries: u64,
        hash: u64,
    },
    Walk(Box<WalkAnswer>),
    TypeFixed {
        map: Arc<str>,
        map_type: MapType,
    },
    Admit {
        reply: ReplyTo,
        admitted: bool,
    },
    /// [`super::Members`].
    Members {
        reply: ReplyTo,
        room: Arc<str>,
        members: Span,
    },
    MemberSet {
        reply: ReplyTo,
        outcome: Result<(), Reject>,
    },
    Metrics {
        reply: ReplyTo,
        metrics: Box<Metrics>,
    },
    Cleared {
        reply: ReplyTo,
    },
}

/// Bytes of an envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// Copies `content` to the end of `bytes`.
    pub fn append(bytes: &mut Vec<u8>, content: &[u8]) -> Self {
        let span = Self { start: bytes.len() as u32, len: content.len() as u32 };
        bytes.extend_from_slice(content);
        span
    }

    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..][..self.len as usize]
    }

    /// The span as text; spans made from text are text.
    pub fn text(self, bytes: &[u8]) -> &str {
        std::str::from_utf8(self.of(bytes)).expect("packed from a str")
    }
}

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
}

#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    Set { value: &'a [u8], at: At, ttl_ms: Option<u64> },
    Delete { at: At },
    Add { value: &'a [u8], tag: Option<&'a str>, at: At },
    RemoveTags { tags: TagList<'a> },
    RemoveValue { value: &'a [u8] },
    Increment { by: i64 },
    IncrementTotals { replica: Node, added: u64, subtracted: u64 },
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

impl Action<'_> {
    /// The stamp that the client gave.
    pub const fn given(&self) -> Option<Stamp> {
        match *self {
            Self::Set { at: At::Given(at), .. }
            | Self::Delete { at: At::Given(at) }
            | Self::Add { at: At::Given(at), .. } => Some(at),
            _ => None,
        }
    }

    /// The type of map this action is for.
    pub const fn map_type(&self) -> MapType {
        match self {
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
#[derive(Clone, Copy, Debug)]
pub struct PackedWrite {
    map: Span,
    map_hash: u64,
    key: Span,
    key_hash: u64,
    action: PackedAction,
}

#[derive(Clone, Copy, Debug)]
enum PackedAction {
    Set { value: Span, at: At, ttl_ms: Option<u64> },
    Delete { at: At },
    Add { value: Span, tag: Option<Span>, at: At },
    RemoveTags { tags: Span },
    RemoveValue { value: Span },
    Increment { by: i64 },
    IncrementTotals { replica: Node, added: u64, subtracted: u64 },
}

impl PackedWrite {
    /// Copies what `write` borrows to the end of `bytes`.
    pub fn pack(write: &Write<'_>, bytes: &mut Vec<u8>) -> Self {
        Self {
            map: Span::append(bytes, write.map.as_bytes()),
            map_hash: write.map_hash,
            key: Span::append(bytes, write.key.as_bytes()),
            key_hash: write.key_hash,
            action: match write.action {
                Action::Set { value, at, ttl_ms } => {
                    PackedAction::Set { value: Span::append(bytes, value), at, ttl_ms }
                }
                Action::Delete { at } => PackedAction::Delete { at },
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
        }
    }

    pub fn unpack(self, bytes: &[u8]) -> Write<'_> {
        Write {
            map: self.map.text(bytes),
            map_hash: self.map_hash,
            key: self.key.text(bytes),
            key_hash: self.key_hash,
            action: match self.action {
                PackedAction::Set { value, at, ttl_ms } => Action::Set { value: value.of(bytes), at, ttl_ms },
                PackedAction::Delete { at } => Action::Delete { at },
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
        }
    }
}

/// Changes of one map by one owner, in the order it applied them.
pub struct Changes {
    pub map: Arc<str>,
    /// `applied` of the first of them.
    pub first: Time,
    /// [`super::Entries`], one for each change.
    pub entries: Span,
    /// Which of the envelope's `writers` made them; `None` there when no connection did, such as an expiry.
    pub writers_start: u32,
    pub writers_len: u32,
}

/// The next chunk, please: cells of `map` with `applied > position`, oldest first.
#[derive(Clone)]
pub struct WalkRequest {
    pub shard: ShardIndex,
    pub subscription: SubscriptionRef,
    pub map: Arc<str>,
    pub position: Time,
    /// Whether `position` comes from a cursor, and must be refused if removals after it were forgotten.
    pub resumes: bool,
    pub filter: Option<Arc<Filter>>,
}

/// One chunk of a walk.
pub struct WalkAnswer {
    pub subscription: SubscriptionRef,
    /// Everything up to here has been seen.
    pub position: Time,
    /// The walk has reached the tail: whatever the owner changes from now on follows in this queue.
    pub done: bool,
    /// The position is older than a forgotten removal: start anew.
    pub reset: bool,
    /// The map could not be loaded in time; nothing else here means anything.
    pub failed: bool,
    pub map_type: Option<MapType>,
    /// [`super::Entries`], and how many.
    pub entries: Span,
    pub count: u32,
}
