//! What a connection does in rooms: it sets members, and remembers which, as they leave with it.

use super::Rooms;
use super::shown::{ANONYMOUS, USER};
use crate::limits::{KEY_BYTES_MAX, MAP_NAME_BYTES_MAX, PRESENCE_STATE_BYTES_MAX};
use crate::mesh::{ConnectionId, Item, ReplyTo, Request, Span};
use crate::shard::caller::Asked;
use crate::shard::clients::{Clients, MemberName, OwnMember};
use crate::shard::maps::Maps;
use crate::shard::requests::{Requests, Waiting};
use crate::shard::turn::Turn;
use crate::wire::Reject;

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

impl SetPresence<'_> {
    /// Of its member's name and state.
    pub fn bytes(&self) -> usize {
        self.member.len() + self.state.map_or(0, <[u8]>::len)
    }
}

impl Rooms {
    /// Sets or removes a member of a room; nobody needs to watch the room for that. There is an answer only if it is
    /// refused. The member is removed once the caller is gone, or removes it, unless another connection has set it since.
    pub fn set(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        asked: Asked,
        set: SetPresence<'_>,
    ) {
        let id = asked.connection();
        if let Err(reject) = check(&set)
            .and_then(|()| check_client(&set))
            .and_then(|()| remember_member(turn, clients, id, &set))
        {
            return clients.reject(turn, id, asked.ticket(), reject);
        }
        let home = turn.owner(turn.hasher.map(set.room));
        if home == turn.index {
            if let Err(reject) = self.set_member(turn, clients, maps, &set, turn.writer(id)) {
                clients.reject(turn, id, asked.ticket(), reject);
            }
            return;
        }
        let reply = requests.wait_for(turn, clients, (id, asked.ticket), Waiting::Member, 1);
        let envelope = turn.outgoing.filling(home);
        let room = Span::append(&mut envelope.bytes, set.room.as_bytes());
        let member = Span::append(&mut envelope.bytes, set.member.as_bytes());
        let state = set.state.map(|state| Span::append(&mut envelope.bytes, state));
        let request = Request::SetMember { reply, room, member, state, clock: set.clock };
        envelope.items.push(Item::Request(request));
    }

    /// The connection that has set this member is gone.
    pub fn release_member(
        &mut self,
        turn: &mut Turn,
        id: ConnectionId,
        OwnMember { room, member, .. }: &OwnMember,
    ) {
        let home = turn.owner(turn.hasher.map(room));
        let by = turn.writer(id);
        if home == turn.index {
            return self.leave_room((room, member), by);
        }
        let envelope = turn.outgoing.filling(home);
        let room = Span::append(&mut envelope.bytes, room.as_bytes());
        let member = Span::append(&mut envelope.bytes, member.as_bytes());
        envelope.items.push(Item::Request(Request::LeaveRoom { room, member, by }));
    }
}

/// The home of a room has set a member or refused to.
pub fn member_answered(
    turn: &mut Turn,
    clients: &mut Clients,
    requests: &mut Requests,
    reply: ReplyTo,
    outcome: Result<(), Reject>,
) {
    if let Some(request) = requests.end_wait(turn, clients, reply)
        && let Err(reject) = outcome
    {
        clients.reject(turn, request.connection, request.ticket.as_ref(), reject);
    }
}

/// Remembers what `id` sets, and forgets what it removes.
fn remember_member(
    turn: &Turn,
    clients: &mut Clients,
    id: ConnectionId,
    set: &SetPresence<'_>,
) -> Result<(), Reject> {
    let hash = turn.hasher.key(turn.hasher.map(set.room), set.member);
    let Some(connection) = clients.get_mut(id) else { return Ok(()) };
    let own = &mut connection.members;
    let name = MemberName { hash, room: set.room, member: set.member };
    let names_bytes = set.room.len() + set.member.len();
    let known = own.find(name);
    let before = known.map_or(0, OwnMember::bytes);
    let after = set.state.map_or(0, |state| names_bytes + state.len());
    let bytes = own.bytes() - before + after;
    if after > before && bytes > turn.config.presence_bytes_max {
        return Err(Reject::TooLarge("this connection has set as many bytes of members as it may"));
    }
    if known.is_none() && set.state.is_some() && own.len() >= turn.config.subscriptions_max {
        return Err(Reject::TooLarge("this connection has set as many members as it may"));
    }
    match set.state {
        Some(state) if own.set(name, state.len()) => clients.member_set(names_bytes),
        None if own.remove(name).is_some() => clients.member_gone(names_bytes),
        _ => {}
    }
    Ok(())
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

/// That a client does not take the name of a member of `/v1`, as that is somebody who has been believed.
fn check_client(set: &SetPresence<'_>) -> Result<(), Reject> {
    let is_taken = |prefix: &str| set.member.starts_with(prefix);
    if set.state.is_some() && [USER, ANONYMOUS].into_iter().any(is_taken) {
        return Err(Reject::KeyInvalid("names that begin with user: or anon: are those of members of /v1"));
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
