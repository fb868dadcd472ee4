//! Who hears of a map, from where on, and what passes.
//!
//! ```text
//!  map ──► feeds: all of it, or what passes one filter ──► subscriptions ──► connections
//! ```
//! Subscribers with the same filter share one **feed**, and a change is filtered and encoded once for a feed and dialect,
//! however many they are. What a feed is for is its [`Scope`], the same that its cursors name, and its filter.
//!
//! Invariant: a map's interest has a feed as its member exactly while the feed has subscriptions.

mod chunk;
mod fanout;
mod line;
mod owner;
mod publish;
mod routes;
mod subscribe;
mod walk;
mod walkers;

use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use slab::Slab;

pub use subscribe::{From, Subscribe};

use fanout::Narrowing;
use line::Line;
use publish::Undelivered;
use routes::{Routed, Routes};
use walk::{Purpose, Walk};
use walkers::Walkers;

use super::divided::Divided;
use super::interest::Left;
use super::maps::{MapSlot, Maps};
use super::slots;
use crate::crdt::Time;
use crate::mesh::{ConnectionId, Filter, ShardIndex, ShardSet, SubscriptionRef};
use crate::wire::Scope;

/// Slot of a feed in this shard's table.
type FeedSlot = u32;

/// See the module.
#[derive(Default)]
pub struct Feeds {
    feeds: Slab<Feed>,
    by_scope: HashTable<FeedSlot>,
    routes: Routes,
    subscriptions: Slab<Subscription>,
    /// By map and connection.
    by_connection: HashMap<(MapSlot, ConnectionId), u32>,
    /// On whose behalf chunks are asked for.
    walkers: Walkers,
    /// Chunks that were asked for, here and elsewhere, and are to be made here.
    line: Line,
    /// Messages that wait for turns with work for them.
    undelivered: Divided<Undelivered, SubscriptionRef>,
    /// Numbers the deliveries, to mark who wrote in which.
    delivery: u64,
    /// Whether any other shard has ever watched a map here, and must hear this shard's clock.
    watchers_elsewhere: bool,
    /// Scratch: entries of the chunk at hand, which of the changes at hand go to a feed, and which of them to a subscriber.
    entries: Vec<u8>,
    narrowing: Narrowing,
    wanted: Vec<bool>,
}

/// What subscribers of one map with one filter are told.
struct Feed {
    map: MapSlot,
    /// Which keys; `None`: all.
    filter: Option<Arc<Filter>>,
    /// What its cursors are for: what passes the filter.
    scope: Scope,
    /// Its place among the feeds of the map.
    place: u32,
    /// Slots of the subscriptions.
    subscribers: Vec<u32>,
}

/// One connection's interest in one map.
struct Subscription {
    serial: u32,
    connection: ConnectionId,
    feed: FeedSlot,
    /// Its place among the subscribers of the feed, and among the subscriptions of its connection.
    place: u32,
    own_place: u32,
    /// Whether its own changes come back.
    echo: bool,
    /// Owners whose changes are queued as they come. The others are walked.
    live: ShardSet,
    /// Present while any owner is not live.
    walk: Option<Box<Walk>>,
}

impl Subscription {
    /// Stops queueing the changes of `owner`: after `position` they are fetched once there is room. The walk, if this
    /// began it.
    fn fall_behind(&mut self, owner: ShardIndex, position: Time, shards: usize) -> Option<&mut Walk> {
        let began = self.walk.is_none();
        self.live.remove(owner);
        let walk = self.walk.get_or_insert_with(|| Box::new(Walk::new(Purpose::CatchUp, Time::ZERO, shards)));
        walk.set_position(owner, position);
        began.then_some(walk)
    }
}

impl Feeds {
    /// Whether any other shard has ever watched a map here.
    pub const fn has_watchers_elsewhere(&self) -> bool {
        self.watchers_elsewhere
    }

    /// Puts a subscription among those of its feed; whether it is the first of its map on this shard.
    fn join(
        &mut self,
        maps: &mut Maps,
        map: MapSlot,
        (scope, filter): (Scope, Option<Filter>),
        make: impl FnOnce(FeedSlot, u32) -> Subscription,
    ) -> (u32, bool) {
        let was_heard = !maps[map].interest.members().is_empty();
        let slot = self.find_feed(map, scope, filter.as_ref()).unwrap_or_else(|| {
            let vacant = self.feeds.vacant_entry();
            let slot = slots::slot(vacant.key());
            let place = maps.interest_mut(map).join(slot);
            let filter = filter.map(Arc::new);
            let seed = maps[map].interest.hash();
            self.routes.insert(Routed { map, seed, feed: slot, filter: filter.as_ref() });
            vacant.insert(Feed { map, filter, scope, place, subscribers: Vec::new() });
            let feeds = &self.feeds;
            self.by_scope.insert_unique(scope.hash(), slot, |&slot| feeds[slot as usize].scope.hash());
            slot
        });
        let subscribers = &mut self.feeds[slot as usize].subscribers;
        let place = slots::slot(subscribers.len());
        let subscription = slots::slot(self.subscriptions.insert(make(slot, place)));
        subscribers.push(subscription);
        let connection = self.subscriptions[subscription as usize].connection;
        self.by_connection.insert((map, connection), subscription);
        (subscription, !was_heard)
    }

    fn find_feed(&self, map: MapSlot, scope: Scope, filter: Option<&Filter>) -> Option<FeedSlot> {
        let is_it = |slot: &FeedSlot| {
            let feed = &self.feeds[*slot as usize];
            feed.scope == scope && feed.map == map && feed.filter.as_deref() == filter
        };
        self.by_scope.find(scope.hash(), is_it).copied()
    }

    /// Takes a subscription out of its feed, which ends with its last; the map, and whether that was the last of it on
    /// this shard.
    fn leave(&mut self, maps: &mut Maps, ended: SubscriptionRef) -> Option<(Subscription, MapSlot, bool)> {
        let subscription = self.subscriptions.try_remove(ended.slot as usize)?;
        debug_assert_eq!(subscription.serial, ended.serial);
        let feed = &mut self.feeds[subscription.feed as usize];
        let map = feed.map;
        self.by_connection.remove(&(map, subscription.connection));
        feed.subscribers.swap_remove(subscription.place as usize);
        if let Some(&moved) = feed.subscribers.get(subscription.place as usize) {
            self.subscriptions[moved as usize].place = subscription.place;
        }
        let ends = feed.subscribers.is_empty();
        let was_last = ends && self.end_feed(maps, subscription.feed);
        Some((subscription, map, was_last))
    }

    /// Forgets a feed; whether it was the last of its map.
    fn end_feed(&mut self, maps: &mut Maps, slot: FeedSlot) -> bool {
        let feed = self.feeds.remove(slot as usize);
        if let Ok(entry) = self.by_scope.find_entry(feed.scope.hash(), |&candidate| candidate == slot) {
            entry.remove();
        }
        let seed = maps[feed.map].interest.hash();
        self.routes.remove(Routed { map: feed.map, seed, feed: slot, filter: feed.filter.as_ref() });
        let Left { moved, was_last } = maps.interest_mut(feed.map).leave(feed.place);
        if let Some(moved) = moved {
            self.feeds[moved as usize].place = feed.place;
        }
        was_last
    }
}

/// What passes `filter`, of a map with this scope. Whether its own changes come back to a subscriber is no part of that:
/// it has them.
fn scope_of(map: &str, filter: Option<&Filter>) -> Scope {
    let map = Scope::of_map(map);
    match filter {
        None => map,
        Some(Filter::Prefix(prefix)) => map.prefix(prefix),
        Some(Filter::Keys(keys)) => map.keys(keys.iter().map(|(key, _)| &**key)),
    }
}
