//! Changes on their way to subscribers. The owner collects a turn's changes of a map into one batch, each entry
//! packed once; one item goes to every interested shard, and there each dialect encodes them once for all subscribers of
//! a feed that get the same, or the same but for a few bytes.

use super::subscribe::cursor;
use super::{Feed, Feeds};
use crate::crdt::Time;
use crate::mesh::{Changes, Entries, Entry, Item, ShardIndex, Span, Writer};
use crate::shard::Change;
use crate::shard::clients::{Alike, Clients, DIALECTS_MAX};
use crate::shard::maps::{Batch, MapSlot, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Cursor;

/// The changes of one owner in one map, wherever their bytes lie.
#[derive(Clone, Copy)]
struct Delivery<'a> {
    map: MapSlot,
    owner: ShardIndex,
    first: Time,
    entries: Entries<'a>,
    writers: &'a [Option<Writer>],
}

impl<'a> Delivery<'a> {
    /// The entries one by one, each with its writer.
    fn iter(self) -> impl Iterator<Item = (Entry<'a>, Option<Writer>)> {
        self.entries.zip(self.writers.iter().copied())
    }
}

impl Feeds {
    /// Sends what the turn changed to everybody who watches.
    pub fn flush_batches(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps) {
        while let Some(batch) = maps.take_batch() {
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
            send_changes(turn, maps, target, &batch);
        }
        let delivery = Delivery {
            map: batch.map,
            owner: turn.index,
            first: batch.first,
            entries: Entries::new(&batch.packed),
            writers: &batch.writers,
        };
        self.deliver(turn, clients, maps, delivery);
        maps.recycle_batch(batch);
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
        let entries = Entries::new(changes.entries.of(bytes));
        self.deliver(turn, clients, maps, Delivery { map, owner, first: changes.first, entries, writers });
    }

    /// Queues the changes for every local subscriber of the map that is live for their owner.
    fn deliver(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps, delivery: Delivery<'_>) {
        self.delivery += 1;
        for writer in delivery.writers.iter().flatten().filter(|writer| writer.shard == turn.index) {
            if let Some(connection) = clients.get_mut(writer.connection) {
                connection.wrote_in_delivery = self.delivery;
            }
        }
        let cursor = cursor(turn, maps, delivery.map);
        for &feed in maps[delivery.map].interest.members() {
            self.deliver_to(turn, clients, maps, feed, (delivery, cursor));
        }
    }

    /// Queues the changes for the subscribers of one feed. `cursor` is that of the whole map.
    fn deliver_to(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        feed: u32,
        (delivery, cursor): (Delivery<'_>, Cursor),
    ) {
        let Self { feeds, subscriptions, passes, wanted, delivery: number, .. } = self;
        let Feed { filter, scope, subscribers, .. } = &feeds[feed as usize];
        let (name, filter) = (maps[delivery.map].interest.name(), filter.as_deref());
        let cursor = Cursor { scope: *scope, ..cursor };
        // What of the delivery passes, looked at once for all of them.
        let mut passing = delivery.writers.len();
        if let Some(filter) = filter {
            turn.spend(work::PASSED_OVER * delivery.writers.len() as u64);
            passes.clear();
            passes.extend(delivery.iter().map(|(entry, _)| filter.passes(entry.key.as_bytes())));
            passing = passes.iter().filter(|&&passes| passes).count();
        }
        // What most subscribers get.
        let mut alike = Alike::default();
        // Whether a dialect gives a writer all that the delivery brings.
        let mut echoes_all = [None; DIALECTS_MAX];
        turn.spend(work::RECEIVER * subscribers.len() as u64);
        for &slot in subscribers {
            let subscription = &mut subscriptions[slot as usize];
            if !subscription.live.contains(delivery.owner) {
                continue;
            }
            let id = subscription.connection;
            let is_over = clients.is_over_soft_limit(id.index);
            let connection = clients.at_mut(id.index);
            if is_over {
                let began = subscription.fall_behind(delivery.owner, delivery.first.previous(), turn.shards);
                connection.walking += u32::from(began);
                turn.metrics.conflations += u64::from(began);
                continue;
            }
            if passing == 0 {
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
                turn.metrics.deliveries += passing as u64;
                clients.send_alike(&mut alike, id.index, turn.now, |dialect, out| {
                    let change = match filter {
                        None => Change::all(name, delivery.entries, cursor),
                        Some(_) => Change::some(name, delivery.entries, passes, cursor),
                    };
                    dialect.change_for_all(change, out);
                });
                continue;
            }
            let time = match &subscription.walk {
                None => cursor.time,
                Some(walk) => walk.cursor(subscription.live, &turn.heard).min(turn.cursor_limit),
            };
            let (this, dialect) = (turn.writer(id), clients.dialect(index));
            wanted.clear();
            wanted.extend(delivery.iter().enumerate().map(|(place, (entry, writer))| {
                let is_own = writer == Some(this);
                (filter.is_none() || passes[place])
                    && (!is_own || subscription.echo && dialect.echoes(&entry))
            }));
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
    let map = maps[batch.map].interest.name().clone();
    let envelope = turn.outgoing.filling(target);
    let changes = Changes {
        map,
        first: batch.first,
        entries: Span::append(&mut envelope.bytes, &batch.packed),
        writers_start: envelope.writers.len() as u32,
        writers_len: batch.writers.len() as u32,
    };
    envelope.writers.extend_from_slice(&batch.writers);
    envelope.items.push(Item::Changes(changes));
}
