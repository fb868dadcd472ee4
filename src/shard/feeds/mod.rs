//! Who hears of a map, from where on, and what passes.
//!
//! ```text
//!  map ──► feeds: all of it, or what passes one filter, as one view shows it ──► subscriptions ──► connections
//! ```
//! Subscribers with the same filter and view share one **feed**, and a change is filtered, looked at and encoded once for a feed
//! and dialect, however many they are. What a feed is for is its [`Scope`], the same that its cursors name, its filter and view.
//!
//! Invariant: a map's interest has a feed as its member exactly while the feed has subscriptions.

mod chunk;
mod fanout;
mod inspect;
mod line;
mod owner;
mod publish;
mod routes;
mod subscribe;
mod views;
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
use crate::auth::rules::Parts;
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

/// What subscribers of one map with one filter and view are told.
struct Feed {
    map: MapSlot,
    /// Which keys; `None`: all.
    filter: Option<Arc<Filter>>,
    /// What of them may be seen; `None`: everything.
    view: Option<Arc<Parts>>,
    /// What its cursors are for: what passes the filter, as the view shows it.
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

    /// Puts a subscription among those of its feed.
    fn join(
        &mut self,
        maps: &mut Maps,
        map: MapSlot,
        (filter, view): (Option<Arc<Filter>>, Option<Arc<Parts>>),
        make: impl FnOnce(FeedSlot, u32) -> Subscription,
    ) -> u32 {
        let scope = scope_of(maps[map].interest.name(), filter.as_deref(), view.as_deref());
        let slot = self.find_feed((map, scope), filter.as_ref(), view.as_ref()).unwrap_or_else(|| {
            let vacant = self.feeds.vacant_entry();
            let slot = slots::slot(vacant.key());
            let place = maps.interest_mut(map).join(slot);
            let seed = maps[map].interest.hash();
            let (filter, view) = (filter.as_ref(), view.as_ref());
            self.routes.insert(Routed { map, seed, feed: slot, filter, view });
            let (filter, view) = (filter.cloned(), view.cloned());
            vacant.insert(Feed { map, filter, view, scope, place, subscribers: Vec::new() });
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
        subscription
    }

    fn find_feed(
        &self,
        (map, scope): (MapSlot, Scope),
        filter: Option<&Arc<Filter>>,
        view: Option<&Arc<Parts>>,
    ) -> Option<FeedSlot> {
        let is_it = |slot: &FeedSlot| {
            let feed = &self.feeds[*slot as usize];
            feed.scope == scope
                && feed.map == map
                && feed.filter.as_ref() == filter
                && feed.view.as_ref() == view
        };
        self.by_scope.find(scope.hash(), is_it).copied()
    }

    /// Takes a subscription out of its feed, which ends with its last.
    fn leave(&mut self, maps: &mut Maps, ended: SubscriptionRef) -> Option<Subscription> {
        let subscription = self.subscriptions.try_remove(ended.slot as usize)?;
        debug_assert_eq!(subscription.serial, ended.serial);
        let feed = &mut self.feeds[subscription.feed as usize];
        let map = feed.map;
        self.by_connection.remove(&(map, subscription.connection));
        feed.subscribers.swap_remove(subscription.place as usize);
        if let Some(&moved) = feed.subscribers.get(subscription.place as usize) {
            self.subscriptions[moved as usize].place = subscription.place;
        }
        if feed.subscribers.is_empty() {
            self.end_feed(maps, subscription.feed);
        }
        Some(subscription)
    }

    /// Forgets a feed.
    fn end_feed(&mut self, maps: &mut Maps, slot: FeedSlot) {
        let feed = self.feeds.remove(slot as usize);
        if let Ok(entry) = self.by_scope.find_entry(feed.scope.hash(), |&candidate| candidate == slot) {
            entry.remove();
        }
        let seed = maps[feed.map].interest.hash();
        let (filter, view) = (feed.filter.as_ref(), feed.view.as_ref());
        self.routes.remove(Routed { map: feed.map, seed, feed: slot, filter, view });
        let Left { moved, .. } = maps.interest_mut(feed.map).leave(feed.place);
        if let Some(moved) = moved {
            self.feeds[moved as usize].place = feed.place;
        }
    }
}

/// What passes `filter`, of a map with this name, and is shown by `view`. Whether its own changes come back to a subscriber is no
/// part of that: it has them.
pub(in crate::shard) fn scope_of(map: &str, filter: Option<&Filter>, view: Option<&Parts>) -> Scope {
    let map = Scope::of_map(map);
    let scope = match filter {
        None => map,
        Some(Filter::Prefix(prefix)) => map.prefix(prefix),
        Some(Filter::Keys(keys)) => map.keys(keys.iter().map(|(key, _)| &**key)),
    };
    view.map_or(scope, |view| scope.view(view.digest()))
}
