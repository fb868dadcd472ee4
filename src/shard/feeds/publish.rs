//! Messages that nobody keeps: from one connection to all who subscribe to a map, at most once.

use std::sync::Arc;

use super::Feeds;
use crate::mesh::{ConnectionId, Item, Span};
use crate::shard::caller::Caller;
use crate::shard::clients::{Alike, Clients};
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{Dialect, DialectIndex, Frames, Published};

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
