//! The home of a room: its members, what becomes of them, and who must hear of it.
//!
//! Invariant: what one shard is told of a room, changes and answers alike, leaves here in the order in which it
//! happened, so whoever has been answered needs nothing but the changes that follow.

use std::sync::Arc;

use crate::limits::{CHUNK_BYTES, PRESENCE_MEMBERS_MAX, PRESENCE_ROOM_BYTES_MAX};
use crate::mesh::{Answer, Item, Member, MemberChanged, ReplyTo, ShardIndex, Span, Writer};
use crate::shard::rooms::{Present, RoomSlot};
use crate::shard::{SetPresence, Shard};
use crate::wire::Reject;

/// Watches answered in one turn, unless they come to more than [`CHUNK_BYTES`] before: a thousand that join at once
/// must not stall the rest.
const ANSWERS_PER_TURN_MAX: usize = 64;

impl Shard {
    /// Sets or removes a member, for `by`, which removes only what it has set last: a client that has two connections under
    /// one name, as while it comes back, leaves with the one and stays with the other.
    ///
    /// # Errors
    /// The room is full.
    pub(in crate::shard) fn set_member(&mut self, set: &SetPresence<'_>, by: Writer) -> Result<(), Reject> {
        let hash = self.hasher.map(set.room);
        let Some(state) = set.state else {
            self.remove_member(set.room, set.member, by, |_| set.clock);
            return Ok(());
        };
        let slot = self.presence.rooms.find_or_insert(set.room, hash);
        let room = &mut self.presence.rooms[slot];
        let earlier = room.members.get(set.member).map(|earlier| set.member.len() + earlier.state.len());
        let bytes = room.bytes - earlier.unwrap_or(0) + set.member.len() + state.len();
        let has_room = earlier.is_some() || room.members.len() < PRESENCE_MEMBERS_MAX;
        if !has_room || bytes > PRESENCE_ROOM_BYTES_MAX {
            return Err(Reject::TooLarge(
                "the room has as many members, or as much of their states, as it may",
            ));
        }
        room.bytes = bytes;
        let present = Present { state: state.into(), clock: set.clock, by };
        match room.members.get_mut(set.member) {
            Some(earlier) => *earlier = present,
            None => drop(room.members.insert(set.member.into(), present)),
        }
        self.member_changed(slot, set.member, Some(state), set.clock);
        Ok(())
    }

    /// Removes a member whose connection is gone, unless another has set it since.
    pub(in crate::shard) fn leave_room(&mut self, room: &str, member: &str, by: Writer) {
        self.remove_member(room, member, by, |last| last.saturating_add(1));
    }

    /// Removes a member, if it is there and `by` has set it last; `clock` makes what watchers are told from the last.
    fn remove_member(&mut self, room: &str, member: &str, by: Writer, clock: impl FnOnce(u64) -> u64) {
        let Some(slot) = self.presence.rooms.find(room, self.hasher.map(room)) else { return };
        let room = &mut self.presence.rooms[slot];
        if room.members.get(member).is_none_or(|present| present.by != by) {
            return;
        }
        let Some(present) = room.members.remove(member) else { return };
        room.bytes -= member.len() + present.state.len();
        self.member_changed(slot, member, None, clock(present.clock));
        self.presence.rooms.release_if_unused(slot);
    }

    /// Tells every watcher, here and elsewhere.
    fn member_changed(&mut self, slot: RoomSlot, member: &str, state: Option<&[u8]>, clock: u64) {
        self.metrics.presence_changes += 1;
        let room = &self.presence.rooms[slot];
        for target in room.interested.iter() {
            let envelope = self.outgoing.filling(target);
            let changed = MemberChanged {
                room: Arc::clone(&room.name),
                member: Span::append(&mut envelope.bytes, member.as_bytes()),
                state: state.map(|state| Span::append(&mut envelope.bytes, state)),
                clock,
            };
            envelope.items.push(Item::Member(changed));
        }
        self.deliver_member(slot, member, state, clock);
    }

    /// A connection watches a room whose home is here. It is answered at the end of this turn or a later one.
    pub(in crate::shard) fn room_watched(&mut self, reply: ReplyTo, room: Arc<str>) {
        if reply.shard != self.index {
            let slot = self.presence.rooms.find_or_insert(&room, self.hasher.map(&room));
            self.presence.rooms[slot].interested.insert(reply.shard);
        }
        self.presence.to_answer.push_back((reply, room));
    }

    /// No connection of shard `from` watches the room any more.
    pub(in crate::shard) fn room_unwatched(&mut self, from: ShardIndex, room: &str) {
        if let Some(slot) = self.presence.rooms.find(room, self.hasher.map(room)) {
            self.presence.rooms[slot].interested.remove(from);
            self.presence.rooms.release_if_unused(slot);
        }
    }

    /// Answers watches with all members of their rooms, as many as a turn may.
    pub(in crate::shard) fn answer_watches(&mut self) {
        let (mut answers, mut bytes) = (0, 0);
        for _ in 0..self.presence.to_answer.len() {
            if answers == ANSWERS_PER_TURN_MAX || bytes >= CHUNK_BYTES {
                break;
            }
            let Some((reply, room)) = self.presence.to_answer.pop_front() else { break };
            if reply.shard != self.index && self.outgoing.is_waiting(reply.shard) {
                self.presence.to_answer.push_back((reply, room));
                continue;
            }
            bytes += self.answer_watch(reply, room);
            answers += 1;
        }
    }

    /// Answers one watch; the bytes that took.
    fn answer_watch(&mut self, reply: ReplyTo, name: Arc<str>) -> usize {
        let mut packed = Vec::new();
        if let Some(slot) = self.presence.rooms.find(&name, self.hasher.map(&name)) {
            for (name, Present { state, clock, .. }) in &self.presence.rooms[slot].members {
                Member { name, state, clock: *clock }.pack(&mut packed);
            }
        }
        if reply.shard == self.index {
            self.members_answered(reply, &name, &packed);
        } else {
            let envelope = self.outgoing.filling(reply.shard);
            let members = Span::append(&mut envelope.bytes, &packed);
            envelope.items.push(Item::Answer(Answer::Members { reply, room: name, members }));
        }
        packed.len()
    }

    /// Whether watches wait to be answered, so that the next turn must not wait for an event.
    pub(in crate::shard) fn has_watches_to_answer(&self) -> bool {
        !self.presence.to_answer.is_empty()
    }
}
