//! Who asks: what a dialect hands to every command that reads, writes, subscribes, publishes or joins.
//!
//! Invariant: only the shard makes callers, for the connection whose message or event it hands to the dialect. So no
//! command can be given without one, and no path can forget to look at what it may do.

use super::access::GrantId;
use crate::mesh::ConnectionId;
use crate::wire::Ticket;

/// A connection and what it may do.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    connection: ConnectionId,
    grant: GrantId,
}

impl Caller {
    pub(super) const fn new(connection: ConnectionId, grant: GrantId) -> Self {
        Self { connection, grant }
    }

    /// One that may do everything, where no shard is.
    #[cfg(test)]
    pub const fn of_test(connection: ConnectionId) -> Self {
        Self::new(connection, GrantId::EVERYTHING)
    }

    pub const fn connection(self) -> ConnectionId {
        self.connection
    }

    pub(super) const fn grant(self) -> GrantId {
        self.grant
    }

    /// Whether it has yet to say who it is.
    pub fn is_nobody(self) -> bool {
        self.grant == GrantId::NOTHING
    }
}

/// A caller's request, and what its answer is known by.
pub struct Asked {
    pub caller: Caller,
    pub ticket: Option<Ticket>,
}

impl Asked {
    pub const fn connection(&self) -> ConnectionId {
        self.caller.connection
    }

    pub const fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }
}
