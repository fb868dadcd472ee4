//! Changes on their way to subscribers. The owner collects a turn's changes of a map into one batch, each entry
//! packed once; one item goes to every interested shard, and there each dialect encodes them once for all its
//! subscribers that get the same, or the same but for a few bytes.

use crate::crdt::Time;
use crate::limits::CHUNK_BYTES;
use crate::mesh::{Changes, Entries, Entry, EntryPacker, Item, ShardIndex, Span, Writer};
use crate::shard::clients::{Alike, DIALECTS_MAX};
use crate::shard::maps::MapSlot;
use crate::shard::{Change, Shard};
use crate::wire::Cursor;

/// A turn's changes of one map, in the order they were applied.
#[derive(Default)]
pub struct Batch {
    map: MapSlot,
    first: Time,
    packed: Vec<u8>,
    writers: Vec<Option<Writer>>,
}

/// The batches that fill, and emptied ones for reuse.
#[derive(Default)]
pub struct Batches {
    filling: Vec<Batch>,
    spare: Vec<Batch>,
    /// Numbers the deliveries, to mark who wrote in which.
    delivery: u64,
}

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

impl Shard {
    /// Adds one change to the batch of its map.
    pub(in crate::shard) fn add_to_batch(
        &mut self,
        slot: MapSlot,
        applied: Time,
        writer: Option<Writer>,
        pack: impl FnOnce(&mut EntryPacker<'_>),
    ) {
        let batches = &mut self.batches;
        let map = &mut self.maps[slot];
        let index = *map.batch.get_or_insert_with(|| {
            let mut batch = batches.spare.pop().unwrap_or_default();
            batch.map = slot;
            batch.first = applied;
            batches.filling.push(batch);
            batches.filling.len() as u32 - 1
        });
        let batch = &mut batches.filling[index as usize];
        pack(&mut EntryPacker(&mut batch.packed));
        batch.writers.push(writer);
        if batch.packed.len() > CHUNK_BYTES {
            self.flush_batch(slot);
        }
    }

    /// Sends what the turn changed to everybody who watches.
    pub(in crate::shard) fn flush_batches(&mut self) {
        while let Some(batch) = self.batches.filling.last() {
            let slot = batch.map;
            self.flush_batch(slot);
        }
    }

    /// Sends what the turn has changed so far in one map, so that whoever joins now starts after it.
    pub(in crate::shard) fn flush_batch(&mut self, slot: MapSlot) {
        let Some(map) = self.maps.get_mut(slot) else { return };
        let Some(index) = map.batch.take() else { return };
        let mut batch = self.batches.filling.swap_remove(index as usize);
        if let Some(moved) = self.batches.filling.get(index as usize) {
            self.maps[moved.map].batch = Some(index);
        }
        for target in self.maps[slot].interested.iter() {
            self.send_changes(target, &batch);
        }
        self.deliver(Delivery {
            map: slot,
            owner: self.index,
            first: batch.first,
            entries: Entries::new(&batch.packed),
            writers: &batch.writers,
        });
        batch.packed.clear();
        batch.writers.clear();
        self.batches.spare.push(batch);
    }

    fn send_changes(&mut self, target: ShardIndex, batch: &Batch) {
        let map = self.maps[batch.map].name.clone();
        let envelope = self.outgoing.filling(target);
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

    /// Changes of another owner have come.
    pub(in crate::shard) fn changes_arrived(
        &mut self,
        owner: ShardIndex,
        changes: &Changes,
        bytes: &[u8],
        writers: &[Option<Writer>],
    ) {
        let Some(map) = self.maps.find(&changes.map, self.hasher.map(&changes.map)) else { return };
        let writers = &writers[changes.writers_start as usize..][..changes.writers_len as usize];
        let entries = Entries::new(changes.entries.of(bytes));
        self.deliver(Delivery { map, owner, first: changes.first, entries, writers });
    }

    /// Queues the changes for every local subscriber of the map that is live for their owner.
    fn deliver(&mut self, delivery: Delivery<'_>) {
        self.batches.delivery += 1;
        let number = self.batches.delivery;
        for writer in delivery.writers.iter().flatten().filter(|writer| writer.shard == self.index) {
            if let Some(connection) = self.clients.get_mut(writer.connection) {
                connection.wrote_in_delivery = number;
            }
        }
        let cursor = self.cursor(delivery.map);
        let mut wanted = std::mem::take(&mut self.wanted);
        let map = &self.maps[delivery.map];
        // What most subscribers get.
        let mut alike = Alike::default();
        // Whether a dialect gives a writer all that the delivery brings.
        let mut echoes_all = [None; DIALECTS_MAX];
        for &slot in &map.subscribers {
            let subscription = &mut self.subscriptions[slot as usize];
            if !subscription.live.contains(delivery.owner) {
                continue;
            }
            let id = subscription.connection;
            let connection = &mut self.clients.table[id.index as usize];
            if connection.outbox.bytes() > self.config.outbox_soft_bytes {
                let began = subscription.fall_behind(delivery.owner, delivery.first.previous(), self.shards);
                connection.walking += u32::from(began);
                self.metrics.conflations += u64::from(began);
                continue;
            }
            let dialect = usize::from(connection.dialect);
            let is_plain = subscription.filter.is_none()
                && subscription.walk.is_none()
                && (connection.wrote_in_delivery != number
                    || subscription.echo
                        && *echoes_all[dialect].get_or_insert_with(|| {
                            let dialect = self.clients.dialects[dialect];
                            delivery.iter().all(|(entry, _)| dialect.echoes(&entry))
                        }));
            if is_plain {
                self.metrics.deliveries += delivery.writers.len() as u64;
                self.clients.send_alike(&mut alike, id.index, self.now, |dialect, out| {
                    dialect.change_for_all(Change::all(&map.name, delivery.entries, cursor), out);
                });
                continue;
            }
            let time = match &subscription.walk {
                None => cursor.time,
                Some(walk) => walk.cursor(subscription.live, &self.heard).min(self.cursor_limit),
            };
            let this = Writer { shard: self.index, connection: id };
            wanted.clear();
            wanted.extend(delivery.iter().map(|(entry, writer)| {
                let is_own = writer == Some(this);
                subscription.filter.as_ref().is_none_or(|filter| filter.passes(entry.key.as_bytes()))
                    && (!is_own || subscription.echo && self.clients.dialects[dialect].echoes(&entry))
            }));
            let count = wanted.iter().filter(|&&wanted| wanted).count();
            if count > 0 {
                self.metrics.deliveries += count as u64;
                let cursor = Cursor { time, scope: subscription.scope, ..cursor };
                let change = Change::some(&map.name, delivery.entries, &wanted, cursor);
                self.clients.tell_change(id, self.now, change);
            }
        }
        self.wanted = wanted;
    }

    /// The cursor of a subscriber of all of the map in `slot` that is live everywhere and has got everything there is to
    /// get: what is still in this turn's batch, and what other shards have yet to send, is not covered.
    pub(in crate::shard) fn cursor(&mut self, slot: MapSlot) -> Cursor {
        let own = match self.maps[slot].batch {
            Some(batch) => self.batches.filling[batch as usize].first.previous(),
            None => self.clock.last(),
        };
        self.heard[usize::from(self.index)] = own;
        let time = self.heard.iter().copied().min().unwrap_or(own);
        Cursor { epoch: self.epoch, time: time.min(self.cursor_limit), scope: self.maps[slot].scope }
    }
}
