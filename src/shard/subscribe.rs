//! `subscribe` and `unsubscribe`: who watches which map, from where on, and what passes.

use std::sync::Arc;

use super::Shard;
use super::maps::MapSlot;
use super::requests::text_frame;
use super::walk::{Purpose, Walk};
use crate::crdt::Time;
use crate::mesh::{ConnectionId, Filter, Item, ShardIndex, ShardSet, SubscriptionRef};
use crate::wire::message::Keys;
use crate::wire::{Cursor, OwnedRequestId, Reject, encode};

/// What a `subscribe` asks for; see [`crate::wire::message::Request::Subscribe`].
pub struct Subscribe<'a> {
    pub map: &'a str,
    pub since: Option<&'a str>,
    pub keys: Option<Keys<'a>>,
    pub prefix: Option<&'a str>,
    pub snapshot: bool,
    pub echo: bool,
}

/// One connection's interest in one map.
pub struct Subscription {
    pub serial: u32,
    pub connection: ConnectionId,
    pub map: MapSlot,
    /// Its place among the subscribers of the map.
    place: u32,
    pub filter: Option<Arc<Filter>>,
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
    pub(super) fn subscribe(
        &mut self,
        id: ConnectionId,
        request_id: Option<OwnedRequestId>,
        subscribe: Subscribe<'_>,
    ) {
        let hash = self.hasher.map(subscribe.map);
        let filter = match filter_of(&subscribe, |key| self.hasher.key(hash, key)) {
            Ok(filter) => filter.map(Arc::new),
            Err(reject) => return self.reject(id, request_id.as_ref(), reject),
        };
        let Some(purpose_and_position) = self.start_of(&subscribe, request_id.clone()) else {
            return self.reject(id, request_id.as_ref(), Reject::BadRequest("since is not a cursor"));
        };
        // A second subscription of the same map takes the place of the first.
        self.leave_map(id, subscribe.map, hash);
        let Some(connection) = self.clients.get(id) else { return };
        if connection.subscriptions.len() >= self.config.subscriptions_max {
            return self.reject(id, request_id.as_ref(), Reject::TooManySubscriptions);
        }
        let (purpose, position) = purpose_and_position;
        let map = self.maps.find_or_insert(subscribe.map, hash);
        let serial = self.next_serial();
        let slot = self.subscriptions.insert(Subscription {
            serial,
            connection: id,
            map,
            place: self.maps[map].subscribers.len() as u32,
            filter,
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

    /// Where the walk of a new subscription begins and what it is for; `None` if `since` is no cursor.
    fn start_of(&mut self, subscribe: &Subscribe<'_>, id: Option<OwnedRequestId>) -> Option<(Purpose, Time)> {
        let snapshot = |resumed, reset| Purpose::Snapshot { id, resumed, reset };
        let Some(since) = subscribe.since else {
            let position = if subscribe.snapshot { Time::ZERO } else { Time::MAX };
            return Some((snapshot(false, false), position));
        };
        let since = Cursor::parse(since)?;
        // A tick that this data set never had is from before a crash that has lost it.
        if since.epoch == self.epoch && self.is_known(since.time) {
            self.metrics.resumes += 1;
            Some((snapshot(true, false), since.time))
        } else {
            self.metrics.resets += 1;
            Some((snapshot(false, true), Time::ZERO))
        }
    }

    pub(super) fn unsubscribe(&mut self, id: ConnectionId, request_id: Option<&OwnedRequestId>, map: &str) {
        self.leave_map(id, map, self.hasher.map(map));
        self.clients.send(id, self.now, |out| {
            text_frame(out, |out| encode::unsubscribed(out, request_id, map));
        });
    }

    /// Ends the subscription of `map` by `id`, if there is one.
    fn leave_map(&mut self, id: ConnectionId, map: &str, hash: u64) {
        let Some(slot) = self.maps.find(map, hash) else { return };
        let Some(connection) = self.clients.get_mut(id) else { return };
        let subscriptions = &self.subscriptions;
        let of_map = |held: &SubscriptionRef| subscriptions[held.slot as usize].map == slot;
        if let Some(position) = connection.subscriptions.iter().position(of_map) {
            let held = connection.subscriptions.swap_remove(position);
            self.end_subscription(held);
        }
    }

    /// Forgets a subscription that its connection has already forgotten.
    pub(super) fn end_subscription(&mut self, held: SubscriptionRef) {
        let Some(subscription) = self.subscriptions.try_remove(held.slot as usize) else { return };
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
    }

    /// Tells every owner whether this shard wants the changes of the map.
    fn tell_interest(&mut self, slot: MapSlot, wanted: bool) {
        for owner in ShardSet::first(self.shards).iter().filter(|&owner| owner != self.index) {
            let map = self.maps[slot].name.clone();
            self.outgoing.push(owner, Item::Interest { map, wanted });
        }
    }

    /// Shard `from` has, or has no longer, subscribers of `map`.
    pub(super) fn interest_told(&mut self, from: ShardIndex, map: &str, wanted: bool) {
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

fn filter_of(subscribe: &Subscribe<'_>, hash: impl Fn(&str) -> u64) -> Result<Option<Filter>, Reject> {
    match (&subscribe.keys, subscribe.prefix) {
        (Some(_), Some(_)) => Err(Reject::BadRequest("a subscription has keys or a prefix, not both")),
        (Some(keys), None) => Ok(Some(Filter::keys(keys.clone(), hash))),
        (None, Some(prefix)) if !prefix.is_empty() => Ok(Some(Filter::Prefix(prefix.into()))),
        (None, _) => Ok(None),
    }
}
