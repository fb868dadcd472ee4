//! Presence: who is in a room, and a small state of each, kept in memory only and gone with the connection that set it.
//!
//! A room has a home, the shard that owns its name, which alone keeps its members (`members.rs`) and tells every shard
//! with watchers of each change, in order (`watch.rs`). Here is what a connection does: it sets members, and remembers
//! which, as they leave with it.

use crate::limits::{KEY_BYTES_MAX, MAP_NAME_BYTES_MAX, PRESENCE_STATE_BYTES_MAX};
use crate::mesh::{ConnectionId, Item, ReplyTo, Request, Span, Writer};
use crate::shard::Shard;
use crate::shard::requests::Waiting;
use crate::wire::{Reject, Ticket};

/// What a member of a room shall be.
#[derive(Clone, Copy)]
pub struct SetPresence<'a> {
    pub room: &'a str,
    pub member: &'a str,
    /// Canonical JSON; `None`: removed.
    pub state: Option<&'a [u8]>,
    /// Watchers are told it; the server compares it with nothing.
    pub clock: u64,
}

/// A member that a connection has set, and not removed since.
#[derive(Debug)]
pub struct HeldMember {
    /// Of room and name.
    hash: u64,
    room: Box<str>,
    member: Box<str>,
}

impl Shard {
    /// Sets or removes a member of a room; nobody needs to watch the room for that. There is an answer only if it is
    /// refused. The member is removed once `id` is gone, or removes it, unless another connection has set it since.
    pub fn set_presence(&mut self, id: ConnectionId, ticket: Option<Ticket>, set: SetPresence<'_>) {
        if let Err(reject) = check(&set).and_then(|()| self.hold_member(id, &set)) {
            return self.reject(id, ticket.as_ref(), reject);
        }
        let home = self.owner(self.hasher.map(set.room));
        if home == self.index {
            if let Err(reject) = self.set_member(&set, Writer { shard: self.index, connection: id }) {
                self.reject(id, ticket.as_ref(), reject);
            }
            return;
        }
        let reply = self.wait_for(id, ticket, Waiting::Member, 1);
        let envelope = self.outgoing.filling(home);
        let room = Span::append(&mut envelope.bytes, set.room.as_bytes());
        let member = Span::append(&mut envelope.bytes, set.member.as_bytes());
        let state = set.state.map(|state| Span::append(&mut envelope.bytes, state));
        let request = Request::SetMember { reply, room, member, state, clock: set.clock };
        envelope.items.push(Item::Request(request));
    }

    /// The home of a room has set a member or refused to.
    pub(in crate::shard) fn member_answered(&mut self, reply: ReplyTo, outcome: Result<(), Reject>) {
        if let Some(request) = self.end_wait(reply)
            && let Err(reject) = outcome
        {
            self.reject(request.connection, request.ticket.as_ref(), reject);
        }
    }

    /// Remembers what `id` sets, and forgets what it removes.
    fn hold_member(&mut self, id: ConnectionId, set: &SetPresence<'_>) -> Result<(), Reject> {
        let hash = self.hasher.key(self.hasher.map(set.room), set.member);
        let Some(connection) = self.clients.get_mut(id) else { return Ok(()) };
        let held = &mut connection.held;
        let is_it =
            |one: &HeldMember| one.hash == hash && *one.room == *set.room && *one.member == *set.member;
        match (held.iter().position(is_it), set.state) {
            (Some(position), None) => drop(held.swap_remove(position)),
            (Some(_), Some(_)) | (None, None) => {}
            (None, Some(_)) => {
                if held.len() >= self.config.subscriptions_max {
                    return Err(Reject::TooLarge("this connection has set as many members as it may"));
                }
                let (room, member) = (set.room.into(), set.member.into());
                held.push(HeldMember { hash, room, member });
            }
        }
        Ok(())
    }

    /// The connection that has set this member is gone.
    pub(in crate::shard) fn release_member(&mut self, id: ConnectionId, held: &HeldMember) {
        let home = self.owner(self.hasher.map(&held.room));
        let by = Writer { shard: self.index, connection: id };
        if home == self.index {
            return self.leave_room(&held.room, &held.member, by);
        }
        let envelope = self.outgoing.filling(home);
        let room = Span::append(&mut envelope.bytes, held.room.as_bytes());
        let member = Span::append(&mut envelope.bytes, held.member.as_bytes());
        envelope.items.push(Item::Request(Request::LeaveRoom { room, member, by }));
    }
}

/// Whether rooms may be called `name`: as maps may.
pub fn check_room(name: &str) -> Result<(), Reject> {
    if name.len() > MAP_NAME_BYTES_MAX {
        return Err(Reject::TooLarge("the name of a room has at most 256 bytes"));
    }
    if name.is_empty() || name.contains('\0') {
        return Err(Reject::KeyInvalid("the name of a room is not empty and has no U+0000"));
    }
    Ok(())
}

fn check(set: &SetPresence<'_>) -> Result<(), Reject> {
    check_room(set.room)?;
    if set.member.len() > KEY_BYTES_MAX {
        return Err(Reject::TooLarge("the name of a member has at most 512 bytes"));
    }
    if set.member.is_empty() || set.member.contains('\0') {
        return Err(Reject::KeyInvalid("the name of a member is not empty and has no U+0000"));
    }
    if set.state.is_some_and(|state| state.len() > PRESENCE_STATE_BYTES_MAX) {
        return Err(Reject::TooLarge("the state of a member has at most 65536 bytes"));
    }
    Ok(())
}

const _: () =
    assert!(PRESENCE_STATE_BYTES_MAX == 65_536 && KEY_BYTES_MAX == 512 && MAP_NAME_BYTES_MAX == 256);
