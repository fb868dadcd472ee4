//! The maps this shard knows: those it owns cells of, those its clients watch, those whose type it keeps.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;
use slab::Slab;

use crate::crdt::{self, MapType, Time};
use crate::mesh::ShardSet;

use super::apply::Parked;

/// Slot of a map in this shard's table.
pub type MapSlot = u32;

/// One map, as far as it concerns this shard.
pub struct SharedMap {
    pub name: Arc<str>,
    pub hash: u64,
    pub cells: Cells,
    /// Slots of the subscriptions of this shard's connections.
    pub subscribers: Vec<u32>,
    /// Other shards with subscribers of it.
    pub interested: ShardSet,
    /// The batch that collects this turn's changes.
    pub batch: Option<u32>,
    /// A deletion by time is registered with the shard's schedule for then; `u64::MAX`: none.
    pub scheduled_ms: u64,
    /// The latest change handed over to the storage since the map was loaded.
    pub changed_at: Time,
}

/// The cells this shard owns.
pub enum Cells {
    /// No write has come yet, so the type is open.
    Untyped,
    /// The map's home shard was asked for the type; requests wait, in order, with their own bytes.
    Claiming(VecDeque<Parked>),
    Typed(Box<crdt::Map>),
}

impl Cells {
    /// No cells yet, of this type.
    pub fn typed(map_type: MapType) -> Self {
        Self::Typed(Box::new(crdt::Map::new(map_type)))
    }
}

impl SharedMap {
    pub fn map_type(&self) -> Option<MapType> {
        match &self.cells {
            Cells::Typed(cells) => Some(cells.map_type()),
            _ => None,
        }
    }

    pub fn typed(&self) -> Option<&crdt::Map> {
        match &self.cells {
            Cells::Typed(cells) => Some(cells),
            _ => None,
        }
    }

    pub fn typed_mut(&mut self) -> Option<&mut crdt::Map> {
        match &mut self.cells {
            Cells::Typed(cells) => Some(cells),
            _ => None,
        }
    }

    /// Whether anybody would be told of a change.
    pub fn is_watched(&self) -> bool {
        !self.subscribers.is_empty() || !self.interested.is_empty()
    }

    fn is_unused(&self) -> bool {
        matches!(self.cells, Cells::Untyped) && !self.is_watched() && self.batch.is_none()
    }
}

/// All of them, by slot and by name.
#[derive(Default)]
pub struct Maps {
    slots: Slab<SharedMap>,
    by_name: HashTable<MapSlot>,
}

impl Maps {
    pub fn find(&self, name: &str, hash: u64) -> Option<MapSlot> {
        let is_it = |&slot: &MapSlot| &*self.slots[slot as usize].name == name;
        self.by_name.find(hash, is_it).copied()
    }

    pub fn find_or_insert(&mut self, name: &str, hash: u64) -> MapSlot {
        if let Some(slot) = self.find(name, hash) {
            return slot;
        }
        let slot = self.slots.insert(SharedMap {
            name: Arc::from(name),
            hash,
            cells: Cells::Untyped,
            subscribers: Vec::new(),
            interested: ShardSet::EMPTY,
            batch: None,
            scheduled_ms: u64::MAX,
            changed_at: Time::ZERO,
        }) as MapSlot;
        let slots = &self.slots;
        self.by_name.insert_unique(hash, slot, |&slot| slots[slot as usize].hash);
        slot
    }

    /// Forgets a map nobody needs, so that subscribing to random names costs nothing in the long run.
    pub fn release_if_unused(&mut self, slot: MapSlot) {
        let Some(map) = self.slots.get(slot as usize) else { return };
        if map.is_unused() {
            let hash = map.hash;
            if let Ok(entry) = self.by_name.find_entry(hash, |&candidate| candidate == slot) {
                entry.remove();
            }
            self.slots.remove(slot as usize);
        }
    }

    pub fn get_mut(&mut self, slot: MapSlot) -> Option<&mut SharedMap> {
        self.slots.get_mut(slot as usize)
    }

    pub fn iter(&self) -> impl Iterator<Item = &SharedMap> {
        self.slots.iter().map(|(_, map)| map)
    }
}

impl std::ops::Index<MapSlot> for Maps {
    type Output = SharedMap;

    fn index(&self, slot: MapSlot) -> &SharedMap {
        &self.slots[slot as usize]
    }
}

impl std::ops::IndexMut<MapSlot> for Maps {
    fn index_mut(&mut self, slot: MapSlot) -> &mut SharedMap {
        &mut self.slots[slot as usize]
    }
}
