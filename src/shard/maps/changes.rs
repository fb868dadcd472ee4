//! What the turn has changed and subscribers have yet to be told: one batch for each map, each entry packed once.
//!
//! Invariant: the batches of one map are told in the order in which they filled, and none grows far beyond
//! [`CHUNK_BYTES`], nor beyond what queries look at in a share of a turn.

use std::collections::VecDeque;

use super::{MapSlot, Maps, NO_BATCH};
use crate::crdt::Time;
use crate::limits::{CHUNK_BYTES, SCRATCH_BYTES_MAX};
use crate::mesh::{EntryPacker, Writer};
use crate::shard::{slots, work};

/// Changes of one map, in the order they were applied.
#[derive(Default)]
pub struct Batch {
    pub map: MapSlot,
    pub first: Time,
    /// [`crate::mesh::Entries`].
    pub packed: Vec<u8>,
    /// What each of them has taken away, as entries without keys, where anybody needs that.
    pub before: Vec<u8>,
    has_before: bool,
    /// That queries have with it, by and large.
    queried_work: u64,
    /// Who made each of them.
    pub writers: Vec<Option<Writer>>,
}

/// See the module.
#[derive(Default)]
pub struct Changes {
    /// Those that have grown enough, oldest first.
    full: VecDeque<Batch>,
    filling: Vec<Batch>,
    /// Told to subscribers, and yet to be looked at by queries; oldest first.
    queried: VecDeque<Batch>,
    /// Emptied, for reuse.
    spare: Vec<Batch>,
    /// What the next change takes away.
    noted: Vec<u8>,
}

impl Changes {
    /// Whether the batch in this place has what its changes take away.
    pub(super) fn has_before(&self, batch: u32) -> bool {
        self.filling[batch as usize].has_before
    }

    /// The buffer for what the next change takes away, empty.
    pub(super) fn begin_before(&mut self) -> Vec<u8> {
        let mut noted = std::mem::take(&mut self.noted);
        noted.clear();
        noted.shrink_to(SCRATCH_BYTES_MAX);
        noted
    }

    pub(super) fn put_before(&mut self, noted: Vec<u8>) {
        self.noted = noted;
    }
}

impl Maps {
    /// Adds one change to the batch of its map.
    pub(super) fn add_change(
        &mut self,
        slot: MapSlot,
        applied: Time,
        writer: Option<Writer>,
        pack: impl FnOnce(&mut EntryPacker<'_>),
    ) {
        let changes = &mut self.changes;
        let map = &mut self.table[slot];
        if map.batch == NO_BATCH {
            let mut batch = changes.spare.pop().unwrap_or_default();
            batch.map = slot;
            (batch.first, batch.has_before) = (applied, map.interest.wants_before());
            batch.queried_work = 0;
            map.batch = slots::slot(changes.filling.len());
            changes.filling.push(batch);
        }
        let batch = &mut changes.filling[map.batch as usize];
        pack(&mut EntryPacker(&mut batch.packed));
        batch.writers.push(writer);
        batch.queried_work += map.interest.queried_work();
        if batch.has_before {
            match changes.noted.is_empty() {
                true => EntryPacker(&mut batch.before).gone(""),
                false => batch.before.append(&mut changes.noted),
            }
        }
        let is_full = batch.packed.len().max(batch.before.len()) > CHUNK_BYTES
            || batch.queried_work > work::QUERIED_MAX;
        if is_full && let Some(batch) = self.take_filling(slot) {
            self.changes.full.push_back(batch);
        }
    }

    /// Takes the next batch that subscribers must be told of: of this map, or of one that was full before.
    pub fn take_batch_of(&mut self, slot: MapSlot) -> Option<Batch> {
        self.changes.full.pop_front().or_else(|| self.take_filling(slot))
    }

    /// Takes the next batch of any map.
    pub fn take_batch(&mut self) -> Option<Batch> {
        self.changes.full.pop_front().or_else(|| {
            let slot = self.changes.filling.last()?.map;
            self.take_filling(slot)
        })
    }

    /// Whether a batch has grown enough, so that what comes later is told by itself.
    pub fn has_full_batch(&self) -> bool {
        !self.changes.full.is_empty()
    }

    /// Takes the next batch that has grown enough.
    pub fn take_full_batch(&mut self) -> Option<Batch> {
        self.changes.full.pop_front()
    }

    /// Takes back a batch that subscribers have been told of.
    pub fn put_told(&mut self, batch: Batch) {
        match self.table.get(batch.map).is_some_and(|map| map.interest.queried_work() > 0) {
            true => self.changes.queried.push_back(batch),
            false => self.recycle_batch(batch),
        }
    }

    /// Takes the next batch that queries have yet to look at.
    pub fn take_queried(&mut self) -> Option<Batch> {
        self.changes.queried.pop_front()
    }

    /// Keeps a batch that everybody has been told of for another one.
    pub fn recycle_batch(&mut self, mut batch: Batch) {
        batch.packed.clear();
        batch.before.clear();
        batch.writers.clear();
        self.changes.spare.push(batch);
    }

    /// The first change of a map that subscribers have yet to be told.
    pub fn first_untold(&self, slot: MapSlot) -> Option<Time> {
        let of_full = self.changes.full.iter().find(|batch| batch.map == slot).map(|batch| batch.first);
        of_full.or_else(|| self.changes.filling.get(self.table[slot].batch as usize).map(|batch| batch.first))
    }

    /// The map of each batch.
    pub fn batched(&self) -> impl Iterator<Item = MapSlot> {
        self.changes.full.iter().chain(&self.changes.filling).map(|batch| batch.map)
    }

    fn take_filling(&mut self, slot: MapSlot) -> Option<Batch> {
        let index = std::mem::replace(&mut self.table.get_mut(slot)?.batch, NO_BATCH);
        if index == NO_BATCH {
            return None;
        }
        let batch = self.changes.filling.swap_remove(index as usize);
        if let Some(moved) = self.changes.filling.get(index as usize) {
            self.table[moved.map].batch = index;
        }
        Some(batch)
    }
}
