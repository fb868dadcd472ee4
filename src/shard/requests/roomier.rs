//! Connections that may have room by now for an answer that was too long.
//!
//! Invariant: who is in line is in it once, and is marked (`Connection::may_read_on`). So the line is no longer than there are
//! connections, however long nothing large may be begun.

use std::collections::VecDeque;
use std::mem;

use crate::mesh::ConnectionId;
use crate::shard::clients::{Clients, Connection};

/// See the module.
#[derive(Default)]
pub struct Roomier {
    line: VecDeque<ConnectionId>,
}

impl Roomier {
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Has a connection looked at, if it is not in line.
    pub fn note(&mut self, connection: &mut Connection) {
        if !mem::replace(&mut connection.may_read_on, true) {
            self.line.push_back(connection.id);
        }
    }

    /// Takes who has been in line longest.
    pub fn next(&mut self, clients: &mut Clients) -> Option<ConnectionId> {
        loop {
            let id = self.line.pop_front()?;
            if let Some(connection) = clients.get_mut(id) {
                connection.may_read_on = false;
                return Some(id);
            }
        }
    }

    /// Puts who was taken back in its place, if it is not in line again by now.
    pub fn put_back(&mut self, clients: &mut Clients, id: ConnectionId) {
        if let Some(connection) = clients.get_mut(id)
            && !mem::replace(&mut connection.may_read_on, true)
        {
            self.line.push_front(id);
        }
    }
}
