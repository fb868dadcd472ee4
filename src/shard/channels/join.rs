//! Memberships: which connection is in which channel, and what it has been told.
//!
//! ```text
//!  join ──► joining ──(messages since …, a chunk at a time, as there is room in the outbox)──► live ──► told each message, or a gap
//! ```
//! Whoever joins is told nothing live before the answer of the home, and nothing again that the answer has told it: a message
//! goes to members of its epoch who have been told less.

use std::mem;
use std::sync::Arc;

use slab::Slab;

use super::home::ask;
use super::{ChannelSlot, Channels};
use crate::hooks::{Happened, Kind, Place};
use crate::limits::CHUNK_BYTES;
use crate::mesh::{ChannelRequest, ConnectionId, Joined, Messages, ReplyTo, Since};
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::interest::Left;
use crate::shard::maps::Maps;
use crate::shard::requests::{ChannelWait, PendingRequest, Requests, Waiting};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{ChannelMessage, Event, slots};
use crate::wire::{Reject, Ticket};

/// One connection in one channel.
pub struct Member {
    pub connection: ConnectionId,
    channel: ChannelSlot,
    /// Its place among the members of the channel.
    place: u32,
    /// Of which the offsets are; 0: it joins, and has been told none.
    pub epoch: u64,
    /// Up to here it has been told everything, or what it lacks is in `missed`.
    pub told: u64,
    /// The first and the last of the messages that it missed and is yet to be told of.
    pub missed: Option<(u64, u64)>,
    /// Until the home has said what it has missed.
    pub joining: Option<Box<Joining>>,
    /// As whom the application has heard of it, if it wants to: `None` in it is nobody in particular.
    heard_as: Option<Box<Option<Arc<str>>>>,
}

/// What is known of a membership that begins.
pub struct Joining {
    ticket: Option<Ticket>,
    /// From where on it is to be told.
    since: Option<Since>,
    /// Serial number of the request that is under way.
    asked: Option<u32>,
    /// The home has heard of it.
    is_known: bool,
}

impl Member {
    /// Its channel, and its place among the members of that.
    pub const fn place(&self) -> (ChannelSlot, u32) {
        (self.channel, self.place)
    }
}

impl Channels {
    /// Joins a channel: the messages since then follow, then [`Event::Joined`], then each message that is published. Joining
    /// once more is leaving and joining.
    pub fn join(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        asked: Asked,
        (channel, since): (&str, Option<Since>),
    ) {
        let id = asked.connection();
        self.leave(turn, clients, maps, id, channel);
        let Some(connection) = clients.get(id) else { return };
        if connection.joined.len() >= turn.config.subscriptions_max {
            return clients.reject(turn, id, asked.ticket(), Reject::TooManySubscriptions);
        }
        let joining = Joining { ticket: asked.ticket, since, asked: None, is_known: false };
        let member = self.begin_member(turn, clients, (id, channel), joining);
        self.ask_home(turn, clients, maps, requests, member);
    }

    /// Leaves a channel, if the connection is in it. Nothing more is told of it, but what it lacks, and
    /// [`Event::Rejected`] with [`Reject::Cancelled`] where a request to join was under way.
    pub fn leave(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        id: ConnectionId,
        channel: &str,
    ) {
        let Some(slot) = self.find_member(turn, clients, id, channel) else { return };
        self.tell_missed(turn, clients, slot);
        let joining = self.members[slot as usize].joining.take();
        if let Some(ticket) = joining.and_then(|joining| joining.ticket) {
            clients.reject(turn, id, Some(&ticket), Reject::Cancelled);
        }
        if let Some(connection) = clients.get_mut(id) {
            connection.joined.remove(slot);
        }
        self.end_member(turn, maps, slot);
    }

    /// The channel of a membership.
    pub fn channel_of(&self, member: u32) -> Arc<str> {
        Arc::clone(self.table[self.members[member as usize].channel].interest.name())
    }

    /// Looked for where there are fewer: many channels have few members, and many members few channels.
    fn find_member(&self, turn: &Turn, clients: &Clients, id: ConnectionId, channel: &str) -> Option<u32> {
        let slot = self.find(turn, channel)?;
        let (of_channel, of_connection) =
            (self.table[slot].interest.members(), clients.get(id)?.joined.members());
        let fewer = if of_channel.len() < of_connection.len() { of_channel } else { of_connection };
        let is_it = |member: &Member| member.channel == slot && member.connection == id;
        fewer.iter().copied().find(|&member| is_it(&self.members[member as usize]))
    }

    fn begin_member(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        (id, channel): (ConnectionId, &str),
        joining: Joining,
    ) -> u32 {
        let slot = self.find_or_insert(turn, channel);
        let vacant = self.members.vacant_entry();
        let member = slots::slot(vacant.key());
        let place = self.table[slot].interest.join(member);
        let joining = Some(Box::new(joining));
        vacant.insert(Member {
            connection: id,
            channel: slot,
            place,
            epoch: 0,
            told: 0,
            missed: None,
            joining,
            heard_as: None,
        });
        turn.metrics.channel_members += 1;
        if let Some(connection) = clients.get_mut(id) {
            connection.joined.push(member);
        }
        member
    }

    /// Asks the home for what a member lacks, as much as its peer has room for; if there is none, once it has drained.
    fn ask_home(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        slot: u32,
    ) {
        let member = &mut self.members[slot as usize];
        let Some(joining) = &mut member.joining else { return };
        let (id, since) = (member.connection, joining.since);
        let room = clients.free_bytes(id).min(CHUNK_BYTES);
        if since.is_some() && room == 0 {
            if let Some(connection) = clients.get_mut(id) {
                connection.joined.fall_behind(slot);
            }
            return;
        }
        let owed_bytes = if since.is_some() { room + turn.config.value_bytes_max } else { 0 };
        let waiting = Waiting::Channel(ChannelWait::Join { member: slot, owed_bytes });
        let reply = requests.wait_for(turn, clients, (id, None), waiting, 1);
        joining.asked = Some(reply.serial);
        if let Some(connection) = clients.get_mut(id) {
            connection.joined.asks(true);
        }
        let interest = &self.table[member.channel].interest;
        let (channel, home) = (Arc::clone(interest.name()), turn.owner(interest.hash()));
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let request = match std::mem::replace(&mut joining.is_known, true) {
            true => ChannelRequest::Since { reply, channel, since, room },
            false => ChannelRequest::Join { reply, channel, since, room },
        };
        if home == turn.index {
            return self.handle(turn, clients, maps, requests, (home, request), &[]);
        }
        ask(turn, home, request);
    }

    /// The home has said what a member lacks, or some of it.
    pub(super) fn joined(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        reply: ReplyTo,
        outcome: Result<&Joined<impl AsRef<[u8]>>, Reject>,
    ) {
        let Some(request) = requests.end_wait(turn, clients, reply) else { return };
        if let Some(slot) = self.end_ask(clients, &request) {
            match outcome {
                Ok(joined) => self.told_since(turn, clients, slot, joined),
                Err(reject) => self.refuse_join(turn, clients, maps, slot, reject),
            }
        }
        self.catch_up(turn, clients, maps, requests, request.connection);
    }

    /// The home of a channel has not answered in time.
    pub fn join_late(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        request: &PendingRequest,
    ) {
        if let Some(slot) = self.end_ask(clients, request) {
            self.refuse_join(turn, clients, maps, slot, Reject::Timeout);
        }
        self.catch_up(turn, clients, maps, requests, request.connection);
    }

    /// The request of a member that joins has ended; the member, if it is still about that.
    fn end_ask(&mut self, clients: &mut Clients, request: &PendingRequest) -> Option<u32> {
        let Waiting::Channel(ChannelWait::Join { member: slot, .. }) = request.waiting else { return None };
        if let Some(connection) = clients.get_mut(request.connection) {
            connection.joined.asks(false);
        }
        let joining = self.members.get_mut(slot as usize)?.joining.as_mut()?;
        joining.asked.take_if(|asked| *asked == request.serial)?;
        Some(slot)
    }

    /// Tells a member what the home has said, and that it is one, once that is all.
    fn told_since(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        slot: u32,
        joined: &Joined<impl AsRef<[u8]>>,
    ) {
        let member = &mut self.members[slot as usize];
        let id = member.connection;
        let channel = self.table[member.channel].interest.name();
        for message in Messages(joined.messages.as_ref()) {
            turn.metrics.channel_recovered += 1;
            turn.spend(work::FRAME + work::encoded(message.said.data.len()));
            let message = ChannelMessage::of(channel, message);
            clients.send_as(id, turn.now, |dialect, out| dialect.channel_message(message, out));
        }
        if !joined.is_done()
            && let Some(joining) = &mut member.joining
        {
            joining.since = Some(Since { epoch: joined.epoch, offset: joined.through });
            // One chunk after the other, and of one channel after the other, as the peer takes them.
            if let Some(connection) = clients.get_mut(id) {
                connection.joined.fall_behind(slot);
            }
            return;
        }
        let ticket = mem::take(&mut member.joining).and_then(|joining| joining.ticket);
        (member.epoch, member.told) = (joined.epoch, joined.last);
        if turn.happenings.hears(Kind::Joined, channel) || turn.happenings.hears(Kind::Left, channel) {
            let principal = clients.get(id).and_then(|connection| connection.principal.as_ref());
            let user = principal.map(|principal| Arc::clone(&principal.identity.user));
            let (place, name) = (Place::Channel, Arc::clone(channel));
            let what = Happened::Joined { place, name, user: user.clone() };
            turn.happenings.tell(turn.now.unix_ms, what);
            member.heard_as = Some(Box::new(user));
        }
        let (epoch, offset, recovery) = (joined.epoch, joined.last, joined.recovery);
        clients.tell(
            id,
            turn.now,
            Event::Joined { ticket: ticket.as_ref(), channel, epoch, offset, recovery },
        );
    }

    /// A member will not be one.
    fn refuse_join(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        slot: u32,
        reject: Reject,
    ) {
        let member = &mut self.members[slot as usize];
        let (id, joining) = (member.connection, member.joining.take());
        clients.reject(turn, id, joining.and_then(|joining| joining.ticket).as_ref(), reject);
        if let Some(connection) = clients.get_mut(id) {
            connection.joined.remove(slot);
        }
        self.end_member(turn, maps, slot);
    }

    /// Tells `id` what it missed, and asks for more of what it is yet to be told since it joined: of one channel at a time.
    pub fn catch_up(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        id: ConnectionId,
    ) {
        let Some(connection) = clients.get(id) else { return };
        let mut is_asking = connection.joined.is_asking();
        if connection.joined.behind().is_empty() || !clients.has_room(id) {
            return;
        }
        let behind = clients.get_mut(id).map(|connection| connection.joined.take_behind());
        for slot in behind.into_iter().flatten() {
            turn.spend(work::LET_GO);
            let Some(member) = self.members.get(slot as usize) else { continue };
            if member.missed.is_some() {
                self.tell_missed(turn, clients, slot);
            } else if !mem::replace(&mut is_asking, true) {
                self.ask_home(turn, clients, maps, requests, slot);
            } else if let Some(connection) = clients.get_mut(id) {
                connection.joined.fall_behind(slot);
            }
        }
    }

    /// Tells a member of the messages that it missed, if there are any.
    pub(super) fn tell_missed(&mut self, turn: &mut Turn, clients: &mut Clients, slot: u32) {
        let member = &mut self.members[slot as usize];
        let Some((from, to)) = member.missed.take() else { return };
        turn.metrics.channel_gaps += 1;
        let channel = self.table[member.channel].interest.name();
        clients.tell(member.connection, turn.now, Event::Gap { channel, from, to });
        if let Some(connection) = clients.get_mut(member.connection) {
            connection.joined.catch_up(slot);
        }
    }

    /// Forgets a membership that its connection has already forgotten.
    pub fn end_member(&mut self, turn: &mut Turn, maps: &mut Maps, slot: u32) {
        let Some(ended) = self.members.try_remove(slot as usize) else { return };
        if self.members.is_empty() {
            self.members = Slab::new();
        }
        turn.metrics.channel_members -= 1;
        let interest = &mut self.table[ended.channel].interest;
        if let Some(user) = ended.heard_as {
            let (place, name) = (Place::Channel, Arc::clone(interest.name()));
            turn.happenings.tell(turn.now.unix_ms, Happened::Left { place, name, user: *user });
        }
        let Left { moved, was_last } = interest.leave(ended.place);
        if let Some(moved) = moved {
            self.members[moved as usize].place = ended.place;
        }
        if was_last {
            let (channel, home) = (Arc::clone(interest.name()), turn.owner(interest.hash()));
            if home != turn.index {
                ask(turn, home, ChannelRequest::Leave { channel });
            }
            self.release_if_unused(turn, maps, ended.channel);
        }
    }
}
