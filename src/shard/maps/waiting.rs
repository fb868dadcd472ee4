//! Requests that wait for their map: for its cells, which are being loaded, or for its type.
//!
//! Invariant: requests for one map wait in one queue and leave it in order, and each is handled or, where it has
//! waited too long, answered with `timeout`.

use std::collections::VecDeque;

use crate::mesh::{Answer, Item, Request, ShardIndex};
use crate::shard::Shard;
use crate::shard::maps::{Cells, MapSlot};
use crate::wire::Reject;

/// A request that waits, with the bytes its spans point into.
pub struct Parked {
    from: ShardIndex,
    since_us: u64,
    request: Request,
    bytes: Vec<u8>,
}

impl Shard {
    /// Whether requests for the cells of this map must wait: for the cells, which are asked for if nobody has, or
    /// for the type.
    pub(in crate::shard) fn must_wait(&mut self, slot: MapSlot) -> bool {
        let now_ms = self.now.timer_ms();
        self.maps.touch(slot, now_ms);
        match self.maps[slot].cells {
            Cells::Typed(_) | Cells::Untyped => false,
            Cells::Claiming(_) | Cells::Loading(_) => true,
            Cells::Unloaded => {
                self.begin_load(slot);
                true
            }
        }
    }

    /// Whether the map's cells are not there yet; they are asked for if nobody has.
    pub(in crate::shard) fn must_load(&mut self, slot: MapSlot) -> bool {
        self.must_wait(slot) && matches!(self.maps[slot].cells, Cells::Loading(_))
    }

    /// Keeps a request of shard `from` until its map is loaded or its type known, behind those that wait already.
    pub(in crate::shard) fn wait_for_map(
        &mut self,
        slot: MapSlot,
        from: ShardIndex,
        request: Request,
        bytes: Vec<u8>,
    ) {
        let parked = Parked { from, since_us: self.now.monotonic_us, request, bytes };
        self.answer_late_ones(slot);
        let waiting = self.maps[slot].waiting();
        debug_assert!(waiting.is_some(), "a map that is there has nothing to wait for");
        if let Some(waiting) = waiting {
            waiting.push_back(parked);
        }
    }

    /// Handles a request that has waited for its map.
    pub(in crate::shard) fn go_on(&mut self, parked: Parked) {
        // Another shard waits for the type, however long it takes; it asks for it once.
        if self.is_late(parked.since_us) && !matches!(parked.request, Request::ClaimType { .. }) {
            self.answer_late_one(parked);
        } else {
            self.handle_request(parked.from, parked.request, &parked.bytes);
        }
    }

    /// Answers what has waited too long at the front of the map's queue, so that a map that never comes takes no more
    /// memory than what is asked in that time.
    pub(in crate::shard) fn answer_late_ones(&mut self, slot: MapSlot) {
        let mut claims = Vec::new();
        while let Some(oldest) = self.maps[slot].waiting().and_then(|waiting| waiting.front()) {
            let since_us = oldest.since_us;
            if !self.is_late(since_us) {
                break;
            }
            match self.maps[slot].waiting().and_then(VecDeque::pop_front) {
                Some(claim) if matches!(claim.request, Request::ClaimType { .. }) => claims.push(claim),
                Some(parked) => self.answer_late_one(parked),
                None => break,
            }
        }
        if let Some(waiting) = self.maps[slot].waiting() {
            claims.into_iter().rev().for_each(|claim| waiting.push_front(claim));
        }
    }

    /// Whether a request has waited for so long that whoever asked has given it up. Without storage nothing takes
    /// long but shards that do, and their requests are carried out however late.
    fn is_late(&self, since_us: u64) -> bool {
        let waited_us = self.now.monotonic_us.saturating_sub(since_us);
        self.journal.is_some() && waited_us > self.config.ack_timeout_ms * 1000
    }

    fn answer_late_one(&mut self, parked: Parked) {
        match parked.request {
            Request::Write { reply, .. } if reply.shard == self.index => {
                self.write_answered((self.index, 0), reply, Err(Reject::Timeout));
            }
            Request::Write { reply, .. } => {
                let outcome = Err(Reject::Timeout);
                self.outgoing.push(reply.shard, Item::Answer(Answer::Write { reply, outcome }));
            }
            Request::Walk(request) => self.refuse_walk(&request),
            // Whoever asked has answered it itself.
            _ => {}
        }
    }
}
