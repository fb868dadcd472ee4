//! Who asks: what a dialect hands to every command that reads, writes, subscribes, publishes or joins.
//!
//! Invariant: only the shard makes callers, for the connection whose message or event it hands to the dialect. So no
//! command can be given without one, and no path can forget to look at what it may do.

use crate::mesh::ConnectionId;
use crate::wire::Ticket;

/// A connection and what it may do.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    connection: ConnectionId,
    grant: Grant,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Everything, which everybody may where nobody says who they are.
    Everything,
}

impl Caller {
    /// A connection of which nothing is known.
    pub(super) const fn everybody(connection: ConnectionId) -> Self {
        Self { connection, grant: Grant::Everything }
    }

    /// The same where no shard is.
    #[cfg(test)]
    pub const fn of_test(connection: ConnectionId) -> Self {
        Self::everybody(connection)
    }

    pub const fn connection(self) -> ConnectionId {
        self.connection
    }

    pub const fn grant(self) -> Grant {
        self.grant
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
