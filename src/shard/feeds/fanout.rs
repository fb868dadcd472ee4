//! Changes on their way to subscribers. The owner collects a turn's changes of a map into one batch, each entry
//! packed once; one item goes to every interested shard, and there each dialect encodes them once for all subscribers of
//! a feed that get the same, or the same but for a few bytes.

use std::ops::Range;

use super::subscribe::told_live;
use super::views::{Shown, tell_leaving};
use super::{Feed, FeedSlot, Feeds};
use crate::crdt::Time;
use crate::mesh::{Changes, Entries, Entry, Item, ShardIndex, ShardSet, Span, Writer, length};
use crate::shard::Change;
use crate::shard::clients::{Alike, Clients, DIALECTS_MAX};
use crate::shard::maps::{Batch, Lens, MapSlot, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Cursor;

/// The changes of one owner in one map, wherever their bytes lie.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    pub map: MapSlot,
    pub owner: ShardIndex,
    pub first: Time,
    pub entries: Entries<'a>,
    /// What each has taken away, where that was noted.
    pub before: &'a [u8],
    /// Of these, those that leave the view of the feed at hand.
    pub leaving: Entries<'a>,
    pub writers: &'a [Option<Writer>],
}

/// The part of a delivery that passes a filter.
#[derive(Default)]
pub struct Narrowing {
    /// Which feed each entry goes to, and the bytes of the entry.
    matches: Vec<(FeedSlot, u32, Range<usize>)>,
    /// Where what each entry has taken away begins.
    before_at: Vec<usize>,
    pub shown: Shown,
}

impl<'a> Delivery<'a> {
    /// The entries one by one, each with its writer.
    fn iter(self) -> impl Iterator<Item = (Entry<'a>, Option<Writer>)> {
        self.entries.zip(self.writers.iter().copied())
    }

    /// The same, each entry as it is packed.
    pub fn packed(self) -> impl Iterator<Item = (&'a [u8], Option<Writer>)> {
        let mut rest = self.entries;
        let packed = std::iter::from_fn(move || {
            let from = rest.packed();
            rest.next()?;
            Some(&from[..from.len() - rest.packed().len()])
        });
        packed.zip(self.writers.iter().copied())
    }
}

impl Feeds {
    /// Sends what the turn changed to everybody who watches.
    pub fn flush_batches(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps) {
        while let Some(batch) = maps.take_batch() {
            self.flush_batch(turn, clients, maps, batch);
        }
    }

    /// Sends what has grown enough, as what that costs is to be known before the turn begins anything more.
    pub fn flush_full_batches(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps) {
        while let Some(batch) = maps.take_full_batch() {
            self.flush_batch(turn, clients, maps, batch);
        }
    }

    /// Sends what the turn has changed so far in one map, so that whoever joins now starts after it.
    pub(super) fn flush_batches_of(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        slot: MapSlot,
    ) {
        while let Some(batch) = maps.take_batch_of(slot) {
            self.flush_batch(turn, clients, maps, batch);
        }
    }

    /// How many of this shard's connections are sent what the turn has changed so far.
    pub fn planned_sends(&self, maps: &Maps) -> usize {
        let subscribers = |feed: &u32| self.feeds[*feed as usize].subscribers.len();
        maps.batched().flat_map(|map| maps[map].interest.members()).map(subscribers).sum()
    }

    fn flush_batch(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps, batch: Batch) {
        for target in maps[batch.map].interest.shards().iter() {
            turn.spend(work::PACKED + work::copied(batch.packed.len() + batch.before.len()));
            send_changes(turn, maps, target, &batch);
        }
        let delivery = Delivery {
            map: batch.map,
            owner: turn.index,
            first: batch.first,
            entries: Entries::new(&batch.packed),
            before: &batch.before,
            leaving: Entries::new(&[]),
            writers: &batch.writers,
        };
        self.deliver(turn, clients, maps, delivery);
        maps.put_told(batch);
    }

    /// Changes of another owner have come.
    pub fn changes_arrived(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        (owner, changes): (ShardIndex, &Changes),
        (bytes, writers): (&[u8], &[Option<Writer>]),
    ) {
        let Some(map) = maps.find(&changes.map, turn.hasher.map(&changes.map)) else { return };
        let writers = &writers[changes.writers_start as usize..][..changes.writers_len as usize];
        let (entries, before) = (Entries::new(changes.entries.of(bytes)), changes.before.of(bytes));
        let (first, leaving) = (changes.first, Entries::new(&[]));
        self.deliver(turn, clients, maps, Delivery { map, owner, first, entries, before, leaving, writers });
    }

    /// Queues the changes for every local subscriber of the map that is live for their owner.
    fn deliver(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps, delivery: Delivery<'_>) {
        self.delivery += 1;
        for writer in delivery.writers.iter().flatten().filter(|writer| writer.shard == turn.index) {
            if let Some(connection) = clients.get_mut(writer.connection) {
                connection.wrote_in_delivery = self.delivery;
            }
        }
        let told = told_live(turn, maps, delivery.map);
        if let Some(feed) = self.routes.of_all(delivery.map) {
            self.deliver_to(turn, clients, maps, feed, (delivery, told));
        }
        if self.routes.is_filtered(delivery.map) {
            self.deliver_narrowed(turn, clients, maps, (delivery, told));
            self.deliver_viewed(turn, clients, maps, (delivery, told));
        }
    }

    /// Queues the changes for the subscribers of feeds that are for some keys: each looks up whom it concerns, and a feed gets
    /// its own as if there were no others.
    fn deliver_narrowed(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        (delivery, told): (Delivery<'_>, Time),
    ) {
        let mut narrowing = std::mem::take(&mut self.narrowing);
        let Narrowing { matches, before_at, shown } = &mut narrowing;
        matches.clear();
        before_at.clear();
        let all = delivery.entries.packed();
        let (mut rest, seed) = (delivery.entries, maps[delivery.map].interest.hash());
        let mut before = Entries::new(delivery.before);
        for place in 0.. {
            let start = all.len() - rest.packed().len();
            let Some(entry) = rest.next() else { break };
            let range = start..all.len() - rest.packed().len();
            before_at.push(delivery.before.len() - before.packed().len());
            before.next();
            let key = (entry.key.as_bytes(), turn.hasher.key(seed, entry.key));
            let feeds = &self.feeds;
            let lookups = self.routes.find((delivery.map, seed), key, |feed| {
                let filter = &feeds[feed as usize].filter;
                if filter.as_ref().is_none_or(|filter| filter.passes(key.0)) {
                    matches.push((feed, place, range.clone()));
                }
            });
            turn.spend(work::PASSED_OVER * lookups as u64);
        }
        turn.spend(work::PASSED_OVER * matches.len() as u64 + work::copied(all.len()));
        matches.sort_unstable_by_key(|&(feed, place, _)| (feed, place));
        for of_feed in matches.chunk_by(|(feed, ..), (other, ..)| feed == other) {
            let (feed, view) = (of_feed[0].0, self.feeds[of_feed[0].0 as usize].view.clone());
            let mut lens = view.as_deref().map(|parts| Lens::new(parts, maps[delivery.map].interest.name()));
            shown.clear();
            for (_, place, range) in of_feed {
                let (packed, place) = (&all[range.clone()], *place as usize);
                let writer = delivery.writers[place];
                match &mut lens {
                    None => shown.add(packed, writer),
                    Some(lens) => {
                        let before = Entries::new(&delivery.before[before_at[place]..]).next();
                        shown.look(lens, packed, before.map(|before| before.state), writer);
                    }
                }
            }
            if let Some(lens) = lens {
                turn.count_asked(lens.asked);
            }
            self.deliver_shown(turn, clients, maps, feed, (shown, delivery, told));
        }
        self.narrowing = narrowing;
    }

    /// Queues the changes for the subscribers of one feed, of whom those that are live have been `told` up to then.
    pub(super) fn deliver_to(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        feed: FeedSlot,
        (delivery, told): (Delivery<'_>, Time),
    ) {
        let Self { feeds, subscriptions, walkers, wanted, delivery: number, .. } = self;
        let Feed { scope, subscribers, .. } = &feeds[feed as usize];
        let name = maps[delivery.map].interest.name();
        let cursor = Cursor { epoch: turn.epoch, time: told, scope: *scope };
        let count = delivery.writers.len();
        // What most subscribers get.
        let mut alike = Alike::default();
        // Whether a dialect gives a writer all that the delivery brings.
        let mut echoes_all = [None; DIALECTS_MAX];
        turn.spend(work::receivers(subscribers.len(), delivery.entries.packed().len()));
        for &slot in subscribers {
            let subscription = &mut subscriptions[slot as usize];
            let leaves = !delivery.leaving.packed().is_empty();
            if !subscription.live.contains(delivery.owner) {
                if leaves {
                    tell_leaving(turn, clients, maps, subscription, (delivery, *scope));
                }
                continue;
            }
            let id = subscription.connection;
            let is_held = clients.holds_changes(id.index);
            let connection = clients.at_mut(id.index);
            if is_held {
                if !connection.is_connected() {
                    continue;
                }
                let position = delivery.first.previous();
                if let Some(walk) = subscription.fall_behind(delivery.owner, position, turn.shards) {
                    walk.wait(walkers, id, slot);
                    turn.metrics.conflations += 1;
                }
                if leaves && subscription.walk.as_mut().is_some_and(|walk| walk.miss()) {
                    subscription.live = ShardSet::EMPTY;
                }
                continue;
            }
            let index = connection.dialect;
            let has_written = connection.wrote_in_delivery == *number;
            let is_plain = subscription.walk.is_none()
                && (!has_written
                    || subscription.echo
                        && *echoes_all[usize::from(index)].get_or_insert_with(|| {
                            let dialect = clients.dialect(index);
                            delivery.iter().all(|(entry, _)| dialect.echoes(&entry))
                        }));
            if is_plain {
                turn.metrics.deliveries += count as u64;
                clients.send_alike(&mut alike, id.index, turn.now, |dialect, out| {
                    dialect.change_for_all(Change::all(name, delivery.entries, cursor), out);
                });
                continue;
            }
            let time = match &subscription.walk {
                None => told,
                Some(walk) => walk.cursor(subscription.live, &turn.heard).min(turn.cursor_limit),
            };
            let (this, dialect) = (turn.writer(id), clients.dialect(index));
            wanted.clear();
            wanted.extend(
                delivery.iter().map(|(entry, writer)| {
                    writer != Some(this) || subscription.echo && dialect.echoes(&entry)
                }),
            );
            let count = wanted.iter().filter(|&&wanted| wanted).count();
            turn.spend(work::FRAME + work::PASSED_OVER * wanted.len() as u64);
            if count > 0 {
                turn.metrics.deliveries += count as u64;
                let change = Change::some(name, delivery.entries, wanted, Cursor { time, ..cursor });
                clients.tell_change(id, turn.now, change);
            }
        }
    }
}

fn send_changes(turn: &mut Turn, maps: &Maps, target: ShardIndex, batch: &Batch) {
    let interest = &maps[batch.map].interest;
    let before = if interest.wants_before_for(target) { &*batch.before } else { &[] };
    let map = interest.name().clone();
    let envelope = turn.outgoing.filling(target);
    let changes = Changes {
        map,
        first: batch.first,
        entries: Span::append(&mut envelope.bytes, &batch.packed),
        before: Span::append(&mut envelope.bytes, before),
        // One for each entry, which has bytes.
        writers_start: length(envelope.writers.len()),
        writers_len: length(batch.writers.len()),
    };
    envelope.writers.extend_from_slice(&batch.writers);
    envelope.items.push(Item::Changes(changes));
}
