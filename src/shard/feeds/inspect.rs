//! What whoever runs the server is told of subscriptions, and whether they are as they must be.

use super::{Feeds, Subscription};
use crate::handover::inspection::{Share, SubscriptionRow, Walk};
use crate::mesh::{Filter, SubscriptionRef};
use crate::shard::clients::{Clients, Connection};
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::slots;
use crate::shard::turn::Turn;

impl Feeds {
    /// Subscriptions here of a map, and the feeds that they share.
    pub fn counts_of(&self, maps: &Maps, map: MapSlot) -> (u64, u64) {
        let feeds = maps[map].interest.members();
        let subscribers = |&feed: &u32| self.feeds[feed as usize].subscribers.len() as u64;
        (feeds.iter().map(subscribers).sum(), feeds.len() as u64)
    }

    /// Subscriptions of a connection, from a place on.
    pub fn inspect(&self, maps: &Maps, connection: &Connection, walk: Walk) -> Share<SubscriptionRow> {
        let all = &connection.subscriptions;
        let from = (walk.from as usize).min(all.len());
        let until = all.len().min(from + walk.rows_max as usize);
        let row = |own: &SubscriptionRef| {
            let subscription = self.subscriptions.get(own.slot as usize)?;
            let feed = &self.feeds[subscription.feed as usize];
            let filter = feed.filter.as_deref().map(|filter| match filter {
                Filter::Prefix(prefix) => format!("prefix {prefix}"),
                Filter::Keys(keys) => format!("{} keys", keys.len()),
            });
            let map = Box::from(&**maps[feed.map].interest.name());
            Some(SubscriptionRow { map, filter, is_live: subscription.walk.is_none() })
        };
        let looked_at = u32::try_from(until - from).unwrap_or(u32::MAX);
        let next = (until < all.len()).then(|| u32::try_from(until).unwrap_or(u32::MAX));
        Share { rows: all[from..until].iter().filter_map(row).collect(), looked_at, next }
    }

    /// How many subscriptions of a connection lack something.
    pub fn behind(&self, connection: &Connection) -> usize {
        let lacks = |own: &&SubscriptionRef| {
            self.subscriptions.get(own.slot as usize).is_some_and(|subscription| subscription.walk.is_some())
        };
        connection.subscriptions.iter().filter(lacks).count()
    }

    /// Whether there is such a subscription.
    pub fn has(&self, own: SubscriptionRef) -> bool {
        self.subscriptions
            .get(own.slot as usize)
            .is_some_and(|subscription| subscription.serial == own.serial)
    }

    /// Whether as many subscriptions are counted as there are.
    pub fn check_counts(&self, turn: &Turn, queries: usize, mut fault: impl FnMut(String)) {
        let (counted, held) = (turn.metrics.subscriptions, self.subscriptions.len() + queries);
        if counted != held as u64 {
            fault(format!("{counted} subscriptions are counted, and {held} are held"));
        }
        if self.by_connection.len() != self.subscriptions.len() {
            fault(format!(
                "{} subscriptions are found by their connections, and {} are held",
                self.by_connection.len(),
                self.subscriptions.len()
            ));
        }
    }

    /// Whether some subscriptions have a connection and a map, which know them; their slots are from one on. Where to go on.
    pub fn check(
        &self,
        clients: &Clients,
        maps: &Maps,
        from: u32,
        looks: u32,
        mut fault: impl FnMut(String),
    ) -> Option<u32> {
        slots::share(&self.subscriptions, from, looks, |slot, subscription| {
            self.check_one(clients, maps, (slot, subscription), &mut fault);
            // Each knows its place in every list.
            0
        })
    }

    fn check_one(
        &self,
        clients: &Clients,
        maps: &Maps,
        (slot, subscription): (u32, &Subscription),
        fault: &mut impl FnMut(String),
    ) {
        let Subscription { serial, connection: id, feed, place, own_place, .. } = *subscription;
        let Some(feed_of) = self.feeds.get(feed as usize) else {
            return fault(format!("subscription {slot} has no feed"));
        };
        if feed_of.subscribers.get(place as usize) != Some(&slot) {
            fault(format!("subscription {slot} is not among those of its feed"));
        }
        match maps.interest_of(feed_of.map) {
            None => fault(format!("subscription {slot} has no map")),
            Some(interest) if interest.members().get(feed_of.place as usize) != Some(&feed) => {
                fault(format!("map {:?} does not know the feed of subscription {slot}", interest.name()));
            }
            Some(_) => {}
        }
        let Some(connection) = clients.get(id) else {
            return fault(format!("subscription {slot} has no connection"));
        };
        let own = SubscriptionRef { slot, serial };
        // One that leaves lets go of them from the end.
        if connection.subscriptions.get(own_place as usize) != Some(&own) {
            fault(format!("a connection does not know its subscription {slot}"));
        }
    }
}
