//! The clock of a room: what has changed since it was told last is told once, to all shards that hear of it, and who has come
//! meanwhile is answered behind that. The first change after a while is told at once.

use std::sync::Arc;

use super::deliver::Told;
use super::home::{Home, Member};
use super::{Presence, Slot};
use crate::config::Config;
use crate::mesh::{
    Answer, Crowd, Gathered, Item, ReplyTo, RoomAnswer, RoomNews, ShardIndex, Span, pack_name,
};
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::requests::Requests;
use crate::shard::rooms::Rooms;
use crate::shard::turn::Turn;
use crate::shard::work;

/// Microseconds between two counts for each member: what a message to each costs, some forty times.
const COUNT_EACH_US: u64 = 200;
/// However many there are, the count is told as often as that.
const COUNT_US_MAX: u64 = 1_000_000;

impl Home {
    /// Microseconds between two times that it is told of.
    fn interval_us(&self, config: &Config) -> u64 {
        let tick_us = config.presence.tick_ms * 1000;
        let counts_us = (self.members.len() as u64 * COUNT_EACH_US).min(COUNT_US_MAX);
        if self.is_large { tick_us.max(counts_us) } else { tick_us }
    }

    fn pack_all(&self) -> Vec<u8> {
        let mut packed = Vec::new();
        self.members.iter().for_each(|(name, member)| member.as_told(name).pack(&mut packed));
        packed
    }

    fn pack_changed(&self) -> Crowd<Vec<u8>> {
        let (mut joined, mut updated, mut left) = <(Vec<u8>, Vec<u8>, Vec<u8>)>::default();
        for (name, seen) in &self.changed {
            match (self.members.get(name), seen) {
                (Some(member), None) => member.as_told(name).pack(&mut joined),
                (Some(member), Some(_)) => member.as_told(name).pack(&mut updated),
                (None, _) => pack_name(name, &mut left),
            }
        }
        Crowd::Diff { joined, updated, left }
    }

    /// What is to be told now, if anything; it is as good as told then.
    fn take_news(&mut self, config: &Config) -> Option<Gathered<Vec<u8>>> {
        let count = self.members.len() as u64;
        let Self { changed, members, .. } = self;
        // As it was, as where a second tab was opened and closed.
        changed.retain(|name, seen| seen.is_none() || members.get(name).map(Member::seen) != *seen);
        let crowd = if self.is_large && self.is_small_again(config) {
            self.is_large = false;
            Crowd::All(self.pack_all())
        } else if self.is_large {
            if self.counted == Some(count) {
                return None;
            }
            Crowd::Count
        } else if self.changed.is_empty() {
            return None;
        } else {
            self.pack_changed()
        };
        self.counted = self.is_large.then_some(count);
        self.changed.clear();
        Some(Gathered { count, crowd })
    }
}

impl Presence {
    /// Has a room told of when it is time again.
    pub(super) fn schedule(&mut self, turn: &Turn, slot: Slot) {
        let Some(home) = &mut self.table[slot].home else { return };
        if home.due_us.is_none() {
            let earliest_us = home.told_at_us.map_or(0, |told_us| told_us + home.interval_us(&turn.config));
            let at_us = turn.now.monotonic_us.max(earliest_us);
            home.due_us = Some(at_us);
            self.due.insert((at_us, slot));
        }
    }

    /// Who has joined or watches is answered behind the next tick, or at once where only the count is told.
    pub(super) fn answer_later(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (slot, reply): (Slot, ReplyTo),
    ) {
        let gathering = &mut self.table[slot];
        if reply.shard != turn.index {
            gathering.interest.set_heard_by(reply.shard, true);
        }
        let Some(home) = &mut gathering.home else { return };
        if home.is_large {
            // Who is told another count than all others have to hear the next, also if it is theirs.
            home.counted = home.counted.filter(|&count| count == home.members.len() as u64);
            return self.answer(turn, clients, maps, requests, (slot, vec![reply]));
        }
        home.to_answer.push(reply);
        self.schedule(turn, slot);
    }

    /// Tells of rooms that are due, as much as a turn may.
    pub fn run_ticks(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        rooms: &mut Rooms,
    ) {
        turn.begin_share_of(work::MESSAGE_MIN);
        self.look_at_noted(turn, rooms);
        self.end_graces(turn);
        for (reply, room) in std::mem::take(&mut self.again) {
            self.watch_asked(turn, clients, maps, requests, (rooms, reply, &room));
        }
        let now_us = turn.now.monotonic_us;
        while !turn.is_over()
            && !turn.account.is_full()
            // What is told later is what is true then.
            && !self.has_to_tell()
            && let Some(&(at_us, slot)) = self.due.first()
            && at_us <= now_us
        {
            self.due.remove(&(at_us, slot));
            self.tick(turn, clients, maps, requests, (rooms, slot));
        }
        rooms.are_noted = self.counts.homes > 0;
    }

    fn tick(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (rooms, slot): (&mut Rooms, Slot),
    ) {
        turn.spend(work::CELL);
        let now_us = turn.now.monotonic_us;
        let shards = self.table[slot].interest.shards();
        let Some(home) = &mut self.table[slot].home else { return };
        home.due_us = None;
        home.told_at_us = Some(now_us);
        // A shard that is behind would get everything one by one.
        if shards.iter().any(|shard| turn.outgoing.is_waiting(shard)) {
            return self.schedule(turn, slot);
        }
        self.show(turn, clients, maps, (rooms, slot));
        let Some(home) = &mut self.table[slot].home else { return };
        let (news, to_answer) = (home.take_news(&turn.config), std::mem::take(&mut home.to_answer));
        if let Some(gathered) = news {
            self.tell_news(turn, clients, maps, requests, (slot, gathered));
        }
        if !to_answer.is_empty() {
            self.answer(turn, clients, maps, requests, (slot, to_answer));
        }
        self.release_if_unused(slot);
    }

    /// Tells all who hear of a room, here and elsewhere.
    fn tell_news(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (slot, gathered): (Slot, Gathered<Vec<u8>>),
    ) {
        turn.metrics.presence_ticks += 1;
        turn.spend(work::encoded(gathered.bytes()));
        let interest = &self.table[slot].interest;
        let room = Arc::clone(interest.name());
        for shard in interest.shards().iter() {
            let envelope = turn.outgoing.filling(shard);
            let gathered = gathered.map(|packed| Span::append(&mut envelope.bytes, packed));
            envelope.items.push(Item::Room(Box::new(RoomNews { room: Arc::clone(&room), gathered })));
        }
        if !interest.members().is_empty() {
            let gathered = gathered.map(|packed| packed.as_slice().into());
            self.tell(turn, clients, maps, requests, Told::News { room, gathered });
        }
    }

    /// Answers those who have joined or watch, once for each of their shards.
    fn answer(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (slot, mut replies): (Slot, Vec<ReplyTo>),
    ) {
        let gathering = &self.table[slot];
        let Some(home) = &gathering.home else { return };
        let room = Arc::clone(gathering.interest.name());
        let crowd = if home.is_large { Crowd::Count } else { Crowd::All(home.pack_all()) };
        let gathered = Gathered { count: home.members.len() as u64, crowd };
        turn.spend(work::encoded(gathered.bytes()));
        while let Some(shard) = replies.last().map(|reply| reply.shard) {
            let of_shard: Vec<ReplyTo> = replies.extract_if(.., |reply| reply.shard == shard).collect();
            self.answer_shard(turn, clients, maps, requests, (shard, of_shard, &room, &gathered));
        }
    }

    fn answer_shard(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (shard, replies, room, gathered): (ShardIndex, Vec<ReplyTo>, &Arc<str>, &Gathered<Vec<u8>>),
    ) {
        let room = Arc::clone(room);
        if shard == turn.index {
            let gathered = gathered.map(|packed| packed.as_slice().into());
            return self.tell(turn, clients, maps, requests, Told::Answer { replies, room, gathered });
        }
        let envelope = turn.outgoing.filling(shard);
        let gathered = gathered.map(|packed| Span::append(&mut envelope.bytes, packed));
        let answer = RoomAnswer::Gathered { replies, room, gathered };
        envelope.items.push(Item::Answer(Answer::Room(Box::new(answer))));
    }
}
