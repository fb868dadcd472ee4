//! The home of a channel: it gives offsets, keeps what was said, and knows which shards must hear of it.
//!
//! Invariant: what one shard is told of a channel, messages and answers alike, leaves here in the order in which it happened, so
//! whoever has been answered needs nothing but the messages that follow.

use super::{ChannelSlot, Channels};
use crate::config::ChannelBounds;
use crate::mesh::{
    Answer, ChannelAnswer, ChannelRequest, History, Item, Joined, Message, Page, Recovery, Request, Said,
    ShardIndex, Since, Span,
};
use crate::shard::clients::Clients;
use crate::shard::log::{Bounds, Entries, Entry, Log, Lost, OwnMap};
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::requests::Requests;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

/// Bytes that a message takes in an answer beside what was said and the name of its channel.
const MESSAGE_BYTES: usize = 128;

/// What a channel is at its home.
pub struct Home {
    pub log: Log,
    pub bounds: ChannelBounds,
    /// In line to have what is too old dropped.
    pub is_due: bool,
}

impl Channels {
    /// Carries out what a shard has asked, or has it wait for what is kept of the channel.
    pub fn handle(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        (from, request): (ShardIndex, ChannelRequest),
        bytes: &[u8],
    ) {
        let request = match request {
            ChannelRequest::Leave { channel } => return self.left(turn, maps, from, &channel),
            ChannelRequest::Join { reply, channel, since, room } => {
                self.hears(turn, from, &channel);
                ChannelRequest::Since { reply, channel, since, room }
            }
            other => other,
        };
        let slot = match self.open(turn, maps, &request, bytes) {
            Ok(slot) => slot,
            Err(map) => return self.park(turn, clients, maps, requests, (from, request), (map, bytes)),
        };
        let answer = match request {
            ChannelRequest::Since { reply, since, room, .. } => {
                ChannelAnswer::Joined { reply, outcome: Ok(self.since(turn, slot, since, room)) }
            }
            ChannelRequest::Publish { reply, said, how, .. } => {
                let said = Said::unpack(said.of(bytes));
                let outcome = self.give_offset(turn, clients, maps, slot, (reply, said, how));
                ChannelAnswer::Published { reply, outcome }
            }
            ChannelRequest::History { reply, page, .. } => {
                ChannelAnswer::History { reply, outcome: Ok(self.page(turn, slot, page)) }
            }
            ChannelRequest::Join { .. } | ChannelRequest::Leave { .. } => return,
        };
        self.release_if_unused(turn, maps, slot);
        self.answer(turn, clients, maps, requests, answer);
    }

    /// Answers that nothing comes of a request.
    pub fn refuse(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        (request, reject): (ChannelRequest, Reject),
    ) {
        let answer = match request {
            ChannelRequest::Join { reply, .. } | ChannelRequest::Since { reply, .. } => {
                ChannelAnswer::Joined { reply, outcome: Err(reject) }
            }
            ChannelRequest::Publish { reply, .. } => ChannelAnswer::Published { reply, outcome: Err(reject) },
            ChannelRequest::History { reply, .. } => ChannelAnswer::History { reply, outcome: Err(reject) },
            ChannelRequest::Leave { .. } => return,
        };
        self.answer(turn, clients, maps, requests, answer);
    }

    fn answer(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        answer: ChannelAnswer<Vec<u8>>,
    ) {
        let to = answer.reply().shard;
        if to == turn.index {
            let cover = (to, maps.covering());
            return self.answered(turn, clients, requests, maps, (answer, cover));
        }
        let envelope = turn.outgoing.filling(to);
        let answer = answer.map(|messages| Span::append(&mut envelope.bytes, &messages));
        envelope.items.push(Item::Answer(Answer::Channel(Box::new(answer))));
    }

    /// Tells who has asked for something what has come of it, which is durable when `cover` is.
    pub fn answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        maps: &mut Maps,
        (answer, cover): (ChannelAnswer<impl AsRef<[u8]>>, (ShardIndex, u64)),
    ) {
        match answer {
            ChannelAnswer::Joined { reply, outcome } => {
                let outcome = outcome.as_ref().map_err(|reject| *reject);
                self.joined(turn, clients, maps, requests, reply, outcome);
            }
            ChannelAnswer::Published { reply, outcome } => {
                requests.channel_published(turn, clients, maps, (reply, outcome), cover);
            }
            ChannelAnswer::History { reply, outcome } => {
                let outcome = outcome.as_ref().map_err(|reject| *reject);
                requests.channel_history(turn, clients, reply, outcome);
            }
        }
    }

    /// A shard has members from now on.
    fn hears(&mut self, turn: &Turn, from: ShardIndex, name: &str) {
        if from != turn.index {
            let slot = self.find_or_insert(turn, name);
            self.table[slot].interest.set_heard_by(from, true);
        }
    }

    /// A shard has no members any more.
    fn left(&mut self, turn: &mut Turn, maps: &mut Maps, from: ShardIndex, name: &str) {
        if let Some(slot) = self.find(turn, name) {
            self.table[slot].interest.set_heard_by(from, false);
            self.release_if_unused(turn, maps, slot);
        }
    }

    /// What was said since then, as much as there is room for.
    fn since(
        &mut self,
        turn: &mut Turn,
        slot: ChannelSlot,
        since: Option<Since>,
        room: u32,
    ) -> Joined<Vec<u8>> {
        self.expire(turn, slot);
        let name = self.table[slot].interest.name();
        let entries = self.home(slot).log.entries();
        let (epoch, last) = (entries.epoch(), entries.newest());
        let nothing = |recovery| Joined { epoch, last, through: last, recovery, messages: Vec::new() };
        let Some(since) = since else { return nothing(Recovery::NotAsked) };
        match entries.follows(since.offset) {
            _ if since.epoch != epoch => return nothing(Recovery::Epoch),
            Err(Lost::Epoch) => return nothing(Recovery::Epoch),
            Err(Lost::Trimmed) => return nothing(Recovery::Trimmed),
            Ok(()) => {}
        }
        let (mut messages, mut through, mut bytes) = (Vec::new(), last, 0);
        let mut before = since.offset;
        for entry in entries.after(since.offset) {
            bytes += MESSAGE_BYTES + name.len() + entry.from.len() + entry.data.len();
            if bytes > room as usize && before > since.offset {
                through = before;
                break;
            }
            before = entry.offset;
            message_of(entry).pack(&mut messages);
        }
        turn.spend(work::CELL + work::encoded(messages.len()));
        Joined { epoch, last, through, recovery: Recovery::Whole, messages }
    }

    /// Messages of before, as many as were asked for and as there is room for.
    fn page(&mut self, turn: &mut Turn, slot: ChannelSlot, page: Page) -> History<Vec<u8>> {
        self.expire(turn, slot);
        let entries = self.home(slot).log.entries();
        let (mut bytes, mut found) = (0, Vec::new());
        for entry in entries.before(page.before.unwrap_or(u64::MAX)).rev().take(page.limit as usize) {
            bytes += MESSAGE_BYTES + entry.from.len() + entry.data.len();
            if bytes > page.room as usize && !found.is_empty() {
                break;
            }
            found.push(entry);
        }
        let first = found.last().map(|entry| entry.offset);
        let more = first.is_some_and(|first| has_before(entries, first));
        let mut messages = Vec::new();
        found.into_iter().rev().for_each(|entry| message_of(entry).pack(&mut messages));
        turn.spend(work::CELL + work::encoded(messages.len()));
        History { epoch: (entries.last() > 0).then(|| entries.epoch()), messages, more }
    }

    /// The channel that a request is about, which is made if it is not there.
    ///
    /// # Errors
    /// The map with what is kept of it, which is not here yet.
    fn open(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        request: &ChannelRequest,
        bytes: &[u8],
    ) -> Result<ChannelSlot, MapSlot> {
        let (name, changes_it) = match request {
            ChannelRequest::Join { channel, .. }
            | ChannelRequest::Since { channel, .. }
            | ChannelRequest::Leave { channel }
            | ChannelRequest::History { channel, .. } => (&**channel, false),
            ChannelRequest::Publish { channel, .. } => (channel.text(bytes), true),
        };
        if let Some(slot) = self.find(turn, name)
            && let Some(home) = &self.table[slot].home
        {
            if changes_it {
                home.log.ready(turn, maps)?;
            }
            return Ok(slot);
        }
        let bounds = self.bounds_of(turn, name);
        let log = match bounds.is_durable {
            true => Log::open(turn, maps, OwnMap::of_channel(&turn.hasher, name), log_bounds(&bounds))?,
            false => Log::in_memory(turn),
        };
        let slot = self.find_or_insert(turn, name);
        let channel = &mut self.table[slot];
        self.counts.channels += 1;
        self.counts.messages += log.entries().len() as u64;
        self.counts.bytes += channel.own_bytes() + log.entries().bytes();
        channel.home = Some(Box::new(Home { log, bounds, is_due: false }));
        self.note_due(slot);
        Ok(slot)
    }

    /// Has a request wait for a map, or refuses it.
    fn park(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        (from, request): (ShardIndex, ChannelRequest),
        (map, bytes): (MapSlot, &[u8]),
    ) {
        let mut own = Vec::new();
        let request = match request {
            ChannelRequest::Publish { reply, channel, said, how } => {
                let channel = Span::append(&mut own, channel.of(bytes));
                let said = Span::append(&mut own, said.of(bytes));
                ChannelRequest::Publish { reply, channel, said, how }
            }
            other => other,
        };
        match maps.may_wait_for(turn, map, own.len()) {
            Ok(()) => maps.park_request(turn, map, from, Request::Channel(Box::new(request)), own),
            Err(reject) => self.refuse(turn, clients, maps, requests, (request, reject)),
        }
    }

    pub(super) fn home(&self, slot: ChannelSlot) -> &Home {
        self.table[slot].home.as_ref().expect("it is opened before anything is asked of it")
    }

    pub(super) fn home_mut(&mut self, slot: ChannelSlot) -> &mut Home {
        self.table[slot].home.as_mut().expect("it is opened before anything is asked of it")
    }

    /// Changes what is kept of a channel, and counts what that changes.
    pub(super) fn change<R>(&mut self, slot: ChannelSlot, change: impl FnOnce(&mut Home) -> R) -> R {
        let home = self.home_mut(slot);
        let (messages, bytes) = home.size();
        let changed = change(home);
        let (messages_now, bytes_now) = home.size();
        self.counts.messages = self.counts.messages + messages_now as u64 - messages as u64;
        self.counts.bytes = self.counts.bytes + bytes_now - bytes;
        changed
    }
}

impl Home {
    /// Messages that are kept, and bytes of them.
    pub fn size(&self) -> (usize, usize) {
        (self.log.entries().len(), self.log.entries().bytes())
    }
}

/// How much of it its log keeps.
pub(super) const fn log_bounds(bounds: &ChannelBounds) -> Bounds {
    Bounds { entries: bounds.messages, bytes: bounds.bytes }
}

fn message_of(entry: &Entry) -> Message<'_> {
    let said = Said { from: &entry.from, data: &entry.data };
    Message { offset: entry.offset, time_ms: entry.time_ms, said }
}

fn has_before(entries: &Entries, offset: u64) -> bool {
    entries.first().is_some_and(|first| first.offset < offset)
}

/// Where a request goes.
pub(super) fn ask(turn: &mut Turn, home: ShardIndex, request: ChannelRequest) {
    turn.outgoing.push(home, Item::Request(Request::Channel(Box::new(request))));
}
