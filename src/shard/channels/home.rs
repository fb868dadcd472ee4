//! The home of a channel: it gives offsets, keeps what was said, and knows which shards must hear of it.
//!
//! Invariant: what one shard is told of a channel, messages and answers alike, leaves here in the order in which it happened, so
//! whoever has been answered needs nothing but the messages that follow.

use std::sync::Arc;

use super::log::{Log, entry_bytes};
use super::{ChannelSlot, Channels};
use crate::config::ChannelBounds;
use crate::mesh::{
    Answer, ChannelAnswer, ChannelMessage, ChannelRequest, ConnectionId, History, Item, Joined, Message, Page,
    Publishing, Recovery, ReplyTo, ShardIndex, Since, Span,
};
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::requests::Requests;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

/// Bytes that a message takes in an answer beside what was said and the name of its channel.
const MESSAGE_BYTES: usize = 128;
const NOT_DURABLE: Reject = Reject::BadRequest("nothing of this channel is kept on disk, so ack is memory");

/// What a channel is at its home.
pub struct Home {
    /// Names this line of offsets: one that is begun anew has another.
    pub epoch: u64,
    pub log: Log,
    pub bounds: ChannelBounds,
    /// In line to have what is too old dropped.
    pub is_due: bool,
}

impl Channels {
    /// Carries out what another shard has asked.
    pub fn handle(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        (from, request): (ShardIndex, ChannelRequest),
        bytes: &[u8],
    ) {
        let answer = match request {
            ChannelRequest::Join { reply, channel, since, room } => {
                let joined = self.join_home(turn, (from, &channel), (since, room));
                let envelope = turn.outgoing.filling(from);
                let joined = joined.map(|messages| Span::append(&mut envelope.bytes, &messages));
                ChannelAnswer::Joined { reply, outcome: Ok(joined) }
            }
            ChannelRequest::Leave { channel } => return self.leave_home(turn, from, &channel),
            ChannelRequest::Publish { reply, channel, said, how } => {
                let said = (channel.text(bytes), said.of(bytes), how);
                let outcome = self.publish_home(turn, clients, maps, reply, said);
                ChannelAnswer::Published { reply, outcome }
            }
            ChannelRequest::History { reply, channel, page } => {
                let history = self.history_home(turn, &channel, page);
                let envelope = turn.outgoing.filling(from);
                let history = history.map(|messages| Span::append(&mut envelope.bytes, &messages));
                ChannelAnswer::History { reply, outcome: Ok(history) }
            }
        };
        turn.outgoing.push(from, Item::Answer(Answer::Channel(Box::new(answer))));
    }

    /// Tells who has asked for something what has come of it.
    pub fn answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        maps: &Maps,
        (answer, cover): (ChannelAnswer, (ShardIndex, u64)),
        bytes: &[u8],
    ) {
        match answer {
            ChannelAnswer::Joined { reply, outcome } => {
                let outcome = outcome.map(|joined| joined.map(|span| span.of(bytes)));
                self.joined(turn, clients, requests, reply, outcome.as_ref().map_err(|reject| *reject));
            }
            ChannelAnswer::Published { reply, outcome } => {
                requests.channel_published(turn, clients, maps, (reply, outcome), cover);
            }
            ChannelAnswer::History { reply, outcome } => {
                let outcome = outcome.map(|history| history.map(|span| span.of(bytes)));
                let outcome = outcome.as_ref().map_err(|reject| *reject);
                requests.channel_history(turn, clients, reply, outcome);
            }
        }
    }

    /// A shard has a member from now on. What was said since then, as much as there is room for, and one message in any case.
    pub fn join_home(
        &mut self,
        turn: &mut Turn,
        (from, name): (ShardIndex, &Arc<str>),
        (since, room): (Option<Since>, u32),
    ) -> Joined<Vec<u8>> {
        let slot = self.open(turn, name);
        let channel = &mut self.table[slot];
        if from != turn.index {
            channel.interest.set_heard_by(from, true);
        }
        self.trim(turn, slot);
        let home = self.home(slot);
        let (epoch, last) = (home.epoch, home.log.last());
        let nothing = |recovery| Joined { epoch, last, through: last, recovery, messages: Vec::new() };
        let Some(since) = since else { return nothing(Recovery::NotAsked) };
        if since.epoch != epoch || since.offset > last {
            return nothing(Recovery::Epoch);
        }
        if since.offset < home.log.trimmed_through() {
            return nothing(Recovery::Trimmed);
        }
        let (mut messages, mut through, mut bytes) = (Vec::new(), since.offset, 0);
        for (offset, entry) in home.log.since(since.offset) {
            bytes += MESSAGE_BYTES + name.len() + entry.said.len();
            if bytes > room as usize && through > since.offset {
                break;
            }
            through = offset;
            Message { offset, time_ms: entry.time_ms, said: &entry.said }.pack(&mut messages);
        }
        turn.spend(work::CELL + work::encoded(bytes));
        Joined { epoch, last, through, recovery: Recovery::Whole, messages }
    }

    /// A shard has no members any more.
    pub fn leave_home(&mut self, turn: &Turn, from: ShardIndex, name: &str) {
        if let Some(slot) = self.find(name, turn.hasher.map(name)) {
            self.table[slot].interest.set_heard_by(from, false);
            self.release_if_unused(slot);
        }
    }

    /// Gives what was said an offset, keeps it, and has everybody told.
    ///
    /// # Errors
    /// It is none of the channel.
    pub fn publish_home(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        reply: ReplyTo,
        (name, said, how): (&str, &[u8], Publishing),
    ) -> Result<u64, Reject> {
        if !self.undelivered.is_empty() {
            maps.may_wait(said.len())?;
        }
        let slot = self.open(turn, name);
        if how.is_durable {
            self.release_if_unused(slot);
            return Err(NOT_DURABLE);
        }
        // Whoever may refuse or replace what was said has done so before this line: from here on it has its place in the order.
        let time_ms = turn.now.unix_ms;
        let (epoch, offset) = self.keep(turn, slot, (time_ms, said));
        turn.metrics.channel_publishes += 1;
        turn.spend(work::CELL + work::copied(said.len()));
        let interest = &self.table[slot].interest;
        let sender = |shard: ShardIndex| -> Option<ConnectionId> {
            (shard == reply.shard && !how.echo).then_some(reply.connection)
        };
        for target in interest.shards().iter() {
            let envelope = turn.outgoing.filling(target);
            let said = Span::append(&mut envelope.bytes, said);
            let channel = Arc::clone(interest.name());
            let message = ChannelMessage { channel, epoch, offset, time_ms, said, sender: sender(target) };
            envelope.items.push(Item::Channel(Box::new(message)));
        }
        let message = Message { offset, time_ms, said };
        let by = (reply.shard == turn.index).then_some(reply.connection);
        self.deliver_or_keep(turn, clients, maps, slot, (epoch, message), (by, sender(turn.index)));
        self.release_if_unused(slot);
        Ok(offset)
    }

    /// Messages of before, as many as were asked for and as there is room for.
    pub fn history_home(&mut self, turn: &mut Turn, name: &str, page: Page) -> History<Vec<u8>> {
        let found = self.find(name, turn.hasher.map(name));
        let Some(slot) = found.filter(|&slot| self.table[slot].home.is_some()) else {
            return History { epoch: None, messages: Vec::new(), more: false };
        };
        self.trim(turn, slot);
        let home = self.home(slot);
        let end = page.before.unwrap_or(u64::MAX);
        let (mut bytes, mut first) = (0, None);
        for (offset, entry) in home.log.before(end).take(page.limit as usize) {
            bytes += MESSAGE_BYTES + entry.said.len();
            if bytes > page.room as usize && first.is_some() {
                break;
            }
            first = Some(offset);
        }
        let (mut messages, mut more) = (Vec::new(), false);
        if let Some(first) = first {
            for (offset, entry) in home.log.since(first - 1).take_while(|(offset, _)| *offset < end) {
                Message { offset, time_ms: entry.time_ms, said: &entry.said }.pack(&mut messages);
            }
            more = first > home.log.trimmed_through() + 1;
        }
        turn.spend(work::CELL + work::encoded(bytes));
        let history = History { epoch: Some(home.epoch), messages, more };
        self.release_if_unused(slot);
        history
    }

    /// The channel of this name, which is made if it is not there.
    fn open(&mut self, turn: &mut Turn, name: &str) -> ChannelSlot {
        let slot = self.find_or_insert(name, turn.hasher.map(name));
        if self.table[slot].home.is_none() {
            let bounds = self.bounds_of(turn, name);
            let home = Home { epoch: turn.fresh_epoch(), log: Log::default(), bounds, is_due: false };
            let channel = &mut self.table[slot];
            channel.home = Some(Box::new(home));
            self.counts.channels += 1;
            self.counts.bytes += channel.own_bytes();
        }
        slot
    }

    pub(super) fn home(&self, slot: ChannelSlot) -> &Home {
        self.table[slot].home.as_ref().expect("it was opened here")
    }

    pub(super) fn home_mut(&mut self, slot: ChannelSlot) -> &mut Home {
        self.table[slot].home.as_mut().expect("it was opened here")
    }

    /// Keeps what was said, as far as there is memory, and gives it an offset, with the epoch that is of.
    fn keep(&mut self, turn: &mut Turn, slot: ChannelSlot, (time_ms, said): (u64, &[u8])) -> (u64, u64) {
        let room = turn.account.history_room(self.counts.bytes);
        let home = self.home_mut(slot);
        let before = (home.log.len(), home.log.bytes());
        // Where channels have all the memory they may have, each goes on in what it has.
        let bytes_max = home.bounds.bytes.min(before.1.saturating_add(room));
        let entry_bytes = entry_bytes(said.len());
        let keeps = home.bounds.messages > 0 && home.bounds.ttl_ms > 0 && entry_bytes <= bytes_max;
        while keeps && home.log.bytes() + entry_bytes > bytes_max {
            home.log.drop_oldest();
        }
        let offset = home.log.push(time_ms, said, keeps);
        home.log.trim(time_ms, &home.bounds);
        let epoch = home.epoch;
        self.recount(slot, before);
        self.note_due(slot);
        (epoch, offset)
    }

    /// Takes note of what a log has become, which had so many entries of so many bytes.
    pub(super) fn recount(&mut self, slot: ChannelSlot, (entries, bytes): (usize, usize)) {
        let log = &self.home(slot).log;
        let (entries_now, bytes_now) = (log.len(), log.bytes());
        self.counts.messages = self.counts.messages + entries_now as u64 - entries as u64;
        self.counts.bytes = self.counts.bytes + bytes_now - bytes;
    }
}

