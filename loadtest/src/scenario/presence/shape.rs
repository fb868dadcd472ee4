//! Which connection is which member of which room.
//!
//! A membership is a member of a room; it is called by its number, room by room.

use memchr::memmem;

use super::PresenceOptions;
use super::medium::Medium;
use crate::failure::{Failure, excerpt};
use crate::message::Message;
use crate::value::Values;

pub struct Shape {
    pub rooms: Vec<String>,
    /// Of each room.
    pub members: usize,
    /// Whether each connection is a member of every room.
    pub everywhere: bool,
    pub values: Values,
}

impl Shape {
    pub fn new(options: &PresenceOptions, run: &str, medium: Medium) -> Self {
        // Names of the same length, whatever the medium.
        let letter = if medium == Medium::Map { 'm' } else { 'p' };
        Self {
            rooms: (0..options.rooms).map(|room| format!("room-{run}-{letter}-{room}")).collect(),
            members: options.members as usize,
            everywhere: options.everywhere,
            values: Values::new(options.state_bytes),
        }
    }

    pub fn memberships(&self) -> usize {
        self.rooms.len() * self.members
    }

    pub fn connections(&self) -> usize {
        if self.everywhere { self.members } else { self.memberships() }
    }

    pub fn room(&self, membership: usize) -> usize {
        membership / self.members
    }

    pub fn member(&self, membership: usize) -> usize {
        membership % self.members
    }

    pub fn connection(&self, membership: usize) -> usize {
        if self.everywhere { self.member(membership) } else { membership }
    }

    /// The membership of a connection that a message to it is about. `mark`: what stands before the name of the room.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for a message that names no room of that connection, [`Failure::Refused`] for an error.
    pub fn membership(&self, connection: usize, text: &[u8], mark: &[u8]) -> Result<usize, Failure> {
        let named = memmem::find(text, mark).and_then(|place| {
            let rest = &text[place + mark.len()..];
            Some(&rest[..memchr::memchr(b'"', rest)?])
        });
        let own = if self.everywhere {
            0..self.rooms.len()
        } else {
            self.room(connection)..self.room(connection) + 1
        };
        let room = own.into_iter().find(|&room| named == Some(self.rooms[room].as_bytes()));
        let Some(room) = room else {
            // An error names none, and says what is wrong by itself.
            Message::read(text)?;
            return Err(Failure::Wrong(format!(
                "connection {connection} is in no such room: {}",
                excerpt(text)
            )));
        };
        Ok(room * self.members + self.member(connection))
    }
}
