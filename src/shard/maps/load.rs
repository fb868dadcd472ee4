//! Maps on their way from the storage into memory. Requests that need cells wait meanwhile (`waiting.rs`).
//!
//! Invariant: a map is asked for once, however many want it, and once it is complete what waits for it is released
//! (`release.rs`). A map that could not be loaded refuses what needs its cells, for a while; then it is asked for
//! again. No turn takes in more than a few chunks.

use std::cell::Cell;
use std::collections::VecDeque;

use super::waiting::Parked;
use super::{Cells, MapSlot, Maps};
use crate::crdt::{HashedKey, Map};
use crate::handover::{Chunk, FromStorage, Image, ToStorage};
use crate::mesh::KeyHasher;
use crate::shard::turn::Turn;
use crate::wire::Reject;

/// Chunks one turn takes in, each of some `LOAD_CHUNK_BYTES`.
const CHUNKS_PER_TURN_MAX: usize = 4;
/// Milliseconds for which a map that could not be loaded is not asked for again.
pub(super) const RETRY_MS: u64 = 1_000;
/// Milliseconds between two checks of what waits too long.
const CHECK_EVERY_MS: u64 = 100;

/// One map that is being loaded.
pub struct Loading {
    /// Tells it from an earlier load of the same slot.
    serial: u32,
    began_us: u64,
    stage: Stage,
    parked: VecDeque<Parked>,
    /// What has been put back so far; `None` while nothing is known to be stored.
    cells: Option<Box<Map>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Chunks come.
    Asked,
    /// Chunks come, and at least one of them makes no sense.
    Damaged,
    /// It could not be loaded: until then, what needs the cells is refused.
    Failed { until_ms: u64 },
    /// All maps were dropped since it was asked for: what comes is of before.
    Void,
    /// All cells are there; what waits is released.
    Complete,
}

impl Loading {
    /// Of a map that is there, while requests that were parked for it are yet to be released.
    pub fn complete(turn: &mut Turn, parked: VecDeque<Parked>, cells: Box<Map>) -> Self {
        let (serial, began_us) = (turn.next_serial(), turn.now.monotonic_us);
        Self { serial, began_us, stage: Stage::Complete, parked, cells: Some(cells) }
    }

    pub fn parked(&mut self) -> &mut VecDeque<Parked> {
        &mut self.parked
    }

    /// Takes what was put back; `None`: nothing is stored.
    pub fn take_cells(&mut self) -> Option<Box<Map>> {
        self.cells.take()
    }

    /// Keeps the cells until the release goes on.
    pub fn put_cells(&mut self, cells: Box<Map>) {
        self.cells = Some(cells);
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

    /// Whether it is under way, and nothing is wrong with what has come.
    pub fn is_asked(&self) -> bool {
        self.stage == Stage::Asked
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
    /// Maps whose cells are all there, with requests to release.
    pub(super) complete: VecDeque<MapSlot>,
    pub(super) untyped: VecDeque<MapSlot>,
    checked_at_ms: u64,
}

impl Maps {
    /// Asks the storage for a map.
    pub fn begin_load(&mut self, turn: &mut Turn, slot: MapSlot) {
        let serial = turn.next_serial();
        let Some(journal) = &mut self.journal else { return };
        let map = &mut self.table[slot];
        map.cells = Cells::Loading(Box::new(Loading {
            serial,
            began_us: turn.now.monotonic_us,
            stage: Stage::Asked,
            parked: VecDeque::new(),
            cells: None,
        }));
        journal.send(ToStorage::Load { map: map.interest.name().clone() });
        self.changed(slot);
        if self.loads.under_way.is_empty() {
            self.loads.checked_at_ms = turn.now.timer_ms();
        }
        self.loads.under_way.push((slot, serial));
        turn.metrics.loads += 1;
    }
}

// What comes back.
impl Maps {
    /// Takes note of how far the storage is.
    pub fn note_progress(&mut self, turn: &mut Turn) {
        if let Some(journal) = &mut self.journal {
            journal.note_progress(turn.now);
            turn.cursor_limit = journal.progress().durable_clock();
        }
    }

    /// Takes what the storage has for this shard, as much as a turn may.
    pub fn take_from_storage(&mut self, turn: &mut Turn) {
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
                    self.chunk_arrived(turn, &chunk);
                }
                FromStorage::Found(found) => {
                    chunks += 1;
                    self.cells_found(turn, &found);
                }
                FromStorage::LoadFailed { map } => {
                    if let Some(slot) = self.find(&map, turn.hasher.map(&map)) {
                        self.load_failed(turn, slot);
                    }
                }
            }
        }
    }

    /// Whether the storage has more for this shard.
    pub fn has_received(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.has_received())
    }

    fn chunk_arrived(&mut self, turn: &mut Turn, chunk: &Chunk) {
        let hash = turn.hasher.map(&chunk.map);
        let Some(slot) = self.find(&chunk.map, hash) else { return };
        let Cells::Loading(loading) = &mut self.table[slot].cells else { return };
        if loading.stage == Stage::Void {
            if chunk.is_last {
                self.void_load_ended(slot);
            }
            return;
        }
        if let Some(map_type) = chunk.map_type {
            let cells = loading.cells.get_or_insert_with(|| Box::new(Map::new(map_type)));
            if !restore(cells, turn.hasher, hash, chunk) {
                loading.stage = Stage::Damaged;
            }
        }
        let is_damaged = loading.stage == Stage::Damaged;
        if chunk.is_last && !is_damaged {
            loading.stage = Stage::Complete;
            if let Some(cells) = &mut loading.cells {
                cells.finish_restore(chunk.pruned_through);
                cells.set_load(loading.serial);
                // Cells of former shards may have ticks that this one has not reached.
                turn.clock.follow(cells.last_applied());
            }
            turn.metrics.load_ns.record((turn.now.monotonic_us - loading.began_us) * 1000);
            self.loads.complete.push_back(slot);
        }
        self.changed(slot);
        if chunk.is_last && is_damaged {
            self.load_failed(turn, slot);
        }
    }

    fn load_failed(&mut self, turn: &mut Turn, slot: MapSlot) {
        let Cells::Loading(loading) = &mut self.table[slot].cells else { return };
        match loading.stage {
            Stage::Asked | Stage::Damaged => {}
            Stage::Void => return self.void_load_ended(slot),
            // A map that is there stays there.
            Stage::Failed { .. } | Stage::Complete => return,
        }
        loading.stage = Stage::Failed { until_ms: turn.now.timer_ms() + RETRY_MS };
        loading.cells = None;
        let reject = Reject::LoadFailed { retry_after_ms: RETRY_MS as u32 };
        let (patient, refused): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut loading.parked).into_iter().partition(Parked::is_patient);
        loading.parked = patient;
        self.given_up.extend(refused.into_iter().map(|parked| (parked, reject)));
        turn.metrics.loads_failed += 1;
        self.changed(slot);
    }

    /// Why what needs the cells of this map is refused, if its load has failed lately.
    pub fn load_failure(&self, turn: &Turn, slot: MapSlot) -> Option<Reject> {
        let Cells::Loading(loading) = &self.table[slot].cells else { return None };
        let Stage::Failed { until_ms } = loading.stage else { return None };
        let left_ms = until_ms.saturating_sub(turn.now.timer_ms()).clamp(1, RETRY_MS);
        Some(Reject::LoadFailed { retry_after_ms: left_ms as u32 })
    }

    /// Nothing of before is on its way any more: the map is there, and empty.
    fn void_load_ended(&mut self, slot: MapSlot) {
        if let Cells::Loading(loading) = &mut self.table[slot].cells {
            loading.stage = Stage::Complete;
            self.loads.complete.push_back(slot);
        }
    }

    /// Drops what was loaded of a map that requests wait for.
    pub(super) fn drop_loaded(&mut self, slot: MapSlot) {
        if let Cells::Loading(loading) = &mut self.table[slot].cells
            && loading.drop_cells()
            && !self.loads.complete.contains(&slot)
        {
            self.loads.complete.push_back(slot);
        }
    }
}

// Loads that take long.
impl Maps {
    /// Gives up what has waited too long, looks up what reads have waited for, and asks again for what could not be read, now or at the next use.
    pub fn check_loads(&mut self, turn: &mut Turn) {
        let now_ms = turn.now.timer_ms();
        if self.loads.under_way.is_empty() || now_ms < self.loads.checked_at_ms + CHECK_EVERY_MS {
            return;
        }
        self.loads.checked_at_ms = now_ms;
        let mut under_way = std::mem::take(&mut self.loads.under_way);
        under_way.retain(|&(slot, serial)| self.check_load(turn, slot, serial));
        self.loads.under_way = under_way;
    }

    /// Whether this load is still under way.
    fn check_load(&mut self, turn: &mut Turn, slot: MapSlot, serial: u32) -> bool {
        match self.table.get_mut(slot).map(|map| &map.cells) {
            Some(Cells::Loading(loading)) if loading.serial == serial => {}
            _ => return false,
        }
        self.take_late(turn, slot);
        self.look_up_reads(turn, slot);
        let map = &mut self.table[slot];
        let Cells::Loading(loading) = &mut map.cells else { return false };
        let Stage::Failed { until_ms } = loading.stage else { return true };
        if until_ms > turn.now.timer_ms() {
            return true;
        }
        if loading.parked.is_empty() {
            map.cells = Cells::Unloaded;
            self.changed(slot);
            self.release_if_unused(slot);
            return false;
        }
        if let Some(journal) = &mut self.journal {
            loading.stage = Stage::Asked;
            journal.send(ToStorage::Load { map: map.interest.name().clone() });
        }
        true
    }

    /// When [`Self::check_loads`] has something to do, in milliseconds of the monotonic clock.
    pub fn next_load_check_ms(&self) -> Option<u64> {
        (!self.loads.under_way.is_empty()).then_some(self.loads.checked_at_ms + CHECK_EVERY_MS)
    }
}

/// Puts the cells of a chunk back; whether all of it made sense.
pub(super) fn restore(cells: &mut Map, hasher: KeyHasher, map_hash: u64, chunk: &Chunk) -> bool {
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
