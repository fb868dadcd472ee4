//! Maps on their way from the storage into memory. Requests that need cells wait meanwhile (`waiting.rs`).
//!
//! Invariant: a map is asked for once, however many want it, and once it is complete what waits for it is let go
//! before anything later. No turn takes in more than a few chunks or lets go more than a few hundred requests.

use std::cell::Cell;
use std::collections::VecDeque;

use crate::crdt::{HashedKey, Map};
use crate::handover::{Chunk, FromStorage, Image, ToStorage};
use crate::mesh::KeyHasher;
use crate::shard::Shard;
use crate::shard::maps::waiting::Parked;
use crate::shard::maps::{Cells, MapSlot};

/// Chunks one turn takes in, each of some `LOAD_CHUNK_BYTES`.
const CHUNKS_PER_TURN_MAX: usize = 4;
/// Requests one turn lets go after their map was loaded.
const REQUESTS_PER_TURN_MAX: usize = 256;
/// Rounds of expiries one turn makes in a map that was loaded.
const EXPIRY_ROUNDS_PER_TURN_MAX: usize = 4;
/// Milliseconds after which a map that could not be loaded is asked for again.
const RETRY_MS: u64 = 1_000;
/// Milliseconds between two looks at what waits too long.
const LOOK_EVERY_MS: u64 = 100;
/// Maps that nothing is stored of and nobody uses, remembered so that asking again costs no load.
const UNTYPED_MAPS_MAX: usize = 1024;

/// One map that is being loaded.
pub struct Loading {
    /// Tells it from an earlier load of the same slot.
    serial: u32,
    began_us: u64,
    stage: Stage,
    waiting: VecDeque<Parked>,
    /// What has been put back so far; `None` while nothing is known to be stored.
    cells: Option<Box<Map>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Chunks come.
    Asked,
    /// Chunks come, and at least one of them makes no sense.
    Damaged,
    Failed {
        retry_at_ms: u64,
    },
    /// All maps were dropped since it was asked for: what comes is of before.
    Void,
    /// All cells are there; what waits is let go.
    Complete,
}

impl Loading {
    pub fn waiting(&mut self) -> &mut VecDeque<Parked> {
        &mut self.waiting
    }

    /// What is stored was dropped; whether nothing of it is on its way.
    pub fn drop_cells(&mut self) -> bool {
        self.cells = None;
        self.stage = match self.stage {
            Stage::Asked | Stage::Damaged | Stage::Void => Stage::Void,
            Stage::Failed { .. } | Stage::Complete => Stage::Complete,
        };
        self.stage == Stage::Complete
    }

    /// Bytes of what has been put back so far.
    pub fn heap_bytes(&self) -> usize {
        self.cells.as_ref().map_or(0, |cells| cells.heap_bytes())
    }
}

/// What of this shard is being loaded.
#[derive(Default)]
pub struct Loads {
    /// Maps that are being loaded, and some whose load is over.
    under_way: Vec<(MapSlot, u32)>,
    /// Maps whose cells are all there, with requests to let go.
    complete: VecDeque<MapSlot>,
    untyped: VecDeque<MapSlot>,
    looked_at_ms: u64,
}

impl Shard {
    /// Asks the storage for a map.
    pub(in crate::shard) fn begin_load(&mut self, slot: MapSlot) {
        let serial = self.next_serial();
        let Some(journal) = &mut self.journal else { return };
        let map = &mut self.maps[slot];
        map.cells = Cells::Loading(Box::new(Loading {
            serial,
            began_us: self.now.monotonic_us,
            stage: Stage::Asked,
            waiting: VecDeque::new(),
            cells: None,
        }));
        journal.send(ToStorage::Load { map: map.name.clone() });
        if self.loads.under_way.is_empty() {
            self.loads.looked_at_ms = self.now.timer_ms();
        }
        self.loads.under_way.push((slot, serial));
        self.metrics.loads += 1;
    }
}

// What comes back.
impl Shard {
    /// Takes what the storage has for this shard, as much as a turn may, and looks at how far it is.
    pub(in crate::shard) fn receive_from_storage(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        journal.look(self.now);
        self.cursor_limit = journal.progress().durable_clock();
        self.go_on_clearing();
        // First, so that who asked here is told the same as what waits for the map.
        self.give_up_old_requests();
        let mut chunks = 0;
        while chunks < CHUNKS_PER_TURN_MAX
            && let Some(item) = self.journal.as_mut().and_then(|journal| journal.receive())
        {
            match item {
                FromStorage::Recycled(bytes) => {
                    if let Some(journal) = &mut self.journal {
                        journal.recycle(bytes);
                    }
                }
                FromStorage::Chunk(chunk) => {
                    chunks += 1;
                    self.chunk_arrived(&chunk);
                }
                FromStorage::LoadFailed { map } => {
                    if let Some(slot) = self.maps.find(&map, self.hasher.map(&map)) {
                        self.load_failed(slot);
                    }
                }
            }
        }
        self.let_go();
        self.look_at_loads();
        self.answer_durable();
        let has_received = self.journal.as_ref().is_some_and(|journal| journal.has_received());
        self.storage_left = has_received || !self.loads.complete.is_empty() && !self.is_clearing();
    }

    fn chunk_arrived(&mut self, chunk: &Chunk) {
        let hash = self.hasher.map(&chunk.map);
        let Some(slot) = self.maps.find(&chunk.map, hash) else { return };
        let Cells::Loading(loading) = &mut self.maps[slot].cells else { return };
        if loading.stage == Stage::Void {
            if chunk.is_last {
                self.void_load_ended(slot);
            }
            return;
        }
        if let Some(map_type) = chunk.map_type {
            let cells = loading.cells.get_or_insert_with(|| Box::new(Map::new(map_type)));
            if !restore(cells, self.hasher, hash, chunk) {
                loading.stage = Stage::Damaged;
            }
        }
        let is_damaged = loading.stage == Stage::Damaged;
        if chunk.is_last && !is_damaged {
            loading.stage = Stage::Complete;
            if let Some(cells) = &mut loading.cells {
                cells.finish_restore(chunk.pruned_through);
                // Cells of former shards may have ticks that this one has not reached.
                self.clock.follow(cells.last_applied());
            }
            self.metrics.load_ns.record((self.now.monotonic_us - loading.began_us) * 1000);
            self.loads.complete.push_back(slot);
        }
        self.memory_changed(slot);
        if chunk.is_last && is_damaged {
            self.load_failed(slot);
        }
    }

    fn load_failed(&mut self, slot: MapSlot) {
        let retry_at_ms = self.now.timer_ms() + RETRY_MS;
        let Cells::Loading(loading) = &mut self.maps[slot].cells else { return };
        if loading.stage == Stage::Void {
            return self.void_load_ended(slot);
        }
        loading.stage = Stage::Failed { retry_at_ms };
        loading.cells = None;
        self.metrics.loads_failed += 1;
        self.memory_changed(slot);
    }

    /// Nothing of before is on its way any more: the map is there, and empty.
    fn void_load_ended(&mut self, slot: MapSlot) {
        if let Cells::Loading(loading) = &mut self.maps[slot].cells {
            loading.stage = Stage::Complete;
            self.loads.complete.push_back(slot);
        }
    }

    /// Has the requests let go that wait for maps which are there.
    pub(in crate::shard) fn let_go_soon(&mut self) {
        self.storage_left |= !self.loads.complete.is_empty();
    }

    /// Drops what was loaded of maps that requests wait for.
    pub(in crate::shard) fn drop_loading(&mut self) {
        for (slot, _) in self.loads.under_way.clone() {
            let Some(Cells::Loading(loading)) = self.maps.get_mut(slot).map(|map| &mut map.cells) else {
                continue;
            };
            if loading.drop_cells() && !self.loads.complete.contains(&slot) {
                self.loads.complete.push_back(slot);
            }
            self.memory_changed(slot);
        }
    }

    /// Lets go what has waited for maps that are there now, as much as a turn may.
    fn let_go(&mut self) {
        if self.is_clearing() {
            return;
        }
        let mut left = REQUESTS_PER_TURN_MAX;
        while left > 0
            && let Some(slot) = self.loads.complete.pop_front()
        {
            if !self.let_go_of(slot, &mut left) {
                self.loads.complete.push_front(slot);
                return;
            }
        }
    }

    /// Whether nothing is left that waits for this map.
    fn let_go_of(&mut self, slot: MapSlot, left: &mut usize) -> bool {
        let Cells::Loading(loading) = std::mem::replace(&mut self.maps[slot].cells, Cells::Untyped) else {
            debug_assert!(false, "a map that is complete stays so until all is let go");
            return true;
        };
        let Loading { serial, began_us, stage, mut waiting, cells } = *loading;
        if let Some(cells) = cells {
            self.maps[slot].cells = Cells::Typed(cells);
        }
        self.maps[slot].is_held = true;
        if self.expire_due(slot) {
            while *left > 0
                && let Some(parked) = waiting.pop_front()
            {
                *left -= 1;
                self.go_on(parked);
            }
        } else {
            *left = 0;
        }
        let map = &mut self.maps[slot];
        map.is_held = false;
        match (&mut map.cells, waiting.is_empty() && *left > 0) {
            (_, true) => {}
            // The first write has asked the map's home for the type: the rest waits for that.
            (Cells::Claiming(claiming), false) => claiming.extend(waiting),
            (cells, false) => {
                let cells = match std::mem::replace(cells, Cells::Untyped) {
                    Cells::Typed(cells) => Some(cells),
                    _ => None,
                };
                map.cells = Cells::Loading(Box::new(Loading { serial, began_us, stage, waiting, cells }));
                return false;
            }
        }
        self.schedule_removals(slot);
        self.memory_changed(slot);
        if matches!(self.maps[slot].cells, Cells::Untyped) {
            self.remember_untyped(slot);
        }
        true
    }

    /// Ends the values of a map just loaded whose time is up; whether that are all.
    fn expire_due(&mut self, slot: MapSlot) -> bool {
        for _ in 0..EXPIRY_ROUNDS_PER_TURN_MAX {
            let next_ms = self.maps[slot].typed().and_then(Map::next_expiry_ms);
            if next_ms.is_none_or(|next_ms| next_ms > self.now.unix_ms) {
                return true;
            }
            self.expire(slot);
        }
        false
    }

    /// Reading names that nothing is stored under must not grow memory for ever.
    fn remember_untyped(&mut self, slot: MapSlot) {
        self.loads.untyped.push_back(slot);
        if self.loads.untyped.len() > UNTYPED_MAPS_MAX
            && let Some(oldest) = self.loads.untyped.pop_front()
        {
            // Whatever has its slot by now: it is released only if nobody needs it.
            self.maps.release_if_unused(oldest);
        }
    }
}

// Loads that take long.
impl Shard {
    /// Gives up what has waited too long, and asks again for what could not be read.
    fn look_at_loads(&mut self) {
        let now_ms = self.now.timer_ms();
        if self.loads.under_way.is_empty() || now_ms < self.loads.looked_at_ms + LOOK_EVERY_MS {
            return;
        }
        self.loads.looked_at_ms = now_ms;
        let mut under_way = std::mem::take(&mut self.loads.under_way);
        under_way.retain(|&(slot, serial)| self.look_at_load(slot, serial));
        self.loads.under_way = under_way;
    }

    /// Whether this load is still under way.
    fn look_at_load(&mut self, slot: MapSlot, serial: u32) -> bool {
        match self.maps.get_mut(slot).map(|map| &map.cells) {
            Some(Cells::Loading(loading)) if loading.serial == serial => {}
            _ => return false,
        }
        self.answer_late_ones(slot);
        let map = &mut self.maps[slot];
        let Cells::Loading(loading) = &mut map.cells else { return false };
        let Stage::Failed { retry_at_ms } = loading.stage else { return true };
        if loading.waiting.is_empty() {
            map.cells = Cells::Unloaded;
            self.maps.release_if_unused(slot);
            return false;
        }
        if retry_at_ms <= self.now.timer_ms()
            && let Some(journal) = &mut self.journal
        {
            loading.stage = Stage::Asked;
            journal.send(ToStorage::Load { map: map.name.clone() });
        }
        true
    }

    /// When [`Self::look_at_loads`] has something to do, in milliseconds of the monotonic clock.
    pub(in crate::shard) fn next_look_at_loads_ms(&self) -> Option<u64> {
        (!self.loads.under_way.is_empty()).then_some(self.loads.looked_at_ms + LOOK_EVERY_MS)
    }
}

/// Puts the cells of a chunk back; whether all of it made sense.
fn restore(cells: &mut Map, hasher: KeyHasher, map_hash: u64, chunk: &Chunk) -> bool {
    let mut bytes = 0;
    for (key, image) in chunk.iter() {
        bytes += Chunk::CELL_HEADER_BYTES + key.len() + image.len();
        let Ok((applied, parts)) = Image::parts(image) else { return false };
        let is_whole = Cell::new(true);
        let parts = parts.map_while(|part| match part {
            Ok(part) => Some((part.delta, part.applied)),
            Err(_) => {
                is_whole.set(false);
                None
            }
        });
        let key = HashedKey { hash: hasher.key_bytes(map_hash, key), bytes: key };
        // A cell over a limit of today is left out, as its write would be refused.
        let _ = cells.restore(key, applied, parts);
        if !is_whole.get() {
            return false;
        }
    }
    bytes == chunk.cells.len()
}
