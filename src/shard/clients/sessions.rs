//! What dialects remember of connections, counted in bytes.
//!
//! Invariant: once a turn has ended the sum is that of all sessions. A session is looked at in the turns in which it may have
//! changed, so that none that is idle costs anything.

use super::connection::Connection;
use super::{Clients, tenant};
use crate::mesh::ConnectionId;
use crate::shard::{Dialect, Session};

/// See the module.
#[derive(Default)]
pub struct Sessions {
    bytes: usize,
    /// Those that may have changed in this turn.
    touched: Vec<ConnectionId>,
}

impl Sessions {
    /// The session of a connection may change, or has changed.
    pub(super) fn touch(&mut self, connection: &mut Connection) {
        if !connection.is_session_touched {
            connection.is_session_touched = true;
            self.touched.push(connection.id);
        }
    }
}

impl Clients {
    /// What the dialect of a connection remembers of it, which is about to change; `None` if it is gone.
    pub fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        let connection = tenant(&mut self.table, id)?;
        self.sessions.touch(connection);
        Some(&mut connection.session)
    }

    /// A session goes, which is counted no longer; the bytes that it takes.
    pub(super) fn forget_session(&mut self, dialect: &dyn Dialect, session: &mut Session) -> usize {
        let (before, now) = dialect.session_bytes(session);
        self.sessions.bytes -= before;
        now
    }

    /// Bytes that all sessions take, and what dialects remember besides.
    pub fn session_bytes(&mut self) -> usize {
        for index in 0..self.sessions.touched.len() {
            let id = self.sessions.touched[index];
            let dialect = self.dialect_of(id);
            let Some(connection) = self.get_mut(id) else { continue };
            connection.is_session_touched = false;
            let (before, after) = dialect.session_bytes(&mut connection.session);
            self.sessions.bytes = self.sessions.bytes - before + after;
        }
        self.sessions.touched.clear();
        let commons = &self.commons;
        let of_all: usize = self.dialects.iter().map(|dialect| dialect.commons_bytes(commons)).sum();
        self.sessions.bytes + of_all
    }
}
