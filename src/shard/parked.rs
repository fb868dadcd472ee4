//! Requests that were parked for their map, once they go on: each is handled as if it had come now, or, where it has
//! waited in vain, refused.

use super::Shard;
use super::maps::{Parked, RELEASED_PER_TURN_MAX, refuse_type};
use super::requests::{ChannelWait, Waiting};
use crate::mesh::Request;
use crate::wire::Reject;

impl Shard {
    /// Takes what the storage has for this shard, as much as a turn may, and what follows from it.
    pub(super) fn receive_from_storage(&mut self) {
        let is_stored = self.maps.journal().is_some();
        if is_stored {
            self.maps.note_progress(&mut self.turn);
            self.continue_clear();
            // First, so that who asked here is told the same as what is parked for the map.
            self.give_up_old_requests();
            self.maps.take_from_storage(&mut self.turn);
            self.answer_found();
        }
        self.release_parked();
        if is_stored {
            self.maps.check_loads(&mut self.turn);
            self.refuse_given_up();
            self.requests.answer_durable(&mut self.turn, &mut self.clients, &self.maps);
        }
        self.turn.storage_left = self.maps.has_received() || self.may_release();
    }

    /// Releases what was parked for maps that are there now, as much as a turn may.
    pub(super) fn release_parked(&mut self) {
        if self.clearing.is_under_way() {
            return;
        }
        let mut left = RELEASED_PER_TURN_MAX;
        while left > 0
            && !self.must_pause_release()
            && let Some(mut release) = self.maps.begin_release(&mut self.turn)
        {
            let is_over = loop {
                if left == 0 || self.must_pause_release() {
                    break false;
                }
                let Some(parked) = release.next() else { break true };
                left -= 1;
                self.resume_parked(parked);
                self.tell_much();
            };
            self.maps.end_release(&mut self.turn, release, is_over);
        }
    }

    /// Whether the next turn has something to release. One that is congested is not waited for: whatever relieves it makes
    /// the next turn begin.
    pub(super) fn may_release(&self) -> bool {
        self.maps.has_releases() && !self.clearing.is_under_way() && !self.turn.outgoing.is_congested()
    }

    /// Whether the turn has done what it may, or what is released would only wait for another shard.
    fn must_pause_release(&self) -> bool {
        self.turn.is_spent() || self.turn.outgoing.is_congested()
    }

    fn resume_parked(&mut self, parked: Parked) {
        if self.maps.is_late(&self.turn, &parked) {
            self.refuse_parked(parked, Reject::Timeout);
        } else {
            self.handle_request(parked.from, parked.request, &parked.bytes);
        }
    }

    /// Answers reads whose cells are there before their map.
    fn answer_found(&mut self) {
        let Self { turn, clients, maps, requests, .. } = self;
        while let Some((parked, cells)) = maps.next_found() {
            if let Request::Read { reply, read } = parked.request {
                requests.answer_from(turn, clients, reply, read.unpack(&parked.bytes), cells.as_deref());
            }
        }
    }

    /// Answers what waits in vain for its map.
    pub(super) fn refuse_given_up(&mut self) {
        while let Some((parked, reject)) = self.maps.next_given_up() {
            self.refuse_parked(parked, reject);
        }
    }

    fn refuse_parked(&mut self, parked: Parked, reject: Reject) {
        let Some(request) = self.refuse_request(parked.request, reject) else { return };
        let Self { turn, clients, maps, feeds, queries, requests, channels, .. } = self;
        match request {
            Request::Digest { reply, .. } => requests.answer_digest(turn, clients, reply, Err(reject)),
            Request::Walk(request) => feeds.refuse_walk(turn, clients, maps, (&request, reject)),
            Request::ScanQueries { map, .. } => queries.map_refused(turn, maps, &map, reject),
            Request::ClaimType { map, .. } => refuse_type(turn, parked.from, &map, reject),
            Request::Channel(request) => {
                channels.refuse(turn, clients, maps, requests, (*request, reject));
            }
            Request::Direct(request) => self.give_up_direct(*request, reject),
            // Nothing else waits for a map.
            _ => {}
        }
    }

    /// Answers the requests that have waited for `--ack-timeout-ms` with what was reached.
    pub(super) fn give_up_old_requests(&mut self) {
        let Self { turn, clients, maps, requests, rooms, presence, channels, .. } = self;
        while let Some(request) = requests.next_late(turn, clients) {
            match request.waiting {
                Waiting::Members { .. } => rooms.members_late(turn, clients, requests, &request),
                Waiting::Gathered { .. } => {
                    presence.not_answered(turn, clients, requests, &request, Reject::Timeout);
                }
                Waiting::Channel(ChannelWait::Join { .. }) => {
                    channels.join_late(turn, clients, maps, requests, &request);
                }
                _ => requests.answer(turn, clients, maps, request, true),
            }
        }
    }
}
