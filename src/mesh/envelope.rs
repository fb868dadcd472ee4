//! What travels between shards. Items are small; their strings and values lie in the envelope's own bytes, so
//! that an envelope of a thousand operations is a handful of allocations.

use std::sync::Arc;

use super::entry::length;
use super::{
    Balance, ChangedKeys, ChannelAnswer, ChannelMessage, ChannelRequest, ConnectionId, DirectAnswer,
    DirectPush, DirectRequest, Enter, Filter, MemberChanged, Merged, OpenQuery, PackedRead, PackedWrite,
    QueryNews, QueryRef, ReadPart, ReplyTo, RoomAnswer, RoomNews, RoomRequest, ShardIndex, Spent,
    SubscriptionRef, TurnedAway, Writer,
};
use crate::auth::rules::Parts;
use crate::crdt::{CellName, MapType, Time};
use crate::metrics::Metrics;
use crate::wire::{Close, Reject};

/// Everything one shard has for another after one turn.
#[derive(Default)]
pub struct Envelope {
    /// The sender's clock when it sealed this: every change of its own up to here is in this envelope or in
    /// an earlier one, and every later tick of the receiver's is greater.
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
    /// Whether the sender has subscribers of `map`, and what they need.
    Interest {
        map: Arc<str>,
        wanted: Wanted,
    },
    /// A member of a room whose home is the sender.
    Member(MemberChanged),
    /// What becomes of a room of `/v1` whose home is the sender.
    Room(Box<RoomNews>),
    /// A message for the subscribers of `map`, by a connection that speaks the dialect with this index.
    Published {
        map: Arc<str>,
        dialect: u8,
        body: Span,
    },
    /// A message of a channel whose home is the sender.
    Channel(Box<ChannelMessage>),
    /// A connection that this shard had admitted for its address is gone.
    Departed {
        address: std::net::IpAddr,
    },
    /// A connection that the receiver has in its directory, in this place, is open.
    Settled {
        place: u32,
        by: Writer,
    },
    /// It is gone; why.
    Left {
        place: u32,
        by: Writer,
        close: Close,
    },
    /// A newer session of the same user is open: a connection of the receiver has to go.
    Displaced {
        connection: ConnectionId,
    },
    /// Somebody who may has said that a connection of the receiver has to go.
    Dismissed {
        connection: ConnectionId,
    },
    Spent(Box<Spent>),
    Balance(Box<Balance>),
    /// A message for connections of a user whose home is the sender.
    Direct(Box<DirectPush>),
    /// What becomes of a query that the receiver has asked for.
    Query(Box<QueryNews<Span>>),
    Clear(ClearStep),
}

/// What a shard wants to hear of the changes of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    #[default]
    Nothing,
    Outcomes,
    /// And what was there before, as some of its subscribers see only values that their rules allow.
    WithBefore,
}

/// A step of dropping all maps of all shards. Never waits.
#[derive(Clone, Copy, Debug)]
pub enum ClearStep {
    /// The sender takes no more requests: everything it has done for the receiver is in this queue before.
    Quiet,
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
        read: PackedRead,
    },
    Digest {
        reply: ReplyTo,
        map: Arc<str>,
    },
    Walk(Box<WalkRequest>),
    /// The subscription is over: its chunk need not be made, if it has not been. The request for it is answered all the same.
    CancelWalk {
        by: Writer,
        subscription: SubscriptionRef,
    },
    OpenQuery(Box<OpenQuery>),
    /// The feed has no subscribers any more. There is no answer.
    CloseQuery {
        map: Arc<str>,
        feed: QueryRef,
    },
    ChangedKeys(Box<ChangedKeys>),
    /// Of a shard to itself, while it waits for the map: go on with its queries. With `is_owed` a client waits.
    ScanQueries {
        map: Arc<str>,
        is_owed: bool,
    },
    /// Fix the type of `map`, which lives on the receiver, unless it is fixed already.
    ClaimType {
        map: Arc<str>,
        map_type: MapType,
    },
    /// The sender has no cells of `map`, whose name lives on the receiver, and has forgotten its type.
    ReleaseType {
        map: Arc<str>,
    },
    /// May one more connection from `address` be open?
    Admit {
        reply: ReplyTo,
        address: std::net::IpAddr,
    },
    Enter(Box<Enter>),
    /// End all connections of a user, whose home is the receiver.
    Dismiss {
        reply: ReplyTo,
        user: Arc<str>,
    },
    Direct(Box<DirectRequest>),
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
    /// About presence in `/v1`.
    Room(Box<RoomRequest>),
    Channel(Box<ChannelRequest>),
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
        part: ReadPart<Span>,
    },
    Digest {
        reply: ReplyTo,
        part: Result<DigestPart, Reject>,
    },
    Walk(Box<WalkAnswer>),
    TypeFixed {
        map: Arc<str>,
        map_type: MapType,
    },
    /// The home of `map` cannot say its type.
    TypeRefused {
        map: Arc<str>,
        reject: Reject,
    },
    Admit {
        reply: ReplyTo,
        outcome: Result<(), TurnedAway>,
    },
    /// The place of the connection in the directory.
    Enter {
        reply: ReplyTo,
        outcome: Result<u32, TurnedAway>,
    },
    /// How many connections are being ended.
    Dismissed {
        reply: ReplyTo,
        connections: u32,
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
    Room(Box<RoomAnswer>),
    Channel(Box<ChannelAnswer>),
    /// Packed names, or that it cannot say.
    ChangedKeys {
        subscription: SubscriptionRef,
        keys: Option<Span>,
    },
    Direct(Box<DirectAnswer>),
    Metrics {
        reply: ReplyTo,
        metrics: Box<Metrics>,
    },
    Cleared {
        reply: ReplyTo,
    },
}

/// What one shard has cached of its part of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigestPart {
    /// Keys that are there.
    pub entries: u64,
    pub hash: u64,
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
        let start = bytes.len();
        bytes.extend_from_slice(content);
        Self::since(bytes, start)
    }

    /// What was appended to `bytes` since they were `start` long.
    ///
    /// # Panics
    /// Past 4 GiB. A shard takes nothing on once an envelope has [`MESH_PENDING_BYTES_MAX`], and what it takes on at
    /// once is bounded by a message, an answer or a chunk.
    ///
    /// [`MESH_PENDING_BYTES_MAX`]: crate::limits::MESH_PENDING_BYTES_MAX
    pub fn since(bytes: &[u8], start: usize) -> Self {
        Self { start: length(start), len: length(bytes.len() - start) }
    }

    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..][..self.len as usize]
    }

    /// The span as text; spans made from text are text.
    pub fn text(self, bytes: &[u8]) -> &str {
        std::str::from_utf8(self.of(bytes)).expect("packed from a str")
    }
}

/// Changes of one map by one owner, in the order it applied them.
pub struct Changes {
    pub map: Arc<str>,
    /// `applied` of the first of them.
    pub first: Time,
    /// [`super::Entries`], one for each change.
    pub entries: Span,
    /// [`super::Entries`] without keys, one for each change: what it has taken away; empty where the receiver wants none.
    pub before: Span,
    /// Which of the envelope's `writers` made them; `None` there when no connection did, such as an expiry.
    pub writers_start: u32,
    pub writers_len: u32,
}

/// The next chunk, please: cells of `map` with `applied > position`, oldest first.
#[derive(Clone)]
pub struct WalkRequest {
    pub shard: ShardIndex,
    /// On whose behalf; it may outlive the subscription.
    pub connection: ConnectionId,
    pub subscription: SubscriptionRef,
    pub map: Arc<str>,
    pub position: Time,
    /// Of a walk that has begun.
    pub round: Option<Box<Round>>,
    /// Bytes of entries that the connection has room for.
    pub room: u32,
    /// Whether `position` comes from a cursor, and must be refused if removals after it were forgotten.
    pub resumes: bool,
    /// Whether a client waits for its answer; else it waits for its map however long that takes.
    pub is_owed: bool,
    pub filter: Option<Arc<Filter>>,
    /// What the subscriber may see; `None`: everything.
    pub view: Option<Arc<Parts>>,
}

impl WalkRequest {
    pub const fn asker(&self) -> Writer {
        Writer { shard: self.shard, connection: self.connection }
    }
}

/// What a walk remembers between two chunks: of the load that its position is of, and of large sets. It passes over them and,
/// once it has reached the tail, tells of each what has changed since the round began; then the next round begins, with what
/// has changed meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Where it began: of large sets everything up to here was seen.
    pub since: Time,
    /// The load that the position is of, and the latest one before it that is good in any load.
    pub load: u32,
    pub lasting: Time,
    /// The last cell that was seen, where the position is good in that load only.
    pub last: Option<CellName>,
    /// Whether it has passed over any large set.
    pub has_passed: bool,
    /// Where it is among them, once it has reached the tail.
    pub place: Option<SetPlace>,
}

impl Round {
    /// Up to where everything was seen, whatever becomes of the map.
    pub fn seen_through(&self, map_type: Option<MapType>) -> Time {
        // A large set may have tags that were changed before the position, and are told when the round ends.
        if map_type == Some(MapType::Or) { self.since } else { self.lasting }
    }
}

/// A place among large sets, between two tags of one. Those removed come first, then the live ones, each sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPlace {
    /// The tail: of everything else everything up to here was seen.
    pub tail: Time,
    /// `None`: before the first.
    pub set: Option<CellName>,
    /// The last tag that was seen, and whether it is a live one.
    pub tag: Option<(Box<str>, bool)>,
}

/// One chunk of a walk.
pub struct WalkAnswer {
    pub connection: ConnectionId,
    pub subscription: SubscriptionRef,
    /// Of the request.
    pub room: u32,
    /// Everything up to here has been seen, but for large sets.
    pub position: Time,
    /// Unless it is done.
    pub round: Option<Box<Round>>,
    /// What comes next has so many bytes, for which there was no room; 0: there was.
    pub needs: u32,
    /// The walk has reached the tail: whatever the owner changes from now on follows in this queue.
    pub done: bool,
    /// The position is older than a forgotten removal: start anew.
    pub reset: bool,
    /// The chunk is not made, as the map could not be loaded; nothing else here means anything.
    pub refused: Option<Reject>,
    pub map_type: Option<MapType>,
    /// [`super::Entries`], and how many.
    pub entries: Span,
    pub count: u32,
}
