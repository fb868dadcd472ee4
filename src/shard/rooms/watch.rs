//! Watches: which connection hears of which room.
//!
//! A watch is answered with all members of the room, in the same queue in which its changes come. One whose peer is over
//! the soft outbound limit falls behind: it is told removals, which are small, but no states, until it has drained and
//! has been sent all members again. So every watcher ends with the last state of each.

use std::sync::Arc;

use super::presence::check_room;
use super::{RoomSlot, Rooms};
use crate::mesh::{ConnectionId, Item, Members, ReplyTo, Request};
use crate::shard::Event;
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::interest::Left;
use crate::shard::requests::{PendingRequest, Requests, Waiting};
use crate::shard::slots;
use crate::shard::turn::Turn;
use crate::wire::{Reject, Ticket};

/// One connection's interest in one room.
pub struct Watch {
    pub connection: ConnectionId,
    room: RoomSlot,
    /// Its place among the watches of the room.
    place: u32,
    pub standing: Standing,
    /// Serial number of the request whose answer makes it current.
    asked: Option<u32>,
}

/// What the connection knows of the room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Nothing,
    /// Everything up to the last change.
    Current,
    /// Who has left, but not what became of the others.
    Behind,
}

impl Rooms {
    /// Watches a room: [`Event::Members`] follows, then each change as [`crate::shard::Dialect::member`] puts it, those made
    /// by the caller too. A second watch of the same room is only answered.
    pub fn watch(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        asked: Asked,
        room: &str,
    ) {
        let id = asked.connection();
        if let Err(reject) = check_room(room) {
            return clients.reject(turn, id, asked.ticket(), reject);
        }
        let watch = match self.find_watch(turn, clients, id, room) {
            Some(watch) => watch,
            None => {
                let Some(connection) = clients.get(id) else { return };
                if connection.watches().len() >= turn.config.subscriptions_max {
                    return clients.reject(turn, id, asked.ticket(), Reject::TooManySubscriptions);
                }
                self.begin_watch(turn, clients, id, room)
            }
        };
        self.ask_for_members(turn, clients, requests, watch, (asked.ticket, false));
    }

    /// Ends a watch, if there is one. Nothing more is told of the room, but [`Event::Rejected`] with
    /// [`Reject::Cancelled`] where a request to watch it was under way.
    pub fn unwatch(&mut self, turn: &mut Turn, clients: &mut Clients, id: ConnectionId, room: &str) {
        if let Some(watch) = self.find_watch(turn, clients, id, room) {
            self.drop_watch(turn, clients, id, watch);
        }
    }

    /// The room of a watch.
    pub fn room_of(&self, watch: u32) -> Arc<str> {
        Arc::clone(self.table[self.watches[watch as usize].room].interest.name())
    }

    /// Whether the connection watches a room.
    pub fn is_watching(&self, turn: &Turn, clients: &Clients, id: ConnectionId, room: &str) -> bool {
        self.find_watch(turn, clients, id, room).is_some()
    }

    /// Looked for where there are fewer: many rooms have few watchers, and many watchers few rooms.
    fn find_watch(&self, turn: &Turn, clients: &Clients, id: ConnectionId, room: &str) -> Option<u32> {
        let slot = self.find(room, turn.hasher.map(room))?;
        let (of_room, of_connection) = (self.table[slot].interest.members(), clients.get(id)?.watches());
        let fewer = if of_room.len() < of_connection.len() { of_room } else { of_connection };
        let is_it = |watch: &Watch| watch.room == slot && watch.connection == id;
        fewer.iter().copied().find(|&watch| is_it(&self.watches[watch as usize]))
    }

    fn begin_watch(&mut self, turn: &mut Turn, clients: &mut Clients, id: ConnectionId, room: &str) -> u32 {
        let slot = self.find_or_insert(room, turn.hasher.map(room));
        let vacant = self.watches.vacant_entry();
        let watch = slots::slot(vacant.key());
        let place = self.table[slot].interest.join(watch);
        vacant.insert(Watch { connection: id, room: slot, place, standing: Standing::Nothing, asked: None });
        turn.metrics.presence_watches += 1;
        if let Some(connection) = clients.get_mut(id) {
            connection.watches.get_or_insert_default().slots.push(watch);
        }
        watch
    }

    /// Asks the home of the room for all members. Unless the watch is current, the answer makes it so.
    fn ask_for_members(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        watch: u32,
        (ticket, catches_up): (Option<Ticket>, bool),
    ) {
        let Watch { connection, room, .. } = self.watches[watch as usize];
        let (room, hash) = {
            let interest = &self.table[room].interest;
            (Arc::clone(interest.name()), interest.hash())
        };
        let waiting = Waiting::Members { room: Arc::clone(&room), catches_up };
        let reply = requests.wait_for(turn, clients, (connection, ticket), waiting, 1);
        let watch = &mut self.watches[watch as usize];
        if watch.standing != Standing::Current {
            watch.asked = Some(reply.serial);
        }
        let home = turn.owner(hash);
        if home == turn.index {
            self.room_watched(turn, reply, room);
        } else {
            turn.outgoing.push(home, Item::Request(Request::WatchRoom { reply, room }));
        }
    }

    /// All members of a room have come, and all changes before have been told.
    pub(super) fn tell_members(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        reply: ReplyTo,
        (room, packed): (&str, &[u8]),
    ) {
        let Some(request) = requests.end_wait(turn, clients, reply) else { return };
        let id = request.connection;
        let Some(watch) = self.find_watch(turn, clients, id, room) else {
            if request.ticket.is_some() {
                clients.reject(turn, id, request.ticket.as_ref(), Reject::Cancelled);
            }
            return;
        };
        let watch = &mut self.watches[watch as usize];
        if watch.asked == Some(reply.serial) {
            watch.asked = None;
            let before = std::mem::replace(&mut watch.standing, Standing::Current);
            if before == Standing::Behind
                && let Some(connection) = clients.get_mut(id)
            {
                connection.note_watch_behind(false);
            }
        }
        let event = Event::Members { ticket: request.ticket.as_ref(), room, members: Members::new(packed) };
        clients.tell(id, turn.now, event);
        self.catch_up(turn, clients, requests, id);
    }

    /// The home of a room has not answered in time. Who has just begun to watch it is told, and may try again; who
    /// was slow is served later.
    pub fn members_late(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        request: &PendingRequest,
    ) {
        let Waiting::Members { room, catches_up } = &request.waiting else { return };
        let id = request.connection;
        if !catches_up {
            clients.reject(turn, id, request.ticket.as_ref(), Reject::Timeout);
        }
        let Some(slot) = self.find_watch(turn, clients, id, room) else { return };
        let watch = &self.watches[slot as usize];
        if watch.asked != Some(request.serial) {
            return;
        }
        match watch.standing {
            Standing::Nothing => self.drop_watch(turn, clients, id, slot),
            Standing::Behind => self.ask_for_members(turn, clients, requests, slot, (None, true)),
            Standing::Current => {}
        }
    }

    /// Asks for all members of a room for which `id` was too slow, if it has room for them: one room at a time.
    pub fn catch_up(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        id: ConnectionId,
    ) {
        let Some(connection) = clients.get(id) else { return };
        if connection.watches_behind() == 0 || !clients.has_room(id) {
            return;
        }
        let mut behind = connection
            .watches()
            .iter()
            .filter(|&&watch| self.watches[watch as usize].standing == Standing::Behind);
        let is_asked = |watch: &u32| self.watches[*watch as usize].asked.is_some();
        let next = behind.clone().next().copied();
        if let Some(watch) = next.filter(|_| !behind.any(is_asked)) {
            self.ask_for_members(turn, clients, requests, watch, (None, true));
        }
    }

    fn drop_watch(&mut self, turn: &mut Turn, clients: &mut Clients, id: ConnectionId, watch: u32) {
        if let Some(watches) = clients.get_mut(id).and_then(|connection| connection.watches.as_mut()) {
            watches.slots.retain(|&other| other != watch);
        }
        self.end_watch(turn, clients, watch);
    }

    /// Forgets a watch that its connection has already forgotten.
    pub fn end_watch(&mut self, turn: &mut Turn, clients: &mut Clients, watch: u32) {
        let Some(ended) = self.watches.try_remove(watch as usize) else { return };
        turn.metrics.presence_watches -= 1;
        if ended.standing == Standing::Behind
            && let Some(connection) = clients.get_mut(ended.connection)
        {
            connection.note_watch_behind(false);
        }
        let interest = &mut self.table[ended.room].interest;
        let Left { moved, was_last } = interest.leave(ended.place);
        if let Some(moved) = moved {
            self.watches[moved as usize].place = ended.place;
        }
        if was_last {
            let (room, home) = (Arc::clone(interest.name()), turn.owner(interest.hash()));
            if home != turn.index {
                turn.outgoing.push(home, Item::Request(Request::UnwatchRoom { room }));
            }
            self.release_if_unused(ended.room);
        }
    }
}
