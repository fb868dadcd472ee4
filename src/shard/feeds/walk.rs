//! Walks: how snapshots, resumed subscriptions and conflated ones get what they lack, chunk by chunk, oldest
//! change first.
//!
//! Invariant: a subscription has at most one chunk asked for, and asks only when its peer has room, so walks
//! take memory by the chunk however large the map and however many subscribers.

use super::Feeds;
use super::chunk::Chunk;
use super::subscribe::cursor;
use crate::crdt::{Map, MapType, Time};
use crate::mesh::{
    Answer, ConnectionId, Entries, Item, Request, ShardIndex, ShardSet, Span, SubscriptionRef, WalkAnswer,
    WalkRequest,
};
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;
use crate::shard::{Change, Event, SnapshotEnd};
use crate::wire::{Cursor, Reject, Ticket};

/// Chunks this shard makes in one turn. Bounds the turn, whoever asks for how much.
const CHUNKS_PER_TURN_MAX: usize = 4;

/// What a subscription lacks.
pub struct Walk {
    purpose: Purpose,
    /// For each owner that is not live: everything up to here was seen.
    positions: Vec<Time>,
    /// Owners whose tail has been reached once.
    walked: ShardSet,
    /// The owner whose chunk is awaited.
    asked: Option<ShardIndex>,
    /// Whether the client has seen an earlier state, and so must be told of every removal since.
    resumes: bool,
    map_type: Option<MapType>,
}

/// Why a subscription walks, which decides how the chunks are told.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// The answer to `subscribe`, which is owed until its last chunk: whatever ends the walk before then says so.
    Snapshot { ticket: Option<Ticket>, resumed: bool, reset: bool },
    /// Everything there is, though the client has its answer: what it has is of no use any more.
    StartOver,
    /// Changes that were not queued because the peer was slow.
    CatchUp,
}

impl Walk {
    pub fn new(purpose: Purpose, position: Time, shards: usize) -> Self {
        Self {
            resumes: matches!(purpose, Purpose::CatchUp | Purpose::Snapshot { resumed: true, .. }),
            purpose,
            positions: vec![position; shards],
            walked: ShardSet::EMPTY,
            asked: None,
            map_type: None,
        }
    }

    pub fn set_position(&mut self, owner: ShardIndex, position: Time) {
        self.positions[usize::from(owner)] = position;
    }

    /// Up to where a subscription that is live for some owners, and walks the others, has seen everything.
    pub fn cursor(&self, live: ShardSet, heard: &[Time]) -> Time {
        let seen = heard.iter().zip(&self.positions).enumerate();
        seen.map(|(owner, (&heard, &walked))| if live.contains(owner as ShardIndex) { heard } else { walked })
            .min()
            .unwrap_or(Time::ZERO)
    }

    /// Starts over, because removals after the first position were forgotten.
    fn reset(&mut self) {
        self.positions.fill(Time::ZERO);
        self.walked = ShardSet::EMPTY;
        self.resumes = false;
        match &mut self.purpose {
            Purpose::Snapshot { resumed, reset, .. } => (*resumed, *reset) = (false, true),
            Purpose::CatchUp | Purpose::StartOver => self.purpose = Purpose::StartOver,
        }
    }

    /// The request whose answer is owed, if it is to be named in it.
    pub fn owed(self) -> Option<Ticket> {
        match self.purpose {
            Purpose::Snapshot { ticket, .. } => ticket,
            Purpose::StartOver | Purpose::CatchUp => None,
        }
    }

    /// Whether chunks are told as a snapshot, and not as changes.
    const fn is_snapshot(&self) -> bool {
        matches!(self.purpose, Purpose::Snapshot { .. } | Purpose::StartOver)
    }

    /// The owner to ask next. During a snapshot each is walked once; what they change meanwhile follows as
    /// changes, so that a client sees the whole snapshot first.
    fn next_owner(&self, live: ShardSet) -> Option<ShardIndex> {
        let is_snapshot = self.is_snapshot();
        (0..self.positions.len() as ShardIndex)
            .find(|&owner| !(live.contains(owner) || is_snapshot && self.walked.contains(owner)))
    }
}

impl Feeds {
    /// Asks for the next chunk of every subscription of `connection` that walks.
    pub fn walk_on(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps, connection: ConnectionId) {
        let Some(client) = clients.get_mut(connection) else { return };
        let held = std::mem::take(&mut client.subscriptions);
        for subscription in &held {
            self.ask_next_chunk(turn, clients, maps, subscription.slot);
        }
        if let Some(client) = clients.get_mut(connection) {
            client.subscriptions = held;
        }
    }

    /// Asks the next owner for a chunk, if the subscription walks, has none under way and its peer has room.
    pub(super) fn ask_next_chunk(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps, slot: u32) {
        let subscription = &mut self.subscriptions[slot as usize];
        let Some(walk) = &mut subscription.walk else { return };
        if walk.asked.is_some() || !clients.has_room(subscription.connection) {
            return;
        }
        let Some(owner) = walk.next_owner(subscription.live) else { return };
        walk.asked = Some(owner);
        let position = walk.positions[usize::from(owner)];
        if let Some(client) = clients.get_mut(subscription.connection) {
            client.chunks_pending += 1;
        }
        let feed = &self.feeds[subscription.feed as usize];
        let request = WalkRequest {
            shard: turn.index,
            connection: subscription.connection,
            subscription: SubscriptionRef { slot, serial: subscription.serial },
            map: maps[feed.map].interest.name().clone(),
            position,
            resumes: walk.resumes,
            filter: feed.filter.clone(),
        };
        if owner == turn.index {
            self.walks.push_back(request);
        } else {
            turn.outgoing.push(owner, Item::Request(Request::Walk(Box::new(request))));
        }
    }

    /// Another shard, or a request that was parked, asks for a chunk.
    pub fn walk_asked(&mut self, request: WalkRequest) {
        self.walks.push_back(request);
    }

    /// Makes the chunks that were asked for, as many as a turn may.
    pub fn run_walks(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps) {
        let mut made = 0;
        for _ in 0..self.walks.len() {
            if made == CHUNKS_PER_TURN_MAX {
                break;
            }
            let Some(request) = self.walks.pop_front() else { break };
            if request.shard != turn.index && turn.outgoing.is_waiting(request.shard) {
                self.walks.push_back(request);
                continue;
            }
            self.make_chunk(turn, clients, maps, request);
            made += 1;
        }
    }

    fn make_chunk(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps, request: WalkRequest) {
        let slot = maps.find_to_read(&request.map, turn.hasher.map(&request.map));
        if let Some(slot) = slot
            && maps.must_load(turn, slot)
        {
            return maps.park_request(turn, slot, turn.index, Request::Walk(Box::new(request)), Vec::new());
        }
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        // Whoever becomes live with this chunk has everything the turn has changed so far; the rest follows.
        if let Some(slot) = slot {
            self.flush_batches_of(turn, clients, maps, slot);
        }
        let now = turn.clock.advance(turn.now.unix_ms);
        let mut answer = WalkAnswer {
            connection: request.connection,
            subscription: request.subscription,
            position: now,
            done: true,
            reset: false,
            failed: false,
            map_type: None,
            entries: Span::default(),
            count: 0,
        };
        let cells = slot.and_then(|slot| maps[slot].typed());
        answer.map_type = cells.map(Map::map_type);
        let forgotten_through = cells.map_or(Time::ZERO, Map::pruned_through).max(maps.cleared_through);
        if request.resumes && request.position < forgotten_through {
            answer.reset = true;
            turn.metrics.resets += 1;
        } else if let Some(cells) = cells {
            let chunk = Chunk::collect(cells, request.filter.as_deref(), request.position, &mut entries);
            answer.count = chunk.entries;
            answer.done = chunk.stopped_at.is_none();
            answer.position = chunk.stopped_at.unwrap_or(now);
        }
        turn.metrics.snapshot_entries += u64::from(answer.count);
        if request.shard == turn.index {
            self.walk_answered(turn, clients, maps, turn.index, (&answer, &entries));
        } else {
            let envelope = turn.outgoing.filling(request.shard);
            answer.entries = Span::append(&mut envelope.bytes, &entries);
            envelope.items.push(Item::Answer(Answer::Walk(Box::new(answer))));
        }
        self.entries = entries;
    }

    /// A chunk has come from `owner`: tell it, and ask for the next.
    pub fn walk_answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        owner: ShardIndex,
        (answer, packed): (&WalkAnswer, &[u8]),
    ) {
        if let Some(client) = clients.get_mut(answer.connection) {
            client.chunks_pending -= 1;
        }
        let slot = answer.subscription.slot;
        let Some(subscription) = self.subscriptions.get_mut(slot as usize) else { return };
        if subscription.serial != answer.subscription.serial {
            return;
        }
        let Some(walk) = &mut subscription.walk else { return };
        walk.asked = None;
        if answer.failed {
            return self.walk_failed(turn, clients, maps, slot);
        }
        if answer.reset {
            walk.reset();
            subscription.live = ShardSet::EMPTY;
            return self.ask_next_chunk(turn, clients, maps, slot);
        }
        walk.set_position(owner, answer.position);
        walk.map_type = walk.map_type.or(answer.map_type);
        let is_snapshot = walk.is_snapshot();
        if answer.done {
            walk.walked.insert(owner);
            // The tail is the owner's clock when it made the chunk, after all its changes of that turn: a promise as
            // good as an envelope's, and newer than that of the last envelope that was opened to its end.
            let heard = &mut turn.heard[usize::from(owner)];
            *heard = answer.position.max(*heard);
        }
        let is_last = answer.done && walk.next_owner(subscription.live).is_none();
        // After the last owner of a snapshot, or any of a catch-up, changes may be queued as they come.
        if answer.done && (is_last || !is_snapshot) {
            subscription.live.insert(owner);
        }
        if is_snapshot {
            if answer.count > 0 || is_last {
                self.tell_snapshot(turn, clients, maps, slot, Entries::new(packed), is_last);
            }
        } else if answer.count > 0 {
            self.tell_changes(turn, clients, maps, slot, Entries::new(packed));
        }
        turn.metrics.deliveries += u64::from(answer.count);
        let connection = self.subscriptions[slot as usize].connection;
        self.end_walk_if_live(turn, clients, maps, slot);
        clients.check_drained(connection);
    }

    /// Answers a walk whose map could not be loaded in time.
    pub fn refuse_walk(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        request: &WalkRequest,
    ) {
        let answer = WalkAnswer {
            connection: request.connection,
            subscription: request.subscription,
            position: request.position,
            done: false,
            reset: false,
            failed: true,
            map_type: None,
            entries: Span::default(),
            count: 0,
        };
        if request.shard == turn.index {
            self.walk_answered(turn, clients, maps, turn.index, (&answer, &[]));
        } else {
            turn.outgoing.push(request.shard, Item::Answer(Answer::Walk(Box::new(answer))));
        }
    }

    /// An owner could not load the map in time. Whoever has just subscribed is told, and may try again; who has its
    /// answer and lacks what came since then is served later.
    fn walk_failed(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps, slot: u32) {
        let subscription = &self.subscriptions[slot as usize];
        let ended = SubscriptionRef { slot, serial: subscription.serial };
        let id = subscription.connection;
        let purpose = subscription.walk.as_ref().map(|walk| &walk.purpose);
        if !matches!(purpose, Some(Purpose::Snapshot { .. })) {
            return self.ask_next_chunk(turn, clients, maps, slot);
        }
        if let Some(connection) = clients.get_mut(id) {
            connection.subscriptions.retain(|&other| other != ended);
        }
        let owed = self.end_subscription(turn, clients, maps, ended);
        clients.reject(turn, id, owed.as_ref(), Reject::Timeout);
    }

    fn tell_snapshot(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: u32,
        entries: Entries<'_>,
        is_last: bool,
    ) {
        let map = self.map_of(slot);
        let cursor = Cursor {
            scope: self.feeds[self.subscriptions[slot as usize].feed as usize].scope,
            ..cursor(turn, maps, map)
        };
        let subscription = &mut self.subscriptions[slot as usize];
        let Some(walk) = &mut subscription.walk else { return };
        let (ticket, resumed, reset) = match &walk.purpose {
            Purpose::Snapshot { ticket, resumed, reset } => (ticket.clone(), *resumed, *reset),
            Purpose::StartOver => (None, false, true),
            Purpose::CatchUp => return,
        };
        let end = if is_last {
            let time = walk.cursor(subscription.live, &turn.heard).min(turn.cursor_limit);
            walk.purpose = Purpose::CatchUp;
            walk.resumes = true;
            turn.metrics.snapshots += 1;
            let cursor = Cursor { time, ..cursor };
            SnapshotEnd::Last { cursor, resumed, reset }
        } else {
            SnapshotEnd::More
        };
        let (map, map_type, ticket) = (&**maps[map].interest.name(), walk.map_type, ticket.as_ref());
        let event = Event::Snapshot { ticket, map, map_type, entries, end };
        clients.tell(subscription.connection, turn.now, event);
    }

    fn tell_changes(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: u32,
        entries: Entries<'_>,
    ) {
        let map = self.map_of(slot);
        let cursor = Cursor {
            scope: self.feeds[self.subscriptions[slot as usize].feed as usize].scope,
            ..cursor(turn, maps, map)
        };
        let subscription = &self.subscriptions[slot as usize];
        let Some(walk) = &subscription.walk else { return };
        let time = walk.cursor(subscription.live, &turn.heard).min(turn.cursor_limit);
        let cursor = Cursor { time, ..cursor };
        let change = Change::all(maps[map].interest.name(), entries, cursor);
        clients.tell_change(subscription.connection, turn.now, change);
    }

    /// Ends the walk of a subscription that is live everywhere; else goes on with it.
    fn end_walk_if_live(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps, slot: u32) {
        let subscription = &mut self.subscriptions[slot as usize];
        if subscription.live == ShardSet::first(turn.shards) {
            subscription.walk = None;
            if let Some(connection) = clients.get_mut(subscription.connection) {
                connection.walking -= 1;
            }
        } else {
            self.ask_next_chunk(turn, clients, maps, slot);
        }
    }

    /// Whether chunks wait to be made, so that the next turn must not wait for an event.
    pub fn has_walks(&self) -> bool {
        !self.walks.is_empty()
    }
}
