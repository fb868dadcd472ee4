//! Feeds of those who may not see everything: what a change is to them, and what owners must tell for that.
//!
//! Where keys alone decide, a view is one more filter. Where values do, what a change comes to depends on what it has taken away,
//! which owners tell as long as anybody here needs it ([`Wanted::WithBefore`]): what may be seen now is told as it is now, what
//! could be seen before as gone, and everything else not at all. So nobody is told of a key that was never in its view.
//!
//! **A walk** tells what may be seen, and of nothing else can it be known whether it was ever told. So what leaves the view is
//! told at once, walk or not, and with that everything converges:
//! - Chunks and changes of one owner come in one queue, in the order in which it made them, and an owner that has made a chunk
//!   tells of every change after it. So what a client has of a key is what the last of these said that named it.
//! - If the key may be seen in the end, the last change that made it so is behind the position of the walk, which meets the key,
//!   or is told as it comes. If not, the last change that took it away was told when it came: before it the key could be seen.
//!   Stamps grow with the changes of a key, and of a set tags are told as removed, so a client may merge in any order.
//! - Where that was not told, as its client was slow, the walk has missed something, and starts over once it is at an end
//!   ([`super::Walk::miss`]). The new snapshot drops what is not in it.
//!
//! Invariant: this shard has told the owners of a map what its feeds need before any walk of these has begun.

use std::sync::Arc;

use super::fanout::Delivery;
use super::subscribe::hear_own;
use super::walk::{Purpose, Walk};
use super::{FeedSlot, Feeds, Subscription};
use crate::auth::rules::Parts;
use crate::crdt::Time;
use crate::mesh::{ConnectionId, Entries, EntryState, Item, ShardSet, SubscriptionRef, Wanted, Writer};
use crate::shard::clients::Clients;
use crate::shard::maps::{Lens, MapSlot, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{Change, Event, SnapshotEnd};
use crate::wire::{Cursor, Scope};

/// The part of a delivery that one feed is told.
#[derive(Default)]
pub struct Shown {
    pub packed: Vec<u8>,
    /// Who made each change, and has no need of it.
    pub writers: Vec<Option<Writer>>,
    /// Of these, those that leave the view.
    pub leaving: Vec<u8>,
}

impl Shown {
    pub fn clear(&mut self) {
        self.packed.clear();
        self.writers.clear();
        self.leaving.clear();
    }

    /// Adds a change as it is.
    pub fn add(&mut self, packed: &[u8], writer: Option<Writer>) {
        self.packed.extend_from_slice(packed);
        self.writers.push(writer);
    }

    /// Adds what is shown of a change, if anything. Who made it is told, too, unless that is all of it.
    pub fn look(
        &mut self,
        lens: &mut Lens<'_>,
        packed: &[u8],
        before: Option<EntryState<'_>>,
        writer: Option<Writer>,
    ) {
        let start = self.packed.len();
        if let Some(told) = lens.change(&mut self.packed, packed, before) {
            self.writers.push(writer.filter(|_| told.is_whole));
            if told.is_leaving {
                self.leaving.extend_from_slice(&self.packed[start..]);
            }
        }
    }
}

impl Feeds {
    /// What this shard needs of the changes of a map.
    pub(super) fn wanted(&self, maps: &Maps, map: MapSlot) -> Wanted {
        match maps[map].interest.members().is_empty() {
            true => Wanted::Nothing,
            false if self.routes.looks_at_values(map) => Wanted::WithBefore,
            false => Wanted::Outcomes,
        }
    }

    /// Tells the owners of a map what this shard needs of its changes, if that is not what it was.
    pub(super) fn tell_wanted(&self, turn: &mut Turn, maps: &mut Maps, map: MapSlot, was: Wanted) -> Wanted {
        let wanted = self.wanted(maps, map);
        // Whoever was the only one to hear of it may have left in between.
        maps.interest_mut(map).set_before_for(turn.index, wanted == Wanted::WithBefore);
        if wanted != was {
            for owner in turn.others() {
                let map = Arc::clone(maps[map].interest.name());
                turn.outgoing.push(owner, Item::Interest { map, wanted });
            }
        }
        wanted
    }

    /// Shows a subscriber of `map` what `view` shows from now on: all of it anew, unless that is what it is shown already.
    pub fn change_view(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        (id, map): (ConnectionId, &str),
        view: Option<Arc<Parts>>,
    ) {
        let Some(map) = maps.find(map, turn.hasher.map(map)) else { return };
        let Some(&slot) = self.by_connection.get(&(map, id)) else { return };
        let before = &self.subscriptions[slot as usize];
        let feed = &self.feeds[before.feed as usize];
        if feed.view == view {
            return;
        }
        let (ended, filter) = (SubscriptionRef { slot, serial: before.serial }, feed.filter.clone());
        let was = self.wanted(maps, map);
        let Some(Subscription { own_place, echo, walk, .. }) = self.leave(maps, ended) else { return };
        // What was asked for through the old view is not told when it comes: the subscription has another serial.
        if let Some(walk) = &walk {
            self.stop_walking(turn, walk, id, ended);
        }
        let purpose =
            walk.map_or(Purpose::StartOver, |walk| end_early(turn, clients, maps, (id, map), *walk));
        let (serial, walk) = (turn.next_serial(), Box::new(Walk::new(purpose, Time::ZERO, turn.shards)));
        let slot = self.join(maps, map, (filter, view), |feed, place| Subscription {
            serial,
            connection: id,
            feed,
            place,
            own_place,
            echo,
            live: ShardSet::EMPTY,
            walk: Some(walk),
        });
        turn.metrics.resets += 1;
        if let Some(own) = clients.get_mut(id).and_then(|own| own.subscriptions.get_mut(own_place as usize)) {
            *own = SubscriptionRef { slot, serial };
        }
        if let Some(walk) = &mut self.subscriptions[slot as usize].walk {
            walk.wait(&mut self.walkers, id, slot);
        }
        self.tell_wanted(turn, maps, map, was);
        self.walk_on(turn, clients, maps, id);
    }

    /// Queues the changes for the subscribers of feeds whose views may show any key.
    pub(super) fn deliver_viewed(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        (delivery, told): (Delivery<'_>, Time),
    ) {
        let mut shown = std::mem::take(&mut self.narrowing.shown);
        let name = maps[delivery.map].interest.name();
        for place in 0.. {
            let Some(feed) = self.routes.viewed(delivery.map, place) else { break };
            let Some(parts) = self.feeds[feed as usize].view.clone() else { continue };
            let (mut lens, mut before) = (Lens::new(&parts, name), Entries::new(delivery.before));
            shown.clear();
            for (packed, writer) in delivery.packed() {
                let before = before.next().map(|before| before.state);
                shown.look(&mut lens, packed, before, writer);
            }
            turn.count_asked(lens.asked);
            turn.spend(work::PASSED_OVER * delivery.writers.len() as u64);
            self.deliver_shown(turn, clients, maps, feed, (&shown, delivery, told));
        }
        self.narrowing.shown = shown;
    }

    pub(super) fn deliver_shown(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        feed: FeedSlot,
        (shown, delivery, told): (&Shown, Delivery<'_>, Time),
    ) {
        if shown.writers.is_empty() {
            return;
        }
        turn.spend(work::copied(shown.packed.len()));
        let (entries, leaving) = (Entries::new(&shown.packed), Entries::new(&shown.leaving));
        let delivery = Delivery { entries, leaving, writers: &shown.writers, ..delivery };
        self.deliver_to(turn, clients, maps, feed, (delivery, told));
    }
}

/// Ends what is being told through a view that is no more, so that all that follows is told anew; what that is for.
fn end_early(
    turn: &mut Turn,
    clients: &mut Clients,
    maps: &Maps,
    (id, map): (ConnectionId, MapSlot),
    walk: Walk,
) -> Purpose {
    let (has_told, map_type) = (walk.has_told(), walk.map_type());
    match walk.purpose {
        Purpose::Snapshot { ticket, .. } if !has_told => {
            Purpose::Snapshot { ticket, resumed: false, reset: true }
        }
        Purpose::Snapshot { .. } | Purpose::StartOver if has_told => {
            let (ticket, reset) = match &walk.purpose {
                Purpose::Snapshot { ticket, reset, .. } => (ticket.as_ref(), *reset),
                _ => (None, true),
            };
            // Nobody can go on from there.
            let cursor = Cursor { epoch: turn.epoch, time: Time::ZERO, scope: Scope::UNKNOWN };
            let end = SnapshotEnd::Last { cursor, resumed: false, reset };
            let (map, entries) = (&**maps[map].interest.name(), Entries::new(&[]));
            clients.tell(id, turn.now, Event::Snapshot { ticket, map, map_type, entries, end });
            turn.metrics.snapshots += 1;
            Purpose::StartOver
        }
        _ => Purpose::StartOver,
    }
}

/// Tells one subscriber that walks what leaves its view, so that nothing stays with it that the walk will not meet again.
pub(super) fn tell_leaving(
    turn: &mut Turn,
    clients: &mut Clients,
    maps: &Maps,
    subscription: &mut Subscription,
    (delivery, scope): (Delivery<'_>, Scope),
) {
    let id = subscription.connection;
    let Some(walk) = &mut subscription.walk else { return };
    if clients.holds_changes(id.index) {
        if walk.miss() {
            subscription.live = ShardSet::EMPTY;
        }
        return;
    }
    let (name, entries) = (maps[delivery.map].interest.name(), delivery.leaving);
    turn.spend(work::FRAME + work::encoded(entries.packed().len()));
    turn.metrics.deliveries += entries.count() as u64;
    if walk.is_snapshot() {
        let (map_type, end) = (walk.map_type(), SnapshotEnd::More);
        let ticket = walk.begin_telling();
        let event = Event::Snapshot { ticket, map: name, map_type, entries, end };
        return clients.tell(id, turn.now, event);
    }
    hear_own(turn, maps, delivery.map);
    let time = walk.cursor(subscription.live, &turn.heard).min(turn.cursor_limit);
    let cursor = Cursor { epoch: turn.epoch, time, scope };
    clients.tell_change(id, turn.now, Change::all(name, entries, cursor));
}
