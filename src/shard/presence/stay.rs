//! One stay: what a connection is in a room, and what it knows of it.

use std::sync::Arc;

use super::Slot;
use crate::mesh::ConnectionId;
use crate::shard::clients::Clients;

/// See the module.
pub struct Stay {
    pub connection: ConnectionId,
    pub room: Slot,
    /// Its place among the stays of the room.
    pub place: u32,
    pub standing: Standing,
    /// Serial number of its first request; an answer to one of before is for another stay in the same room.
    first: Option<u32>,
    /// Of the last that was asked while it was not current, until any is answered.
    pub asked: Option<u32>,
    /// As which member it is in the room, if it is.
    pub member: Option<Own>,
}

/// The member that a stay is one of.
pub struct Own {
    pub name: Arc<str>,
    /// Of the state that it has set.
    pub state_bytes: usize,
    /// Serial numbers of its first and its last request to join.
    first: u32,
    last: u32,
    /// One of them was answered.
    is_certain: bool,
}

/// What the connection knows of the room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Nothing,
    /// Everything up to the last news.
    Current,
    /// Not what came since.
    Behind,
}

impl Stay {
    pub const fn new(connection: ConnectionId, room: Slot, place: u32) -> Self {
        let standing = Standing::Nothing;
        Self { connection, room, place, standing, first: None, asked: None, member: None }
    }

    pub fn member_name(&self) -> Option<&Arc<str>> {
        self.member.as_ref().map(|own| &own.name)
    }

    pub fn name_bytes(&self) -> usize {
        self.member.as_ref().map_or(0, |own| own.name.len())
    }

    /// Bytes that it counts towards what its connection may set.
    pub fn bytes(&self) -> usize {
        self.member.as_ref().map_or(0, |own| own.name.len() + own.state_bytes)
    }

    /// Takes note of a request whose answer makes it current.
    pub fn note_asked(&mut self, serial: u32) {
        self.first.get_or_insert(serial);
        if self.standing != Standing::Current {
            self.asked = Some(serial);
        }
    }

    /// Takes note of a request to join as a member, the one it is or another, with a state of so many bytes, if with any.
    pub fn note_joins(&mut self, serial: u32, name: &str, state_bytes: Option<usize>) {
        match &mut self.member {
            Some(own) if *own.name == *name => {
                own.last = serial;
                own.state_bytes = state_bytes.unwrap_or(own.state_bytes);
            }
            _ => {
                let state_bytes = state_bytes.unwrap_or(0);
                let own =
                    Own { name: name.into(), state_bytes, first: serial, last: serial, is_certain: false };
                self.member = Some(own);
            }
        }
    }

    /// The answer to a request has come, in line with the news, so that from here on it lacks nothing; whether it was one of this
    /// stay.
    pub fn answered(&mut self, clients: &mut Clients, serial: u32, joins: bool) -> bool {
        let is_own = self.first.is_some_and(|first| is_since(serial, first));
        if is_own {
            self.asked = None;
            self.leave_behind(clients);
            self.standing = Standing::Current;
            if let Some(own) = &mut self.member {
                own.is_certain |= joins && is_since(serial, own.first);
            }
        }
        is_own
    }

    /// Whether it is no member any more, as a request to join has come to nothing: no other has been answered, nor may be.
    pub fn is_out_without(&self, serial: u32) -> bool {
        self.member.as_ref().is_some_and(|own| !own.is_certain && own.last == serial)
    }

    pub fn fall_behind(&mut self, clients: &mut Clients) {
        self.standing = Standing::Behind;
        if let Some(stays) = clients.stays_mut(self.connection) {
            stays.behind += 1;
        }
    }

    pub fn leave_behind(&self, clients: &mut Clients) {
        if self.standing == Standing::Behind
            && let Some(stays) = clients.stays_mut(self.connection)
        {
            stays.behind -= 1;
        }
    }
}

/// Whether a serial number is that one or later. They begin anew after 2^32.
const fn is_since(serial: u32, first: u32) -> bool {
    serial.wrapping_sub(first) <= u32::MAX / 2
}
