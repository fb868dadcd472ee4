//! Where rooms of clients and presence of `/v1` meet, at the home of a room: each shows its members in the other.
//!
//! Members of `/v1` are here by nobody's connection, under names that no client may take. What clients do is noted for
//! `presence/`, which is above, where it has anything on this shard at all.

use std::sync::Arc;

use super::{RoomSlot, Rooms, SetPresence};
use crate::mesh::{ConnectionId, USER_PREFIX, Writer};
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;

/// How the names of members of `/v1` begin: users, and connections of nobody in particular.
pub const USER: &str = USER_PREFIX;
pub const ANONYMOUS: &str = "anon:";

/// What `presence/` is to look at.
pub struct Noted {
    pub room: Arc<str>,
    /// Whose member has changed; `None`: the room is watched.
    pub member: Option<Box<str>>,
}

/// Whom members of `/v1` belong to here.
const NOBODY: ConnectionId = ConnectionId { index: u32::MAX, generation: 0 };

/// Whether a member is one of `/v1`.
pub fn is_shown(by: Writer) -> bool {
    by.connection == NOBODY
}

impl Rooms {
    /// Takes note of a client's change.
    pub(super) fn note(&mut self, slot: RoomSlot, member: &str, by: Writer) {
        if self.are_noted && !is_shown(by) {
            let room = Arc::clone(self.table[slot].interest.name());
            self.noted.push(Noted { room, member: Some(member.into()) });
        }
    }

    /// Takes note of a watch.
    pub(super) fn note_watch(&mut self, room: &Arc<str>) {
        if self.are_noted {
            self.noted.push(Noted { room: Arc::clone(room), member: None });
        }
    }

    /// Takes what was noted.
    pub fn take_noted(&mut self) -> Vec<Noted> {
        std::mem::take(&mut self.noted)
    }

    /// Whether any client watches a room whose home is here.
    pub fn is_heard(&self, turn: &Turn, room: &str) -> bool {
        self.find(room, turn.hasher.map(room)).is_some_and(|slot| self.table[slot].interest.is_heard())
    }

    /// The state of a client's member, and since when it is there.
    pub fn client(&self, turn: &Turn, room: &str, member: &str) -> Option<(Arc<[u8]>, u64)> {
        let slot = self.find(room, turn.hasher.map(room))?;
        let present = self.table[slot].members.get(member).filter(|present| !is_shown(present.by))?;
        Some((Arc::clone(&present.state), present.since_ms))
    }

    /// Clients' members of a room.
    pub fn clients(&self, turn: &Turn, room: &str) -> Vec<Box<str>> {
        let Some(slot) = self.find(room, turn.hasher.map(room)) else { return Vec::new() };
        let members = &self.table[slot].members;
        members.iter().filter(|(_, present)| !is_shown(present.by)).map(|(name, _)| name.clone()).collect()
    }

    /// Shows a member of `/v1` to clients, or takes it away. One for whom the room has no space is not seen.
    pub fn show(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps, set: &SetPresence<'_>) {
        let by = Writer { shard: turn.index, connection: NOBODY };
        let _ = self.set_member(turn, clients, maps, set, by);
    }

    /// Takes all members of `/v1` away again.
    pub fn hide_all(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps, room: &str) {
        let Some(slot) = self.find(room, turn.hasher.map(room)) else { return };
        if self.table[slot].shown == 0 {
            return;
        }
        let members = &self.table[slot].members;
        let shown = members.iter().filter(|(_, present)| is_shown(present.by));
        let names: Vec<Box<str>> = shown.map(|(name, _)| name.clone()).collect();
        let by = Writer { shard: turn.index, connection: NOBODY };
        for member in names {
            self.remove_member(turn, clients, maps, (room, &member), by, |last| last.saturating_add(1));
        }
    }
}
