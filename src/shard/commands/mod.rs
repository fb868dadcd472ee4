//! What a dialect can have a shard do for a [`Caller`]. Each command is carried out by the part it is about.

mod channels;
mod directs;
mod presence;

use crate::auth::rules::{Action, View};
use crate::crdt::Time;
use crate::mesh::Filter;
use crate::shard::access::GrantId;
use crate::shard::allows::{ByGrant, Everything};
use crate::shard::caller::{Asked, Caller};
use crate::shard::clients::Clients;
use crate::shard::turn::Turn;
use crate::shard::{AckLevel, Ops, SetPresence, Shard, Subscribe, SubscribeQuery};
use crate::wire::{Reject, Ticket};

impl Shard {
    /// Carries out the operations, each at the owner of its key. [`crate::shard::Event::Acked`] follows, unless `ack` is
    /// [`AckLevel::None`], which hears of what was rejected only.
    pub fn write(&mut self, caller: Caller, ticket: Option<Ticket>, ack: AckLevel, ops: impl Ops) {
        let Self { turn, clients, maps, requests, access, .. } = self;
        clients.pay_for_ops(turn, caller.connection(), || ops.targets().count());
        let grant = caller.grant();
        let asked = Asked { caller, ticket };
        if grant == GrantId::EVERYTHING {
            return requests.write(turn, clients, maps, (asked, Everything), ack, ops);
        }
        requests.write(turn, clients, maps, (asked, ByGrant::new(access, grant)), ack, ops);
    }

    /// Reads keys wherever they live; [`crate::shard::Event::Entries`] follows.
    pub fn read<'k>(
        &mut self,
        caller: Caller,
        ticket: Option<Ticket>,
        map: &str,
        keys: impl Iterator<Item = &'k str>,
    ) {
        let Self { turn, clients, maps, requests, access, .. } = self;
        let view = access.view(turn, caller.grant(), Action::Read, map);
        let Some(seen) = view.seen() else { return forbid(turn, clients, caller, ticket.as_ref()) };
        requests.read(turn, clients, maps, (Asked { caller, ticket }, seen), (map, false), keys);
    }

    /// Reads a key that a client is to see first, if it may see it.
    pub(in crate::shard) fn read_greeting(&mut self, caller: Caller, map: &str, key: &str) {
        let Self { turn, clients, maps, requests, access, .. } = self;
        let view = access.view(turn, caller.grant(), Action::Read, map);
        let Some(seen) = view.seen() else { return };
        let asked = Asked { caller, ticket: None };
        requests.read(turn, clients, maps, (asked, seen), (map, true), std::iter::once(key));
    }

    /// Digests a map; [`crate::shard::Event::Digest`] follows.
    pub fn digest(&mut self, caller: Caller, ticket: Option<Ticket>, map: &str) {
        let Self { turn, clients, maps, requests, access, .. } = self;
        match access.view(turn, caller.grant(), Action::Read, map) {
            View::All => requests.digest(turn, clients, maps, Asked { caller, ticket }, map),
            // It would tell of what it is made of.
            View::None | View::Parts(_) => forbid(turn, clients, caller, ticket.as_ref()),
        }
    }

    /// Subscribes to a map: [`crate::shard::Event::Snapshot`]s follow, then changes. A second subscription of the same map takes
    /// the place of the first. What ends it before the last snapshot has it answered with [`crate::shard::Event::Rejected`]
    /// instead: [`crate::wire::Reject::Cancelled`], before the answer to what has ended it, if it has a ticket.
    pub fn subscribe(&mut self, caller: Caller, ticket: Option<Ticket>, subscribe: Subscribe<'_>) {
        let Self { turn, clients, maps, feeds, access, .. } = self;
        let view = access.view(turn, caller.grant(), Action::Subscribe, subscribe.map);
        let Some(seen) = view.seen() else { return forbid(turn, clients, caller, ticket.as_ref()) };
        feeds.subscribe(turn, clients, maps, (Asked { caller, ticket }, seen.cloned()), subscribe);
    }

    /// Subscribes to what a query shows of a map; [`crate::shard::Event::List`]s follow, then changes of it.
    pub fn subscribe_query(&mut self, caller: Caller, ticket: Option<Ticket>, subscribe: SubscribeQuery<'_>) {
        let Self { turn, clients, maps, queries, access, .. } = self;
        let view = access.view(turn, caller.grant(), Action::Subscribe, subscribe.map);
        let Some(seen) = view.seen() else { return forbid(turn, clients, caller, ticket.as_ref()) };
        queries.subscribe(turn, clients, maps, (Asked { caller, ticket }, seen.cloned()), subscribe);
    }

    /// Ends the query of a map that has this name, if there is one; `None`: all of that map.
    pub fn unsubscribe_query(&mut self, caller: Caller, map: &str, name: Option<&Ticket>) {
        let Self { turn, clients, maps, queries, .. } = self;
        queries.unsubscribe(turn, clients, maps, caller.connection(), (map, name));
    }

    /// Ends a subscription, if there is one. Nothing more is told of its map.
    pub fn unsubscribe(&mut self, caller: Caller, map: &str) {
        let Self { turn, clients, maps, feeds, .. } = self;
        feeds.unsubscribe(turn, clients, maps, caller.connection(), map);
    }

    /// Up to where the subscriber of a map has been told everything; `None` if it is not subscribed.
    pub fn told_through(&mut self, caller: Caller, map: &str) -> Option<Time> {
        self.feeds.told_through(&mut self.turn, &self.maps, caller.connection(), map)
    }

    /// The filter that passes `keys` of `map`.
    pub fn keys_filter<'k>(&self, map: &str, keys: impl Iterator<Item = &'k str>) -> Filter {
        let hasher = self.turn.hasher;
        let hash = hasher.map(map);
        Filter::keys(keys, |key| hasher.key(hash, key))
    }

    /// Sends `body` to every subscriber of `map` but the caller. Filters of subscriptions are about keys, so each gets it
    /// all. The messages of one connection arrive in order, but in none with changes of the map.
    pub fn publish(&mut self, caller: Caller, map: &str, body: &[u8]) {
        let Self { turn, clients, maps, feeds, access, .. } = self;
        if !access.may(turn, caller.grant(), Action::Publish, map) {
            return forbid(turn, clients, caller, None);
        }
        feeds.publish(turn, clients, maps, caller, (map, body));
    }

    /// Ends all connections of a user, on all shards, with [`Close::Dismissed`](crate::wire::Close::Dismissed);
    /// [`crate::shard::Event::Dismissed`] follows.
    pub fn dismiss(&mut self, caller: Caller, ticket: Option<Ticket>, user: &str) {
        let Self { turn, clients, access, .. } = self;
        let name = ["user:", user].concat();
        if !access.may(turn, caller.grant(), Action::Admin, &name) {
            return forbid(turn, clients, caller, ticket.as_ref());
        }
        self.ask_to_dismiss(Asked { caller, ticket }, user);
    }

    /// Watches a room: [`crate::shard::Event::Members`] follows, then each change as [`crate::shard::Dialect::member`] puts it, those
    /// made by the caller too. A second watch of the same room is only answered.
    pub fn watch_presence(&mut self, caller: Caller, ticket: Option<Ticket>, room: &str) {
        let Self { turn, clients, requests, rooms, access, .. } = self;
        if !access.may_be_in(turn, caller.grant(), room) {
            return forbid(turn, clients, caller, ticket.as_ref());
        }
        rooms.watch(turn, clients, requests, Asked { caller, ticket }, room);
    }

    /// Ends a watch, if there is one. Nothing more is told of the room, but [`crate::shard::Event::Rejected`] with
    /// [`crate::wire::Reject::Cancelled`] where a request to watch it was under way.
    pub fn unwatch_presence(&mut self, caller: Caller, room: &str) {
        let Self { turn, clients, rooms, .. } = self;
        rooms.unwatch(turn, clients, caller.connection(), room);
    }

    /// Whether the connection watches a room.
    pub fn watches_presence(&self, caller: Caller, room: &str) -> bool {
        self.rooms.is_watching(&self.turn, &self.clients, caller.connection(), room)
    }

    /// Sets or removes a member of a room; nobody needs to watch the room for that. There is an answer only if it is
    /// refused. The member is removed once the caller is gone, or removes it, unless another connection has set it since.
    pub fn set_presence(&mut self, caller: Caller, ticket: Option<Ticket>, set: SetPresence<'_>) {
        let Self { turn, clients, maps, requests, rooms, access, .. } = self;
        // Who may not be there may still leave.
        if set.state.is_some() && !access.may_be_in(turn, caller.grant(), set.room) {
            return forbid(turn, clients, caller, ticket.as_ref());
        }
        rooms.set(turn, clients, maps, requests, Asked { caller, ticket }, set);
    }
}

fn forbid(turn: &mut Turn, clients: &mut Clients, caller: Caller, ticket: Option<&Ticket>) {
    clients.reject(turn, caller.connection(), ticket, Reject::Forbidden);
}
