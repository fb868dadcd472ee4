//! Changes on their way to subscribers. The owner collects a turn's changes of a map into one batch, each
//! entry encoded once; one item goes to every interested shard, one frame to all local subscribers.

use super::Shard;
use super::maps::MapSlot;
use super::outbox::SharedFrames;
use super::requests::text_frame;
use crate::crdt::Time;
use crate::limits::CHUNK_BYTES;
use crate::mesh::{ChangedEntry, Changes, Item, ShardIndex, Span, Writer};
use crate::wire::{Cursor, encode};

/// A turn's changes of one map, in the order they were applied.
#[derive(Default)]
pub struct Batch {
    map: MapSlot,
    first: Time,
    json: Vec<u8>,
    keys: Vec<u8>,
    entries: Vec<ChangedEntry>,
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
    json: &'a [u8],
    keys: &'a [u8],
    entries: &'a [ChangedEntry],
}

impl<'a> Delivery<'a> {
    /// The entries one by one: JSON, key, writer.
    fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8], Option<Writer>)> {
        let (mut json_start, mut key_start) = (0, 0);
        self.entries.iter().map(move |entry| {
            let json = &self.json[json_start..entry.json_end as usize];
            let key = &self.keys[key_start..entry.key_end as usize];
            // A comma stands between two entries.
            json_start = entry.json_end as usize + 1;
            key_start = entry.key_end as usize;
            (json, key, entry.writer)
        })
    }
}

impl Shard {
    /// Adds one change to the batch of its map.
    pub(super) fn add_to_batch(
        &mut self,
        slot: MapSlot,
        applied: Time,
        key: &str,
        writer: Option<Writer>,
        write: impl FnOnce(&mut Vec<u8>),
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
        if !batch.entries.is_empty() {
            encode::separate_entries(&mut batch.json);
        }
        write(&mut batch.json);
        batch.keys.extend_from_slice(key.as_bytes());
        batch.entries.push(ChangedEntry {
            json_end: batch.json.len() as u32,
            key_end: batch.keys.len() as u32,
            writer,
        });
        if batch.json.len() > CHUNK_BYTES {
            self.flush_batch(slot);
        }
    }

    /// Sends what the turn changed to everybody who watches.
    pub(super) fn flush_batches(&mut self) {
        while let Some(batch) = self.batches.filling.last() {
            let slot = batch.map;
            self.flush_batch(slot);
        }
    }

    /// Sends what the turn has changed so far in one map, so that whoever joins now starts after it.
    pub(super) fn flush_batch(&mut self, slot: MapSlot) {
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
            json: &batch.json,
            keys: &batch.keys,
            entries: &batch.entries,
        });
        batch.json.clear();
        batch.keys.clear();
        batch.entries.clear();
        self.batches.spare.push(batch);
    }

    fn send_changes(&mut self, target: ShardIndex, batch: &Batch) {
        let map = self.maps[batch.map].name.clone();
        let envelope = self.outgoing.filling(target);
        let changes = Changes {
            map,
            first: batch.first,
            json: Span::append(&mut envelope.bytes, &batch.json),
            keys: Span::append(&mut envelope.bytes, &batch.keys),
            entries_start: envelope.entries.len() as u32,
            entries_len: batch.entries.len() as u32,
        };
        envelope.entries.extend_from_slice(&batch.entries);
        envelope.items.push(Item::Changes(changes));
    }

    /// Changes of another owner have come.
    pub(super) fn changes_arrived(
        &mut self,
        owner: ShardIndex,
        changes: &Changes,
        bytes: &[u8],
        entries: &[ChangedEntry],
    ) {
        let Some(map) = self.maps.find(&changes.map, self.hasher.map(&changes.map)) else { return };
        let entries = &entries[changes.entries_start as usize..][..changes.entries_len as usize];
        let (json, keys) = (changes.json.of(bytes), changes.keys.of(bytes));
        self.deliver(Delivery { map, owner, first: changes.first, json, keys, entries });
    }

    /// Queues the changes for every local subscriber of the map that is live for their owner.
    fn deliver(&mut self, delivery: Delivery<'_>) {
        self.batches.delivery += 1;
        let number = self.batches.delivery;
        for (_, _, writer) in delivery.iter() {
            if let Some(writer) = writer.filter(|writer| writer.shard == self.index)
                && let Some(connection) = self.clients.get_mut(writer.connection)
            {
                connection.wrote_in_delivery = number;
            }
        }
        let cursor = self.cursor(delivery.map);
        let map = &self.maps[delivery.map];
        // The one frame that most subscribers get, made when the first of them is met.
        let mut shared: Option<SharedFrames> = None;
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
            let is_plain = subscription.filter.is_none()
                && subscription.walk.is_none()
                && (connection.wrote_in_delivery != number || subscription.echo);
            if is_plain {
                let frame = shared.get_or_insert_with(|| {
                    self.clients.pool.share(|out| change_frame(out, &map.name, delivery.json, cursor))
                });
                self.metrics.deliveries += delivery.entries.len() as u64;
                self.clients.send_shared(id.index, self.now, frame);
            } else {
                let time = match &subscription.walk {
                    None => cursor.time,
                    Some(walk) => walk.cursor(subscription.live, &self.heard).min(self.cursor_limit),
                };
                let cursor = Cursor { time, ..cursor };
                let writer = Writer { shard: self.index, connection: id };
                let wanted = |key: &[u8], by: Option<Writer>| {
                    subscription.filter.as_ref().is_none_or(|filter| filter.passes(key))
                        && (subscription.echo || by != Some(writer))
                };
                let count = delivery.iter().filter(|&(_, key, by)| wanted(key, by)).count();
                if count > 0 {
                    self.metrics.deliveries += count as u64;
                    self.clients.send(id, self.now, |out| {
                        text_frame(out, |out| some_changes(out, &map.name, delivery, wanted, cursor));
                    });
                }
            }
        }
    }

    /// The cursor of a subscriber of the map in `slot` that is live everywhere and has got everything there is to
    /// get: what is still in this turn's batch, and what other shards have yet to send, is not covered.
    pub(super) fn cursor(&mut self, slot: MapSlot) -> Cursor {
        let own = match self.maps[slot].batch {
            Some(batch) => self.batches.filling[batch as usize].first.previous(),
            None => self.clock.last(),
        };
        self.heard[usize::from(self.index)] = own;
        let time = self.heard.iter().copied().min().unwrap_or(own);
        Cursor { epoch: self.epoch, time: time.min(self.cursor_limit) }
    }
}

/// Appends a `change` frame with all of `json`.
pub fn change_frame(out: &mut Vec<u8>, map: &str, json: &[u8], cursor: Cursor) {
    text_frame(out, |out| {
        encode::change_start(out, map);
        out.extend_from_slice(json);
        encode::change_end(out, cursor);
    });
}

/// Appends a `change` message with those entries that are `wanted`.
fn some_changes(
    out: &mut Vec<u8>,
    map: &str,
    delivery: Delivery<'_>,
    wanted: impl Fn(&[u8], Option<Writer>) -> bool,
    cursor: Cursor,
) {
    encode::change_start(out, map);
    let mut is_first = true;
    for (json, _, _) in delivery.iter().filter(|&(_, key, writer)| wanted(key, writer)) {
        if !std::mem::take(&mut is_first) {
            encode::separate_entries(out);
        }
        out.extend_from_slice(json);
    }
    encode::change_end(out, cursor);
}
