//! `subscribe` and `unsubscribe`.

use std::sync::Arc;

use super::walk::{Purpose, Walk};
use super::{Feeds, Subscription, scope_of};
use crate::crdt::Time;
use crate::mesh::{ConnectionId, Filter, Item, ShardIndex, ShardSet, SubscriptionRef};
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::slots;
use crate::shard::turn::Turn;
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

impl Feeds {
    /// Subscribes to a map: [`crate::shard::Event::Snapshot`]s follow, then changes. A second subscription of the same map
    /// takes the place of the first. What ends it before the last snapshot has it answered with
    /// [`crate::shard::Event::Rejected`] instead: [`Reject::Cancelled`], before the answer to what has ended it, if it has a
    /// ticket.
    pub fn subscribe(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        asked: Asked,
        subscribe: Subscribe<'_>,
    ) {
        let id = asked.connection();
        self.unsubscribe(turn, clients, maps, id, subscribe.map);
        let Some(connection) = clients.get(id) else { return };
        if connection.subscriptions.len() >= turn.config.subscriptions_max {
            return clients.reject(turn, id, asked.ticket(), Reject::TooManySubscriptions);
        }
        let map = maps.find_or_insert(subscribe.map, turn.hasher.map(subscribe.map));
        let scope = scope_of(subscribe.map, subscribe.filter.as_ref());
        let (purpose, position) = start_of(turn, maps, subscribe.from, scope, asked.ticket);
        let own_place = slots::slot(connection.subscriptions.len());
        let (serial, echo) = (turn.next_serial(), subscribe.echo);
        let walk = Some(Box::new(Walk::new(purpose, position, turn.shards)));
        let (slot, is_first) = self.join(maps, map, (scope, subscribe.filter), |feed, place| Subscription {
            serial,
            connection: id,
            feed,
            place,
            own_place,
            echo,
            live: ShardSet::EMPTY,
            walk,
        });
        if is_first {
            tell_interest(turn, maps, map, true);
        }
        turn.metrics.subscriptions += 1;
        if let Some(connection) = clients.get_mut(id) {
            connection.subscriptions.push(SubscriptionRef { slot, serial });
        }
        if let Some(walk) = &mut self.subscriptions[slot as usize].walk {
            walk.wait(&mut self.walkers, id, slot);
        }
        self.walk_on(turn, clients, maps, id);
    }

    /// Ends the subscription of `map` by `id`, if there is one. Nothing more is told of its map.
    pub fn unsubscribe(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        id: ConnectionId,
        map: &str,
    ) {
        let Some(slot) = maps.find(map, turn.hasher.map(map)) else { return };
        let Some(&subscription) = self.by_connection.get(&(slot, id)) else { return };
        let Some(ended) = self.take_from_own(clients, id, subscription) else { return };
        if let Some(owed) = self.end_subscription(turn, maps, ended) {
            clients.reject(turn, id, Some(&owed), Reject::Cancelled);
        }
        // What was asked for is asked for no longer, which may be what others have waited for.
        self.walk_on(turn, clients, maps, id);
    }

    /// The map of a subscription.
    pub fn map_of(&self, maps: &Maps, subscription: SubscriptionRef) -> Option<Arc<str>> {
        let feed = self.subscriptions.get(subscription.slot as usize)?.feed;
        Some(Arc::clone(maps[self.feeds[feed as usize].map].interest.name()))
    }

    /// Takes a subscription out of those of its connection.
    pub(super) fn take_from_own(
        &mut self,
        clients: &mut Clients,
        id: ConnectionId,
        slot: u32,
    ) -> Option<SubscriptionRef> {
        let own = &mut clients.get_mut(id)?.subscriptions;
        let place = self.subscriptions[slot as usize].own_place;
        let taken = own.swap_remove(place as usize);
        if let Some(moved) = own.get(place as usize) {
            self.subscriptions[moved.slot as usize].own_place = place;
        }
        debug_assert_eq!(taken.slot, slot);
        Some(taken)
    }

    /// Up to where the subscriber of a map has been told everything; `None` if it is not subscribed.
    pub fn told_through(&self, turn: &mut Turn, maps: &Maps, id: ConnectionId, map: &str) -> Option<Time> {
        let slot = maps.find(map, turn.hasher.map(map))?;
        let subscription = &self.subscriptions[*self.by_connection.get(&(slot, id))? as usize];
        let told = told_live(turn, maps, slot);
        let walk = subscription.walk.as_ref();
        Some(walk.map_or(told, |walk| walk.cursor(subscription.live, &turn.heard).min(told)))
    }

    /// Forgets a subscription that its connection has already forgotten; the request whose answer is still owed, if it
    /// is to be named in it.
    pub fn end_subscription(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        ended: SubscriptionRef,
    ) -> Option<Ticket> {
        let (subscription, map, was_last) = self.leave(maps, ended)?;
        turn.metrics.subscriptions -= 1;
        if let Some(walk) = &subscription.walk {
            self.stop_walking(turn, walk, subscription.connection, ended);
        }
        if was_last {
            tell_interest(turn, maps, map, false);
            maps.release_if_unused(map);
        }
        subscription.walk.and_then(|walk| walk.owed())
    }

    /// Shard `from` has, or has no longer, subscribers of `map`.
    pub fn interest_told(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        from: ShardIndex,
        (map, wanted): (&str, bool),
    ) {
        let slot = maps.find_or_insert(map, turn.hasher.map(map));
        if wanted {
            // Changes so far are in the snapshot that the subscriber will ask for.
            self.flush_batches_of(turn, clients, maps, slot);
            maps.interest_mut(slot).set_heard_by(from, true);
            self.watchers_elsewhere = true;
        } else {
            maps.interest_mut(slot).set_heard_by(from, false);
            maps.release_if_unused(slot);
        }
    }
}

/// Where the walk of a new subscription begins and what it is for.
fn start_of(
    turn: &mut Turn,
    maps: &Maps,
    from: From,
    scope: Scope,
    ticket: Option<Ticket>,
) -> (Purpose, Time) {
    let snapshot = |resumed, reset| Purpose::Snapshot { ticket, resumed, reset };
    let since = match from {
        From::Cursor(since) => since,
        From::Everything => return (snapshot(false, false), Time::ZERO),
        From::Nothing => return (snapshot(false, false), Time::MAX),
        From::Now => return (snapshot(false, false), turn.clock.last()),
    };
    // What was seen of another map, or through another filter, does not say what is missing of this. A tick that this
    // data set never had is from before a crash that has lost it.
    if since.epoch == turn.epoch && since.scope == scope && maps.is_known(since.time) {
        turn.metrics.resumes += 1;
        (snapshot(true, false), since.time)
    } else {
        turn.metrics.resets += 1;
        (snapshot(false, true), Time::ZERO)
    }
}

/// Tells every owner whether this shard wants the changes of the map.
fn tell_interest(turn: &mut Turn, maps: &Maps, slot: MapSlot, wanted: bool) {
    for owner in turn.others() {
        let map = Arc::clone(maps[slot].interest.name());
        turn.outgoing.push(owner, Item::Interest { map, wanted });
    }
}

/// The time of the cursor of a subscriber of the map in `slot` that is live everywhere and has got everything there is to
/// get: what is still in this turn's batch, and what other shards have yet to send, is not covered.
pub(super) fn told_live(turn: &mut Turn, maps: &Maps, slot: MapSlot) -> Time {
    hear_own(turn, maps, slot);
    turn.heard.iter().copied().fold(turn.cursor_limit, Time::min)
}

/// Takes note of up to where this shard itself has told of the map in `slot`.
pub(super) fn hear_own(turn: &mut Turn, maps: &Maps, slot: MapSlot) {
    let own = maps.first_untold(slot).map_or_else(|| turn.clock.last(), Time::previous);
    turn.heard[usize::from(turn.index)] = own;
}
