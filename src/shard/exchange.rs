//! What other shards send: requests are carried out, or wait while this shard is congested; answers, changes
//! and notices are taken as they come, as far as the turn may tell of changes.

use std::vec;

use super::clients::End;
use super::maps::WaitingBytes;
use super::slow_turns::Kind;
use super::{SetPresence, Shard, presence, rooms};
use crate::crdt::Time;
use crate::mesh::{Answer, Envelope, Item, ReadPart, Request, ShardIndex, Writer, shard_index};
use crate::wire::Reject;

/// Requests of one envelope that wait, with the bytes their spans point into.
pub struct Deferred {
    from: ShardIndex,
    requests: vec::IntoIter<Request>,
    bytes: Vec<u8>,
    _counted: WaitingBytes,
}

/// An envelope of which all is handled but `items`, and what those point into.
pub struct Opened {
    from: ShardIndex,
    as_of: Time,
    journaled: u64,
    items: vec::IntoIter<Item>,
    bytes: Vec<u8>,
    writers: Vec<Option<Writer>>,
    /// Requests of it that wait.
    waiting: Vec<Request>,
    has_stalled: bool,
}

/// Envelopes taken from one peer in one turn: a busy peer must not keep this shard from its own clients.
const ENVELOPES_PER_TURN_MAX: usize = 16;

impl Shard {
    /// Takes what other shards have sent, as much as a turn may: one envelope of them all in any case, and each peer's turn
    /// to be the first comes round.
    pub fn drain_mesh(&mut self) {
        let Self { turn, clients, maps, feeds, requests, rooms, presence, channels, .. } = &mut *self;
        turn.note_kind(Kind::Arrivals);
        channels.deliver_waiting(turn, clients);
        feeds.deliver_waiting(turn, clients, maps);
        rooms.deliver_waiting(turn, clients, requests);
        presence.deliver_waiting(turn, clients, requests);
        self.resume_deferred();
        self.mesh_left = false;
        if self.rooms.has_too_much_to_tell() || self.presence.has_too_much_to_tell() {
            return;
        }
        let (shards, mut taken) = (self.turn.shards, 0);
        if let Some(opened) = self.opened.take() {
            self.go_through(opened);
            taken += 1;
        }
        let first = self.turn.number() as usize % shards;
        for from in (first..shards).chain(0..first) {
            for _ in 0..ENVELOPES_PER_TURN_MAX {
                if self.opened.is_some() || taken > 0 && self.turn.is_spent() {
                    break;
                }
                let Some(queue) = &mut self.incoming[from] else { break };
                let Some(envelope) = queue.pop() else { break };
                self.open_envelope(shard_index(from), envelope);
                taken += 1;
            }
            // Their wakes have been heard already, so nobody will wake this shard for the rest.
            self.mesh_left |= self.incoming[from].as_ref().is_some_and(|queue| !queue.is_empty());
        }
    }

    fn resume_deferred(&mut self) {
        while !self.is_congested() && !self.turn.is_spent() {
            let Some(mut oldest) = self.deferred.pop_front() else { return };
            let Some(request) = oldest.requests.next() else { continue };
            self.handle_request(oldest.from, request, &oldest.bytes);
            self.deferred.push_front(oldest);
            self.tell_much();
        }
    }

    fn open_envelope(&mut self, from: ShardIndex, envelope: Envelope) {
        let Envelope { as_of, journaled, items, bytes, writers } = envelope;
        // First: what is asked for in here comes after all that its client has been told, and whoever is told of what
        // is in here comes after it with what it asks for next.
        self.turn.clock.follow(as_of);
        let (items, waiting) = (items.into_iter(), Vec::new());
        self.go_through(Opened {
            from,
            as_of,
            journaled,
            items,
            bytes,
            writers,
            waiting,
            has_stalled: false,
        });
    }

    /// Handles what is left of an envelope. Past the work of a turn the next changes of maps or of lists wait for another, as many may
    /// hear of each, and what follows them waits with them.
    fn go_through(&mut self, mut opened: Opened) {
        let Opened { from, journaled, ref bytes, ref writers, .. } = opened;
        while let Some(item) = opened.items.next() {
            let is_for_many = matches!(item, Item::Changes(_) | Item::Query(_));
            match item {
                Item::Request(request) => {
                    if self.deferred.is_empty()
                        && opened.waiting.is_empty()
                        && !self.is_congested()
                        && !self.turn.is_spent()
                    {
                        self.handle_request(from, request, bytes);
                        self.tell_much();
                    } else if let Err(reject) = self.maps.may_wait(bytes.len()) {
                        opened.waiting.extend(self.refuse_request(request, reject));
                    } else {
                        opened.has_stalled |= !self.turn.is_spent();
                        opened.waiting.push(request);
                    }
                }
                Item::Answer(answer) => self.handle_answer(from, answer, journaled, bytes),
                Item::Changes(changes) => {
                    let Self { turn, clients, maps, feeds, .. } = &mut *self;
                    feeds.changes_arrived(turn, clients, maps, (from, &changes), (bytes, writers));
                }
                Item::Interest { map, wanted } => {
                    let Self { turn, clients, maps, feeds, .. } = &mut *self;
                    feeds.interest_told(turn, clients, maps, from, (&map, wanted));
                }
                Item::Member(changed) => {
                    let Self { turn, clients, maps, rooms, .. } = &mut *self;
                    rooms.member_arrived(turn, clients, maps, &changed, bytes);
                }
                Item::Room(news) => {
                    let Self { turn, clients, maps, requests, presence, .. } = &mut *self;
                    presence.news_arrived(turn, clients, maps, requests, (&news, bytes));
                }
                Item::Published { map, dialect, body } => {
                    let Self { turn, clients, maps, feeds, .. } = &mut *self;
                    feeds.message_arrived(turn, clients, maps, &map, (dialect, body.of(bytes)));
                }
                Item::Channel(message) => {
                    let Self { turn, clients, maps, channels, .. } = &mut *self;
                    channels.message_arrived(turn, clients, maps, &message, bytes);
                }
                Item::Departed { address } => self.clients.departed(address),
                Item::Settled { place, by } => self.settled(place, by),
                Item::Left { place, by, close } => self.left(place, by, close),
                Item::Displaced { connection } => self.clients.end_later(connection, End::Displaced),
                Item::Dismissed { connection } => self.clients.end_later(connection, End::Dismissed),
                Item::Spent(spent) => self.clients.budget_spent(&mut self.turn, from, *spent),
                Item::Balance(balance) => self.clients.balance_told(&self.turn, *balance),
                Item::Direct(push) => self.direct_pushed(from, &push, bytes),
                Item::Query(news) => self.queries.news_arrived(&mut self.turn, from, news.of(bytes)),
                Item::Clear(step) => self.clear_step(from, step),
            }
            if is_for_many && self.turn.is_spent() && opened.items.len() > 0 {
                self.opened = Some(opened);
                return;
            }
        }
        let Opened { from, as_of, bytes, waiting, has_stalled, .. } = opened;
        self.turn.heard[usize::from(from)] = as_of;
        if !waiting.is_empty() {
            self.turn.metrics.mesh_stalls += u64::from(has_stalled);
            let counted = self.maps.count_waiting(bytes.len() + waiting.len() * size_of::<Request>());
            let deferred = Deferred { from, requests: waiting.into_iter(), bytes, _counted: counted };
            self.deferred.push_back(deferred);
        }
    }

    /// Answers a request that must not wait here; gives back what is small and must not be lost.
    pub(super) fn refuse_request(&mut self, request: Request, reject: Reject) -> Option<Request> {
        let Self { turn, clients, maps, requests, channels, .. } = self;
        match request {
            Request::Write { reply, .. } => requests.answer_op(turn, clients, maps, reply, Err(reject)),
            Request::Read { reply, .. } => {
                requests.answer_part(turn, clients, reply, ReadPart::Refused(reject));
            }
            Request::SetMember { reply, .. } => {
                let answer = Answer::MemberSet { reply, outcome: Err(reject) };
                turn.outgoing.push(reply.shard, Item::Answer(answer));
            }
            Request::Room(request) => return presence::refuse(turn, request, reject).map(Request::Room),
            Request::Direct(request) => return self.refuse_direct(*request, reject),
            // What is small keeps its place.
            Request::Channel(request) if request.is_publish() => {
                channels.refuse(turn, clients, maps, requests, (*request, reject));
            }
            other => return Some(other),
        }
        None
    }

    pub(super) fn handle_request(&mut self, from: ShardIndex, request: Request, bytes: &[u8]) {
        let Self { turn, clients, maps, feeds, queries, requests, rooms, presence, channels, .. } = self;
        match request {
            Request::Write { reply, write } => {
                requests.apply_and_answer(turn, clients, maps, reply, &write.unpack(bytes));
            }
            Request::Read { reply, read } => {
                requests.read_and_answer(turn, clients, maps, reply, read.unpack(bytes));
            }
            Request::Digest { reply, map } => requests.digest_and_answer(turn, clients, maps, reply, &map),
            Request::Walk(request) => feeds.walk_asked(*request),
            Request::CancelWalk { by, subscription } => {
                feeds.walk_cancelled(turn, clients, maps, by, subscription);
            }
            Request::OpenQuery(open) => queries.open(turn, maps, from, *open),
            Request::CloseQuery { map, feed } => queries.close(turn, maps, (from, &map), feed),
            Request::ChangedKeys(asked) => queries.changed_asked(turn, maps, (from, *asked)),
            Request::ScanQueries { map, .. } => queries.map_released(turn, maps, &map),
            Request::ClaimType { map, map_type } => maps.claim_type(turn, from, &map, map_type),
            Request::ReleaseType { map } => maps.type_released(turn, from, &map),
            Request::Admit { reply, address } => clients.admit(turn, reply, address),
            Request::Enter(enter) => self.enter_asked(*enter),
            Request::Dismiss { reply, user } => self.dismiss_asked(reply, &user),
            Request::Direct(request) => self.direct_asked(*request, bytes),
            Request::WatchRoom { reply, room } => rooms.room_watched(turn, reply, room),
            Request::UnwatchRoom { room } => rooms.room_unwatched(turn, from, &room),
            Request::SetMember { reply, room, member, state, clock } => {
                let (room, member) = (room.text(bytes), member.text(bytes));
                let state = state.map(|state| state.of(bytes));
                let set = SetPresence { room, member, state, clock };
                let outcome = rooms.set_member(turn, clients, maps, &set, reply.writer());
                turn.outgoing.push(from, Item::Answer(Answer::MemberSet { reply, outcome }));
            }
            Request::LeaveRoom { room, member, by } => {
                rooms.leave_room((room.text(bytes), member.text(bytes)), by);
            }
            Request::Room(request) => {
                presence.asked(turn, clients, maps, requests, (rooms, from, *request, bytes));
            }
            Request::Channel(request) => {
                channels.handle(turn, clients, maps, requests, (from, *request), bytes);
            }
            Request::Metrics { reply } => {
                let metrics = Box::new(self.metrics_now());
                self.turn.outgoing.push(from, Item::Answer(Answer::Metrics { reply, metrics }));
            }
            Request::Clear { reply } => self.begin_clear(reply),
        }
    }

    fn handle_answer(&mut self, from: ShardIndex, answer: Answer, journaled: u64, bytes: &[u8]) {
        let Self { turn, clients, maps, feeds, requests, rooms, presence, channels, .. } = self;
        match answer {
            Answer::Write { reply, outcome } => {
                requests.write_answered(turn, clients, maps, (reply, outcome), (from, journaled));
            }
            Answer::Read { reply, part } => requests.part_read(turn, clients, (from, reply), part.of(bytes)),
            Answer::Digest { reply, part } => requests.digest_answered(turn, clients, reply, part),
            Answer::Walk(answer) => {
                feeds.walk_answered(turn, clients, maps, from, (&answer, answer.entries.of(bytes)));
            }
            Answer::TypeFixed { map, map_type } => {
                maps.type_fixed(turn, &map, map_type);
                self.release_parked();
                self.turn.storage_left |= self.may_release();
            }
            Answer::TypeRefused { map, reject } => {
                maps.type_refused(turn, &map, reject);
                self.refuse_given_up();
            }
            Answer::Admit { reply, outcome } => self.admission_answered(reply, outcome),
            Answer::Enter { reply, outcome } => self.entry_answered(reply, outcome),
            Answer::Dismissed { reply, connections } => self.dismissed(reply, connections),
            Answer::Members { reply, room, members } => {
                rooms.members_answered(turn, clients, maps, requests, reply, (&room, members.of(bytes)));
            }
            Answer::MemberSet { reply, outcome } => {
                rooms::member_answered(turn, clients, requests, reply, outcome);
            }
            Answer::Room(answer) => {
                presence.answered(turn, clients, maps, requests, (*answer, bytes));
            }
            Answer::Channel(answer) => {
                let answer = answer.map(|span| span.of(bytes));
                channels.answered(turn, clients, requests, maps, (answer, (from, journaled)));
            }
            Answer::ChangedKeys { subscription, keys } => {
                self.queries.changed_answered(from, subscription, keys.map(|keys| keys.of(bytes)));
            }
            Answer::Metrics { reply, metrics } => self.metrics_answered(reply, &metrics),
            Answer::Direct(answer) => self.direct_answered((from, journaled), *answer, bytes),
            Answer::Cleared { reply } => self.clear_answered(reply),
        }
    }

    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }
}
