//! What subscribers of queries are told: changes as the turn ends, or all that is shown, once there is room for it.
//!
//! A list is told as a whole in one turn, so that what follows is about that list, and its bytes have a bound
//! (`QUERY_RESULT_BYTES_MAX`). Whoever is over the soft limit when something changes waits until its outbox has drained, and is told
//! all of it anew.

use std::mem;

use super::Queries;
use super::feeds::{State, TOO_LARGE};
use super::resume::Difference;
use super::returning::Resume;
use super::rows::Row;
use crate::limits::{CHUNK_BYTES, QUERY_RESULT_BYTES_MAX};
use crate::mesh::{ConnectionId, Names, SubscriptionRef};
use crate::shard::clients::{Clients, DIALECTS_MAX};
use crate::shard::lists::{ListStep, ListSteps, push_list_step};
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{Event, SnapshotEnd};
use crate::wire::{Cursor, Reject};

impl Queries {
    /// Whether the next turn has somebody to tell.
    pub fn has_to_tell(&self) -> bool {
        !self.feeds.waiting.is_empty()
    }

    /// Whether the next turn has something to free.
    pub fn has_to_free(&self) -> bool {
        !self.feeds.unused.is_empty()
    }

    /// The outbox of a connection has drained: it is told what it lacks.
    pub fn has_drained(&mut self, clients: &mut Clients, id: ConnectionId) {
        if let Some(connection) = clients.get_mut(id)
            && connection.queries.is_behind()
        {
            self.feeds.waiting.extend(connection.queries.take_behind());
        }
    }

    /// Tells what has changed, then all to those who wait for it, as many as the turn has work for.
    pub(super) fn tell(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps) {
        for slot in self.feeds.take_touched() {
            self.tell_changes(turn, clients, slot);
        }
        for (slot, reject) in mem::take(&mut self.feeds.ended) {
            self.end_with(turn, clients, maps, (slot, reject));
        }
        if turn.account.is_full() {
            return;
        }
        for told in 0..self.feeds.waiting.len() {
            if told > 0 && turn.is_spent() {
                return;
            }
            let Some(subscription) = self.feeds.waiting.pop_front() else { return };
            self.tell_all(turn, clients, maps, subscription);
        }
    }

    fn tell_changes(&mut self, turn: &mut Turn, clients: &mut Clients, slot: u32) {
        let shards = turn.shards;
        let Some(feed) = self.feeds.feeds.get_mut(slot as usize) else { return };
        if feed.is_complete(shards) {
            feed.told = told_all(turn);
            if !mem::replace(&mut feed.is_ready, true) {
                let subscribers = feed.subscribers.iter().map(|&slot| {
                    let serial = self.feeds.subscriptions[slot as usize].serial;
                    SubscriptionRef { slot, serial }
                });
                self.feeds.waiting.extend(subscribers);
            }
        }
        let (steps, count) = (mem::take(&mut feed.steps), mem::take(&mut feed.steps_count));
        if steps.is_empty() {
            return;
        }
        let cursor = Cursor { epoch: turn.epoch, time: feed.told, scope: feed.scope };
        let mut bodies: [Option<Vec<u8>>; DIALECTS_MAX] = [const { None }; DIALECTS_MAX];
        for &own in &feed.subscribers {
            let subscription = &mut self.feeds.subscriptions[own as usize];
            turn.spend(work::RECEIVER);
            if subscription.state != State::Current {
                continue;
            }
            let id = subscription.connection;
            if clients.holds_changes(id.index) {
                if !clients.takes_frames(id.index) {
                    continue;
                }
                subscription.state = State::Waiting { is_owed: false, since: None, reset: true };
                turn.metrics.conflations += 1;
                if let Some(connection) = clients.get_mut(id) {
                    connection
                        .queries
                        .fall_behind(SubscriptionRef { slot: own, serial: subscription.serial });
                }
                continue;
            }
            let index = clients.at_mut(id.index).dialect;
            let dialect = clients.dialect(index);
            let body = bodies[usize::from(index)].get_or_insert_with(|| {
                let mut body = Vec::new();
                dialect.list_changes(ListSteps(&steps), cursor, &mut body);
                turn.spend(work::encoded(steps.len()));
                body
            });
            turn.spend(work::copied(body.len()));
            turn.metrics.deliveries += u64::from(count);
            clients.send(id, turn.now, |out| dialect.list_changed(&feed.map, &subscription.query, body, out));
        }
        feed.recycle(steps);
    }

    /// Tells a subscription all that is shown, or the difference to what it was shown before.
    fn tell_all(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps, own: SubscriptionRef) {
        let Some((since, slot)) = self.is_to_be_told(turn, clients, own) else { return };
        if let Some(since) = since
            && self.feeds.subscriptions[own.slot as usize].resume.is_none()
            && self.ask_changed(turn, maps, (own, since))
            && turn.shards > 1
        {
            return;
        }
        let difference = self.feeds.take_difference(turn, own);
        let feed = &self.feeds.feeds[slot as usize];
        let packed_len = |row: &Row| feed.entries.get(row.key()).map_or(0, |listed| listed.packed.len());
        if feed.shown_rows().map(packed_len).sum::<usize>() > QUERY_RESULT_BYTES_MAX {
            return self.end_with(turn, clients, maps, (slot, TOO_LARGE));
        }
        let subscription = &mut self.feeds.subscriptions[own.slot as usize];
        let cursor = Cursor { epoch: turn.epoch, time: feed.told, scope: feed.scope };
        let State::Waiting { is_owed, reset, .. } = subscription.state else { return };
        let (id, query, map) = (subscription.connection, &subscription.query, &*feed.map);
        let ticket = is_owed.then_some(query);
        if let Some(Difference { entries, gone, count }) = &difference {
            turn.spend(work::FRAME + work::encoded(entries.len() + gone.len()));
            turn.metrics.resumes += 1;
            let (entries, gone, count) = (ListSteps(entries), Names(gone), *count);
            let event = Event::ListResumed { ticket, query, map, entries, gone, count, cursor };
            clients.tell(id, turn.now, event);
            subscription.state = State::Current;
            return;
        }
        turn.metrics.resets += u64::from(reset);
        turn.metrics.snapshots += 1;
        let mut packed = Vec::new();
        for (rank, row) in feed.shown_rows().enumerate() {
            let Some(listed) = feed.entries.get(row.key()) else { continue };
            push_list_step(&mut packed, ListStep::Stands, rank, |out| out.extend_from_slice(&listed.packed));
            turn.metrics.snapshot_entries += 1;
            if packed.len() > CHUNK_BYTES {
                let (entries, end) = (ListSteps(&packed), SnapshotEnd::More);
                turn.spend(work::FRAME + work::encoded(packed.len()));
                clients.tell(id, turn.now, Event::List { ticket, query, map, entries, end });
                packed.clear();
            }
        }
        let (entries, end) = (ListSteps(&packed), SnapshotEnd::Last { cursor, resumed: false, reset });
        turn.spend(work::FRAME + work::encoded(packed.len()));
        clients.tell(id, turn.now, Event::List { ticket, query, map, entries, end });
        subscription.state = State::Current;
    }

    /// The cursor that a subscription has come with, and its feed, if it waits for what is shown, that is known, and there is room
    /// for it.
    fn is_to_be_told(
        &self,
        turn: &Turn,
        clients: &mut Clients,
        own: SubscriptionRef,
    ) -> Option<(Option<Cursor>, u32)> {
        let subscription = self.feeds.subscriptions.get(own.slot as usize)?;
        let State::Waiting { since, .. } = subscription.state else { return None };
        let is_answered = |resume: &Resume| resume.is_answered(turn.shards);
        // Whatever it waits for puts it in line again.
        if subscription.serial != own.serial
            || !self.feeds.feeds[subscription.feed as usize].is_ready
            || !subscription.resume.as_deref().is_none_or(is_answered)
        {
            return None;
        }
        let id = subscription.connection;
        if !clients.takes_frames(id.index) {
            return None;
        }
        if clients.holds_changes(id.index) {
            if let Some(connection) = clients.get_mut(id) {
                connection.queries.fall_behind(own);
            }
            return None;
        }
        Some((since, subscription.feed))
    }

    /// Ends a feed, and tells its subscribers why.
    fn end_with(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        (slot, reject): (u32, Reject),
    ) {
        let Some(feed) = self.feeds.feeds.get(slot as usize) else { return };
        let map = feed.map.clone();
        for own in feed.subscribers.clone() {
            let subscription = &self.feeds.subscriptions[own as usize];
            let (id, query) = (subscription.connection, subscription.query.clone());
            let ended = SubscriptionRef { slot: own, serial: subscription.serial };
            turn.spend(work::LET_GO);
            if let Some(connection) = clients.get_mut(id) {
                connection.queries.remove(ended);
            }
            match self.end_subscription(turn, maps, ended) {
                Some(owed) => clients.reject(turn, id, Some(&owed), reject),
                None => clients.tell(id, turn.now, Event::ListEnded { query: &query, map: &map, reject }),
            }
        }
    }
}

/// Up to where everything has been told by now: what other shards have yet to send is not covered.
fn told_all(turn: &mut Turn) -> crate::crdt::Time {
    turn.heard[usize::from(turn.index)] = turn.clock.last();
    turn.heard.iter().copied().fold(turn.cursor_limit, crate::crdt::Time::min)
}
