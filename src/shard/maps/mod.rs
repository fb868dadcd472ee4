//! The maps this shard knows: those it owns cells of, those its clients watch, those whose type it keeps.

pub mod apply;
pub mod journal;
pub mod load;
pub mod memory;
pub mod recency;
pub mod removal;
pub mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;
use slab::Slab;

use crate::crdt::{self, MapType, Time};
use crate::mesh::ShardSet;
use crate::wire::Scope;

use crate::shard::maps::load::Loading;
use crate::shard::maps::recency::{Recency, RecencyOrder};
use crate::shard::maps::waiting::Parked;

/// Slot of a map in this shard's table.
pub type MapSlot = u32;

/// One map, as far as it concerns this shard.
pub struct SharedMap {
    pub name: Arc<str>,
    pub hash: u64,
    /// What cursors are for that are given to subscribers of all its keys.
    pub scope: Scope,
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
    /// Bytes it was last counted with, and whether it is on the list of those to be counted again.
    pub counted_bytes: usize,
    pub is_uncounted: bool,
    /// What has waited for it is being let go, one after the other: its slot must stay.
    pub is_held: bool,
    pub recency: Recency,
}

/// The cells this shard owns.
pub enum Cells {
    /// Not in memory, and nobody has asked the storage for them.
    Unloaded,
    /// Asked for; requests wait, in order.
    Loading(Box<Loading>),
    /// Nothing is stored and no write has come yet, so the type is open.
    Untyped,
    /// The map's home shard was asked for the type; requests wait, in order, with their own bytes.
    Claiming(VecDeque<Parked>),
    Typed(Box<crdt::Map>),
}

impl Cells {
    /// Of a map that nothing is known of; with `is_stored` there may be more in the storage.
    const fn empty(is_stored: bool) -> Self {
        if is_stored { Self::Unloaded } else { Self::Untyped }
    }

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

    /// The requests that wait for the map to be loaded or its type to be known.
    pub fn waiting(&mut self) -> Option<&mut VecDeque<Parked>> {
        match &mut self.cells {
            Cells::Loading(loading) => Some(loading.waiting()),
            Cells::Claiming(waiting) => Some(waiting),
            Cells::Unloaded | Cells::Untyped | Cells::Typed(_) => None,
        }
    }

    /// Whether nobody watches it, nothing waits for it and nothing of it is on its way.
    pub fn is_idle(&self) -> bool {
        let waits = matches!(self.cells, Cells::Loading(_) | Cells::Claiming(_));
        !waits && !self.is_held && !self.is_watched() && self.batch.is_none()
    }

    /// Bytes it takes in memory, without what the allocator adds.
    pub fn heap_bytes(&self) -> usize {
        let cells = match &self.cells {
            Cells::Typed(cells) => size_of::<crdt::Map>() + cells.heap_bytes(),
            Cells::Loading(loading) => loading.heap_bytes(),
            Cells::Unloaded | Cells::Untyped | Cells::Claiming(_) => 0,
        };
        SLOT_BYTES + self.name.len() + cells
    }

    /// Whether anybody would be told of a change.
    pub fn is_watched(&self) -> bool {
        !self.subscribers.is_empty() || !self.interested.is_empty()
    }

    fn is_unused(&self) -> bool {
        matches!(self.cells, Cells::Unloaded | Cells::Untyped) && self.is_idle()
    }
}

/// Bytes of a map's place in the table, in the index by name, and beside its shared name.
const SLOT_BYTES: usize = size_of::<SharedMap>() + 16 + 16;

/// All of them, by slot and by name.
#[derive(Default)]
pub struct Maps {
    slots: Slab<SharedMap>,
    by_name: HashTable<MapSlot>,
    /// Whether maps that are not here may be in the storage.
    is_stored: bool,
    order: RecencyOrder,
    /// Sum of what each map was last counted with.
    counted_bytes: usize,
}

impl Maps {
    /// No maps. With `is_stored` those that are used are first loaded; with `is_ordered` the order in which they
    /// were used is kept.
    pub fn new(is_stored: bool, is_ordered: bool) -> Self {
        Self { is_stored, order: RecencyOrder::new(is_ordered), ..Self::default() }
    }

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
            scope: Scope::of_map(name),
            cells: Cells::empty(self.is_stored),
            subscribers: Vec::new(),
            interested: ShardSet::EMPTY,
            batch: None,
            scheduled_ms: u64::MAX,
            changed_at: Time::ZERO,
            counted_bytes: 0,
            is_uncounted: false,
            is_held: false,
            recency: Recency::default(),
        }) as MapSlot;
        let slots = &self.slots;
        self.by_name.insert_unique(hash, slot, |&slot| slots[slot as usize].hash);
        slot
    }

    /// Forgets a map nobody needs, so that subscribing to random names costs nothing in the long run.
    pub fn release_if_unused(&mut self, slot: MapSlot) {
        if self.slots.get(slot as usize).is_some_and(SharedMap::is_unused) {
            self.remove(slot);
        }
    }

    /// Forgets a map, which must be there.
    pub fn remove(&mut self, slot: MapSlot) -> SharedMap {
        self.order.unlink(&mut self.slots, slot);
        let map = self.slots.remove(slot as usize);
        self.counted_bytes -= map.counted_bytes;
        if let Ok(entry) = self.by_name.find_entry(map.hash, |&candidate| candidate == slot) {
            entry.remove();
        }
        map
    }

    /// Drops the cells of all maps, and every map that nobody watches or waits for. No change may be in a batch.
    pub fn clear(&mut self) {
        let slots: Vec<MapSlot> = self.slots.iter().map(|(slot, _)| slot as MapSlot).collect();
        for slot in slots {
            let map = &mut self.slots[slot as usize];
            // Who claims its type has no cells yet, and is told what the type is from now on. Loads see to themselves.
            if !matches!(map.cells, Cells::Claiming(_) | Cells::Loading(_)) {
                map.cells = Cells::empty(self.is_stored);
            }
            (map.scheduled_ms, map.changed_at) = (u64::MAX, Time::ZERO);
            self.release_if_unused(slot);
            self.count(slot);
        }
    }

    /// Counts the bytes of a map again, if it is still there.
    pub fn count(&mut self, slot: MapSlot) {
        let Some(map) = self.slots.get_mut(slot as usize) else { return };
        let bytes = map.heap_bytes();
        self.counted_bytes = self.counted_bytes + bytes - map.counted_bytes;
        (map.counted_bytes, map.is_uncounted) = (bytes, false);
    }

    /// Bytes of all maps, each as it was last counted.
    pub fn counted_bytes(&self) -> usize {
        self.counted_bytes
    }

    /// Takes note that the map is being used.
    pub fn touch(&mut self, slot: MapSlot, now_ms: u64) {
        self.order.touch(&mut self.slots, slot, now_ms);
    }

    /// The map used least recently; `None` also if the order is not kept.
    pub fn oldest(&self) -> Option<MapSlot> {
        self.order.oldest()
    }

    /// The map used next after this one.
    pub fn newer_than(&self, slot: MapSlot) -> Option<MapSlot> {
        self.slots[slot as usize].recency.newer()
    }

    /// Takes a map for one just used.
    pub fn renew(&mut self, slot: MapSlot) {
        self.order.renew(&mut self.slots, slot);
    }

    pub fn len(&self) -> usize {
        self.slots.len()
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
