//! The owner's side of walks: chunks are made for whoever asks, as much as a turn may.

use super::Feeds;
use super::chunk::{Chunk, Passed};
use crate::crdt::Map;
use crate::limits::{CHUNK_BYTES, CHUNK_CELLS_SCANNED_MAX};
use crate::mesh::{Answer, Item, Request, Span, SubscriptionRef, WalkAnswer, WalkRequest, Writer, length};
use crate::shard::clients::Clients;
use crate::shard::maps::{Lens, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

/// Units of work of making chunks that fit into a turn whatever else it has done, so that walks go on in every one.
const WORK_PER_TURN_MIN: u64 = work::TURN_MAX / 8;
/// The chunk of the smallest entries, which a turn may begin when it has done nearly what it may.
const _: () = assert!(
    CHUNK_CELLS_SCANNED_MAX as u64 * (work::WALKED + work::PASSED_OVER)
        + work::encoded(CHUNK_BYTES)
        + work::copied(CHUNK_BYTES)
        + WORK_PER_TURN_MIN
        <= work::TURN_MAX
);

impl Feeds {
    /// Another shard, or a request that was parked, asks for a chunk.
    pub fn walk_asked(&mut self, request: WalkRequest) {
        self.line.push(request);
    }

    /// Another shard needs a chunk no longer that it has asked for.
    pub fn walk_cancelled(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        by: Writer,
        subscription: SubscriptionRef,
    ) {
        if let Some(request) = self.line.cancel(by, subscription) {
            self.refuse_walk(turn, clients, maps, (&request, Reject::Cancelled));
        }
    }

    /// Whether chunks wait to be made, so that the next turn must not wait for an event.
    pub fn has_walks(&self) -> bool {
        !self.line.is_empty()
    }

    /// Makes the chunks that were asked for, as many as a turn may.
    pub fn run_walks(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps) {
        if turn.account.is_full() {
            return;
        }
        let enough = work::TURN_MAX.max(turn.work() + WORK_PER_TURN_MIN);
        while turn.work() < enough {
            let takes = |shard| shard == turn.index || !turn.outgoing.is_waiting(shard);
            let Some(request) = self.line.pop(takes) else { break };
            turn.spend(work::FRAME);
            self.make_chunk(turn, clients, maps, request);
        }
    }

    fn make_chunk(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps, request: WalkRequest) {
        let is_own = request.shard == turn.index;
        if is_own && !self.is_current(clients, request.subscription) {
            // It ended while the request was parked.
            return self.refuse_walk(turn, clients, maps, (&request, Reject::Cancelled));
        }
        let slot = maps.find_to_read(&request.map, turn.hasher.map(&request.map));
        if let Some(slot) = slot
            && maps.must_load(turn, slot)
        {
            if request.is_owed
                && let Some(reject) = maps.load_failure(turn, slot)
            {
                return self.refuse_walk(turn, clients, maps, (&request, reject));
            }
            return maps.park_request(turn, slot, turn.index, Request::Walk(Box::new(request)), Vec::new());
        }
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        // Whoever becomes live with this chunk has everything the turn has changed so far; the rest follows.
        if let Some(slot) = slot {
            self.flush_batches_of(turn, clients, maps, slot);
        }
        let now = turn.clock.advance(turn.now.unix_ms);
        let mut answer = WalkAnswer { position: now, done: true, ..answer_to(&request) };
        let cells = slot.and_then(|slot| maps[slot].typed());
        answer.map_type = cells.map(Map::map_type);
        let forgotten_through = maps.forgotten_through(slot);
        let round = request.round.as_ref();
        let seen_through = round.map_or(request.position, |round| round.seen_through(answer.map_type));
        if request.resumes && seen_through < forgotten_through {
            answer.reset = true;
            turn.metrics.resets += 1;
        } else if let Some(cells) = cells {
            let start = (request.position, request.round.as_deref());
            let filter = request.filter.as_deref();
            let mut lens = request.view.as_deref().map(|parts| Lens::new(parts, &request.map));
            let passed = Passed { filter, lens: lens.as_mut() };
            let chunk = Chunk::collect(cells, passed, start, request.room as usize, &mut entries);
            if let Some(lens) = lens {
                turn.count_asked(lens.asked);
            }
            turn.spend(work::PASSED_OVER * chunk.looked_at as u64);
            answer.count = chunk.entries;
            answer.done = chunk.is_last;
            answer.needs = length(chunk.needs);
            if !chunk.is_last {
                (answer.position, answer.round) = (chunk.position, Some(Box::new(chunk.round)));
            }
        }
        turn.metrics.chunks += 1;
        turn.metrics.snapshot_entries += u64::from(answer.count);
        turn.spend(work::WALKED * u64::from(answer.count) + work::copied(entries.len()));
        if is_own {
            self.walk_answered(turn, clients, maps, turn.index, (&answer, &entries));
        } else {
            let envelope = turn.outgoing.filling(request.shard);
            answer.entries = Span::append(&mut envelope.bytes, &entries);
            envelope.items.push(Item::Answer(Answer::Walk(Box::new(answer))));
        }
        self.entries = entries;
    }

    /// Answers a walk whose chunk will not be made: its map could not be loaded, or nobody needs it.
    pub fn refuse_walk(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        (request, reject): (&WalkRequest, Reject),
    ) {
        let answer = WalkAnswer { refused: Some(reject), ..answer_to(request) };
        if request.shard == turn.index {
            self.walk_answered(turn, clients, maps, turn.index, (&answer, &[]));
        } else {
            turn.outgoing.push(request.shard, Item::Answer(Answer::Walk(Box::new(answer))));
        }
    }
}

/// An answer that brings nothing.
fn answer_to(request: &WalkRequest) -> WalkAnswer {
    let &WalkRequest { connection, subscription, room, position, .. } = request;
    WalkAnswer {
        connection,
        subscription,
        room,
        position,
        round: None,
        needs: 0,
        done: false,
        reset: false,
        refused: None,
        map_type: None,
        entries: Span::default(),
        count: 0,
    }
}
