//! What connections are told, as dialects put it: events of one connection, and what is put once for all that get the same.

use super::Now;
use super::commons::DialectIndex;
use super::direct::DirectEvent;
use super::lists::ListSteps;
use super::outcomes::Outcomes;
use crate::auth::Identity;
use crate::crdt::{MapType, Node, Stamp};
use crate::mesh::{
    Crowd, Entries, Entry, Gathered, History, Members, Message, Names, People, Recovery, Said,
};
use crate::wire::{Cursor, Reject, Ticket};

/// What one connection is told.
pub enum Event<'a> {
    /// The end of a write.
    Acked { ticket: Option<&'a Ticket>, ack: Ack<'a> },
    /// A request was refused as a whole.
    Rejected { ticket: Option<&'a Ticket>, reject: Reject },
    /// The application does not want what was to be published, and may have said why.
    Denied { ticket: Option<&'a Ticket>, reason: Option<&'a str> },
    /// A token was believed. It has a ticket if it came with a request.
    Authenticated { ticket: Option<&'a Ticket>, identity: &'a Identity },
    /// Something that the client is to see first, as JSON. Only who takes welcomes is told.
    Welcome { data: &'a [u8] },
    /// So many connections of a user are being ended.
    Dismissed { ticket: Option<&'a Ticket>, connections: u32 },
    /// The token is nearly over, at that Unix millisecond.
    Expiring { expires_ms: u64 },
    /// The answer to a read.
    Entries { ticket: Option<&'a Ticket>, map: &'a str, entries: Entries<'a> },
    /// The answer to a digest: keys that are there, and the hash of what a reader can see.
    Digest { ticket: Option<&'a Ticket>, map: &'a str, entries: u64, hash: u64 },
    /// A chunk of the answer to a subscribe. A map that nobody has written to has no type.
    Snapshot {
        ticket: Option<&'a Ticket>,
        map: &'a str,
        map_type: Option<MapType>,
        entries: Entries<'a>,
        end: SnapshotEnd,
    },
    /// A part of the list of a query, all of which is told at once: the answer to a subscribe, or because the connection was too
    /// slow for the changes since, or may see something else now.
    List {
        ticket: Option<&'a Ticket>,
        query: &'a Ticket,
        map: &'a str,
        entries: ListSteps<'a>,
        end: SnapshotEnd,
    },
    /// The same of one that resumes: what is new or has changed, at its rank, names that are shown no more, if they were, and how
    /// many are shown.
    ListResumed {
        ticket: Option<&'a Ticket>,
        query: &'a Ticket,
        map: &'a str,
        entries: ListSteps<'a>,
        gone: Names<'a>,
        count: usize,
        cursor: Cursor,
    },
    /// A query is over.
    ListEnded { query: &'a Ticket, map: &'a str, reject: Reject },
    /// All members of a room: the answer to a watch, or because the connection was too slow for the changes since. Who
    /// was removed while it was slow, it has been told.
    Members { ticket: Option<&'a Ticket>, room: &'a str, members: Members<'a> },
    /// Who is in a room that the connection has joined, as that member, or watches; or because it was too slow for the news since.
    Gathered {
        ticket: Option<&'a Ticket>,
        room: &'a str,
        member: Option<&'a str>,
        gathered: Gathered<&'a [u8]>,
    },
    /// The state of the member that it is has changed.
    MemberUpdated { ticket: Option<&'a Ticket>, room: &'a str },
    /// Some of those who are in a room.
    People { ticket: Option<&'a Ticket>, room: &'a str, people: People<'a>, has_more: bool },
    /// The connection is in a channel: it has been told what it may have missed, and is told everything after `offset`.
    Joined { ticket: Option<&'a Ticket>, channel: &'a str, epoch: u64, offset: u64, recovery: Recovery },
    /// A message has its place in a channel; on a timeout it is not known whether it is on disk.
    Placed { ticket: Option<&'a Ticket>, channel: &'a str, offset: u64, timeout: bool },
    /// What was said before in a channel.
    History { ticket: Option<&'a Ticket>, channel: &'a str, history: History<&'a [u8]> },
    /// Messages of a channel that the connection was too slow for.
    Gap { channel: &'a str, from: u64, to: u64 },
    /// About direct messages.
    Direct { ticket: Option<&'a Ticket>, event: DirectEvent<'a> },
}

impl Event<'_> {
    /// Bytes of what it lists, packed: at least as many go out. 0 where it lists nothing.
    pub(in crate::shard) const fn packed_bytes(&self) -> usize {
        match self {
            Self::Entries { entries, .. } | Self::Snapshot { entries, .. } => entries.packed().len(),
            Self::List { entries, .. } | Self::ListResumed { entries, .. } => entries.bytes(),
            Self::Members { members, .. } => members.packed().len(),
            Self::Gathered { gathered, .. } => match gathered.crowd {
                Crowd::All(all) => all.len(),
                Crowd::Diff { .. } | Crowd::Count => 0,
            },
            Self::People { people, .. } => people.0.len(),
            Self::History { history, .. } => history.messages.len(),
            Self::Acked { .. }
            | Self::MemberUpdated { .. }
            | Self::ListEnded { .. }
            | Self::Rejected { .. }
            | Self::Denied { .. }
            | Self::Authenticated { .. }
            | Self::Dismissed { .. }
            | Self::Expiring { .. }
            | Self::Welcome { .. }
            | Self::Digest { .. }
            | Self::Joined { .. }
            | Self::Placed { .. }
            | Self::Gap { .. }
            | Self::Direct { .. } => 0,
        }
    }
}

/// A message that nobody keeps.
#[derive(Clone, Copy)]
pub struct Published<'a> {
    pub map: &'a str,
    /// What the connection speaks that sent it.
    pub from: DialectIndex,
    pub body: &'a [u8],
    pub now: Now,
}

/// A message of a channel.
#[derive(Clone, Copy)]
pub struct ChannelMessage<'a> {
    pub channel: &'a str,
    pub offset: u64,
    pub said: Said<'a>,
    /// Unix milliseconds.
    pub time_ms: u64,
}

impl<'a> ChannelMessage<'a> {
    pub const fn of(channel: &'a str, Message { offset, time_ms, said }: Message<'a>) -> Self {
        Self { channel, offset, said, time_ms }
    }
}

/// What a member of a room is now.
#[derive(Clone, Copy)]
pub struct MemberChange<'a> {
    pub room: &'a str,
    pub member: &'a str,
    /// Canonical JSON; `None`: removed.
    pub state: Option<&'a [u8]>,
    /// As given by whoever set it. For a removal that no client asked for it is greater than the last.
    pub clock: u64,
    pub now: Now,
}

/// Changes of one map for its subscribers.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    pub map: &'a str,
    entries: Entries<'a>,
    /// Which of the entries; `None`: all.
    wanted: Option<&'a [bool]>,
    /// Everything applied up to here has been sent.
    pub cursor: Cursor,
}

impl<'a> Change<'a> {
    /// All of `entries`.
    pub const fn all(map: &'a str, entries: Entries<'a>, cursor: Cursor) -> Self {
        Self { map, entries, wanted: None, cursor }
    }

    /// Those of `entries` that are `wanted`.
    pub const fn some(map: &'a str, entries: Entries<'a>, wanted: &'a [bool], cursor: Cursor) -> Self {
        Self { map, entries, wanted: Some(wanted), cursor }
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> {
        let wanted = self.wanted;
        let is_wanted = move |index: usize| wanted.is_none_or(|wanted| wanted[index]);
        self.entries.enumerate().filter(move |&(index, _)| is_wanted(index)).map(|(_, entry)| entry)
    }
}

/// How far a write must have come before it is answered; each level includes the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum AckLevel {
    None,
    /// Merged by the owner of its key; the default.
    Memory,
    /// On disk.
    Durable,
    /// In the cluster's log.
    Replicated,
}

impl AckLevel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Durable => "durable",
            Self::Replicated => "replicated",
        }
    }
}

/// What became of a write.
#[derive(Clone, Copy)]
pub struct Ack<'a> {
    /// What was reached, which on a timeout is less than what was asked for.
    pub level: AckLevel,
    pub timeout: bool,
    pub(in crate::shard) outcomes: &'a Outcomes,
    /// The name of this server, whose clock gave stamps.
    pub(in crate::shard) node: Node,
}

impl<'a> Ack<'a> {
    /// Operations that were not rejected.
    pub fn applied(self) -> usize {
        self.outcomes.applied()
    }

    /// One item for each operation: its stamp, or `None` for one that was rejected or is of a type without stamps.
    pub fn stamps(self) -> impl Iterator<Item = Option<Stamp>> {
        self.outcomes.stamps(self.node)
    }

    /// The operations that were rejected, by their place.
    pub fn rejected(self) -> impl Iterator<Item = (usize, Reject)> {
        self.outcomes.rejected()
    }
}

/// How a chunk of a snapshot ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotEnd {
    /// Another chunk follows.
    More,
    /// All has been sent, up to `cursor`.
    Last {
        cursor: Cursor,
        /// Only what is newer than the `since` of the request was sent.
        resumed: bool,
        /// The `since` of the request was of no use: what the client has must be dropped.
        reset: bool,
    },
}
