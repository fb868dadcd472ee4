//! What dialects remember of connections, counted in bytes.
//!
//! Invariant: once a turn has ended the sum is that of all sessions. A session is looked at in the turns in which it may have
//! changed, so that none that is idle costs anything.

use super::Clients;
use crate::mesh::ConnectionId;
use crate::shard::{Dialect, Session};

/// See the module.
#[derive(Default)]
pub struct Sessions {
    bytes: usize,
    /// Those that may have changed in this turn.
    touched: Vec<ConnectionId>,
}

impl Clients {
    /// What the dialect of a connection remembers of it, which is about to change; `None` if it is gone.
    pub fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.touch_session(id);
        self.get_mut(id).map(|connection| &mut connection.session)
    }

    /// The session of a connection may be about to change.
    pub(super) fn touch_session(&mut self, id: ConnectionId) {
        let connection = self.table.get_mut(id.index).filter(|connection| connection.id == id);
        if let Some(connection) = connection.filter(|connection| !connection.is_session_touched) {
            connection.is_session_touched = true;
            self.sessions.touched.push(id);
        }
    }

    /// A session goes, which is counted no longer.
    pub(super) fn forget_session(&mut self, dialect: &dyn Dialect, session: &mut Session) {
        let (before, _) = dialect.session_bytes(session);
        self.sessions.bytes -= before;
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
