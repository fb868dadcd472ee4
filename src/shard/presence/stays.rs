//! Stays: which connection is in which room, or hears of it.
//!
//! One that joins hears of the room as well. Its member is counted from then on at the home of the room, which is told when it ends.
//! A stay whose peer is over the soft outbound limit falls behind, and is told nothing more of the room until it has drained and has
//! been told everything again.

use std::sync::Arc;

use super::asking::{listed, updated};
use super::stay::Stay;
use super::{Joining, Presence};
use crate::limits::{KEY_BYTES_MAX, PRESENCE_LIST_MAX};
use crate::mesh::{ConnectionId, Item, Request, RoomRequest, Span};
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::interest::Left;
use crate::shard::maps::Maps;
use crate::shard::requests::{Requests, Waiting};
use crate::shard::rooms::{Rooms, check_room};
use crate::shard::slots;
use crate::shard::turn::Turn;
use crate::wire::Reject;

/// How to be in a room.
#[derive(Clone, Copy)]
pub struct JoinRoom<'a> {
    pub room: &'a str,
    /// Canonical JSON; `None`: what the member has, or null.
    pub state: Option<&'a [u8]>,
    /// How long the member stays when its last connection is gone without a word.
    pub grace_ms: u32,
}

impl Presence {
    /// Has a connection be one of `member` in a room, and hear of it: [`crate::shard::Event::Gathered`] follows, then news as
    /// [`crate::shard::Dialect::gathered`] puts them. A second time it has what is given then.
    pub fn join(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (asked, rooms): (Asked, &mut Rooms),
        (member, join): (&str, JoinRoom<'_>),
    ) {
        let id = asked.connection();
        let stay = match self.may_join(turn, clients, id, (member, join)) {
            Ok(stay) => stay.unwrap_or_else(|| self.begin_stay(turn, clients, id, join.room)),
            Err(reject) => return clients.reject(turn, id, asked.ticket(), reject),
        };
        // Who has said since who it is comes as somebody else.
        if self.stays[stay as usize].member_name().is_some_and(|name| **name != *member) {
            self.leave_as_member(turn, clients, stay, true);
        }
        let reply = self.begin_asking(turn, clients, requests, stay, (asked.ticket, true, false));
        let state_bytes = join.state.map(<[u8]>::len);
        self.change_own(clients, stay, |stay| stay.note_joins(reply.serial, member, state_bytes));
        let JoinRoom { room, state, grace_ms } = join;
        let home = turn.owner(turn.hasher.map(room));
        if home == turn.index {
            let joining = Joining { reply, room, member, state, grace_ms };
            return self.join_asked(turn, clients, maps, requests, (rooms, joining));
        }
        let room = self.name(self.stays[stay as usize].room);
        let envelope = turn.outgoing.filling(home);
        let member = Span::append(&mut envelope.bytes, member.as_bytes());
        let state = state.map(|state| Span::append(&mut envelope.bytes, state));
        ask(turn, home, RoomRequest::Join { reply, room, member, state, grace_ms });
    }

    /// The stay in the room, if there is one already and nothing stands in the way.
    fn may_join(
        &self,
        turn: &Turn,
        clients: &Clients,
        id: ConnectionId,
        (member, join): (&str, JoinRoom<'_>),
    ) -> Result<Option<u32>, Reject> {
        let stay = self.may_stay(turn, clients, id, join.room)?;
        self.may_set(turn, clients, id, stay, (member.len(), join.state))?;
        Ok(stay)
    }

    fn may_stay(
        &self,
        turn: &Turn,
        clients: &Clients,
        id: ConnectionId,
        room: &str,
    ) -> Result<Option<u32>, Reject> {
        check_room(room)?;
        let stay = self.find_stay(turn, clients, id, room);
        let count =
            clients.get(id).and_then(|found| found.stays.as_ref()).map_or(0, |stays| stays.slots.len());
        if stay.is_none() && count >= turn.config.subscriptions_max {
            return Err(Reject::TooManySubscriptions);
        }
        Ok(stay)
    }

    /// Whether a connection may have a state of a member besides all that it has set.
    fn may_set(
        &self,
        turn: &Turn,
        clients: &Clients,
        id: ConnectionId,
        stay: Option<u32>,
        (name_bytes, state): (usize, Option<&[u8]>),
    ) -> Result<(), Reject> {
        let Some(state) = state else { return Ok(()) };
        if state.len() > turn.config.presence.state_bytes_max {
            return Err(Reject::TooLarge("the state is over --max-presence-state-bytes"));
        }
        let all = clients.get(id).and_then(|found| found.stays.as_ref()).map_or(0, |stays| stays.bytes);
        let before = stay.map_or(0, |stay| self.stays[stay as usize].bytes());
        if all - before + name_bytes + state.len() > turn.config.presence_bytes_max {
            return Err(Reject::TooLarge("this connection has set as many bytes of members as it may"));
        }
        Ok(())
    }

    /// Has a connection hear of a room without being in it.
    pub fn watch(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (asked, rooms): (Asked, &mut Rooms),
        room: &str,
    ) {
        let id = asked.connection();
        let stay = match self.may_stay(turn, clients, id, room) {
            Ok(stay) => stay.unwrap_or_else(|| self.begin_stay(turn, clients, id, room)),
            Err(reject) => return clients.reject(turn, id, asked.ticket(), reject),
        };
        let reply = self.begin_asking(turn, clients, requests, stay, (asked.ticket, false, false));
        let room = self.room_of(stay);
        let home = turn.owner(turn.hasher.map(&room));
        if home == turn.index {
            return self.watch_asked(turn, clients, maps, requests, (rooms, reply, &room));
        }
        ask(turn, home, RoomRequest::Watch { reply, room });
    }

    /// Changes the state of the member that a connection is in a room.
    pub fn update(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        asked: Asked,
        (room, state): (&str, &[u8]),
    ) {
        let id = asked.connection();
        let stay = self.find_stay(turn, clients, id, room);
        let member = stay.and_then(|stay| self.stays[stay as usize].member_name().cloned());
        let (Some(stay), Some(member)) = (stay, member) else {
            return clients.reject(turn, id, asked.ticket(), Reject::NotJoined);
        };
        if let Err(reject) = self.may_set(turn, clients, id, Some(stay), (member.len(), Some(state))) {
            return clients.reject(turn, id, asked.ticket(), reject);
        }
        self.change_own(clients, stay, |stay| {
            stay.member.iter_mut().for_each(|own| own.state_bytes = state.len());
        });
        let name = self.name(self.stays[stay as usize].room);
        let waiting = Waiting::MemberUpdate { room: Arc::clone(&name) };
        let reply = requests.wait_for(turn, clients, (id, asked.ticket), waiting, 1);
        let home = turn.owner(turn.hasher.map(room));
        if home == turn.index {
            let outcome = self.member_updates(turn, (room, &member), state);
            return updated(turn, clients, requests, reply, outcome);
        }
        let envelope = turn.outgoing.filling(home);
        let member = Span::append(&mut envelope.bytes, member.as_bytes());
        let state = Span::append(&mut envelope.bytes, state);
        ask(turn, home, RoomRequest::Update { reply, room: name, member, state });
    }

    /// Asks for members of a room whose names come after that.
    pub fn list(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        asked: Asked,
        (room, after, limit): (&str, &str, usize),
    ) {
        let id = asked.connection();
        let is_name = after.len() <= 2 * KEY_BYTES_MAX;
        let name = if is_name { Ok(()) } else { Err(Reject::TooLarge("after is no name of a member")) };
        if let Err(reject) = check_room(room).and(name) {
            return clients.reject(turn, id, asked.ticket(), reject);
        }
        let limit = limit.clamp(1, PRESENCE_LIST_MAX);
        let waiting = Waiting::People { room: room.into() };
        let reply = requests.wait_for(turn, clients, (id, asked.ticket), waiting, 1);
        let home = turn.owner(turn.hasher.map(room));
        if home == turn.index {
            let (people, has_more) = self.page(turn, room, after, limit);
            return listed(turn, clients, requests, reply, (&people, has_more));
        }
        let envelope = turn.outgoing.filling(home);
        let after = Span::append(&mut envelope.bytes, after.as_bytes());
        ask(turn, home, RoomRequest::List { reply, room: room.into(), after, limit });
    }

    /// Ends a stay, if there is one: the connection is no longer in the room, and is told nothing more of it.
    pub fn leave(&mut self, turn: &mut Turn, clients: &mut Clients, id: ConnectionId, room: &str) {
        if let Some(stay) = self.find_stay(turn, clients, id, room) {
            self.drop_stay(turn, clients, id, stay);
        }
    }

    /// The room of a stay.
    pub fn room_of(&self, stay: u32) -> Arc<str> {
        self.name(self.stays[stay as usize].room)
    }

    /// Looked for where there are fewer: many rooms have few stays, and many connections few rooms.
    pub(super) fn find_stay(
        &self,
        turn: &Turn,
        clients: &Clients,
        id: ConnectionId,
        room: &str,
    ) -> Option<u32> {
        let slot = self.find(turn, room)?;
        let of_connection = &*clients.get(id)?.stays.as_ref()?.slots;
        let of_room = self.table[slot].interest.members();
        let fewer = if of_room.len() < of_connection.len() { of_room } else { of_connection };
        let is_it = |stay: &Stay| stay.room == slot && stay.connection == id;
        fewer.iter().copied().find(|&stay| is_it(&self.stays[stay as usize]))
    }

    fn begin_stay(&mut self, turn: &mut Turn, clients: &mut Clients, id: ConnectionId, room: &str) -> u32 {
        let slot = self.find_or_insert(turn, room);
        let vacant = self.stays.vacant_entry();
        let stay = slots::slot(vacant.key());
        let place = self.table[slot].interest.join(stay);
        vacant.insert(Stay::new(id, slot, place));
        turn.metrics.presence_watches += 1;
        if let Some(connection) = clients.get_mut(id) {
            connection.stays.get_or_insert_default().slots.push(stay);
        }
        stay
    }

    /// Changes what a stay sets, and keeps count of it.
    fn change_own(&mut self, clients: &mut Clients, stay: u32, change: impl FnOnce(&mut Stay)) {
        let stay = &mut self.stays[stay as usize];
        let (names, bytes) = (stay.name_bytes(), stay.bytes());
        change(stay);
        self.counts.bytes = self.counts.bytes + stay.name_bytes() - names;
        if let Some(stays) = clients.stays_mut(stay.connection) {
            stays.bytes = stays.bytes + stay.bytes() - bytes;
        }
    }

    /// Has a stay hear of the room only; `is_final`: who it was does not come back.
    pub(super) fn leave_as_member(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        stay: u32,
        is_final: bool,
    ) {
        let mut member = None;
        self.change_own(clients, stay, |stay| member = stay.member.take().map(|own| own.name));
        let Some(member) = member else { return };
        let Stay { connection: id, room: slot, .. } = self.stays[stay as usize];
        let (room, by) = (self.name(slot), turn.writer(id));
        let home = turn.owner(self.table[slot].interest.hash());
        if home == turn.index {
            return self.member_leaves(turn, (&room, &member), by, is_final);
        }
        let envelope = turn.outgoing.filling(home);
        let member = Span::append(&mut envelope.bytes, member.as_bytes());
        ask(turn, home, RoomRequest::Leave { room, member, by, is_final });
    }

    pub(super) fn drop_stay(&mut self, turn: &mut Turn, clients: &mut Clients, id: ConnectionId, stay: u32) {
        if let Some(stays) = clients.stays_mut(id) {
            stays.slots.retain(|&other| other != stay);
        }
        self.end_stay(turn, clients, stay, true);
    }

    /// Forgets a stay that its connection has already forgotten. Unless `is_final`, the member may come back.
    pub fn end_stay(&mut self, turn: &mut Turn, clients: &mut Clients, stay: u32, is_final: bool) {
        if !self.stays.contains(stay as usize) {
            return;
        }
        self.leave_as_member(turn, clients, stay, is_final);
        let ended = self.stays.remove(stay as usize);
        ended.leave_behind(clients);
        turn.metrics.presence_watches -= 1;
        let interest = &mut self.table[ended.room].interest;
        let Left { moved, was_last } = interest.leave(ended.place);
        if let Some(moved) = moved {
            self.stays[moved as usize].place = ended.place;
        }
        if was_last {
            let (room, home) = (Arc::clone(interest.name()), turn.owner(interest.hash()));
            if home != turn.index {
                ask(turn, home, RoomRequest::Unwatch { room });
            }
            self.release_if_unused(ended.room);
        }
    }
}

pub(super) fn ask(turn: &mut Turn, home: crate::mesh::ShardIndex, request: RoomRequest) {
    turn.outgoing.push(home, Item::Request(Request::Room(Box::new(request))));
}
