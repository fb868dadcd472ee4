//! The home of a room: its members, what becomes of them, and who must hear of it.
//!
//! Invariant: what one shard is told of a room, changes and answers alike, leaves here in the order in which it
//! happened, so whoever has been answered needs nothing but the changes that follow.

use std::sync::Arc;

use super::{Leaver, Present, Room, RoomSlot, Rooms, SetPresence};
use crate::limits::{CHUNK_BYTES, PRESENCE_MEMBERS_MAX, PRESENCE_ROOM_BYTES_MAX};
use crate::mesh::{Answer, Item, Member, MemberChanged, ReplyTo, ShardIndex, Span, Writer};
use crate::shard::account::Use;
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::requests::Requests;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

/// Watches answered in one turn, unless they come to more than [`CHUNK_BYTES`] before: a thousand that join at once
/// must not stall the rest.
const ANSWERS_PER_TURN_MAX: usize = 64;
/// Bytes that a packed member takes beside its name and state.
const MEMBER_BYTES: usize = 16;

impl Rooms {
    /// Sets or removes a member, for `by`, which removes only what it has set last: a client that has two connections under
    /// one name, as while it comes back, leaves with the one and stays with the other.
    ///
    /// # Errors
    /// The room is full, or there is no memory for more.
    pub fn set_member(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        set: &SetPresence<'_>,
        by: Writer,
    ) -> Result<(), Reject> {
        let hash = turn.hasher.map(set.room);
        let Some(state) = set.state else {
            self.remove_member(turn, clients, maps, (set.room, set.member), by, |_| set.clock);
            return Ok(());
        };
        if !self.told.is_empty() {
            maps.may_wait(set.bytes())?;
        }
        let slot = self.find_or_insert(set.room, hash);
        let room = &mut self.table[slot];
        let earlier = room.members.get(set.member).map(|earlier| set.member.len() + earlier.state.len());
        let bytes = room.bytes - earlier.unwrap_or(0) + set.member.len() + state.len();
        let has_room = earlier.is_some() || room.members.len() < PRESENCE_MEMBERS_MAX;
        let full = Reject::TooLarge("the room has as many members, or as much of their states, as it may");
        let more = bytes.saturating_sub(room.bytes);
        let is_full = !has_room || bytes > PRESENCE_ROOM_BYTES_MAX;
        if let Some(reject) = is_full.then_some(full).or_else(|| turn.account.refuses_states(more)) {
            self.release_if_unused(slot);
            return Err(reject);
        }
        turn.account.add(Use::Presence, more);
        self.counts.bytes = self.counts.bytes + bytes - room.bytes;
        room.bytes = bytes;
        let since_ms = room.members.get(set.member).map_or(turn.now.unix_ms, |earlier| earlier.since_ms);
        let present = Present { state: state.into(), clock: set.clock, since_ms, by };
        if room.members.insert(set.member.into(), present).is_none() {
            self.count(slot, by, true);
        }
        self.member_changed(turn, clients, maps, slot, set, by);
        Ok(())
    }

    /// Has a member removed whose connection is gone, unless another has set it since: in this turn, or where many are gone
    /// a little later. Each is known by who has set it, so that it does not matter what happens to the room meanwhile.
    pub fn leave_room(&mut self, (room, member): (&str, &str), by: Writer) {
        self.to_leave.push_back(Leaver { room: room.into(), member: member.into(), by });
    }

    /// Removes members whose connections are gone, as many as a turn may: everybody who watches the room is told of each, and
    /// the next is not removed before.
    pub fn remove_leavers(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps) {
        turn.begin_share_of(work::MESSAGE_MIN);
        while self.told.is_empty()
            && !turn.is_over()
            && let Some(Leaver { room, member, by }) = self.to_leave.pop_front()
        {
            turn.spend(work::CELL);
            self.remove_member(turn, clients, maps, (&room, &member), by, |last| last.saturating_add(1));
        }
    }

    /// Whether members are yet to be removed, so that the next turn must not wait for an event.
    pub fn has_leavers(&self) -> bool {
        !self.to_leave.is_empty()
    }

    /// Removes a member, if it is there and `by` has set it last; `clock` makes what watchers are told from the last.
    pub(super) fn remove_member(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        (name, member): (&str, &str),
        by: Writer,
        clock: impl FnOnce(u64) -> u64,
    ) {
        let Some(slot) = self.find(name, turn.hasher.map(name)) else { return };
        let room = &mut self.table[slot];
        if room.members.get(member).is_none_or(|present| present.by != by) {
            return;
        }
        let Some(present) = room.members.remove(member) else { return };
        let bytes = member.len() + present.state.len();
        room.bytes -= bytes;
        self.counts.bytes -= bytes;
        self.count(slot, by, false);
        let removed = SetPresence { room: name, member, state: None, clock: clock(present.clock) };
        self.member_changed(turn, clients, maps, slot, &removed, by);
        self.release_if_unused(slot);
    }

    /// Tells every watcher, here and elsewhere.
    fn member_changed(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: RoomSlot,
        set: &SetPresence<'_>,
        by: Writer,
    ) {
        turn.metrics.presence_changes += 1;
        self.note(slot, set.member, by);
        let interest = &self.table[slot].interest;
        for target in interest.shards().iter() {
            let envelope = turn.outgoing.filling(target);
            let changed = MemberChanged {
                room: Arc::clone(interest.name()),
                member: Span::append(&mut envelope.bytes, set.member.as_bytes()),
                state: set.state.map(|state| Span::append(&mut envelope.bytes, state)),
                clock: set.clock,
            };
            envelope.items.push(Item::Member(changed));
        }
        let sender = (by.shard == turn.index).then_some(by.connection);
        self.deliver_or_keep(turn, clients, maps, slot, (set, sender));
    }

    /// A connection watches a room whose home is here. It is answered at the end of this turn or a later one.
    pub fn room_watched(&mut self, turn: &Turn, reply: ReplyTo, room: Arc<str>) {
        if reply.shard != turn.index {
            let slot = self.find_or_insert(&room, turn.hasher.map(&room));
            self.table[slot].interest.set_heard_by(reply.shard, true);
        }
        self.note_watch(&room);
        self.to_answer.push_back((reply, room));
    }

    /// No connection of shard `from` watches the room any more.
    pub fn room_unwatched(&mut self, turn: &Turn, from: ShardIndex, room: &str) {
        if let Some(slot) = self.find(room, turn.hasher.map(room)) {
            self.table[slot].interest.set_heard_by(from, false);
            self.release_if_unused(slot);
        }
    }

    /// Answers watches with all members of their rooms, as many as a turn may.
    pub fn answer_watches(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
    ) {
        if turn.account.is_full() {
            return;
        }
        let (mut answers, mut bytes) = (0, 0);
        for _ in 0..self.to_answer.len() {
            if answers == ANSWERS_PER_TURN_MAX || bytes >= CHUNK_BYTES {
                break;
            }
            let Some((reply, room)) = self.to_answer.pop_front() else { break };
            let is_held_up = if reply.shard == turn.index {
                self.has_too_much_to_tell()
            } else {
                turn.outgoing.is_waiting(reply.shard)
            };
            if is_held_up {
                self.to_answer.push_back((reply, room));
                continue;
            }
            bytes += self.answer_watch(turn, clients, maps, requests, (reply, room));
            answers += 1;
        }
    }

    /// Answers one watch; the bytes that took.
    fn answer_watch(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (reply, name): (ReplyTo, Arc<str>),
    ) -> usize {
        let mut packed = Vec::new();
        if let Some(slot) = self.find(&name, turn.hasher.map(&name)) {
            let Room { members, bytes, .. } = &self.table[slot];
            packed.reserve(bytes + MEMBER_BYTES * members.len());
            for (name, Present { state, clock, .. }) in members {
                Member { name, state, clock: *clock }.pack(&mut packed);
            }
        }
        if reply.shard == turn.index {
            self.members_answered(turn, clients, maps, requests, reply, (&name, &packed));
        } else {
            let envelope = turn.outgoing.filling(reply.shard);
            let members = Span::append(&mut envelope.bytes, &packed);
            envelope.items.push(Item::Answer(Answer::Members { reply, room: name, members }));
        }
        turn.spend(work::encoded(packed.len()));
        packed.len()
    }

    /// Whether watches wait to be answered, so that the next turn must not wait for an event.
    pub fn has_watches_to_answer(&self) -> bool {
        !self.to_answer.is_empty()
    }
}
