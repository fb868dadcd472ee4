//! What the watchers of this shard are told: each change of a room, and all members where they were asked for, in the order in
//! which the home has told of them. It is divided over turns (`shard/divided.rs`).

use std::sync::Arc;
use std::{iter, mem};

use slab::Slab;

use super::watch::{Standing, Watch};
use super::{RoomSlot, Rooms, SetPresence};
use crate::limits::PRESENCE_TOLD_BYTES_MAX;
use crate::mesh::{ConnectionId, MemberChanged, ReplyTo};
use crate::shard::MemberChange;
use crate::shard::clients::{Alike, Clients};
use crate::shard::maps::Maps;
use crate::shard::requests::Requests;
use crate::shard::turn::Turn;
use crate::shard::work;

/// What waits for a turn with work for it.
pub enum Told {
    Change { room: Arc<str>, member: Box<str>, state: Option<Box<[u8]>>, clock: u64 },
    Members { reply: ReplyTo, room: Arc<str>, packed: Box<[u8]> },
}

impl Rooms {
    /// The home of a room has told of a change.
    pub fn member_arrived(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        changed: &MemberChanged,
        bytes: &[u8],
    ) {
        let Some(slot) = self.find(&changed.room, turn.hasher.map(&changed.room)) else { return };
        let set = SetPresence {
            room: &changed.room,
            member: changed.member.text(bytes),
            state: changed.state.map(|state| state.of(bytes)),
            clock: changed.clock,
        };
        if turn.is_spent() {
            return self.keep(turn, clients, maps, slot, (&set, None, None));
        }
        turn.begin_share_of(work::MESSAGE_MIN);
        self.deliver_or_keep(turn, clients, maps, slot, (&set, None));
    }

    /// All members of a room have come from its home.
    pub fn members_answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        reply: ReplyTo,
        (room, packed): (&Arc<str>, &[u8]),
    ) {
        if self.told.is_empty() {
            return self.tell_members(turn, clients, requests, reply, (room, packed));
        }
        let told = Told::Members { reply, room: Arc::clone(room), packed: packed.into() };
        self.told.keep(turn, clients, maps, (told, packed.len()), (None, None));
    }

    /// Tells all who watch the room of a change, or keeps it for those for whom the turn has no work.
    pub(super) fn deliver_or_keep(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: RoomSlot,
        (set, sender): (&SetPresence<'_>, Option<ConnectionId>),
    ) {
        if !self.told.is_empty() {
            return self.keep(turn, clients, maps, slot, (set, sender, None));
        }
        let left = self.deliver_member(turn, clients, slot, set);
        if !left.is_empty() {
            self.keep(turn, clients, maps, slot, (set, sender, Some(left)));
        }
    }

    fn keep(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: RoomSlot,
        (set, sender, left): (&SetPresence<'_>, Option<ConnectionId>, Option<Vec<u32>>),
    ) {
        let SetPresence { member, state, clock, .. } = *set;
        let room = Arc::clone(self.table[slot].interest.name());
        let told = Told::Change { room, member: member.into(), state: state.map(Into::into), clock };
        self.told.keep(turn, clients, maps, (told, set.bytes()), (sender, left));
    }

    /// Goes on with what watchers are to be told.
    pub fn deliver_waiting(&mut self, turn: &mut Turn, clients: &mut Clients, requests: &mut Requests) {
        let mut told = mem::take(&mut self.told);
        told.go_on(turn, clients, |turn, clients, told, left| {
            let (room, member, state, clock) = match told {
                Told::Change { room, member, state, clock } => (room, member, state, clock),
                Told::Members { reply, room, packed } => {
                    turn.spend(work::FRAME + work::copied(packed.len()));
                    self.tell_members(turn, clients, requests, *reply, (room, packed));
                    return Vec::new();
                }
            };
            let set = SetPresence { room, member, state: state.as_deref(), clock: *clock };
            match (left, self.find(room, turn.hasher.map(room))) {
                (Some(left), _) => self.deliver_to_left(turn, clients, (room, &set), left),
                (None, Some(slot)) => self.deliver_member(turn, clients, slot, &set),
                (None, None) => Vec::new(),
            }
        });
        self.told = told;
    }

    /// Whether watchers are yet to be told of anything, so that the next turn must not wait for an event.
    pub fn has_to_tell(&self) -> bool {
        !self.told.is_empty()
    }

    /// Whether so much waits that no more may come from other shards: they are told of it by envelopes that stay where they are.
    pub const fn has_too_much_to_tell(&self) -> bool {
        self.told.bytes() > PRESENCE_TOLD_BYTES_MAX
    }

    /// Queues a change for every local watcher of the room; who is left when the turn has done enough.
    fn deliver_member(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        slot: RoomSlot,
        set: &SetPresence<'_>,
    ) -> Vec<u32> {
        let Self { table, watches, .. } = self;
        let interest = &table[slot].interest;
        let mut left = interest.members().iter().copied();
        tell_each(turn, clients, watches, (interest.name(), set), &mut left);
        left.collect()
    }

    /// The same for those who were left. Who watches since then in the place of one that has ended has no answer yet, and is told
    /// nothing.
    fn deliver_to_left(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        told: (&Arc<str>, &SetPresence<'_>),
        mut left: Vec<u32>,
    ) -> Vec<u32> {
        tell_each(turn, clients, &mut self.watches, told, &mut iter::from_fn(|| left.pop()));
        left
    }
}

/// Queues a change for one watch after the other, until the turn and whose share of it this is have done enough.
fn tell_each(
    turn: &mut Turn,
    clients: &mut Clients,
    watches: &mut Slab<Watch>,
    (room, set): (&Arc<str>, &SetPresence<'_>),
    left: &mut impl Iterator<Item = u32>,
) {
    let SetPresence { member, state, clock, .. } = *set;
    let change = MemberChange { room, member, state, clock, now: turn.now };
    let mut alike = Alike::default();
    while !turn.is_over()
        && let Some(watch) = left.next()
    {
        turn.spend(work::receivers(1, state.map_or(0, <[u8]>::len)));
        let Some(watch) = watches.get_mut(watch as usize) else { continue };
        let index = watch.connection.index;
        if !clients.takes_frames(index) {
            continue;
        }
        match (watch.standing, state) {
            (Standing::Nothing, _) | (Standing::Behind, Some(_)) => continue,
            (Standing::Current, Some(_)) if clients.is_over_soft_limit(index) => {
                watch.standing = Standing::Behind;
                clients.at_mut(index).note_watch_behind(true);
                turn.metrics.presence_conflations += 1;
                continue;
            }
            (Standing::Current, Some(_)) | (Standing::Current | Standing::Behind, None) => {}
        }
        turn.metrics.presence_deliveries += 1;
        clients.send_alike(&mut alike, index, turn.now, |dialect, out| {
            dialect.member(change, &mut out.bytes);
        });
    }
}
