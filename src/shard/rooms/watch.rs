//! Watches: which connection hears of which room.
//!
//! A watch is answered with all members of the room, in the same queue in which its changes come. One whose peer is over
//! the soft outbound limit falls behind: it is told removals, which are small, but no states, until it has drained and
//! has been sent all members again. So every watcher ends with the last state of each.

use std::sync::Arc;

use crate::mesh::{ConnectionId, Item, MemberChanged, Members, ReplyTo, Request};
use crate::shard::clients::Alike;
use crate::shard::requests::{PendingRequest, Waiting};
use crate::shard::rooms::RoomSlot;
use crate::shard::rooms::presence::check_room;
use crate::shard::{Event, MemberChange, Shard};
use crate::wire::{Reject, Ticket};

/// One connection's interest in one room.
pub struct Watch {
    connection: ConnectionId,
    room: RoomSlot,
    /// Its place among the watches of the room.
    place: u32,
    standing: Standing,
    /// Serial number of the request whose answer makes it current.
    asked: Option<u32>,
}

/// What the connection knows of the room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Nothing,
    /// Everything up to the last change.
    Current,
    /// Who has left, but not what became of the others.
    Behind,
}

impl Shard {
    /// Watches a room: [`Event::Members`] follows, then each change as [`crate::shard::Dialect::member`] puts it, those made
    /// by `id` too. A second watch of the same room is only answered.
    pub fn watch_presence(&mut self, id: ConnectionId, ticket: Option<Ticket>, room: &str) {
        if let Err(reject) = check_room(room) {
            return self.reject(id, ticket.as_ref(), reject);
        }
        let watch = match self.find_watch(id, room) {
            Some(watch) => watch,
            None => {
                let Some(connection) = self.clients.get(id) else { return };
                if connection.watches.len() >= self.config.subscriptions_max {
                    return self.reject(id, ticket.as_ref(), Reject::TooManySubscriptions);
                }
                self.begin_watch(id, room)
            }
        };
        self.ask_for_members(watch, ticket, false);
    }

    /// Ends a watch, if there is one. Nothing more is told of the room, but [`crate::shard::Event::Rejected`] with
    /// [`Reject::Cancelled`] where a request to watch it was under way.
    pub fn unwatch_presence(&mut self, id: ConnectionId, room: &str) {
        if let Some(watch) = self.find_watch(id, room) {
            self.drop_watch(id, watch);
        }
    }

    /// Whether the connection watches a room.
    pub fn watches_presence(&self, id: ConnectionId, room: &str) -> bool {
        self.find_watch(id, room).is_some()
    }

    /// Looked for where there are fewer: many rooms have few watchers, and many watchers few rooms.
    fn find_watch(&self, id: ConnectionId, room: &str) -> Option<u32> {
        let slot = self.presence.rooms.find(room, self.hasher.map(room))?;
        let (of_room, of_connection) = (&self.presence.rooms[slot].watches, &self.clients.get(id)?.watches);
        let fewer = if of_room.len() < of_connection.len() { of_room } else { of_connection };
        let is_it = |watch: &Watch| watch.room == slot && watch.connection == id;
        fewer.iter().copied().find(|&watch| is_it(&self.presence.watches[watch as usize]))
    }

    fn begin_watch(&mut self, id: ConnectionId, room: &str) -> u32 {
        let slot = self.presence.rooms.find_or_insert(room, self.hasher.map(room));
        let place = self.presence.rooms[slot].watches.len() as u32;
        let watch = Watch { connection: id, room: slot, place, standing: Standing::Nothing, asked: None };
        let watch = self.presence.watches.insert(watch) as u32;
        self.presence.rooms[slot].watches.push(watch);
        self.metrics.presence_watches += 1;
        if let Some(connection) = self.clients.get_mut(id) {
            connection.watches.push(watch);
        }
        watch
    }

    /// Asks the home of the room for all members. Unless the watch is current, the answer makes it so.
    fn ask_for_members(&mut self, watch: u32, ticket: Option<Ticket>, catches_up: bool) {
        let Watch { connection, room, .. } = self.presence.watches[watch as usize];
        let (room, hash) = (Arc::clone(&self.presence.rooms[room].name), self.presence.rooms[room].hash);
        let waiting = Waiting::Members { room: Arc::clone(&room), catches_up };
        let reply = self.wait_for(connection, ticket, waiting, 1);
        let watch = &mut self.presence.watches[watch as usize];
        if watch.standing != Standing::Current {
            watch.asked = Some(reply.serial);
        }
        let home = self.owner(hash);
        if home == self.index {
            self.room_watched(reply, room);
        } else {
            self.outgoing.push(home, Item::Request(Request::WatchRoom { reply, room }));
        }
    }

    /// All members of a room have come.
    pub(in crate::shard) fn members_answered(&mut self, reply: ReplyTo, room: &str, packed: &[u8]) {
        let Some(request) = self.end_wait(reply) else { return };
        let id = request.connection;
        let Some(watch) = self.find_watch(id, room) else {
            if request.ticket.is_some() {
                self.reject(id, request.ticket.as_ref(), Reject::Cancelled);
            }
            return;
        };
        let watch = &mut self.presence.watches[watch as usize];
        if watch.asked == Some(reply.serial) {
            watch.asked = None;
            let before = std::mem::replace(&mut watch.standing, Standing::Current);
            if let Some(connection) = self.clients.get_mut(id) {
                connection.watches_behind -= u32::from(before == Standing::Behind);
            }
        }
        let event = Event::Members { ticket: request.ticket.as_ref(), room, members: Members::new(packed) };
        self.clients.tell(id, self.now, event);
        self.catch_up(id);
    }

    /// The home of a room has not answered in time. Who has just begun to watch it is told, and may try again; who
    /// was slow is served later.
    pub(in crate::shard) fn members_late(&mut self, request: &PendingRequest) {
        let Waiting::Members { room, catches_up } = &request.waiting else { return };
        let id = request.connection;
        if !catches_up {
            self.reject(id, request.ticket.as_ref(), Reject::Timeout);
        }
        let Some(slot) = self.find_watch(id, room) else { return };
        let watch = &self.presence.watches[slot as usize];
        if watch.asked != Some(request.serial) {
            return;
        }
        match watch.standing {
            Standing::Nothing => self.drop_watch(id, slot),
            Standing::Behind => self.ask_for_members(slot, None, true),
            Standing::Current => {}
        }
    }

    /// The home of a room has told of a change.
    pub(in crate::shard) fn member_arrived(&mut self, changed: &MemberChanged, bytes: &[u8]) {
        let Some(slot) = self.presence.rooms.find(&changed.room, self.hasher.map(&changed.room)) else {
            return;
        };
        let state = changed.state.map(|state| state.of(bytes));
        self.deliver_member(slot, changed.member.text(bytes), state, changed.clock);
    }

    /// Queues a change for every local watcher of the room.
    pub(in crate::shard) fn deliver_member(
        &mut self,
        slot: RoomSlot,
        member: &str,
        state: Option<&[u8]>,
        clock: u64,
    ) {
        let room = &self.presence.rooms[slot];
        let change = MemberChange { room: &room.name, member, state, clock, now: self.now };
        let mut alike = Alike::default();
        for &watch in &room.watches {
            let watch = &mut self.presence.watches[watch as usize];
            let connection = &mut self.clients.table[watch.connection.index as usize];
            match (watch.standing, state) {
                (Standing::Nothing, _) | (Standing::Behind, Some(_)) => continue,
                (Standing::Current, Some(_)) if connection.outbox.bytes() > self.config.outbox_soft_bytes => {
                    watch.standing = Standing::Behind;
                    connection.watches_behind += 1;
                    self.metrics.presence_conflations += 1;
                    continue;
                }
                (Standing::Current, Some(_)) | (Standing::Current | Standing::Behind, None) => {}
            }
            self.metrics.presence_deliveries += 1;
            self.clients.send_alike(&mut alike, watch.connection.index, self.now, |dialect, out| {
                dialect.member(change, &mut out.bytes);
            });
        }
    }

    /// Asks for all members of a room for which `id` was too slow, if it has room for them: one room at a time.
    pub(in crate::shard) fn catch_up(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get(id) else { return };
        if connection.watches_behind == 0 || !self.clients.has_room(id) {
            return;
        }
        let mut behind = connection
            .watches
            .iter()
            .filter(|&&watch| self.presence.watches[watch as usize].standing == Standing::Behind);
        let is_asked = |watch: &u32| self.presence.watches[*watch as usize].asked.is_some();
        let next = behind.clone().next().copied();
        if let Some(watch) = next.filter(|_| !behind.any(is_asked)) {
            self.ask_for_members(watch, None, true);
        }
    }

    fn drop_watch(&mut self, id: ConnectionId, watch: u32) {
        if let Some(connection) = self.clients.get_mut(id) {
            connection.watches.retain(|&other| other != watch);
        }
        self.end_watch(watch);
    }

    /// Forgets a watch that its connection has already forgotten.
    pub(in crate::shard) fn end_watch(&mut self, watch: u32) {
        let Some(ended) = self.presence.watches.try_remove(watch as usize) else { return };
        self.metrics.presence_watches -= 1;
        if ended.standing == Standing::Behind
            && let Some(connection) = self.clients.get_mut(ended.connection)
        {
            connection.watches_behind -= 1;
        }
        let room = &mut self.presence.rooms[ended.room];
        room.watches.swap_remove(ended.place as usize);
        if let Some(&moved) = room.watches.get(ended.place as usize) {
            self.presence.watches[moved as usize].place = ended.place;
        }
        if room.watches.is_empty() {
            room.watches = Vec::new();
            let (room, home) = (Arc::clone(&room.name), crate::mesh::owner(room.hash, self.shards));
            if home != self.index {
                self.outgoing.push(home, Item::Request(Request::UnwatchRoom { room }));
            }
            self.presence.rooms.release_if_unused(ended.room);
        }
    }
}
