//! Messages to all users that are there, or to those of a role: each shard sends them to its connections, a share a turn. They are not
//! kept, and a connection over the soft limit misses them.

use std::sync::Arc;

use super::{Around, Directs, ask};
use crate::mesh::{AnnounceRequest, Audience, ConnectionId, DirectAnswer, DirectRequest, ReplyTo, Span};
use crate::shard::caller::Asked;
use crate::shard::clients::{Alike, Clients, Phase};
use crate::shard::maps::WaitingBytes;
use crate::shard::requests::DirectWait;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{DirectAudience, DirectMessage};

/// A message to many as it comes to a shard.
pub struct Announce<'a> {
    pub reply: ReplyTo,
    pub to: &'a Audience,
    pub from: &'a Arc<str>,
    pub data: &'a [u8],
    pub time_ms: u64,
}

/// One that has yet to be sent to the connections from a slot on.
pub struct Announcement {
    reply: ReplyTo,
    to: Audience,
    from: Arc<str>,
    data: Box<[u8]>,
    time_ms: u64,
    slot: u32,
    taken: u64,
    _counted: WaitingBytes,
}

impl Directs {
    /// Sends a message to all who are there; [`super::super::DirectEvent::Sent`] follows.
    pub fn announce(
        &mut self,
        around: &mut Around<'_>,
        asked: Asked,
        (from, to): (&Arc<str>, Audience),
        data: &[u8],
    ) {
        let Around { turn, clients, requests, .. } = around;
        turn.metrics.directs_sent += 1;
        let sender = asked.connection();
        let waiting = DirectWait::Announce { taken: 0 };
        let shards = turn.shard_count();
        let asked = (sender, asked.ticket);
        let reply = requests.wait_for_direct(turn, clients, asked, waiting, (shards, data.len()));
        let time_ms = turn.now.unix_ms;
        for target in turn.others() {
            let span = Span::append(&mut turn.outgoing.filling(target).bytes, data);
            let (to, from) = (to.clone(), Arc::clone(from));
            let announce = DirectRequest::Announce(AnnounceRequest { reply, to, from, data: span, time_ms });
            ask(turn, target, announce);
            turn.spend(work::copied(data.len()));
        }
        clients.message_kept(sender);
        self.announced(around, &Announce { reply, to: &to, from, data, time_ms });
    }

    /// A message to many has come to this shard.
    pub fn announced(&mut self, around: &mut Around<'_>, announce: &Announce<'_>) {
        let &Announce { reply, to, from, data, time_ms } = announce;
        let Around { turn, maps, .. } = around;
        let bytes = size_of::<Announcement>() + data.len();
        turn.spend(work::PACKED + work::copied(bytes));
        if maps.may_wait(bytes).is_err() {
            return self.end(around, reply, 0);
        }
        self.announcements.push_back(Announcement {
            reply,
            to: to.clone(),
            from: Arc::clone(from),
            data: data.into(),
            time_ms,
            slot: 0,
            taken: 0,
            _counted: maps.count_waiting(bytes),
        });
    }

    /// Goes on with messages to many, as much as the turn has work for: the oldest has a share in any case.
    pub fn go_on_announcing(&mut self, around: &mut Around<'_>) {
        if self.announcements.is_empty() {
            return;
        }
        around.turn.begin_share_of(work::CONNECTION_MAX);
        while let Some(mut oldest) = self.announcements.pop_front() {
            oldest.send_on(around.turn, around.clients);
            if oldest.slot < around.clients.slots() {
                return self.announcements.push_front(oldest);
            }
            self.end(around, oldest.reply, oldest.taken);
            if around.turn.is_spent() {
                return;
            }
        }
    }

    fn end(&mut self, around: &mut Around<'_>, reply: ReplyTo, taken: u64) {
        if reply.shard == around.turn.index {
            around.clients.message_delivered(reply.connection);
        }
        around.answer(reply, DirectAnswer::Announced { reply, taken });
    }
}

impl Announcement {
    /// Sends it to one connection after the other, until the turn and whose share of it this is have done enough.
    fn send_on(&mut self, turn: &mut Turn, clients: &mut Clients) {
        let mut alike = Alike::default();
        while self.slot < clients.slots() && !turn.is_over() {
            let slot = self.slot;
            self.slot += 1;
            turn.spend(work::PASSED_OVER);
            let Some((id, Phase::Open)) = clients.in_slot(slot) else { continue };
            if !self.is_for(turn, clients, id) {
                continue;
            }
            turn.spend(work::receivers(1, self.data.len()));
            if clients.is_over_soft_limit(slot) {
                turn.metrics.directs_missed += 1;
                continue;
            }
            self.taken += 1;
            turn.metrics.direct_deliveries += 1;
            let audience = match &self.to {
                Audience::All => DirectAudience::All,
                Audience::Role(role) => DirectAudience::Role(role),
            };
            let (from, data) = (&*self.from, &*self.data);
            let told =
                DirectMessage { id: None, audience, from, data, time_ms: self.time_ms, is_queued: false };
            clients
                .send_alike(&mut alike, slot, turn.now, |dialect, out| dialect.direct(told, &mut out.bytes));
        }
    }

    fn is_for(&self, turn: &Turn, clients: &Clients, id: ConnectionId) -> bool {
        let Some(connection) = clients.get(id) else { return false };
        let is_sender = self.reply.shard == turn.index && self.reply.connection == id;
        let hears = connection.of_user.as_ref().is_some_and(|of_user| of_user.receiving.is_some());
        let Some(principal) = connection.principal.as_ref().filter(|_| hears && !is_sender) else {
            return false;
        };
        match &self.to {
            Audience::All => true,
            Audience::Role(role) => principal.identity.has_role(role),
        }
    }
}
