//! `subscribe` and `unsubscribe`: who watches which map, from where on, and what passes.

mod chunk;
pub mod fanout;
pub mod publish;
pub mod walk;

use std::sync::Arc;

use crate::crdt::Time;
use crate::mesh::{ConnectionId, Filter, Item, ShardIndex, ShardSet, SubscriptionRef};
use crate::shard::Shard;
use crate::shard::feeds::walk::{Purpose, Walk};
use crate::shard::maps::MapSlot;
use crate::wire::{Cursor, Reject, Scope, Ticket};

/// What a subscriber asks for.
pub struct Subscribe<'a> {
    pub map: &'a str,
    /// What is sent first.
    pub from: From,
    /// Which keys; `None`: all. See [`Shard::keys_filter`].
    pub filter: Option<Filter>,
    /// Whether the subscriber gets its own changes back.
    pub echo: bool,
}

/// What a new subscriber is sent before the changes to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Everything there is.
    Everything,
    /// What was applied after this.
    Cursor(Cursor),
    /// What is applied from now on: whatever the subscriber writes next is among it or follows, as every owner hears of
    /// this shard's clock before it hears of the write.
    Now,
    /// Not even what is applied before the owners have heard of the subscription.
    Nothing,
}

/// One connection's interest in one map.
pub struct Subscription {
    pub serial: u32,
    pub connection: ConnectionId,
    pub map: MapSlot,
    /// Its place among the subscribers of the map.
    place: u32,
    pub filter: Option<Arc<Filter>>,
    /// What its cursors are for: what passes the filter.
    pub scope: Scope,
    /// Whether its own changes come back.
    pub echo: bool,
    /// Owners whose changes are queued as they come. The others are walked.
    pub live: ShardSet,
    /// Present while any owner is not live.
    pub walk: Option<Box<Walk>>,
}

impl Subscription {
    /// Stops queueing the changes of `owner`: after `position` they are fetched once there is room. Whether
    /// this began a walk.
    pub fn fall_behind(&mut self, owner: ShardIndex, position: Time, shards: usize) -> bool {
        let began = self.walk.is_none();
        self.live.remove(owner);
        let walk = self.walk.get_or_insert_with(|| Box::new(Walk::new(Purpose::CatchUp, Time::ZERO, shards)));
        walk.set_position(owner, position);
        began
    }
}

impl Shard {
    /// Subscribes to a map: [`crate::shard::Event::Snapshot`]s follow, then changes. A second subscription of the same map takes
    /// the place of the first. What ends it before the last snapshot has it answered with [`crate::shard::Event::Rejected`]
    /// instead: [`Reject::Cancelled`], before the answer to what has ended it, if it has a ticket.
    pub fn subscribe(&mut self, id: ConnectionId, ticket: Option<Ticket>, subscribe: Subscribe<'_>) {
        let hash = self.hasher.map(subscribe.map);
        self.leave_map(id, subscribe.map, hash);
        let Some(connection) = self.clients.get(id) else { return };
        if connection.subscriptions.len() >= self.config.subscriptions_max {
            return self.reject(id, ticket.as_ref(), Reject::TooManySubscriptions);
        }
        let map = self.maps.find_or_insert(subscribe.map, hash);
        let scope = scope_of(self.maps[map].scope, subscribe.filter.as_ref());
        let (purpose, position) = self.start_of(subscribe.from, scope, ticket);
        let serial = self.next_serial();
        let slot = self.subscriptions.insert(Subscription {
            serial,
            connection: id,
            map,
            place: self.maps[map].subscribers.len() as u32,
            filter: subscribe.filter.map(Arc::new),
            scope,
            echo: subscribe.echo,
            live: ShardSet::EMPTY,
            walk: Some(Box::new(Walk::new(purpose, position, self.shards))),
        }) as u32;
        if self.maps[map].subscribers.is_empty() {
            self.tell_interest(map, true);
        }
        self.maps[map].subscribers.push(slot);
        self.metrics.subscriptions += 1;
        if let Some(connection) = self.clients.get_mut(id) {
            connection.subscriptions.push(SubscriptionRef { slot, serial });
            connection.walking += 1;
        }
        self.ask_next_chunk(slot);
    }

    /// The filter that passes `keys` of `map`.
    pub fn keys_filter<'k>(&self, map: &str, keys: impl Iterator<Item = &'k str>) -> Filter {
        let hash = self.hasher.map(map);
        Filter::keys(keys, |key| self.hasher.key(hash, key))
    }

    /// Where the walk of a new subscription begins and what it is for.
    fn start_of(&mut self, from: From, scope: Scope, ticket: Option<Ticket>) -> (Purpose, Time) {
        let snapshot = |resumed, reset| Purpose::Snapshot { ticket, resumed, reset };
        let since = match from {
            From::Cursor(since) => since,
            From::Everything => return (snapshot(false, false), Time::ZERO),
            From::Nothing => return (snapshot(false, false), Time::MAX),
            From::Now => return (snapshot(false, false), self.clock.last()),
        };
        // What was seen of another map, or through another filter, does not say what is missing of this. A tick that this
        // data set never had is from before a crash that has lost it.
        if since.epoch == self.epoch && since.scope == scope && self.is_known(since.time) {
            self.metrics.resumes += 1;
            (snapshot(true, false), since.time)
        } else {
            self.metrics.resets += 1;
            (snapshot(false, true), Time::ZERO)
        }
    }

    /// Ends a subscription, if there is one. Nothing more is told of its map.
    pub fn unsubscribe(&mut self, id: ConnectionId, map: &str) {
        self.leave_map(id, map, self.hasher.map(map));
    }

    /// Ends the subscription of `map` by `id`, if there is one.
    fn leave_map(&mut self, id: ConnectionId, map: &str, hash: u64) {
        let Some(slot) = self.maps.find(map, hash) else { return };
        let Some(place) = self.find_subscription(id, slot) else { return };
        let Some(connection) = self.clients.get_mut(id) else { return };
        let held = connection.subscriptions.swap_remove(place);
        if let Some(owed) = self.end_subscription(held) {
            self.reject(id, Some(&owed), Reject::Cancelled);
        }
    }

    /// The place of the subscription of a map among those of a connection. That of one that has thousands is looked for
    /// among the few of the map.
    fn find_subscription(&self, id: ConnectionId, map: MapSlot) -> Option<usize> {
        let held = &self.clients.get(id)?.subscriptions;
        let of_map = &self.maps[map].subscribers;
        if held.len() <= of_map.len() {
            return held.iter().position(|held| self.subscriptions[held.slot as usize].map == map);
        }
        let is_own = |slot: &u32| self.subscriptions[*slot as usize].connection == id;
        let slot = of_map.iter().copied().find(is_own)?;
        held.iter().position(|held| held.slot == slot)
    }

    /// Up to where the subscriber of a map has been told everything; `None` if it is not subscribed.
    pub fn told_through(&mut self, id: ConnectionId, map: &str) -> Option<Time> {
        let slot = self.maps.find(map, self.hasher.map(map))?;
        let place = self.find_subscription(id, slot)?;
        let cursor = self.cursor(slot);
        let held = self.clients.get(id)?.subscriptions[place];
        let subscription = &self.subscriptions[held.slot as usize];
        let walk = subscription.walk.as_ref();
        Some(walk.map_or(cursor.time, |walk| walk.cursor(subscription.live, &self.heard).min(cursor.time)))
    }

    /// Forgets a subscription that its connection has already forgotten; the request whose answer is still owed, if it
    /// is to be named in it.
    pub(in crate::shard) fn end_subscription(&mut self, held: SubscriptionRef) -> Option<Ticket> {
        let subscription = self.subscriptions.try_remove(held.slot as usize)?;
        debug_assert_eq!(subscription.serial, held.serial);
        self.metrics.subscriptions -= 1;
        if subscription.walk.is_some()
            && let Some(connection) = self.clients.get_mut(subscription.connection)
        {
            connection.walking -= 1;
        }
        let map = &mut self.maps[subscription.map];
        map.subscribers.swap_remove(subscription.place as usize);
        if let Some(&moved) = map.subscribers.get(subscription.place as usize) {
            self.subscriptions[moved as usize].place = subscription.place;
        }
        if map.subscribers.is_empty() {
            map.subscribers = Vec::new();
            self.tell_interest(subscription.map, false);
            self.maps.release_if_unused(subscription.map);
        }
        subscription.walk.and_then(|walk| walk.owed())
    }

    /// Tells every owner whether this shard wants the changes of the map.
    fn tell_interest(&mut self, slot: MapSlot, wanted: bool) {
        for owner in ShardSet::first(self.shards).iter().filter(|&owner| owner != self.index) {
            let map = self.maps[slot].name.clone();
            self.outgoing.push(owner, Item::Interest { map, wanted });
        }
    }

    /// Shard `from` has, or has no longer, subscribers of `map`.
    pub(in crate::shard) fn interest_told(&mut self, from: ShardIndex, map: &str, wanted: bool) {
        let slot = self.maps.find_or_insert(map, self.hasher.map(map));
        if wanted {
            // Changes so far are in the snapshot that the subscriber will ask for.
            self.flush_batch(slot);
            self.maps[slot].interested.insert(from);
            self.watchers_elsewhere = true;
        } else {
            self.maps[slot].interested.remove(from);
            self.maps.release_if_unused(slot);
        }
    }
}

/// What passes `filter`, of a map with this scope. Whether its own changes come back to a subscriber is no part of that:
/// it has them.
fn scope_of(map: Scope, filter: Option<&Filter>) -> Scope {
    match filter {
        None => map,
        Some(Filter::Prefix(prefix)) => map.prefix(prefix),
        Some(Filter::Keys(keys)) => map.keys(keys.iter().map(|(key, _)| &**key)),
    }
}
