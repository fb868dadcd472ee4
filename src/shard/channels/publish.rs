//! What is said in a channel: it goes to the home, which gives it an offset, answers with that, and has everybody told.

use std::sync::Arc;

use super::home::{ask, log_bounds};
use super::{ChannelSlot, Channels};
use crate::hooks::{Happened, Kind};
use crate::mesh::{
    ChannelMessage, ChannelRequest, ConnectionId, Item, Message, Publishing, ReplyTo, Said, ShardIndex, Span,
};
use crate::shard::AckLevel;
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::log::{Bounds, Draft};
use crate::shard::maps::Maps;
use crate::shard::requests::{ChannelWait, Requests, Waiting};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

const NOT_DURABLE: Reject =
    Reject::BadRequest("this channel is not kept on a disk that can be waited for, so ack is memory");

/// A message for a channel.
#[derive(Clone, Copy)]
pub struct Publish<'a> {
    pub channel: &'a str,
    /// Canonical JSON.
    pub data: &'a [u8],
    pub how: Publishing,
}

impl Channels {
    /// Publishes a message; [`crate::shard::Event::Placed`] follows. Nobody needs to be in a channel for that.
    pub fn publish(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        asked: Asked,
        Publish { channel, data, how }: Publish<'_>,
    ) {
        let id = asked.connection();
        if how.is_durable
            && let Some(reject) = maps.refuses_writes(turn, AckLevel::Durable)
        {
            return clients.reject(turn, id, asked.ticket(), reject);
        }
        let Some(connection) = clients.get(id) else { return };
        let user = connection.principal.as_ref().map(|principal| Arc::clone(&principal.identity.user));
        let said = Said { from: user.as_deref().unwrap_or_default(), data };
        let waiting = Waiting::Channel(ChannelWait::Publish { channel: channel.into(), how, offset: None });
        let reply = requests.wait_for(turn, clients, (id, asked.ticket), waiting, 1);
        let home = self.home_of(turn, channel);
        let pack = |bytes: &mut Vec<u8>| {
            let channel = Span::append(bytes, channel.as_bytes());
            let start = bytes.len();
            said.pack(bytes);
            ChannelRequest::Publish { reply, channel, said: Span::since(bytes, start), how }
        };
        if home == turn.index {
            let mut bytes = Vec::with_capacity(channel.len() + said.packed_bytes());
            let request = pack(&mut bytes);
            return self.handle(turn, clients, maps, requests, (home, request), &bytes);
        }
        let request = pack(&mut turn.outgoing.filling(home).bytes);
        ask(turn, home, request);
    }

    /// At the home: gives what was said an offset, keeps it, and has everybody told.
    ///
    /// # Errors
    /// It is none of the channel.
    pub(super) fn give_offset(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        slot: ChannelSlot,
        (reply, said, how): (ReplyTo, Said<'_>, Publishing),
    ) -> Result<u64, Reject> {
        if !self.undelivered.is_empty() {
            maps.may_wait(said.packed_bytes())?;
        }
        let is_kept = self.home(slot).log.is_kept();
        if how.is_durable && !(is_kept && maps.may_wait_for_disk(turn)) {
            return Err(NOT_DURABLE);
        }
        if is_kept && let Some(reject) = maps.refuses_writes(turn, AckLevel::Memory) {
            return Err(reject);
        }
        // Whoever may refuse or replace what is said does so above this line: here it gets its place in the order.
        let message = self.keep(turn, maps, slot, said)?;
        turn.metrics.channel_publishes += 1;
        turn.spend(work::CELL + work::copied(said.packed_bytes()));
        let sender = |shard: ShardIndex| -> Option<ConnectionId> {
            (shard == reply.shard && !how.echo).then_some(reply.connection)
        };
        let epoch = self.home(slot).log.entries().epoch();
        let interest = &self.table[slot].interest;
        if turn.happenings.hears(Kind::Published, interest.name()) {
            turn.spend(work::copied(said.packed_bytes()));
            let from = (!said.from.is_empty()).then(|| said.from.into());
            let (channel, offset) = (Arc::clone(interest.name()), message.offset);
            let what = Happened::Published { channel, offset, from, data: said.data.into() };
            turn.happenings.tell(turn.now.unix_ms, what);
        }
        for target in interest.shards().iter() {
            let bytes = &mut turn.outgoing.filling(target).bytes;
            let start = bytes.len();
            said.pack(bytes);
            let Message { offset, time_ms, .. } = message;
            let (channel, said) = (Arc::clone(interest.name()), Span::since(bytes, start));
            let told = ChannelMessage { channel, epoch, offset, time_ms, said, sender: sender(target) };
            turn.outgoing.push(target, Item::Channel(Box::new(told)));
        }
        let by = (reply.shard == turn.index).then_some(reply.connection);
        self.deliver(turn, clients, maps, slot, (epoch, message), (by, sender(turn.index)));
        Ok(message.offset)
    }

    /// Gives what is said the next offset, and keeps it as far as there is memory.
    ///
    /// # Errors
    /// It has to be kept on disk and there is no memory for that.
    fn keep<'a>(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        slot: ChannelSlot,
        said: Said<'a>,
    ) -> Result<Message<'a>, Reject> {
        let room = turn.account.history_room(self.counts.bytes);
        let pushed = self.change(slot, |home| {
            // Where channels have all the memory they may have, each goes on in what it has.
            let bytes = home.bounds.bytes.min(home.size().1.saturating_add(room));
            let bounds = Bounds { bytes, ..log_bounds(&home.bounds) };
            let ttl_ms = home.bounds.ttl_ms;
            let draft = Draft { from: said.from.into(), data: said.data.into(), ttl_ms, is_kept: true };
            home.log.push(turn, maps, bounds, draft)
        });
        self.note_due(slot);
        let offset = pushed?.offset;
        Ok(Message { offset, time_ms: turn.now.unix_ms, said })
    }
}
