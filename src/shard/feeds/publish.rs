//! Messages that nobody keeps: from one connection to all who subscribe to a map, at most once.

use std::sync::Arc;

use crate::mesh::{ConnectionId, Item, Span};
use crate::shard::clients::Alike;
use crate::shard::maps::MapSlot;
use crate::shard::{DialectIndex, Published, Shard};

impl Shard {
    /// Sends `body` to every subscriber of `map` but `id`. Filters of subscriptions are about keys, so each gets it
    /// all. The messages of one connection arrive in order, but in none with changes of the map.
    pub fn publish(&mut self, id: ConnectionId, map: &str, body: &[u8]) {
        self.metrics.publishes += 1;
        // Whoever subscribes, here or elsewhere, has made the map known here.
        let Some(slot) = self.maps.find(map, self.hasher.map(map)) else { return };
        let Some(connection) = self.clients.get(id) else { return };
        let from = connection.dialect;
        let map = &self.maps[slot];
        for target in map.interested.iter() {
            let envelope = self.outgoing.filling(target);
            let body = Span::append(&mut envelope.bytes, body);
            envelope.items.push(Item::Published { map: Arc::clone(&map.name), dialect: from, body });
        }
        self.deliver_message(slot, from, body, Some(id));
    }

    /// A connection of another shard has sent a message.
    pub(in crate::shard) fn message_arrived(&mut self, map: &str, from: DialectIndex, body: &[u8]) {
        if let Some(slot) = self.maps.find(map, self.hasher.map(map)) {
            self.deliver_message(slot, from, body, None);
        }
    }

    /// Queues a message for every local subscriber of the map but its sender.
    fn deliver_message(
        &mut self,
        slot: MapSlot,
        from: DialectIndex,
        body: &[u8],
        sender: Option<ConnectionId>,
    ) {
        let map = &self.maps[slot];
        let message = Published { map: &map.name, from, body, now: self.now };
        let mut alike = Alike::default();
        for &subscription in &map.subscribers {
            let id = self.subscriptions[subscription as usize].connection;
            let make = |dialect: &dyn crate::shard::Dialect, out: &mut crate::shard::Frames| {
                dialect.published(message, &mut out.bytes)
            };
            if Some(id) == sender || !self.clients.make_alike(&mut alike, id.index, make) {
                continue;
            }
            if self.clients.table[id.index as usize].outbox.bytes() > self.config.outbox_soft_bytes {
                self.metrics.publishes_missed += 1;
                continue;
            }
            self.metrics.publish_deliveries += 1;
            self.clients.send_made(&alike, id.index, self.now);
        }
    }
}
