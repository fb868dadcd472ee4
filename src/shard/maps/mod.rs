//! The maps this shard knows: those it owns cells of, those its clients watch, those whose type it keeps.

mod allowed;
mod apply;
mod before;
mod changes;
mod counts;
mod inspect;
mod journal;
mod lens;
#[cfg_attr(
    not(test),
    allow(clippy::cast_possible_truncation, reason = "`RETRY_MS`, of which all are at most, has 32 bits")
)]
mod load;
mod look_up;
mod memory;
mod pack;
mod recency;
mod release;
mod removal;
mod types;
mod waiting;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use changes::Changes;
use counts::Counted;
use load::{Loading, Loads};
use look_up::LookUps;
use memory::Memory;
use recency::{Recency, RecencyOrder};
use removal::Schedule;
use types::Claim;

pub use changes::Batch;
pub use counts::MapCounts;
pub use journal::Journal;
pub use lens::{Lens, SeenTags, pack_tags, packed_text_bytes};
pub use pack::{pack_cell, text_bytes};
pub use release::RELEASED_PER_TURN_MAX;
pub use types::refuse_type;
pub use waiting::{Parked, WaitingBytes};

use super::interest::{Interest, NameTable, Named};
use super::{Shared, turn::Turn};
use crate::crdt::{self, MapType, Time};
use crate::handover::StoragePort;
use crate::mesh::ShardSet;
use crate::wire::Reject;

/// Slot of a map in this shard's table.
pub type MapSlot = u32;

/// One map, as far as it concerns this shard.
pub struct SharedMap {
    /// Its members are feeds.
    pub interest: Interest,
    cells: Cells,
    /// At its home: which other shards may have cells of it. They tell when they have none any more (`types.rs`).
    holders: Option<Box<ShardSet>>,
    /// The batch that collects this turn's changes; [`NO_BATCH`]: none.
    batch: u32,
    /// A deletion by time is registered with the shard's schedule for then; `u64::MAX`: none.
    scheduled_ms: u64,
    /// The latest change handed over to the storage since the map was loaded.
    changed_at: Time,
    counted: Counted,
    recency: Recency,
    /// What was parked for it is being released, one after the other: its slot must stay.
    is_retained: bool,
    /// It has no cell, and goes once that is in the base (`memory.rs`).
    awaits_fold: bool,
}

/// What a map takes in the table, of which most are never watched and hold a key or two.
const _: () = assert!(size_of::<SharedMap>() <= 104);

/// In place of a batch: none.
const NO_BATCH: u32 = u32::MAX;

/// The cells this shard owns.
pub enum Cells {
    /// Not in memory, and nobody has asked the storage for them.
    Unloaded,
    /// Asked for; requests wait, in order.
    Loading(Box<Loading>),
    /// Nothing is stored and no write has come yet, so the type is open.
    Untyped,
    /// The map's home shard was asked for the type; requests wait, in order, with their own bytes.
    Claiming(Box<Claim>),
    Typed(Box<crdt::Map>),
}

impl Cells {
    /// Of a map that nothing is known of; with `is_stored` there may be more in the storage.
    const fn empty(is_stored: bool) -> Self {
        if is_stored { Self::Unloaded } else { Self::Untyped }
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
    fn parked(&mut self) -> Option<&mut VecDeque<Parked>> {
        match &mut self.cells {
            Cells::Loading(loading) => Some(loading.parked()),
            Cells::Claiming(claim) => Some(&mut claim.parked),
            Cells::Unloaded | Cells::Untyped | Cells::Typed(_) => None,
        }
    }

    /// Whether anything waits for it, or something of it is on its way.
    pub fn is_busy(&self) -> bool {
        let waits = matches!(self.cells, Cells::Loading(_) | Cells::Claiming(_));
        waits || self.is_retained || self.batch != NO_BATCH
    }

    /// Whether it is not busy, and nobody watches it.
    pub fn is_idle(&self) -> bool {
        !self.is_busy() && !self.interest.is_heard()
    }

    /// Bytes it takes in memory, without what the allocator adds.
    pub fn heap_bytes(&self) -> usize {
        let cells = match &self.cells {
            Cells::Typed(cells) => size_of::<crdt::Map>() + cells.heap_bytes(),
            Cells::Loading(loading) => loading.heap_bytes(),
            Cells::Unloaded | Cells::Untyped | Cells::Claiming(_) => 0,
        };
        SLOT_BYTES + self.interest.name().len() + cells
    }

    fn is_unused(&self) -> bool {
        matches!(self.cells, Cells::Unloaded | Cells::Untyped) && self.is_idle()
    }
}

/// Bytes of a map's place in the table, in the index by name, and beside its shared name.
const SLOT_BYTES: usize = size_of::<SharedMap>() + 16 + 16;

impl Named for SharedMap {
    fn interest(&self) -> &Interest {
        &self.interest
    }
}

/// See the module.
pub struct Maps {
    table: NameTable<SharedMap>,
    /// Whether maps that are not here may be in the storage.
    is_stored: bool,
    order: RecencyOrder,
    /// Sum of what each map was last counted with.
    counts: MapCounts,
    /// All maps were dropped at this tick: whoever has seen only what was applied before must start anew.
    pub cleared_through: Time,
    /// What was pruned of maps that were forgotten since: whoever has seen less of a map that is not here, or came
    /// anew, must start over.
    forgotten_through: Time,
    /// The way to the storage; `None`: maps are kept in memory only.
    journal: Option<Journal>,
    loads: Loads,
    look_ups: LookUps,
    memory: Memory,
    schedule: Schedule,
    changes: Changes,
    /// Maps to be counted again.
    uncounted: Vec<MapSlot>,
    /// Requests that have waited too long for their map, or whose map cannot be loaded.
    given_up: VecDeque<(Parked, Reject)>,
    /// Of all requests that wait in this shard.
    waiting_bytes: Rc<Cell<usize>>,
}

impl Maps {
    /// No maps in memory. `storage` is there exactly if `shared.storage` is.
    pub fn new(shared: &Shared, turn: &Turn, storage: Option<StoragePort>) -> Self {
        let journal =
            shared.storage.as_ref().zip(storage).map(|(shared, port)| {
                Journal::new(port, Arc::clone(&shared.progress), usize::from(turn.index))
            });
        let memory = Memory::new(shared.config.memory_limit_bytes.div_ceil(turn.shards));
        Self {
            table: NameTable::default(),
            is_stored: journal.is_some(),
            order: RecencyOrder::new(journal.is_some() && memory.is_limited()),
            counts: MapCounts::default(),
            cleared_through: shared.storage.as_ref().map_or(Time::ZERO, |storage| storage.cleared_through),
            forgotten_through: Time::ZERO,
            journal,
            loads: Loads::default(),
            look_ups: LookUps::default(),
            memory,
            schedule: Schedule::default(),
            changes: Changes::default(),
            uncounted: Vec::new(),
            given_up: VecDeque::new(),
            waiting_bytes: Rc::default(),
        }
    }

    pub fn find(&self, name: &str, hash: u64) -> Option<MapSlot> {
        self.table.find(name, hash)
    }

    pub fn find_or_insert(&mut self, name: &str, hash: u64) -> MapSlot {
        if let Some(slot) = self.table.find(name, hash) {
            return slot;
        }
        let is_stored = self.is_stored;
        let slot = self.table.find_or_insert(name, hash, |interest| SharedMap {
            interest,
            cells: Cells::empty(is_stored),
            holders: None,
            batch: NO_BATCH,
            scheduled_ms: u64::MAX,
            changed_at: Time::ZERO,
            counted: Counted::default(),
            is_retained: false,
            awaits_fold: false,
            recency: Recency::default(),
        });
        self.changed(slot);
        slot
    }

    /// Whether maps that are not here may be in the storage.
    pub const fn may_be_stored(&self) -> bool {
        self.is_stored
    }

    /// The slot of a map that is to be read; `None` if there is nothing of it.
    pub fn find_to_read(&mut self, name: &str, hash: u64) -> Option<MapSlot> {
        // What is not in memory may be in the storage.
        if self.is_stored { Some(self.find_or_insert(name, hash)) } else { self.find(name, hash) }
    }

    /// Forgets a map nobody needs, so that subscribing to random names costs nothing in the long run. One that has a
    /// type goes when the turn ends, if nothing has come of it by then.
    pub fn release_if_unused(&mut self, slot: MapSlot) {
        let Some(map) = self.table.get(slot) else { return };
        if map.is_unused() {
            self.remove(slot);
        } else if map.typed().is_some_and(|cells| cells.cells() == 0) {
            self.changed(slot);
        }
    }

    /// Forgets a map, which must be there.
    fn remove(&mut self, slot: MapSlot) -> SharedMap {
        self.order.unlink(&mut self.table, slot);
        let map = self.table.remove(slot);
        self.counts.replace(map.counted, Counted::default());
        map
    }

    /// Drops the cells of all maps, and every map that nobody watches or waits for. No change may be in a batch.
    pub fn clear(&mut self) {
        let slots: Vec<MapSlot> = self.table.slots().collect();
        for slot in slots {
            let map = &mut self.table[slot];
            // Who claims its type has no cells yet, and is told what the type is from now on.
            let is_waited_for = matches!(map.cells, Cells::Claiming(_) | Cells::Loading(_));
            if !is_waited_for {
                map.cells = Cells::empty(self.is_stored);
            }
            (map.scheduled_ms, map.changed_at, map.holders) = (u64::MAX, Time::ZERO, None);
            self.drop_loaded(slot);
            self.changed(slot);
            self.release_if_unused(slot);
        }
    }

    /// Who hears of the map in a slot, if there is one.
    pub fn interest_of(&self, slot: MapSlot) -> Option<&Interest> {
        self.table.get(slot).map(|map| &map.interest)
    }

    /// Who hears of a map.
    pub fn interest_mut(&mut self, slot: MapSlot) -> &mut Interest {
        &mut self.table[slot].interest
    }

    /// Takes note that the map is being used.
    pub fn touch(&mut self, slot: MapSlot, now_ms: u64) {
        self.order.touch(&mut self.table, slot, now_ms);
    }

    /// The map used least recently; `None` also if the order is not kept.
    pub fn oldest(&self) -> Option<MapSlot> {
        self.order.oldest()
    }

    /// The map used next after this one.
    pub fn newer_than(&self, slot: MapSlot) -> Option<MapSlot> {
        self.table[slot].recency.newer()
    }

    /// Takes a map for one just used.
    pub fn renew(&mut self, slot: MapSlot) {
        self.order.renew(&mut self.table, slot);
    }
}

impl std::ops::Index<MapSlot> for Maps {
    type Output = SharedMap;

    fn index(&self, slot: MapSlot) -> &SharedMap {
        &self.table[slot]
    }
}
