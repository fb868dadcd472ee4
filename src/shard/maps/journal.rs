//! What this shard hands over to the storage: one batch of records a turn, and before it what it must know first.
//!
//! Invariant: batches are numbered from 1 without a gap, in the order in which their changes were applied. Whoever
//! waits for [`Journal::covering`] to be durable has everything that was applied before.

use std::collections::VecDeque;
use std::sync::Arc;

use rtrb::PushError;

use super::{MapSlot, Maps};
use crate::crdt::{Delta, MapType, Time};
use crate::handover::{Batch, FromStorage, Progress, StoragePort, ToStorage};
use crate::limits::{JOURNAL_BACKLOG_BYTES, JOURNAL_OVERLOAD_BYTES, WRITER_SLOWED_MS_MAX};
use crate::mesh::ShardIndex;
use crate::shard::turn::Turn;
use crate::shard::{AckLevel, Command, Now};
use crate::wire::Reject;

/// Bytes of emptied batches kept for the next ones: what is on its way to a disk that keeps up.
const SPARE_BYTES_MAX: usize = 4 << 20;
/// Milliseconds over which the speed of the disk is measured.
const SPEED_WINDOW_MS: u64 = 250;
/// What a client that is told to come back waits, at the least and at the most.
const RETRY_AFTER_MS: std::ops::RangeInclusive<u32> = 50..=5_000;

/// See the module.
pub struct Journal {
    port: StoragePort,
    progress: Arc<Progress>,
    shard: usize,
    /// The changes since the last hand-over.
    batch: Batch,
    /// The last batch that was handed over, and the bytes of all of them.
    handed_number: u64,
    handed_bytes: u64,
    /// Types decided here, which go before the batch.
    types: VecDeque<ToStorage>,
    /// What needs no order, and goes after it.
    others: VecDeque<ToStorage>,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
    /// Bytes of them that were durable when that was last noted.
    durable_bytes: u64,
    speed: Speed,
    /// Where writers are slowed: when the writes of this shard so far have had their time, in microseconds.
    paid_until_us: u64,
}

/// How fast records become durable.
#[derive(Default)]
struct Speed {
    since_ms: u64,
    bytes_then: u64,
    bytes_per_second: u64,
}

impl Journal {
    pub fn new(port: StoragePort, progress: Arc<Progress>, shard: usize) -> Self {
        Self {
            port,
            progress,
            shard,
            batch: Batch::default(),
            handed_number: 0,
            handed_bytes: 0,
            types: VecDeque::new(),
            others: VecDeque::new(),
            spare: Vec::new(),
            spare_bytes: 0,
            durable_bytes: 0,
            speed: Speed::default(),
            paid_until_us: 0,
        }
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Takes note of one change.
    pub fn push(&mut self, map: &str, key: &[u8], delta: &Delta<'_>, applied: Time) {
        self.batch.push(map, key, delta, applied);
    }

    /// Takes note that the type of a map was decided here.
    pub fn push_type(&mut self, map: &Arc<str>, map_type: MapType, applied: Time) {
        self.types.push_back(ToStorage::Typed { map: Arc::clone(map), map_type });
        self.batch.push_type(map, map_type, applied);
    }

    /// Takes note that all maps of all shards were dropped.
    pub fn push_clear(&mut self, applied: Time) {
        self.batch.push_clear(applied);
    }

    /// The last batch of a shard that is durable.
    pub fn durable_batch_of(&self, shard: ShardIndex) -> u64 {
        self.progress.shard(usize::from(shard)).durable()
    }

    /// Asks to be woken when anything becomes durable.
    pub fn want_wake(&self) {
        self.progress.shard(self.shard).want_wake();
    }

    /// Whether everything that was applied so far is durable.
    pub fn is_all_durable(&self) -> bool {
        self.progress.shard(self.shard).durable() >= self.covering()
    }

    /// Whether everything that this shard has applied up to there is in the base.
    pub fn is_folded(&self, through: Time) -> bool {
        self.progress.shard(self.shard).folded() >= through
    }

    /// Hands over something that is no change.
    pub fn send(&mut self, item: ToStorage) {
        self.others.push_back(item);
    }

    /// The batch whose being durable makes everything durable that was applied so far; 0: nothing was.
    pub fn covering(&self) -> u64 {
        self.handed_number + u64::from(!self.batch.is_empty())
    }

    /// Bytes of records that were not durable when that was last noted.
    pub fn backlog_bytes(&self) -> u64 {
        (self.handed_bytes + self.batch.bytes.len() as u64).saturating_sub(self.durable_bytes)
    }

    /// Whether who wants to wait for the disk must come back later.
    pub fn is_overloaded(&self) -> bool {
        self.backlog_bytes() > JOURNAL_OVERLOAD_BYTES as u64
    }

    /// Whether this shard must take nothing on. While writes are refused, nothing that it takes on makes that more.
    pub fn is_backlogged(&self) -> bool {
        self.backlog_bytes() > JOURNAL_BACKLOG_BYTES as u64 && !self.progress.is_read_only()
    }

    /// Counts a write of so many bytes, if writers are slowed; until when the client that sent it is read no further. Each
    /// write has the time that its bytes take at the speed allowed, one after the other, so that all writers are slowed alike.
    pub fn slows_until_us(&mut self, now: Now, bytes: usize) -> Option<u64> {
        let bytes_per_second = self.progress.write_rate();
        if bytes_per_second == 0 {
            return None;
        }
        let now_us = now.monotonic_us;
        let takes_us = bytes as u64 * 1_000_000 / bytes_per_second;
        let until_us = self.paid_until_us.max(now_us) + takes_us;
        self.paid_until_us = until_us.min(now_us + WRITER_SLOWED_MS_MAX * 1000);
        Some(self.paid_until_us)
    }

    /// When the backlog will be half of what is too much, at the speed it had lately.
    pub fn retry_after_ms(&self) -> u32 {
        let excess = self.backlog_bytes().saturating_sub(JOURNAL_OVERLOAD_BYTES as u64 / 2);
        let wait_ms = (excess * 1000).checked_div(self.speed.bytes_per_second).unwrap_or(u64::MAX);
        let wait_ms = u32::try_from(wait_ms).unwrap_or(u32::MAX);
        wait_ms.clamp(*RETRY_AFTER_MS.start(), *RETRY_AFTER_MS.end())
    }

    /// Takes note of what has become durable.
    pub fn note_progress(&mut self, now: Now) {
        self.durable_bytes = self.progress.shard(self.shard).durable_bytes();
        let now_ms = now.timer_ms();
        let window_ms = now_ms.saturating_sub(self.speed.since_ms);
        if window_ms >= SPEED_WINDOW_MS {
            let bytes = self.durable_bytes.saturating_sub(self.speed.bytes_then);
            self.speed = Speed {
                since_ms: now_ms,
                bytes_then: self.durable_bytes,
                bytes_per_second: bytes * 1000 / window_ms,
            };
        }
    }

    /// Whether something waits for room in the queue.
    pub fn has_waiting(&self) -> bool {
        !(self.types.is_empty() && self.batch.is_empty() && self.others.is_empty())
    }

    /// Things that are no changes and wait for room in the queue.
    pub fn others_waiting(&self) -> usize {
        self.others.len()
    }

    /// Takes the next thing the storage has for this shard.
    pub fn receive(&mut self) -> Option<FromStorage> {
        self.port.from_storage.pop().ok()
    }

    /// Whether the storage has something for this shard.
    pub fn has_received(&self) -> bool {
        !self.port.from_storage.is_empty()
    }

    /// Keeps the bytes of a batch that was written for another one.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.spare_bytes + bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            self.spare_bytes += bytes.capacity();
            self.spare.push(bytes);
        }
    }

    /// Hands over what there is, as far as the queue has room; whether the storage must be woken for it.
    pub fn hand_over(&mut self) -> bool {
        let mut went = false;
        if Self::push_all(&mut self.types, &mut self.port, &mut went) {
            went |= self.hand_over_batch();
            Self::push_all(&mut self.others, &mut self.port, &mut went);
        }
        went && self.progress.take_asleep()
    }

    fn hand_over_batch(&mut self) -> bool {
        if self.batch.is_empty() || self.port.to_storage.is_full() {
            return false;
        }
        let bytes = self.spare.pop().unwrap_or_default();
        self.spare_bytes -= bytes.capacity();
        let mut batch = std::mem::replace(&mut self.batch, Batch { bytes, ..Batch::default() });
        self.handed_number += 1;
        self.handed_bytes += batch.bytes.len() as u64;
        batch.number = self.handed_number;
        self.port.to_storage.push(ToStorage::Records(batch)).is_ok()
    }

    /// Whether all of them went.
    fn push_all(items: &mut VecDeque<ToStorage>, port: &mut StoragePort, went: &mut bool) -> bool {
        while let Some(item) = items.pop_front() {
            if let Err(PushError::Full(item)) = port.to_storage.push(item) {
                items.push_front(item);
                return false;
            }
            *went = true;
        }
        true
    }
}

impl Maps {
    /// What is handed over to the storage; `None`: maps are kept in memory only.
    pub const fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    pub const fn journal_mut(&mut self) -> Option<&mut Journal> {
        self.journal.as_mut()
    }

    /// Takes note of an accepted change for the storage.
    pub(super) fn journal_change(&mut self, slot: MapSlot, key: &[u8], delta: &Delta<'_>, applied: Time) {
        if let Some(journal) = &mut self.journal {
            let map = &mut self.table[slot];
            journal.push(map.interest.name(), key, delta, applied);
            map.changed_at = applied;
        }
    }

    /// Takes note of the type of a map, which this shard, its home, has just decided.
    pub(super) fn journal_type(&mut self, turn: &mut Turn, slot: MapSlot, map_type: MapType) {
        if let Some(journal) = &mut self.journal {
            let applied = turn.clock.tick(turn.now.unix_ms);
            let map = &mut self.table[slot];
            journal.push_type(map.interest.name(), map_type, applied);
            map.changed_at = applied;
        }
    }

    /// Hands the turn's changes over to the storage.
    pub fn hand_over(&mut self, turn: &mut Turn) {
        if self.journal.as_mut().is_some_and(Journal::hand_over) {
            turn.commands.push(Command::WakeStorage);
        }
    }

    /// Whether cursors may have been given for this tick.
    pub fn is_known(&self, time: Time) -> bool {
        // Another shard may have seen a later one become durable than this one has.
        self.journal.as_ref().is_none_or(|journal| time <= journal.progress.durable_clock())
    }

    /// Whether the ack level `durable` can be reached.
    pub fn may_wait_for_disk(&self, turn: &Turn) -> bool {
        turn.config.offers_durable && self.journal.is_some()
    }

    /// Whether a write that asks for `ack` is answered once it is durable.
    pub fn waits_for_disk(&self, turn: &Turn, ack: AckLevel) -> bool {
        ack >= AckLevel::Durable && self.may_wait_for_disk(turn)
    }

    /// The batch that covers what this shard has merged so far.
    pub fn covering(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::covering)
    }

    /// Why a write that asks for `ack` is refused as a whole.
    pub fn refuses_writes(&self, turn: &Turn, ack: AckLevel) -> Option<Reject> {
        let journal = self.journal.as_ref()?;
        if journal.progress.is_read_only() {
            return Some(Reject::ReadOnly);
        }
        if journal.is_overloaded() && self.waits_for_disk(turn, ack) {
            return Some(Reject::Overloaded { retry_after_ms: journal.retry_after_ms() });
        }
        None
    }

    /// Counts a write, if writers are slowed: see [`Journal::slows_until_us`].
    pub fn slows_until_us(&mut self, turn: &Turn, bytes: usize) -> Option<u64> {
        self.journal.as_mut()?.slows_until_us(turn.now, bytes)
    }

    /// Whether something waits for room in the queue to the storage.
    pub fn has_unjournaled(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::has_waiting)
    }

    /// Whether the storage is so far behind that taking more on would only grow memory.
    pub fn is_backlogged(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::is_backlogged)
    }
}
