//! What the home of a room is asked, by connections of this shard and by other shards.

use std::sync::Arc;

use super::{Joining, Presence};
use crate::limits::PRESENCE_LIST_BYTES_MAX;
use crate::mesh::{Answer, Item, ReplyTo, RoomAnswer, RoomRequest, ShardIndex, Span};
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::requests::Requests;
use crate::shard::rooms::Rooms;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

impl Presence {
    /// Another shard asks.
    pub fn asked(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (rooms, from, request, bytes): (&mut Rooms, ShardIndex, RoomRequest, &[u8]),
    ) {
        match request {
            RoomRequest::Join { reply, room, member, state, grace_ms } => {
                let (member, state) = (member.text(bytes), state.map(|state| state.of(bytes)));
                let joining = Joining { reply, room: &room, member, state, grace_ms };
                self.join_asked(turn, clients, maps, requests, (rooms, joining));
            }
            RoomRequest::Watch { reply, room } => {
                self.watch_asked(turn, clients, maps, requests, (rooms, reply, &room));
            }
            RoomRequest::Unwatch { room } => {
                if let Some(slot) = self.find(turn, &room) {
                    self.table[slot].interest.set_heard_by(from, false);
                    self.release_if_unused(slot);
                }
            }
            RoomRequest::Update { reply, room, member, state } => {
                let member = (&*room, member.text(bytes));
                let answer = match self.member_updates(turn, member, state.of(bytes)) {
                    Ok(()) => RoomAnswer::Updated { reply },
                    Err(reject) => RoomAnswer::Refused { reply, reject },
                };
                answer_shard(turn, from, answer);
            }
            RoomRequest::Leave { room, member, by, is_final } => {
                self.member_leaves(turn, (&room, member.text(bytes)), by, is_final);
            }
            RoomRequest::List { reply, room, after, limit } => {
                let (people, has_more) = self.page(turn, &room, after.text(bytes), limit);
                let people = Span::append(&mut turn.outgoing.filling(from).bytes, &people);
                answer_shard(turn, from, RoomAnswer::Listed { reply, people, has_more });
            }
        }
    }

    pub(super) fn join_asked(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (rooms, joining): (&mut Rooms, Joining<'_>),
    ) {
        let reply = joining.reply;
        match self.member_joins(turn, rooms, &joining) {
            Ok(slot) => self.answer_later(turn, clients, maps, requests, (slot, reply)),
            Err(reject) if reply.shard == turn.index => self.refused(turn, clients, requests, reply, reject),
            Err(reject) => answer_shard(turn, reply.shard, RoomAnswer::Refused { reply, reject }),
        }
    }

    pub(super) fn watch_asked(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (rooms, reply, room): (&mut Rooms, ReplyTo, &Arc<str>),
    ) {
        turn.spend(work::CELL);
        let slot = self.open(turn, rooms, room);
        self.answer_later(turn, clients, maps, requests, (slot, reply));
    }

    /// Members of a room whose names come after that, packed, and whether there are more.
    pub(super) fn page(&self, turn: &mut Turn, room: &str, after: &str, limit: usize) -> (Vec<u8>, bool) {
        let slot = self.find(turn, room);
        let home = slot.and_then(|slot| self.table[slot].home.as_ref());
        let mut packed = Vec::new();
        let Some(home) = home else { return (packed, false) };
        let from = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let mut members = home.members.range::<str, _>(from);
        let mut has_more = false;
        for (count, (name, member)) in members.by_ref().enumerate() {
            if count == limit || packed.len() >= PRESENCE_LIST_BYTES_MAX {
                has_more = true;
                break;
            }
            turn.spend(work::CELL);
            member.as_told(name).pack(&mut packed);
        }
        turn.spend(work::encoded(packed.len()));
        (packed, has_more)
    }
}

/// A request that must not wait here is refused; what is small and must not be lost is given back.
pub fn refuse(turn: &mut Turn, request: Box<RoomRequest>, reject: Reject) -> Option<Box<RoomRequest>> {
    match *request {
        RoomRequest::Join { reply, .. }
        | RoomRequest::Update { reply, .. }
        | RoomRequest::List { reply, .. } => {
            answer_shard(turn, reply.shard, RoomAnswer::Refused { reply, reject });
            None
        }
        RoomRequest::Watch { .. } | RoomRequest::Unwatch { .. } | RoomRequest::Leave { .. } => Some(request),
    }
}

fn answer_shard(turn: &mut Turn, shard: ShardIndex, answer: RoomAnswer) {
    turn.outgoing.push(shard, Item::Answer(Answer::Room(Box::new(answer))));
}
