//! Commands through views that are given with them, where no grant says what they are: what the tests of views ask for.

use super::caller::{Asked, Caller};
use super::{AckLevel, Ops, Shard, Subscribe};
use crate::auth::rules::View;
use crate::wire::Ticket;

impl Shard {
    /// As [`Shard::write`], by one who may write and delete in the map of the operations what these views say.
    pub fn write_through(
        &mut self,
        caller: Caller,
        ticket: Option<Ticket>,
        ack: AckLevel,
        (ops, views): (impl Ops, (View, View)),
    ) {
        let Self { turn, clients, maps, requests, .. } = self;
        requests.write(turn, clients, maps, (Asked { caller, ticket }, views), ack, ops);
    }

    /// As [`Shard::read`]; nothing, if the view is none.
    pub fn read_through<'k>(
        &mut self,
        caller: Caller,
        ticket: Option<Ticket>,
        (map, view): (&str, &View),
        keys: impl Iterator<Item = &'k str>,
    ) {
        let Self { turn, clients, maps, requests, .. } = self;
        if let Some(seen) = view.seen() {
            requests.read(turn, clients, maps, (Asked { caller, ticket }, seen), map, keys);
        }
    }

    /// As [`Shard::subscribe`]; nothing, if the view is none.
    pub fn subscribe_through(
        &mut self,
        caller: Caller,
        ticket: Option<Ticket>,
        view: &View,
        subscribe: Subscribe<'_>,
    ) {
        let Self { turn, clients, maps, feeds, .. } = self;
        if let Some(seen) = view.seen() {
            feeds.subscribe(turn, clients, maps, (Asked { caller, ticket }, seen.cloned()), subscribe);
        }
    }

    /// Shows a subscriber what another view shows from now on; if that is none, it is told nothing more.
    pub fn change_view(&mut self, caller: Caller, map: &str, view: &View) {
        let Self { turn, clients, maps, feeds, .. } = self;
        match view.seen() {
            Some(seen) => feeds.change_view(turn, clients, maps, (caller.connection(), map), seen.cloned()),
            None => feeds.unsubscribe(turn, clients, maps, caller.connection(), map),
        }
    }
}
