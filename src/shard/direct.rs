//! What connections are told of direct messages.

use crate::mesh::{Direct, MessageId, Sent};

/// A message, as a dialect puts it: once for all that get the same.
#[derive(Clone, Copy, Debug)]
pub struct DirectMessage<'a> {
    /// By which it is acknowledged; `None`: it is not kept, and cannot be.
    pub id: Option<MessageId>,
    pub audience: DirectAudience<'a>,
    /// The user who has sent it.
    pub from: &'a str,
    /// Canonical JSON.
    pub data: &'a [u8],
    pub time_ms: u64,
    /// Whether it has waited: for the user, for this connection of it, or for room there.
    pub is_queued: bool,
}

/// Whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectAudience<'a> {
    /// The user of the connection.
    User,
    Role(&'a str),
    All,
}

impl<'a> DirectMessage<'a> {
    /// One for the user of the connection.
    pub const fn of_user(message: &Direct<'a>, is_queued: bool) -> Self {
        let Direct { id, time_ms, from, data } = *message;
        Self { id: Some(id), audience: DirectAudience::User, from, data, time_ms, is_queued }
    }
}

/// What one connection is told beside the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectEvent<'a> {
    /// What became of a message that it has sent. `count`: of those to many, how many connections have taken it; `timeout`: it was not
    /// durable in time.
    Sent {
        sent: Sent,
        count: Option<u64>,
        timeout: bool,
    },
    /// The application does not want it to be sent, and may have said why.
    Denied {
        reason: Option<&'a str>,
    },
    /// So many messages are lost that were to come before those that follow.
    Dropped {
        count: u64,
    },
    Acked {
        through: MessageId,
    },
    Blocked {
        user: &'a str,
        is_blocked: bool,
    },
}

impl DirectEvent<'_> {
    pub const fn sent(sent: Sent) -> Self {
        Self::Sent { sent, count: None, timeout: false }
    }
}
