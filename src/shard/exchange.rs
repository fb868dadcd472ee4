//! What other shards send: requests are carried out, or wait while this shard is congested; answers, changes
//! and notices are taken at once.

use std::vec;

use super::{SetPresence, Shard};
use crate::mesh::{Answer, Envelope, Item, ReplyTo, Request, ShardIndex, Span};

/// Requests of one envelope that wait, with the bytes their spans point into.
pub struct Deferred {
    from: ShardIndex,
    requests: vec::IntoIter<Request>,
    bytes: Vec<u8>,
}

/// Envelopes taken from one peer in one turn: a busy peer must not keep this shard from its own clients.
const ENVELOPES_PER_TURN_MAX: usize = 16;

impl Shard {
    /// Takes what other shards have sent.
    pub fn drain_mesh(&mut self) {
        self.resume_deferred();
        self.mesh_left = false;
        for from in 0..self.shards {
            for _ in 0..ENVELOPES_PER_TURN_MAX {
                let Some(queue) = &mut self.incoming[from] else { break };
                let Ok(envelope) = queue.pop() else { break };
                self.open_envelope(from as ShardIndex, envelope);
            }
            // Their wakes have been heard already, so nobody will wake this shard for the rest.
            self.mesh_left |= self.incoming[from].as_ref().is_some_and(|queue| !queue.is_empty());
        }
    }

    fn resume_deferred(&mut self) {
        while !self.is_congested() {
            let Some(mut oldest) = self.deferred.pop_front() else { return };
            let Some(request) = oldest.requests.next() else { continue };
            self.handle_request(oldest.from, request, &oldest.bytes);
            self.deferred.push_front(oldest);
        }
    }

    fn open_envelope(&mut self, from: ShardIndex, envelope: Envelope) {
        let Envelope { as_of, journaled, items, bytes, writers } = envelope;
        // First: what is asked for in here comes after all that its client has been told, and whoever is told of what
        // is in here comes after it with what it asks for next.
        self.clock.follow(as_of);
        let mut waiting = Vec::new();
        for item in items {
            match item {
                Item::Request(request) => {
                    if self.deferred.is_empty() && waiting.is_empty() && !self.is_congested() {
                        self.handle_request(from, request, &bytes);
                    } else {
                        waiting.push(request);
                    }
                }
                Item::Answer(answer) => self.handle_answer(from, answer, journaled, &bytes),
                Item::Changes(changes) => self.changes_arrived(from, &changes, &bytes, &writers),
                Item::Interest { map, wanted } => self.interest_told(from, &map, wanted),
                Item::Member(changed) => self.member_arrived(&changed, &bytes),
                Item::Published { map, dialect, body } => {
                    self.message_arrived(&map, dialect, body.of(&bytes));
                }
                Item::Departed { address } => self.departed(address),
                Item::Clear(step) => self.clear_step(from, step),
            }
        }
        self.heard[usize::from(from)] = as_of;
        if !waiting.is_empty() {
            self.metrics.mesh_stalls += 1;
            self.deferred.push_back(Deferred { from, requests: waiting.into_iter(), bytes });
        }
    }

    pub(in crate::shard) fn handle_request(&mut self, from: ShardIndex, request: Request, bytes: &[u8]) {
        match request {
            Request::Write { reply, write } => self.apply_and_answer(reply, &write.unpack(bytes)),
            Request::Read { reply, map, map_hash, key, key_hash } => {
                let (map, key) = (map.text(bytes), key.text(bytes));
                self.read_and_answer(reply, map, map_hash, key, key_hash);
            }
            Request::Digest { reply, map } => self.digest_and_answer(reply, &map),
            Request::Walk(request) => self.walks.push_back(*request),
            Request::ClaimType { map, map_type } => self.claim_type(from, &map, map_type),
            Request::Admit { reply, address } => self.admit(reply, address),
            Request::WatchRoom { reply, room } => self.room_watched(reply, room),
            Request::UnwatchRoom { room } => self.room_unwatched(from, &room),
            Request::SetMember { reply, room, member, state, clock } => {
                let (room, member) = (room.text(bytes), member.text(bytes));
                let state = state.map(|state| state.of(bytes));
                let outcome = self.set_member(&SetPresence { room, member, state, clock }, reply.writer());
                self.outgoing.push(from, Item::Answer(Answer::MemberSet { reply, outcome }));
            }
            Request::LeaveRoom { room, member, by } => {
                self.leave_room(room.text(bytes), member.text(bytes), by);
            }
            Request::Metrics { reply } => {
                let metrics = Box::new(self.metrics_now());
                self.outgoing.push(from, Item::Answer(Answer::Metrics { reply, metrics }));
            }
            Request::Clear { reply } => self.begin_clear(reply),
        }
    }

    fn handle_answer(&mut self, from: ShardIndex, answer: Answer, journaled: u64, bytes: &[u8]) {
        match answer {
            Answer::Write { reply, outcome } => self.write_answered((from, journaled), reply, outcome),
            Answer::Read { reply, entry } => self.read_answered(reply, entry.of(bytes)),
            Answer::Digest { reply, entries, hash } => self.digest_answered(reply, entries, hash),
            Answer::Walk(answer) => self.walk_answered(from, &answer, answer.entries.of(bytes)),
            Answer::TypeFixed { map, map_type } => self.type_fixed(&map, map_type),
            Answer::Admit { reply, admitted } => self.admission_answered(reply, admitted),
            Answer::Members { reply, room, members } => {
                self.members_answered(reply, &room, members.of(bytes))
            }
            Answer::MemberSet { reply, outcome } => self.member_answered(reply, outcome),
            Answer::Metrics { reply, metrics } => self.metrics_answered(reply, &metrics),
            Answer::Cleared { reply } => self.clear_answered(reply),
        }
    }

    /// Asks all other shards for their numbers.
    pub(in crate::shard) fn ask_all_for_metrics(&mut self, reply: ReplyTo) {
        for target in (0..self.shards as ShardIndex).filter(|&target| target != self.index) {
            self.outgoing.push(target, Item::Request(Request::Metrics { reply }));
        }
    }

    /// Asks the owner of one key for its entry.
    pub(in crate::shard) fn ask_for_entry(
        &mut self,
        owner: ShardIndex,
        reply: ReplyTo,
        map: &str,
        map_hash: u64,
        key: &str,
        key_hash: u64,
    ) {
        let envelope = self.outgoing.filling(owner);
        let map = Span::append(&mut envelope.bytes, map.as_bytes());
        let key = Span::append(&mut envelope.bytes, key.as_bytes());
        envelope.items.push(Item::Request(Request::Read { reply, map, map_hash, key, key_hash }));
    }

    pub(in crate::shard) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }
}
