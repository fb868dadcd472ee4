//! Walks: how snapshots, resumed subscriptions and conflated ones get what they lack, chunk by chunk, oldest
//! change first. This is the side of the subscriber; `owner.rs` makes the chunks.
//!
//! Invariant: a subscription has at most one chunk asked for, and all of a connection together no more than its outbox has
//! room for (`walkers.rs`), so walks take memory by the chunk however large the map and however many subscribers.

use std::ops::RangeFrom;

use super::Feeds;
use super::subscribe::hear_own;
use super::walkers::Walkers;
use crate::crdt::{MapType, Time};
use crate::limits::{CHUNK_BYTES, FIRST_CHUNK_BYTES};
use crate::mesh::{
    ConnectionId, Entries, Item, Request, Round, ShardIndex, ShardSet, SubscriptionRef, WalkAnswer,
    WalkRequest, length,
};
use crate::shard::clients::Clients;
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{Change, Event, SnapshotEnd};
use crate::wire::{Cursor, Reject, Ticket};

/// What a subscription lacks.
pub struct Walk {
    pub(super) purpose: Purpose,
    /// For each owner that is not live: everything up to here was seen.
    positions: Vec<Time>,
    /// Owners whose tail has been reached once.
    walked: ShardSet,
    /// Whose cells it is in the middle of, and what it remembers of large sets there.
    round: Option<(ShardIndex, Box<Round>)>,
    /// Its place among those of its connection that wait for their turn.
    turn: Option<u64>,
    /// The owner whose chunk is awaited.
    asked: Option<ShardIndex>,
    /// Bytes of the next chunk.
    chunk_bytes: usize,
    /// Whether the client has seen an earlier state, and so must be told of every removal since.
    resumes: bool,
    map_type: Option<MapType>,
    /// Whether its client has been told any of it.
    has_told: bool,
    /// Whether it was not told of something that has left its view, so that it must start over when this is at an end.
    has_missed: bool,
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
            round: None,
            turn: None,
            asked: None,
            chunk_bytes: FIRST_CHUNK_BYTES,
            map_type: None,
            has_told: false,
            has_missed: false,
        }
    }

    /// Lets the subscription in `slot` wait for its turn to ask.
    pub fn wait(&mut self, walkers: &mut Walkers, connection: ConnectionId, slot: u32) {
        self.turn = Some(walkers.wait(connection, slot));
    }

    pub fn set_position(&mut self, owner: ShardIndex, position: Time) {
        self.positions[usize::from(owner)] = position;
    }

    /// Up to where a subscription that is live for some owners, and walks the others, has seen everything.
    pub fn cursor(&self, live: ShardSet, heard: &[Time]) -> Time {
        let owners: RangeFrom<ShardIndex> = 0..;
        let seen = owners.zip(heard.iter().zip(&self.positions));
        let seen = seen.map(|(owner, (&heard, &walked))| if live.contains(owner) { heard } else { walked });
        let round = self.round.as_ref().map(|(_, round)| round.seen_through(self.map_type));
        seen.chain(round).min().unwrap_or(Time::ZERO)
    }

    /// Starts over, because removals after the first position were forgotten, or what has left the view was not told.
    fn reset(&mut self) {
        self.has_missed = false;
        self.positions.fill(Time::ZERO);
        self.walked = ShardSet::EMPTY;
        self.round = None;
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

    /// What has left the view is not told: it starts over, at once if it can. A snapshot is brought to its end first, as nobody
    /// could tell what of it was told anew. Whether it has started over.
    pub(super) fn miss(&mut self) -> bool {
        self.has_missed = true;
        let starts_over = !self.is_snapshot() && self.asked.is_none();
        if starts_over {
            self.reset();
        }
        starts_over
    }

    pub(super) const fn map_type(&self) -> Option<MapType> {
        self.map_type
    }

    pub(super) const fn has_told(&self) -> bool {
        self.has_told
    }

    /// Takes note that a part of a snapshot is told; the request that it answers, if that is to be named.
    pub(super) const fn begin_telling(&mut self) -> Option<&Ticket> {
        self.has_told = true;
        match &self.purpose {
            Purpose::Snapshot { ticket, .. } => ticket.as_ref(),
            Purpose::StartOver | Purpose::CatchUp => None,
        }
    }

    /// Whether chunks are told as a snapshot, and not as changes.
    pub(super) const fn is_snapshot(&self) -> bool {
        matches!(self.purpose, Purpose::Snapshot { .. } | Purpose::StartOver)
    }

    /// The owner to ask next. During a snapshot each is walked once; what they change meanwhile follows as
    /// changes, so that a client sees the whole snapshot first.
    fn next_owner(&self, live: ShardSet) -> Option<ShardIndex> {
        if let Some((owner, _)) = self.round {
            return Some(owner);
        }
        let is_snapshot = self.is_snapshot();
        ShardSet::first(self.positions.len())
            .iter()
            .find(|&owner| !(live.contains(owner) || is_snapshot && self.walked.contains(owner)))
    }
}

impl Feeds {
    /// Asks for chunks of the subscriptions of `connection` that walk, one after the other, while its outbox has room.
    pub fn walk_on(&mut self, turn: &mut Turn, clients: &Clients, maps: &Maps, connection: ConnectionId) {
        while let Some(slot) = self.walkers.first(connection) {
            if !self.ask_chunk(turn, clients, maps, slot) {
                return;
            }
        }
    }

    /// Asks the next owner for a chunk of the subscription whose turn it is, if its peer has room; whether it has.
    fn ask_chunk(&mut self, turn: &mut Turn, clients: &Clients, maps: &Maps, slot: u32) -> bool {
        let subscription = &mut self.subscriptions[slot as usize];
        let connection = subscription.connection;
        let Some(walk) = &mut subscription.walk else { return false };
        let Some(owner) = walk.next_owner(subscription.live) else { return false };
        if !self.walkers.ask(connection, walk.chunk_bytes, clients.free_bytes(connection)) {
            return false;
        }
        walk.turn = None;
        walk.asked = Some(owner);
        let feed = &self.feeds[subscription.feed as usize];
        let request = WalkRequest {
            shard: turn.index,
            connection,
            subscription: SubscriptionRef { slot, serial: subscription.serial },
            map: maps[feed.map].interest.name().clone(),
            position: walk.positions[usize::from(owner)],
            round: walk.round.as_ref().map(|(_, round)| round.clone()),
            room: length(walk.chunk_bytes),
            resumes: walk.resumes,
            is_owed: matches!(walk.purpose, Purpose::Snapshot { .. }),
            filter: feed.filter.clone(),
            view: feed.view.clone(),
        };
        if owner == turn.index {
            self.line.push(request);
        } else {
            turn.outgoing.push(owner, Item::Request(Request::Walk(Box::new(request))));
        }
        true
    }

    /// A subscription that walks is over: no chunk is asked for, and one that was is not made unless it has been.
    pub(super) fn stop_walking(
        &mut self,
        turn: &mut Turn,
        walk: &Walk,
        connection: ConnectionId,
        ended: SubscriptionRef,
    ) {
        if let Some(place) = walk.turn {
            self.walkers.leave(connection, place);
        }
        let by = turn.writer(connection);
        match walk.asked {
            None => {}
            Some(owner) if owner == turn.index => {
                if let Some(request) = self.line.cancel(by, ended) {
                    self.walkers.answered(connection, request.room as usize);
                }
            }
            Some(owner) => {
                let cancel = Request::CancelWalk { by, subscription: ended };
                turn.outgoing.push(owner, Item::Request(cancel));
            }
        }
    }

    /// Whether a subscription of this shard is still the one that asked, and its connection takes what it is told.
    pub(super) fn is_current(&self, clients: &Clients, subscription: SubscriptionRef) -> bool {
        let current = self.subscriptions.get(subscription.slot as usize);
        current.is_some_and(|current| {
            current.serial == subscription.serial && clients.takes_frames(current.connection.index)
        })
    }

    /// A chunk has come from `owner`: tell it, and ask for more.
    pub fn walk_answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        owner: ShardIndex,
        (answer, packed): (&WalkAnswer, &[u8]),
    ) {
        self.walkers.answered(answer.connection, answer.room as usize);
        if self.is_current(clients, answer.subscription) {
            self.take_chunk(turn, clients, maps, owner, (answer, packed));
        }
        self.walk_on(turn, clients, maps, answer.connection);
        clients.check_drained(answer.connection);
    }

    fn take_chunk(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        owner: ShardIndex,
        (answer, packed): (&WalkAnswer, &[u8]),
    ) {
        let slot = answer.subscription.slot;
        let soft_bytes = turn.config.outbox_soft_bytes;
        let subscription = &mut self.subscriptions[slot as usize];
        let Some(walk) = &mut subscription.walk else { return };
        walk.asked = None;
        if let Some(reject) = answer.refused {
            return self.walk_refused(turn, clients, maps, (slot, reject));
        }
        if answer.reset {
            walk.reset();
            subscription.live = ShardSet::EMPTY;
            return self.end_walk_if_live(turn, slot);
        }
        walk.set_position(owner, answer.position);
        walk.round = answer.round.clone().map(|round| (owner, round));
        walk.map_type = walk.map_type.or(answer.map_type);
        walk.chunk_bytes = match answer.needs {
            0 if answer.done => FIRST_CHUNK_BYTES,
            0 => CHUNK_BYTES.min(soft_bytes / 2),
            needs => needs as usize,
        };
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
        turn.spend(work::FRAME + work::encoded(packed.len()));
        let subscription = &mut self.subscriptions[slot as usize];
        if let Some(walk) = subscription.walk.as_mut().filter(|walk| walk.has_missed)
            && walk.miss()
        {
            subscription.live = ShardSet::EMPTY;
        }
        self.end_walk_if_live(turn, slot);
    }

    /// An owner could not load the map. Whoever has just subscribed is told, and may try again; who has its
    /// answer and lacks what came since then is served later.
    fn walk_refused(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        (slot, reject): (u32, Reject),
    ) {
        let subscription = &self.subscriptions[slot as usize];
        let id = subscription.connection;
        let purpose = subscription.walk.as_ref().map(|walk| &walk.purpose);
        if !matches!(purpose, Some(Purpose::Snapshot { .. })) {
            return self.end_walk_if_live(turn, slot);
        }
        let Some(ended) = self.take_from_own(clients, id, slot) else { return };
        let owed = self.end_subscription(turn, maps, ended);
        clients.reject(turn, id, owed.as_ref(), reject);
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
        let Some((map, cursor)) = self.walked_to(turn, maps, slot) else { return };
        let subscription = &mut self.subscriptions[slot as usize];
        let Some(walk) = &mut subscription.walk else { return };
        let (ticket, resumed, reset) = match &walk.purpose {
            Purpose::Snapshot { ticket, resumed, reset } => (ticket.clone(), *resumed, *reset),
            Purpose::StartOver => (None, false, true),
            Purpose::CatchUp => return,
        };
        let end = if is_last {
            walk.purpose = Purpose::CatchUp;
            walk.resumes = true;
            turn.metrics.snapshots += 1;
            SnapshotEnd::Last { cursor, resumed, reset }
        } else {
            SnapshotEnd::More
        };
        walk.has_told = true;
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
        let Some((map, cursor)) = self.walked_to(turn, maps, slot) else { return };
        let change = Change::all(maps[map].interest.name(), entries, cursor);
        clients.tell_change(self.subscriptions[slot as usize].connection, turn.now, change);
    }

    /// The map of a subscription that walks, and the cursor up to where it has seen everything.
    fn walked_to(&self, turn: &mut Turn, maps: &Maps, slot: u32) -> Option<(MapSlot, Cursor)> {
        let subscription = &self.subscriptions[slot as usize];
        let walk = subscription.walk.as_ref()?;
        let feed = &self.feeds[subscription.feed as usize];
        hear_own(turn, maps, feed.map);
        let time = walk.cursor(subscription.live, &turn.heard).min(turn.cursor_limit);
        Some((feed.map, Cursor { epoch: turn.epoch, time, scope: feed.scope }))
    }

    /// Ends the walk of a subscription that is live everywhere; else it waits for its next turn.
    fn end_walk_if_live(&mut self, turn: &Turn, slot: u32) {
        let subscription = &mut self.subscriptions[slot as usize];
        if subscription.live == ShardSet::first(turn.shards) {
            subscription.walk = None;
        } else if let Some(walk) = &mut subscription.walk {
            walk.wait(&mut self.walkers, subscription.connection, slot);
        }
    }
}
