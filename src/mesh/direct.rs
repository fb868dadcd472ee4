//! Direct messages on their way between shards; lists of them are packed into bytes.
//!
//! ```text
//! epoch u64 | offset u64 | time_ms u64 | from_len u16, from | data_len u32, data
//! ```

use std::fmt;
use std::sync::Arc;

use super::entry::{pack_long, pack_name, take_long, take_name, take_number};
use super::{ConnectionId, ReplyTo, Span, Writer};
use crate::wire::Reject;

/// By which a message to one user is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageId {
    /// Of the log of the user. It has another where it was begun anew.
    pub epoch: u64,
    /// The place in it; 0: before all.
    pub offset: u64,
}

impl fmt::Display for MessageId {
    /// As clients are told it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}-{}", self.epoch, self.offset)
    }
}

/// A message to one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direct<'a> {
    pub id: MessageId,
    /// When it came to the home of the user, in Unix milliseconds.
    pub time_ms: u64,
    /// The user who has sent it.
    pub from: &'a str,
    /// Canonical JSON.
    pub data: &'a [u8],
}

impl Direct<'_> {
    /// Appends it to packed [`Directs`].
    pub fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.epoch.to_le_bytes());
        out.extend_from_slice(&self.id.offset.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        pack_name(self.from, out);
        pack_long(self.data, out);
    }
}

/// Packed messages, one by one. They come from [`Direct::pack`] alone, so reading them cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct Directs<'a>(pub &'a [u8]);

impl<'a> Iterator for Directs<'a> {
    type Item = Direct<'a>;

    fn next(&mut self) -> Option<Direct<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let epoch = u64::from_le_bytes(take_number(&mut self.0));
        let offset = u64::from_le_bytes(take_number(&mut self.0));
        let id = MessageId { epoch, offset };
        let time_ms = u64::from_le_bytes(take_number(&mut self.0));
        let from = take_name(&mut self.0);
        Some(Direct { id, time_ms, from, data: take_long(&mut self.0) })
    }
}

/// What the home of a user, or a shard with connections, must do for another.
pub enum DirectRequest {
    Send(SendRequest),
    /// What is kept for a connection of the user, please.
    Fetch(FetchRequest),
    /// A connection of the user has everything up to here; answered if somebody waits for it.
    Ack {
        reply: Option<ReplyTo>,
        user: Arc<str>,
        through: MessageId,
    },
    /// At the home of the other, which hands it on.
    BlockOther(BlockRequest),
    /// At the home of the user.
    Block(BlockRequest),
    /// To all connections of users that are there.
    Announce(AnnounceRequest),
}

pub struct SendRequest {
    pub reply: ReplyTo,
    pub to: Span,
    pub from: Arc<str>,
    pub data: Span,
    /// For how long it is kept at most, if its sender says so.
    pub ttl_ms: Option<u64>,
    /// Whether it is kept where a restart leaves it.
    pub is_durable: bool,
}

pub struct FetchRequest {
    pub by: Writer,
    pub user: Arc<str>,
    /// It has been sent all up to here, or told that it will not be.
    pub through: MessageId,
    /// Bytes that it has room for; one message comes in any case.
    pub room: u32,
}

/// One user blocks another, or does so no longer. First the home of the other takes note, then that of the user, which answers: so nothing
/// comes from either after the answer.
pub struct BlockRequest {
    /// `None`: the other's home is to forget it and hand on nothing, as the user's has refused it.
    pub reply: Option<ReplyTo>,
    pub user: Arc<str>,
    pub other: Arc<str>,
    pub is_blocked: bool,
}

pub struct AnnounceRequest {
    pub reply: ReplyTo,
    pub to: Audience,
    pub from: Arc<str>,
    pub data: Span,
    pub time_ms: u64,
}

/// Whom a message is for, where it is not one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every user.
    All,
    Role(Arc<str>),
}

/// What the home of a user has for connections of it.
pub struct DirectPush {
    /// Which of those that wait at the home for who takes them.
    pub sending: SendingId,
    pub connections: Box<[ConnectionId]>,
    /// [`Directs`]: one.
    pub message: Span,
}

/// A message that waits at the home for who takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendingId {
    pub slot: u32,
    pub serial: u32,
}

impl SendingId {
    /// Of one that waits for nobody, as it has been answered.
    pub const NONE: Self = Self { slot: u32::MAX, serial: 0 };
}

pub enum DirectAnswer {
    Sent {
        reply: ReplyTo,
        outcome: Result<Sent, Reject>,
    },
    /// Whether any connection of a push has taken it.
    Taken {
        sending: SendingId,
        is_taken: bool,
    },
    Fetched(Fetched),
    Acked {
        reply: ReplyTo,
        outcome: Result<(), Reject>,
    },
    Blocked {
        reply: ReplyTo,
        outcome: Result<(), Reject>,
    },
    /// How many connections of the shard have taken it.
    Announced {
        reply: ReplyTo,
        taken: u64,
    },
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The outbox of a connection has taken it.
    Delivered {
        id: MessageId,
    },
    /// It waits for the user.
    Queued {
        id: MessageId,
    },
    Refused(NotSent),
}

/// Why a message is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// No rule allows it, or the user has blocked its sender, who is not told which.
    Forbidden,
    /// Its sender has blocked the user.
    Blocked,
    /// It takes more than the queue of one user may.
    TooLarge,
    /// There is no memory for what more has to wait.
    QueueFull,
    /// Nobody is there of those it is for, and it is not kept.
    Absent,
}

pub struct Fetched {
    pub connection: ConnectionId,
    /// Everything up to here is in here, or is no more.
    pub through: MessageId,
    /// What comes from now on follows in this queue.
    pub is_all: bool,
    /// What is kept cannot be had for now.
    pub is_refused: bool,
    /// How many of what it lacks the limits of the queue have cost.
    pub dropped: u64,
    /// [`Directs`].
    pub messages: Span,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_packed() {
        let messages = [
            Direct { id: MessageId { epoch: 7, offset: 1 }, time_ms: 2, from: "ada", data: b"{}" },
            Direct {
                id: MessageId { epoch: u64::MAX, offset: 1 << 63 },
                time_ms: 0,
                from: &"é".repeat(128),
                data: b"",
            },
        ];
        let mut packed = Vec::new();
        messages.iter().for_each(|message| message.pack(&mut packed));
        assert_eq!(Directs(&packed).collect::<Vec<_>>(), messages);
    }
}
