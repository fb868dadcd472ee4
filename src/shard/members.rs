//! The home of a room: its members, what becomes of them, and who must hear of it.
//!
//! Invariant: what one shard is told of a room, changes and answers alike, leaves here in the order in which it
//! happened, so whoever has been answered needs nothing but the changes that follow.

use std::sync::Arc;

use super::rooms::{Present, RoomSlot, Rooms};
use super::{SetPresence, Shard};
use crate::limits::{CHUNK_BYTES, PRESENCE_MEMBERS_MAX, PRESENCE_ROOM_BYTES_MAX, PRESENCE_STALE_MS};
use crate::mesh::{Answer, Item, Member, MemberChanged, ReplyTo, ShardIndex, Span, Writer};
use crate::wire::Reject;

/// Watches answered in one turn, unless they come to more than [`CHUNK_BYTES`] before: a thousand that join at once
/// must not stall the rest.
const ANSWERS_PER_TURN_MAX: usize = 64;
/// Stale members removed in one turn: each is a frame for every watcher.
const STALE_PER_TURN_MAX: usize = 64;
/// Entries of the list of looks that are not worth a sweep.
const LEFT_LOOKS_MAX: usize = 64;

impl Shard {
    /// Sets or removes a member, for `by`.
    ///
    /// # Errors
    /// The room is full.
    pub(super) fn set_member(&mut self, set: &SetPresence<'_>, by: Writer) -> Result<(), Reject> {
        let hash = self.hasher.map(set.room);
        let Some(state) = set.state else {
            if let Some(slot) = self.presence.rooms.find(set.room, hash) {
                self.remove_member(slot, set.member, |_| set.clock);
            }
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
        let present = Present { state: state.into(), clock: set.clock, by, set_ms: self.now.timer_ms() };
        match room.members.get_mut(set.member) {
            Some(earlier) => *earlier = present,
            None => drop(room.members.insert(set.member.into(), present)),
        }
        if room.look_ms == u64::MAX {
            self.look_later(slot);
        }
        self.member_changed(slot, set.member, Some(state), set.clock);
        Ok(())
    }

    /// Removes a member whose connection is gone, unless another has set it since.
    pub(super) fn leave_room(&mut self, room: &str, member: &str, by: Writer) {
        let Some(slot) = self.presence.rooms.find(room, self.hasher.map(room)) else { return };
        if self.presence.rooms[slot].members.get(member).is_some_and(|present| present.by == by) {
            self.remove_member(slot, member, |last| last.saturating_add(1));
        }
    }

    /// Removes a member, if it is there; `clock` makes what watchers are told from the last.
    fn remove_member(&mut self, slot: RoomSlot, member: &str, clock: impl FnOnce(u64) -> u64) {
        let room = &mut self.presence.rooms[slot];
        let Some(present) = room.members.remove(member) else { return };
        room.bytes -= member.len() + present.state.len();
        self.member_changed(slot, member, None, clock(present.clock));
        if self.presence.rooms[slot].members.is_empty() {
            self.presence.rooms[slot].look_ms = u64::MAX;
            self.presence.rooms.release_if_unused(slot);
        }
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
    pub(super) fn room_watched(&mut self, reply: ReplyTo, room: Arc<str>) {
        if reply.shard != self.index {
            let slot = self.presence.rooms.find_or_insert(&room, self.hasher.map(&room));
            self.presence.rooms[slot].interested.insert(reply.shard);
        }
        self.presence.to_answer.push_back((reply, room));
    }

    /// No connection of shard `from` watches the room any more.
    pub(super) fn room_unwatched(&mut self, from: ShardIndex, room: &str) {
        if let Some(slot) = self.presence.rooms.find(room, self.hasher.map(room)) {
            self.presence.rooms[slot].interested.remove(from);
            self.presence.rooms.release_if_unused(slot);
        }
    }

    /// Answers watches with all members of their rooms, as many as a turn may.
    pub(super) fn answer_watches(&mut self) {
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
    pub(super) fn has_watches_to_answer(&self) -> bool {
        !self.presence.to_answer.is_empty()
    }

    /// Has the members of a room looked at after [`PRESENCE_STALE_MS`]. Looking that often finds each within twice
    /// that time, and a member that is set costs no timer.
    fn look_later(&mut self, slot: RoomSlot) {
        let look_ms = self.now.timer_ms() + PRESENCE_STALE_MS;
        let presence = &mut self.presence;
        presence.rooms[slot].look_ms = look_ms;
        presence.looks.push_back((look_ms, slot));
        // Rooms come and go in less time, so now and then the entries of those that are gone are dropped.
        if presence.looks.len() > 2 * presence.rooms.len() + LEFT_LOOKS_MAX {
            let rooms = &presence.rooms;
            presence.looks.retain(|&(ms, slot)| rooms.get(slot).is_some_and(|room| room.look_ms == ms));
        }
    }

    /// Removes members that were not set again for [`PRESENCE_STALE_MS`], a bounded number a turn.
    pub(super) fn remove_stale_members(&mut self) {
        let now_ms = self.now.timer_ms();
        let mut left = STALE_PER_TURN_MAX;
        while let Some(&(look_ms, slot)) = self.presence.looks.front()
            && look_ms <= now_ms
        {
            self.presence.looks.pop_front();
            let is_due = |rooms: &Rooms| rooms.get(slot).is_some_and(|room| room.look_ms == look_ms);
            if !is_due(&self.presence.rooms) {
                continue;
            }
            left -= self.remove_stale(slot, left);
            if left == 0 {
                // There may be more, with which the next turn goes on.
                return self.presence.looks.push_front((look_ms, slot));
            }
            if is_due(&self.presence.rooms) {
                self.look_later(slot);
            }
        }
    }

    /// Removes at most `left` stale members of one room; how many there were.
    fn remove_stale(&mut self, slot: RoomSlot, left: usize) -> usize {
        let (now_ms, unix_ms) = (self.now.timer_ms(), self.now.unix_ms);
        let members = self.presence.rooms[slot].members.iter();
        let is_stale = |present: &Present| now_ms >= present.set_ms + PRESENCE_STALE_MS;
        let stale: Vec<Box<str>> = members
            .filter(|(_, present)| is_stale(present))
            .map(|(name, _)| name.clone())
            .take(left)
            .collect();
        for name in &stale {
            self.remove_member(slot, name, |last| last.saturating_add(1).max(unix_ms));
        }
        self.metrics.presence_stale += stale.len() as u64;
        stale.len()
    }

    /// When [`Self::remove_stale_members`] has something to do, in milliseconds of the monotonic clock.
    pub(super) fn next_stale_ms(&self) -> Option<u64> {
        self.presence.looks.front().map(|&(look_ms, _)| look_ms)
    }
}
