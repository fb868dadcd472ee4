//! Being in rooms as `/v1` has it, and knowing who is.

use super::{Caller, Shard, forbid};
use crate::mesh::ConnectionId;
use crate::shard::JoinRoom;
use crate::shard::caller::Asked;
use crate::shard::rooms::{ANONYMOUS, USER};
use crate::wire::Ticket;

impl Shard {
    /// Has the caller be in a room, as its user or as a connection of nobody in particular, and hear of it:
    /// [`crate::shard::Event::Gathered`] follows, then what changes as [`crate::shard::Dialect::gathered`] puts it, with the caller's own.
    pub fn join_room(&mut self, caller: Caller, ticket: Option<Ticket>, mut join: JoinRoom<'_>) {
        let member = self.member_name(caller.connection());
        if member.starts_with(ANONYMOUS) {
            // No other connection could come back as the same.
            join.grace_ms = 0;
        }
        let Self { turn, clients, maps, requests, rooms, presence, access, .. } = self;
        if !access.may_be_in(turn, caller.grant(), join.room) {
            return forbid(turn, clients, caller, ticket.as_ref());
        }
        presence.join(turn, clients, maps, requests, (Asked { caller, ticket }, rooms), (&member, join));
    }

    /// Has the caller hear of a room without being in it; [`crate::shard::Event::Gathered`] follows.
    pub fn watch_room(&mut self, caller: Caller, ticket: Option<Ticket>, room: &str) {
        let Self { turn, clients, maps, requests, rooms, presence, access, .. } = self;
        if !access.may_be_in(turn, caller.grant(), room) {
            return forbid(turn, clients, caller, ticket.as_ref());
        }
        presence.watch(turn, clients, maps, requests, (Asked { caller, ticket }, rooms), room);
    }

    /// Changes the state of the member that the caller is in a room; [`crate::shard::Event::MemberUpdated`] follows if it has a ticket.
    pub fn update_member(&mut self, caller: Caller, ticket: Option<Ticket>, room: &str, state: &[u8]) {
        let Self { turn, clients, requests, presence, access, .. } = self;
        if !access.may_be_in(turn, caller.grant(), room) {
            return forbid(turn, clients, caller, ticket.as_ref());
        }
        presence.update(turn, clients, requests, Asked { caller, ticket }, (room, state));
    }

    /// Asks for at most so many of those in a room whose names come after that; [`crate::shard::Event::People`] follows.
    pub fn list_room(
        &mut self,
        caller: Caller,
        ticket: Option<Ticket>,
        room: &str,
        (after, limit): (&str, usize),
    ) {
        let Self { turn, clients, requests, presence, access, .. } = self;
        if !access.may_be_in(turn, caller.grant(), room) {
            return forbid(turn, clients, caller, ticket.as_ref());
        }
        presence.list(turn, clients, requests, Asked { caller, ticket }, (room, after, limit));
    }

    /// Has the caller be no longer in a room, nor hear of it, if it was or did.
    pub fn leave_room(&mut self, caller: Caller, room: &str) {
        let Self { turn, clients, presence, .. } = self;
        presence.leave(turn, clients, caller.connection(), room);
    }

    /// As whom a connection is in rooms.
    fn member_name(&self, id: ConnectionId) -> String {
        match self.clients.get(id).and_then(|connection| connection.principal.as_ref()) {
            Some(principal) => format!("{USER}{}", principal.identity.user),
            None => format!("{ANONYMOUS}{}", self.turn.connection_name(id)),
        }
    }
}
