//! `subscribe` with a query, `unsubscribe`, and what ends a subscription or moves it to another feed.

use std::sync::Arc;

use super::Queries;
use super::feeds::{State, Wanted};
use crate::auth::rules::Parts;
use crate::limits::QUERIES_PER_CONNECTION_MAX;
use crate::mesh::{ConnectionId, Filter, SubscriptionRef};
use crate::query::Query;
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;
use crate::wire::{Cursor, Reject, Ticket};

/// What a subscriber asks for.
pub struct SubscribeQuery<'a> {
    pub map: &'a str,
    /// Which keys are looked at; `None`: all.
    pub filter: Option<Filter>,
    pub query: Query,
    /// Up to where the client has been told.
    pub since: Option<Cursor>,
    /// What its client knows it by: that of the request.
    pub name: Ticket,
}

impl Queries {
    /// Subscribes to what a query shows: one snapshot follows, then changes. Another of the same map and name takes the place of
    /// the first. Its subscriber is shown what `view` shows; `None`: everything.
    pub fn subscribe(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        (asked, view): (Asked, Option<Arc<Parts>>),
        subscribe: SubscribeQuery<'_>,
    ) {
        let id = asked.connection();
        let SubscribeQuery { map, filter, query, since, name } = subscribe;
        self.unsubscribe(turn, clients, maps, id, (map, Some(&name)));
        let Some(connection) = clients.get(id) else { return };
        let own = connection.queries.subscriptions().len();
        let all = own + connection.subscriptions.len();
        if own >= QUERIES_PER_CONNECTION_MAX || all >= turn.config.subscriptions_max {
            return clients.reject(turn, id, asked.ticket(), Reject::TooManySubscriptions);
        }
        if turn.account.refuses_queries() {
            let reject = turn.account.busy();
            return clients.reject(turn, id, asked.ticket(), reject);
        }
        let (filter, query) = (filter.map(Arc::new), Arc::new(query));
        let wanted = Wanted { map: Arc::from(map), filter, view, query };
        let state = State::Waiting { is_owed: true, since, reset: since.is_some() };
        let subscription = self.join(turn, maps, wanted, (id, name, state));
        if let Some(connection) = clients.get_mut(id) {
            connection.queries.push(subscription);
        }
        self.feeds.waiting.push_back(subscription);
    }

    fn join(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        wanted: Wanted,
        who: (ConnectionId, Ticket, State),
    ) -> SubscriptionRef {
        turn.metrics.subscriptions += 1;
        let (subscription, opened) = self.feeds.join(turn, wanted, who);
        if let Some(open) = opened {
            self.owned.open(turn, maps, turn.index, open);
        }
        subscription
    }

    /// Ends the subscription of this name, or all, of a map. Nothing more is told of it.
    pub fn unsubscribe(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        id: ConnectionId,
        (map, name): (&str, Option<&Ticket>),
    ) {
        let Some(connection) = clients.get(id) else { return };
        let own = connection.queries.subscriptions().iter().copied();
        let ended: Vec<SubscriptionRef> = own.filter(|&own| self.is_of(own, (map, name))).collect();
        for subscription in ended {
            if let Some(connection) = clients.get_mut(id) {
                connection.queries.remove(subscription);
            }
            if let Some(owed) = self.end_subscription(turn, maps, subscription) {
                clients.reject(turn, id, Some(&owed), Reject::Cancelled);
            }
        }
    }

    fn is_of(&self, own: SubscriptionRef, (map, name): (&str, Option<&Ticket>)) -> bool {
        let subscription = &self.feeds.subscriptions[own.slot as usize];
        let is_named = name.is_none_or(|name| *name == subscription.query);
        is_named && *self.feeds.feeds[subscription.feed as usize].map == *map
    }

    /// Forgets a subscription that its connection has already forgotten; the request whose answer is still owed.
    pub fn end_subscription(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        ended: SubscriptionRef,
    ) -> Option<Ticket> {
        let (subscription, closed) = self.feeds.leave(turn, ended)?;
        turn.metrics.subscriptions -= 1;
        if let Some((map, feed)) = closed {
            self.owned.close(turn, maps, (turn.index, &map), feed);
        }
        matches!(subscription.state, State::Waiting { is_owed: true, .. }).then_some(subscription.query)
    }

    /// The map of a subscription.
    pub fn map_of(&self, own: SubscriptionRef) -> Option<Arc<str>> {
        let subscription = self.feeds.subscriptions.get(own.slot as usize)?;
        Some(self.feeds.feeds[subscription.feed as usize].map.clone())
    }

    /// Shows a subscriber what `view` shows from now on: all of it anew, unless that is what it is shown already.
    pub fn change_view(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        own: SubscriptionRef,
        view: Option<Arc<Parts>>,
    ) {
        let Some(subscription) = self.feeds.subscriptions.get(own.slot as usize) else { return };
        let feed = &self.feeds.feeds[subscription.feed as usize];
        if feed.view == view {
            return;
        }
        let wanted = feed.with_view(view);
        let Some((subscription, closed)) = self.feeds.leave(turn, own) else { return };
        turn.metrics.subscriptions -= 1;
        let is_owed = matches!(subscription.state, State::Waiting { is_owed: true, .. });
        let state = State::Waiting { is_owed, since: None, reset: true };
        let id = subscription.connection;
        let other = self.join(turn, maps, wanted, (id, subscription.query, state));
        if let Some((map, feed)) = closed {
            self.owned.close(turn, maps, (turn.index, &map), feed);
        }
        turn.metrics.resets += 1;
        if let Some(connection) = clients.get_mut(id) {
            connection.queries.replace(own, other);
        }
        self.feeds.waiting.push_back(other);
    }
}
