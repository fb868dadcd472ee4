//! The journal as a state machine: batches of records go in, the steps that bring them to the disk come out. It
//! does no I/O; the service carries the steps out, one at a time, and the simulator does so with a disk of its own.
//!
//! ```text
//!   no segment ──Create──► empty ──Write──► written ──Sync──► synced ──SyncFolder (once)──► durable
//!        ▲  └────Reuse───► blank ──Write, synced at once─────────┘ ▲                         │    │
//!        │                                                         └──────────Write──────────┘    │
//!        └──────────────── full, or rolled; Write of an end record if reused: finished ───────────┘
//! ```
//! A file that is created grows; one that is reused takes writes that are synced at once, and no others. Some time after the last
//! group a mark follows by itself, so that damage to that group is no torn tail.
//!
//! Invariant: what is reported durable was synced, and so was the name of its file (`--fsync never`: it was
//! written). A segment is created only after the one before was synced, with its name, whatever `--fsync` says.

use std::collections::VecDeque;

use super::current::{Current, Salts, UnderWay};
use super::groups::{Group, Groups};
use super::reach::{Reach, ShardReach};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, pad, segment_name};
use super::{Durable, FinishedSegment, JournalOptions as Options, Spare, Step};
use crate::config::Fsync;
use crate::handover::{Batch, seal, set_mark, write_end};

/// Bytes past which what comes waits for the next group, so that a sync never waits for a huge write.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// The largest segment, whatever is asked for: offsets in it have to fit 32 bits, behind the largest group too.
const SEGMENT_BYTES_MAX: usize = 1 << 30;
/// After the last group, until a mark says that it is synced: so late that one who writes all the time writes none.
const MARK_AFTER_MS: u64 = 100;

/// See the module.
#[derive(Debug)]
pub struct Journal {
    options: Options,
    salts: Salts,
    current: Option<Current>,
    under_way: Option<UnderWay>,

    /// Of the next record to be written.
    next_sequence: u64,
    /// Everything up to this sequence number is synced.
    synced_through: u64,

    groups: Groups,
    /// Groups written since the start.
    written: u64,
    /// Once this many groups are written the segment ends.
    roll_after: Option<u64>,

    pushed_reach: Reach,
    written_reach: Reach,
    durable_reach: Reach,
    recycled: VecDeque<(usize, Vec<u8>)>,
    finished: VecDeque<FinishedSegment>,

    spares: VecDeque<Spare>,
    /// The last group has changes, and no mark says that they are synced.
    is_unmarked: bool,
    /// When one is written by itself.
    mark_at_ms: Option<u64>,
}

impl Journal {
    /// Begins with no segment: the first is created when something comes. `salt` gives each a random one.
    pub fn new(options: Options, salt: impl FnMut() -> u32 + Send + 'static) -> Self {
        let nowhere = Reach::nowhere(options.shards);
        let segment_bytes = options.segment_bytes.min(SEGMENT_BYTES_MAX);
        Self {
            options: Options { segment_bytes, ..options },
            salts: Salts(Box::new(salt)),
            current: None,
            under_way: None,
            next_sequence: options.next_sequence,
            synced_through: options.next_sequence.saturating_sub(1),
            groups: Groups::default(),
            written: 0,
            roll_after: None,
            pushed_reach: nowhere.clone(),
            written_reach: nowhere.clone(),
            durable_reach: nowhere,
            recycled: VecDeque::new(),
            finished: VecDeque::new(),
            spares: VecDeque::new(),
            is_unmarked: false,
            mark_at_ms: None,
        }
    }

    /// Takes a batch of a shard. Its bytes are copied, and come back with [`Journal::take_recycled`].
    pub fn push(&mut self, shard: usize, batch: Batch) {
        self.pushed_reach.extend(shard, &batch);
        let mut bytes = batch.bytes;
        let bytes_max = GROUP_BYTES_MAX.min(self.options.segment_bytes.saturating_sub(SEGMENT_HEADER_BYTES));
        self.groups.push(&bytes, &self.pushed_reach, bytes_max);
        if bytes.capacity() > 0 {
            bytes.clear();
            self.recycled.push_back((shard, bytes));
        }
    }

    /// The next thing to do; `None` while a step is under way, or if there is nothing to do now.
    pub fn next_step(&mut self, now_ms: u64) -> Option<Step> {
        if self.under_way.is_some() {
            return None;
        }
        if let Some(step) = self.sync_step(now_ms) {
            return Some(step);
        }
        self.mark_if_due(now_ms);
        self.end_full_segment();
        // Which may have to be synced first.
        self.sync_step(now_ms).or_else(|| self.end_step()).or_else(|| self.write_step())
    }

    /// As [`Journal::next_step`], where the disk has no room for anything more: syncs what is written.
    pub fn next_sync(&mut self, now_ms: u64) -> Option<Step> {
        if self.under_way.is_some() { None } else { self.sync_step(now_ms) }
    }

    fn sync_step(&mut self, now_ms: u64) -> Option<Step> {
        let current = self.current.as_ref().filter(|current| current.bytes > 0)?;
        let (under_way, step) = match current.unsynced_since_ms {
            Some(since_ms) if current.is_ending || self.is_due(since_ms, now_ms) => {
                (UnderWay::Sync, Step::Sync)
            }
            None if !current.is_named => (UnderWay::SyncFolder, Step::SyncFolder),
            _ => return None,
        };
        self.under_way = Some(under_way);
        Some(step)
    }

    fn is_due(&self, since_ms: u64, now_ms: u64) -> bool {
        match self.options.fsync {
            Fsync::Always => true,
            Fsync::Interval { ms } => now_ms >= since_ms.saturating_add(ms),
            Fsync::Never => false,
        }
    }

    /// A group of a mark alone.
    fn mark_if_due(&mut self, now_ms: u64) {
        if self.mark_at_ms.is_some_and(|at_ms| now_ms >= at_ms) {
            self.mark_at_ms = None;
            if self.groups.is_empty() && self.current.as_ref().is_some_and(|current| !current.is_ending) {
                self.groups.push_mark(&self.pushed_reach);
            }
        }
    }

    /// Ends the segment if the next group would make it too large, or it grows and need not any more.
    fn end_full_segment(&mut self) {
        let (Some(current), Some(bytes)) = (&mut self.current, self.groups.next_bytes()) else { return };
        let is_full = !current.has_room_for(bytes, self.options.segment_bytes);
        if current.bytes > 0 && (is_full || current.grows() && !self.spares.is_empty()) {
            current.is_ending = true;
            self.finish_if_over();
        }
    }

    fn end_step(&mut self) -> Option<Step> {
        let current = self.current.as_ref().filter(|current| current.lacks_end())?;
        let mut bytes = Vec::new();
        write_end(&mut bytes, self.synced_through);
        seal(&mut bytes, self.next_sequence, current.salt);
        pad(&mut bytes);
        self.under_way = Some(UnderWay::End(bytes.len() as u64));
        Some(Step::Write { offset: current.bytes, bytes })
    }

    fn write_step(&mut self) -> Option<Step> {
        let Some(current) = &self.current else {
            return (!self.groups.is_empty()).then(|| self.create_step());
        };
        if current.is_ending {
            return None;
        }
        let offset = current.bytes;
        if let Some(group) = self.groups.take_refused() {
            return Some(self.begin_write(offset, group));
        }
        let mut group = self.groups.next()?;
        set_mark(&mut group.bytes, self.synced_through);
        let first_sequence = self.next_sequence;
        self.next_sequence = seal(&mut group.bytes, first_sequence, current.salt);
        if current.bytes == 0 {
            let (salt, is_prepared) = (current.salt, !current.grows());
            let header = SegmentHeader { salt, epoch: self.options.epoch, first_sequence, is_prepared };
            // Moves the group, once a segment; a second write would cost more.
            group.bytes.splice(0..0, header.encode());
        }
        if !current.grows() {
            pad(&mut group.bytes);
        }
        Some(self.begin_write(offset, group))
    }

    fn begin_write(&mut self, offset: u64, mut group: Group) -> Step {
        let bytes = std::mem::take(&mut group.bytes);
        self.under_way = Some(UnderWay::Write(group));
        Step::Write { offset, bytes }
    }

    fn create_step(&mut self) -> Step {
        let bytes = self.groups.next_bytes().unwrap_or_default();
        let is_fit = self.spares.front().is_some_and(|spare| spare.has_room_for(bytes));
        let spare = if is_fit { self.spares.pop_front() } else { None };
        let name = segment_name(self.next_sequence);
        let current = Current::new(name.clone(), (self.salts.0)(), spare.as_ref());
        self.under_way = Some(UnderWay::Create(current, spare.clone()));
        match spare {
            Some(spare) => Step::Reuse { spare, name },
            None => Step::Create { name },
        }
    }

    /// The step was carried out; the bytes of a write come back. One that fails is the end of the process, as
    /// nobody knows then what is in the file, but see [`Journal::step_refused`].
    ///
    /// # Panics
    /// If no step is under way, or its bytes do not come back: a mistake of the caller.
    pub fn step_done(&mut self, now_ms: u64, bytes: Option<Vec<u8>>) {
        match self.under_way.take().expect("a step that is done was begun") {
            UnderWay::Create(current, _) => self.current = Some(current),
            UnderWay::Write(group) => {
                let bytes = bytes.expect("the bytes of a write come back");
                self.write_done(now_ms, Group { bytes, ..group });
            }
            UnderWay::End(bytes) => {
                let current = self.current.as_mut().expect("what ends is current");
                current.bytes += bytes;
                current.is_closed = true;
                self.next_sequence += 1;
                self.all_synced(now_ms);
            }
            UnderWay::Sync => {
                let current = self.current.as_mut().expect("what is synced is current");
                current.unsynced_since_ms = None;
                if current.is_named {
                    self.all_synced(now_ms);
                }
            }
            UnderWay::SyncFolder => {
                self.current.as_mut().expect("what is named is current").is_named = true;
                self.all_synced(now_ms);
            }
        }
    }

    /// The disk had no room for the step, which comes again. What a write has left of its bytes is behind the end of what
    /// counts, and they are written to the same place.
    ///
    /// # Panics
    /// As [`Journal::step_done`], and for a sync: what was written had its room.
    pub fn step_refused(&mut self, bytes: Option<Vec<u8>>) {
        match self.under_way.take().expect("a step that is refused was begun") {
            UnderWay::Create(_, spare) => self.spares.extend(spare),
            UnderWay::End(_) => {}
            UnderWay::Write(group) => {
                let bytes = bytes.expect("the bytes of a write come back");
                self.groups.refuse(Group { bytes, ..group });
            }
            UnderWay::Sync | UnderWay::SyncFolder => panic!("a sync that fails is the end"),
        }
    }

    fn write_done(&mut self, now_ms: u64, group: Group) {
        let current = self.current.as_mut().expect("what is written to is current");
        current.bytes += group.bytes.len() as u64;
        current.groups += 1;
        if current.grows() {
            current.unsynced_since_ms.get_or_insert(now_ms);
        }
        self.is_unmarked = group.has_changes;
        self.written += 1;
        if self.roll_after.is_some_and(|groups| self.written >= groups) {
            self.roll_after = None;
            current.is_ending = true;
        }
        self.written_reach.copy_from(&group.reach);
        if self.options.fsync == Fsync::Never {
            self.durable_reach.copy_from(&group.reach);
        }
        if current.is_safe() {
            self.all_synced(now_ms);
        }
        self.groups.recycle(group);
    }

    /// Everything that was written is synced, and so is the name of the file.
    fn all_synced(&mut self, now_ms: u64) {
        self.synced_through = self.next_sequence - 1;
        self.durable_reach.copy_from(&self.written_reach);
        self.mark_at_ms = self.is_unmarked.then(|| now_ms.saturating_add(MARK_AFTER_MS));
        self.finish_if_over();
    }

    fn finish_if_over(&mut self) {
        if let Some(current) = self.current.take_if(|current| current.is_over()) {
            // Its end record, or else that it was folded, says as much.
            self.mark_at_ms = None;
            self.finished.push_back(FinishedSegment {
                name: current.name,
                next_sequence: self.next_sequence,
                bytes: current.bytes,
                last_applied: self.written_reach.shards.iter().map(|shard| shard.applied).collect(),
                prepared_bytes: current.prepared_bytes,
            });
        }
    }

    /// When [`Journal::next_step`] has something to do though nothing comes: a sync of `--fsync interval`, or a mark.
    pub fn wake_at_ms(&self) -> Option<u64> {
        let current = self.current.as_ref().filter(|_| self.under_way.is_none())?;
        let sync_at_ms = match (self.options.fsync, current.unsynced_since_ms) {
            (Fsync::Interval { ms }, Some(since_ms)) => Some(since_ms.saturating_add(ms)),
            _ => None,
        };
        [sync_at_ms, self.mark_at_ms].into_iter().flatten().min()
    }

    /// A file that can become a segment. Only for `--fsync always`: each write to it will be synced.
    pub fn add_spare(&mut self, spare: Spare) {
        self.spares.push_back(spare);
    }

    /// Spare files that are not in use yet.
    pub fn spares(&self) -> usize {
        self.spares.len()
    }

    /// Bytes and groups of the segment that is written to.
    pub fn current(&self) -> (u64, u64) {
        self.current.as_ref().map_or((0, 0), |current| (current.bytes, current.groups))
    }

    /// Whether the next group takes no room on the disk.
    pub fn is_prepared(&self) -> bool {
        self.current.as_ref().is_some_and(|current| !current.grows())
    }

    /// Whether changes are in no file, and not on their way into one.
    pub fn has_unwritten_changes(&self) -> bool {
        self.groups.has_changes()
    }

    /// How far the batches of a shard are safe.
    pub fn durable(&self, shard: usize) -> Durable {
        let ShardReach { batch, bytes, .. } = self.durable_reach.shards[shard];
        Durable { batch, bytes, clock: self.durable_reach.clock }
    }

    /// A shard, and the emptied bytes of a batch of it.
    pub fn take_recycled(&mut self) -> Option<(usize, Vec<u8>)> {
        self.recycled.pop_front()
    }

    /// Ends the segment once everything that has come so far is in it, and has it synced, even with `--fsync never`.
    /// Whether there is anything to end, so that a finished segment will follow.
    pub fn roll(&mut self) -> bool {
        if self.written < self.groups.begun() {
            self.roll_after = Some(self.groups.begun());
            return true;
        }
        let Some(current) = &mut self.current else { return false };
        current.is_ending = true;
        self.finish_if_over();
        true
    }

    /// The oldest segment that is synced and complete, each once.
    pub fn take_finished(&mut self) -> Option<FinishedSegment> {
        self.finished.pop_front()
    }

    /// Bytes of batches that have come and are not durable.
    pub fn backlog_bytes(&self) -> u64 {
        self.pushed_reach.bytes - self.durable_reach.bytes
    }

    /// Bytes of the segment that is written to, and of what waits to be written.
    pub fn unfinished_bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.bytes) + self.unwritten_bytes()
    }

    /// Bytes of them that are in no file and not on their way into one.
    pub fn unwritten_bytes(&self) -> u64 {
        self.groups.bytes()
    }

    /// Whether everything that has come is durable and no segment is about to end.
    pub fn is_idle(&self) -> bool {
        let is_settled = |current: &Current| {
            !current.is_ending && (current.is_safe() || self.options.fsync == Fsync::Never)
        };
        self.under_way.is_none() && self.groups.is_empty() && self.current.as_ref().is_none_or(is_settled)
    }
}
