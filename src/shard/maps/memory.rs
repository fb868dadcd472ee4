//! What the maps of this shard take, and which of them go when that is too much.
//!
//! Invariant: only a map is evicted that can be loaded again as it was: nothing waits for it, and every change of it is in
//! the base. The least recently used go first. Of one that somebody watches the cells go and the slot stays, with who hears
//! of it: a write loads it again before it is applied, and so does a walk, and the end of a value, which must be told.
//! One that has no cell left goes in any case, once that is in the base.

use std::collections::VecDeque;

use super::{Cells, MapSlot, Maps, SharedMap};
use crate::crdt::{MapType, State, Time};
use crate::handover::ToStorage;
use crate::mesh::{Action, Write};
use crate::shard::account::Use;
use crate::shard::turn::Turn;
use crate::wire::Reject;

/// Hundredths of the limit past which maps are evicted, and down to which.
const EVICT_ABOVE: usize = 90;
const EVICT_BELOW: usize = 80;
/// Maps one pass looks at: it takes well under a millisecond.
const LOOKS_PER_PASS_MAX: usize = 1024;
/// Milliseconds after a pass that could not free enough.
const PASS_EVERY_MS: u64 = 100;
/// Milliseconds between two requests for a checkpoint, after which more can be evicted; also what a client is told
/// to wait.
const CHECKPOINT_EVERY_MS: u32 = 1_000;
/// Cells that are dropped here and now; more of them are handed to where dropping them stalls nobody.
const DROPPED_HERE_MAX: usize = 64;
/// Maps that may wait to be dropped elsewhere.
const DROPS_WAITING_MAX: usize = 256;

/// See the module.
pub struct Memory {
    /// What maps may take now of this shard's share of `--memory-limit`; 0: no limit.
    limit_bytes: usize,
    next_pass_ms: u64,
    next_checkpoint_ms: u64,
    /// Over the limit, and the last pass found nothing to evict.
    is_short: bool,
    emptied: Emptied,
}

/// Maps without cells that go once all that happened to them is in the base.
#[derive(Default)]
struct Emptied {
    /// Each once ([`SharedMap::awaits_fold`]). Some may have been used since, or be gone.
    slots: VecDeque<MapSlot>,
    /// How many of them have not been looked at since this was folded.
    unlooked: usize,
    folded: Time,
}

impl Memory {
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            next_pass_ms: 0,
            next_checkpoint_ms: 0,
            is_short: false,
            emptied: Emptied::default(),
        }
    }

    /// Whether there is a limit at all.
    pub const fn is_limited(&self) -> bool {
        self.limit_bytes > 0
    }
}

/// Whether a map may go.
enum Standing {
    Evictable,
    /// Not all of it is in the base.
    Unfolded,
    InUse,
    /// It holds nothing, and its place is for those who hear of it.
    Gone,
}

impl Maps {
    /// Why an operation is refused for want of memory: it would leave more than there was, be it what remembers that something
    /// is gone.
    pub fn refuses_growth(&self, slot: MapSlot, write: &Write<'_>) -> Option<Reject> {
        if !self.memory.is_short {
            return None;
        }
        let state = self.find_state(slot, write);
        let grows = match write.action {
            // Of an unknown set or counter nothing is remembered.
            Action::Delete { .. } => {
                state.is_none() && self.table[slot].map_type().is_none_or(|map_type| map_type == MapType::Lww)
            }
            Action::RemoveTags { tags } => match state {
                Some(State::OrSet(set)) => tags.iter().any(|tag| !set.knows(tag)),
                _ => true,
            },
            // Of an unknown value, or key, nothing is remembered.
            Action::RemoveValue { .. } => false,
            Action::Set { .. }
            | Action::Add { .. }
            | Action::Increment { .. }
            | Action::IncrementTotals { .. } => true,
        };
        grows.then_some(Reject::Overloaded { retry_after_ms: CHECKPOINT_EVERY_MS })
    }

    /// Evicts maps if there are too many, a bounded number a turn.
    pub fn evict_maps(&mut self, turn: &mut Turn) {
        self.count_changed(turn);
        self.forget_emptied(turn);
        turn.account.set(Use::Maps, self.counts.bytes);
        let Some(limit_bytes) = turn.account.maps_limit_bytes() else { return };
        self.memory.limit_bytes = limit_bytes;
        if self.journal.is_none() {
            // Nothing can leave.
            self.memory.is_short = self.is_memory_above(100);
            return;
        }
        if !self.is_memory_above(EVICT_ABOVE) {
            self.memory.is_short = false;
            return;
        }
        let now_ms = turn.now.timer_ms();
        if now_ms < self.memory.next_pass_ms {
            return;
        }
        let pass = self.run_pass(turn);
        self.memory.is_short = pass.evicted == 0 && self.is_memory_above(100);
        if pass.has_more {
            turn.storage_left = true;
            return;
        }
        self.memory.next_pass_ms = now_ms + PASS_EVERY_MS;
        if self.is_memory_above(EVICT_ABOVE) && now_ms >= self.memory.next_checkpoint_ms {
            self.memory.next_checkpoint_ms = now_ms + u64::from(CHECKPOINT_EVERY_MS);
            if let Some(journal) = &mut self.journal {
                journal.send(ToStorage::Checkpoint);
            }
        }
    }

    /// Forgets a map of the storage without cells that nobody uses: now, or when all that happened to it is in the base.
    pub(super) fn forget_stored(&mut self, slot: MapSlot) {
        let Some(journal) = &self.journal else { return };
        let map = &mut self.table[slot];
        if journal.is_folded(map.changed_at) {
            self.remove(slot);
        } else if !map.awaits_fold {
            map.awaits_fold = true;
            self.memory.emptied.slots.push_back(slot);
        }
    }

    /// Looks at maps that wait for that, each once after a fold and a bounded number a turn.
    fn forget_emptied(&mut self, turn: &mut Turn) {
        let Some(journal) = &self.journal else { return };
        let folded = journal.progress().shard(usize::from(turn.index)).folded();
        let emptied = &mut self.memory.emptied;
        if folded > emptied.folded {
            (emptied.folded, emptied.unlooked) = (folded, emptied.slots.len());
        }
        for _ in 0..emptied.unlooked.min(LOOKS_PER_PASS_MAX) {
            self.memory.emptied.unlooked -= 1;
            let Some(slot) = self.memory.emptied.slots.pop_front() else { break };
            if let Some(map) = self.table.get_mut(slot) {
                map.awaits_fold = false;
                self.forget_if_empty(turn, slot);
            }
        }
        turn.storage_left |= self.memory.emptied.unlooked > 0;
    }

    fn is_memory_above(&self, hundredths: usize) -> bool {
        self.memory.is_limited() && self.counts.bytes > self.memory.limit_bytes / 100 * hundredths
    }

    fn run_pass(&mut self, turn: &mut Turn) -> Pass {
        let Some(journal) = &self.journal else { return Pass::default() };
        let folded = journal.progress().shard(usize::from(turn.index)).folded();
        let mut pass = Pass::default();
        let mut next = self.oldest();
        for _ in 0..LOOKS_PER_PASS_MAX.min(self.table.len()) {
            let Some(slot) = next else { return pass };
            if !self.is_memory_above(EVICT_BELOW) {
                return pass;
            }
            next = self.newer_than(slot);
            match standing(&self.table[slot], folded) {
                Standing::Evictable => {
                    self.evict(turn, slot);
                    pass.evicted += 1;
                }
                Standing::Unfolded => {}
                // Out of the way of the next pass.
                Standing::InUse => self.renew(slot),
                Standing::Gone => self.order.unlink(&mut self.table, slot),
            }
        }
        pass.has_more = pass.evicted > 0 && self.is_memory_above(EVICT_BELOW) && next.is_some();
        pass
    }

    fn evict(&mut self, turn: &mut Turn, slot: MapSlot) {
        turn.metrics.evictions += 1;
        let cells = if self.table[slot].interest.is_heard() {
            let cells = std::mem::replace(&mut self.table[slot].cells, Cells::Unloaded);
            self.changed(slot);
            self.count_changed(turn);
            self.order.unlink(&mut self.table, slot);
            cells
        } else {
            self.remove(slot).cells
        };
        if let Cells::Typed(cells) = cells
            && cells.cells() > DROPPED_HERE_MAX
            && let Some(journal) =
                self.journal.as_mut().filter(|journal| journal.others_waiting() < DROPS_WAITING_MAX)
        {
            journal.send(ToStorage::Evicted(cells));
        }
    }

    /// When [`Self::evict_maps`] has something to do, in milliseconds of the monotonic clock.
    pub fn next_pass_ms(&self) -> Option<u64> {
        (self.is_stored && self.is_memory_above(EVICT_ABOVE)).then_some(self.memory.next_pass_ms)
    }
}

/// What a pass came to.
#[derive(Default)]
struct Pass {
    evicted: usize,
    /// It ended before the maps did.
    has_more: bool,
}

fn standing(map: &SharedMap, folded: Time) -> Standing {
    if map.is_busy() {
        Standing::InUse
    } else if map.interest.is_heard() && map.typed().is_none() {
        Standing::Gone
    } else if map.changed_at > folded {
        Standing::Unfolded
    } else {
        Standing::Evictable
    }
}
