//! Messages that nobody keeps: from one connection to all who subscribe to a map, at most once. They are divided over turns
//! (`shard/divided.rs`), so every subscriber is sent the messages of one connection in order.

use std::sync::Arc;
use std::{iter, mem};

use super::Feeds;
use crate::mesh::{ConnectionId, Item, Span, SubscriptionRef};
use crate::shard::caller::Caller;
use crate::shard::clients::{Alike, Clients};
use crate::shard::divided::Divided;
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{Dialect, DialectIndex, Frames, Published};

/// A message on its way to the subscribers of a map.
#[derive(Clone, Copy)]
struct Message<'a> {
    map: &'a Arc<str>,
    from: DialectIndex,
    body: &'a [u8],
    /// If it is a connection of this shard.
    sender: Option<ConnectionId>,
}

/// A message that waits for a turn with work for it.
pub struct Undelivered {
    map: Arc<str>,
    from: DialectIndex,
    body: Box<[u8]>,
    sender: Option<ConnectionId>,
}

impl Feeds {
    /// Sends `body` to every subscriber of `map` but the caller. Filters of subscriptions are about keys, so each gets it
    /// all. The messages of one connection arrive in order, but in none with changes of the map.
    pub fn publish(
        &mut self,
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
        let map = interest.name();
        for target in interest.shards().iter() {
            let envelope = turn.outgoing.filling(target);
            let body = Span::append(&mut envelope.bytes, body);
            envelope.items.push(Item::Published { map: Arc::clone(map), dialect: from, body });
        }
        let message = Message { map, from, body, sender: Some(caller.connection()) };
        self.deliver_or_keep(turn, clients, maps, slot, message);
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
        let Some(slot) = maps.find(map, turn.hasher.map(map)) else { return };
        let message = Message { map, from, body, sender: None };
        if turn.is_spent() {
            return self.keep(turn, clients, maps, slot, (message, None));
        }
        turn.begin_share_of(work::MESSAGE_MIN);
        self.deliver_or_keep(turn, clients, maps, slot, message);
    }

    /// Goes on with messages that wait.
    pub fn deliver_waiting(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps) {
        let mut undelivered = mem::take(&mut self.undelivered);
        undelivered.go_on(turn, clients, |turn, clients, waiting, left| {
            let Undelivered { map, from, body, sender } = waiting;
            let message = Message { map, from: *from, body, sender: *sender };
            match (left, maps.find(map, turn.hasher.map(map))) {
                (Some(left), _) => self.deliver_to_left(turn, clients, message, left),
                (None, Some(slot)) => self.deliver_message(turn, clients, maps, slot, message),
                (None, None) => Vec::new(),
            }
        });
        self.undelivered = undelivered;
    }

    /// Whether messages wait.
    pub fn has_undelivered(&self) -> bool {
        !self.undelivered.is_empty()
    }

    /// Sends a message to all who subscribe, or keeps it for those for whom the turn has no work.
    fn deliver_or_keep(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: MapSlot,
        message: Message<'_>,
    ) {
        if !self.undelivered.is_empty() {
            return self.keep(turn, clients, maps, slot, (message, None));
        }
        let left = self.deliver_message(turn, clients, maps, slot, message);
        if !left.is_empty() {
            self.keep(turn, clients, maps, slot, (message, Some(left)));
        }
    }

    /// Keeps a message for a later turn, unless too much waits in this shard: then whoever is left misses it.
    fn keep(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: MapSlot,
        (message, left): (Message<'_>, Option<Vec<SubscriptionRef>>),
    ) {
        let Message { map, from, body, sender } = message;
        let left_bytes = Divided::<Undelivered, _>::bytes_of(left.as_ref());
        if maps.may_wait(body.len() + left_bytes).is_err() {
            turn.spend(work::PACKED);
            let missed = left.map_or_else(|| self.subscribers(maps, slot).count(), |left| left.len());
            turn.metrics.publishes_missed += missed as u64;
            return;
        }
        let undelivered = Undelivered { map: Arc::clone(map), from, body: body.into(), sender };
        self.undelivered.keep(turn, clients, maps, (undelivered, body.len()), (sender, left));
    }

    /// Slots of the subscriptions of a map that may be told of all of it: nobody knows what a message is about.
    fn subscribers(&self, maps: &Maps, slot: MapSlot) -> impl Iterator<Item = u32> {
        let feeds = maps[slot].interest.members().iter().map(|&feed| &self.feeds[feed as usize]);
        feeds.filter(|feed| feed.view.is_none()).flat_map(|feed| &feed.subscribers).copied()
    }

    /// Queues a message for every local subscriber of the map but its sender; who is left when the turn has done enough.
    fn deliver_message(
        &self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: MapSlot,
        message: Message<'_>,
    ) -> Vec<SubscriptionRef> {
        let mut subscribers = self.subscribers(maps, slot);
        self.deliver_to_each(turn, clients, message, &mut subscribers);
        let serial = |slot: u32| self.subscriptions[slot as usize].serial;
        subscribers.map(|slot| SubscriptionRef { slot, serial: serial(slot) }).collect()
    }

    /// The same for those who were left, but for subscriptions that have ended since.
    fn deliver_to_left(
        &self,
        turn: &mut Turn,
        clients: &mut Clients,
        message: Message<'_>,
        mut left: Vec<SubscriptionRef>,
    ) -> Vec<SubscriptionRef> {
        let lasts = |left: &SubscriptionRef| {
            let found = self.subscriptions.get(left.slot as usize);
            found.is_some_and(|subscription| subscription.serial == left.serial)
        };
        let mut lasting = iter::from_fn(|| left.pop()).filter(lasts).map(|left| left.slot);
        self.deliver_to_each(turn, clients, message, &mut lasting);
        left
    }

    /// Queues a message for one subscription after the other, until the turn and whose share of it this is have done enough.
    fn deliver_to_each(
        &self,
        turn: &mut Turn,
        clients: &mut Clients,
        Message { map, from, body, sender }: Message<'_>,
        subscriptions: &mut impl Iterator<Item = u32>,
    ) {
        let message = Published { map, from, body, now: turn.now };
        let mut alike = Alike::default();
        while !turn.is_over()
            && let Some(subscription) = subscriptions.next()
        {
            turn.spend(work::receivers(1, body.len()));
            let id = self.subscriptions[subscription as usize].connection;
            let make = |dialect: &dyn Dialect, out: &mut Frames| dialect.published(message, &mut out.bytes);
            let is_for_it = Some(id) != sender && clients.takes_frames(id.index);
            if !is_for_it || !clients.make_alike(&mut alike, id.index, make) {
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
