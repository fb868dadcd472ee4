//! Messages that nobody keeps: from one connection to all who subscribe to a map, at most once.
//!
//! A connection's messages wait unread once a turn has done too much. Those of other shards have been read already: where the
//! turn has no more work for them, they wait here, in order.

use std::sync::Arc;

use super::Feeds;
use crate::mesh::{ConnectionId, Item, Span};
use crate::shard::caller::Caller;
use crate::shard::clients::{Alike, Clients};
use crate::shard::maps::{MapSlot, Maps, WaitingBytes};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{Dialect, DialectIndex, Frames, Published};

/// A message of another shard that waits for a turn with work for it.
pub struct Undelivered {
    map: Arc<str>,
    from: DialectIndex,
    body: Box<[u8]>,
    _counted: WaitingBytes,
}

impl Feeds {
    /// Sends `body` to every subscriber of `map` but the caller. Filters of subscriptions are about keys, so each gets it
    /// all. The messages of one connection arrive in order, but in none with changes of the map.
    pub fn publish(
        &self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        caller: Caller,
        (map, body): (&str, &[u8]),
    ) {
        turn.metrics.publishes += 1;
        // Whoever subscribes, here or elsewhere, has made the map known here.
        let Some(slot) = maps.find(map, turn.hasher.map(map)) else { return };
        let Some(connection) = clients.get(caller.connection()) else { return };
        let from = connection.dialect;
        let interest = &maps[slot].interest;
        for target in interest.shards().iter() {
            let envelope = turn.outgoing.filling(target);
            let body = Span::append(&mut envelope.bytes, body);
            envelope.items.push(Item::Published { map: Arc::clone(interest.name()), dialect: from, body });
        }
        self.deliver_message(turn, clients, maps, slot, (from, body), Some(caller.connection()));
    }

    /// A connection of another shard has sent a message.
    pub fn message_arrived(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        map: &Arc<str>,
        (from, body): (DialectIndex, &[u8]),
    ) {
        if self.undelivered.is_empty() && !turn.is_spent() {
            return self.deliver_by_name(turn, clients, maps, map, (from, body));
        }
        turn.spend(work::PACKED + work::copied(body.len()));
        if maps.may_wait(body.len()).is_err() {
            turn.metrics.publishes_missed += self.subscribers_of(turn, maps, map);
            return;
        }
        let counted = maps.count_waiting(size_of::<Undelivered>() + body.len());
        let undelivered = Undelivered { map: Arc::clone(map), from, body: body.into(), _counted: counted };
        self.undelivered.push_back(undelivered);
    }

    /// Delivers what waits, as much as the turn has work for, one at least.
    pub fn deliver_waiting(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps) {
        let mut is_first = true;
        while (is_first || !turn.is_spent())
            && let Some(Undelivered { map, from, body, .. }) = self.undelivered.pop_front()
        {
            self.deliver_by_name(turn, clients, maps, &map, (from, &body));
            is_first = false;
        }
    }

    /// Whether messages wait.
    pub fn has_undelivered(&self) -> bool {
        !self.undelivered.is_empty()
    }

    fn subscribers_of(&self, turn: &Turn, maps: &Maps, map: &str) -> u64 {
        let Some(slot) = maps.find(map, turn.hasher.map(map)) else { return 0 };
        let subscribers = |feed: &u32| self.feeds[*feed as usize].subscribers.len() as u64;
        maps[slot].interest.members().iter().map(subscribers).sum()
    }

    fn deliver_by_name(
        &self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        map: &str,
        message: (DialectIndex, &[u8]),
    ) {
        if let Some(slot) = maps.find(map, turn.hasher.map(map)) {
            self.deliver_message(turn, clients, maps, slot, message, None);
        }
    }

    /// Queues a message for every local subscriber of the map but its sender.
    fn deliver_message(
        &self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: MapSlot,
        (from, body): (DialectIndex, &[u8]),
        sender: Option<ConnectionId>,
    ) {
        let interest = &maps[slot].interest;
        let message = Published { map: interest.name(), from, body, now: turn.now };
        let mut alike = Alike::default();
        let of_map = interest.members().iter().flat_map(|&feed| &self.feeds[feed as usize].subscribers);
        for &subscription in of_map {
            turn.spend(work::receivers(1, body.len()));
            let id = self.subscriptions[subscription as usize].connection;
            let make = |dialect: &dyn Dialect, out: &mut Frames| dialect.published(message, &mut out.bytes);
            if Some(id) == sender || !clients.make_alike(&mut alike, id.index, make) {
                continue;
            }
            if clients.is_over_soft_limit(id.index) {
                turn.metrics.publishes_missed += 1;
                continue;
            }
            turn.metrics.publish_deliveries += 1;
            clients.send_made(&alike, id.index, turn.now);
        }
    }
}
