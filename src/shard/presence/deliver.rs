//! What connections of this shard are told: news of a room all alike, answers each its own, in the order in which the home has
//! told of them. It is divided over turns (`shard/divided.rs`).

use std::mem;
use std::sync::Arc;

use super::Presence;
use super::stay::Standing;
use crate::limits::PRESENCE_TOLD_BYTES_MAX;
use crate::mesh::{Gathered, ReplyTo, RoomNews};
use crate::shard::Event;
use crate::shard::clients::{Alike, Clients};
use crate::shard::maps::Maps;
use crate::shard::requests::{Requests, Waiting};
use crate::shard::slots;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

/// What waits for a turn with work for it.
pub enum Told {
    News { room: Arc<str>, gathered: Gathered<Box<[u8]>> },
    Answer { replies: Vec<ReplyTo>, room: Arc<str>, gathered: Gathered<Box<[u8]>> },
}

impl Told {
    fn bytes(&self) -> usize {
        match self {
            Self::News { gathered, .. } => gathered.bytes(),
            Self::Answer { replies, gathered, .. } => gathered.bytes() + size_of_val(&**replies),
        }
    }
}

impl Presence {
    /// The home of a room has told what became of it.
    pub fn news_arrived(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (news, bytes): (&RoomNews, &[u8]),
    ) {
        turn.begin_share_of(work::MESSAGE_MIN);
        let gathered = news.gathered.map(|span| span.of(bytes).into());
        self.tell(turn, clients, maps, requests, Told::News { room: Arc::clone(&news.room), gathered });
    }

    /// Tells those whom it is for, or keeps it for those for whom the turn has no work.
    pub(super) fn tell(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        told: Told,
    ) {
        let left = if self.told.is_empty() {
            let left = self.send(turn, clients, requests, &told, None);
            if left.is_empty() {
                return;
            }
            Some(left)
        } else {
            None
        };
        let bytes = told.bytes();
        self.told.keep(turn, clients, maps, (told, bytes), (None, left));
    }

    /// Goes on with what is to be told.
    pub fn deliver_waiting(&mut self, turn: &mut Turn, clients: &mut Clients, requests: &mut Requests) {
        let mut told = mem::take(&mut self.told);
        told.go_on(turn, clients, |turn, clients, told, left| self.send(turn, clients, requests, told, left));
        self.told = told;
    }

    /// Whether anything is yet to be told, so that the next turn must not wait for an event.
    pub fn has_to_tell(&self) -> bool {
        !self.told.is_empty()
    }

    /// Whether so much waits that no more may come from other shards: they are told of it by envelopes that stay where they are.
    pub const fn has_too_much_to_tell(&self) -> bool {
        self.told.bytes() > PRESENCE_TOLD_BYTES_MAX
    }

    /// Tells those who are left, or all; who is left then.
    fn send(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        told: &Told,
        left: Option<Vec<u32>>,
    ) -> Vec<u32> {
        match told {
            Told::News { room, gathered } => {
                let all = || {
                    let slot = self.find(turn, room);
                    slot.map_or(Vec::new(), |slot| self.table[slot].interest.members().to_vec())
                };
                let left = left.unwrap_or_else(all);
                self.send_news(turn, clients, (room, gathered.map(|packed| &**packed)), left)
            }
            Told::Answer { replies, room, gathered } => {
                let mut left = left.unwrap_or_else(|| (0..slots::slot(replies.len())).rev().collect());
                let gathered = gathered.map(|packed| &**packed);
                while !turn.is_over()
                    && let Some(place) = left.pop()
                {
                    turn.spend(work::FRAME + work::encoded(gathered.bytes()));
                    self.send_answer(turn, clients, requests, (replies[place as usize], room, gathered));
                }
                left
            }
        }
    }

    /// Sends news to one stay after the other, until the turn and the share have done enough.
    fn send_news(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        (room, gathered): (&str, Gathered<&[u8]>),
        mut left: Vec<u32>,
    ) -> Vec<u32> {
        let (mut alike, bytes) = (Alike::default(), gathered.bytes());
        while !turn.is_over()
            && let Some(stay) = left.pop()
        {
            turn.reach_one(bytes);
            let Some(stay) = self.stays.get_mut(stay as usize) else { continue };
            let index = stay.connection.index;
            if stay.standing != Standing::Current || !clients.takes_frames(index) {
                continue;
            }
            if clients.is_over_soft_limit(index) {
                stay.fall_behind(clients);
                turn.metrics.presence_conflations += 1;
                continue;
            }
            turn.metrics.presence_deliveries += 1;
            clients.send_alike(&mut alike, index, turn.now, |dialect, out| {
                dialect.gathered(room, gathered, &mut out.bytes);
            });
        }
        left
    }

    /// Answers who has joined or watches, or was too slow for the news: from here on it is told those.
    fn send_answer(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        (reply, room, gathered): (ReplyTo, &str, Gathered<&[u8]>),
    ) {
        let Some(request) = requests.end_wait(turn, clients, reply) else { return };
        let (id, ticket) = (request.connection, request.ticket.as_ref());
        let joins = matches!(request.waiting, Waiting::Gathered { joins: true, .. });
        let stay = self.find_stay(turn, clients, id, room).map(|stay| &mut self.stays[stay as usize]);
        let Some(stay) = stay.and_then(|stay| stay.answered(clients, reply.serial, joins).then_some(stay))
        else {
            if ticket.is_some() {
                clients.reject(turn, id, ticket, Reject::Cancelled);
            }
            return;
        };
        let member = stay.member_name().cloned();
        clients.tell(id, turn.now, Event::Gathered { ticket, room, member: member.as_deref(), gathered });
        self.catch_up(turn, clients, requests, id);
    }
}
