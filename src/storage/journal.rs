//! The journal as a state machine: batches of records go in, the steps that bring them to the disk come out. It
//! does no I/O; the service carries the steps out, one at a time, and the simulator does so with a disk of its own.
//!
//! ```text
//!   no segment ──Create──► empty ──Write──► written ──Sync──► synced ──SyncFolder (once)──► durable
//!        ▲                                     ▲                                           │    │
//!        │                                     └───────────────────Write───────────────────┘    │
//!        └────────────────────────────── full, or rolled: finished ─────────────────────────────┘
//! ```
//!
//! Invariant: what is reported durable was synced, and so was the name of its file (`--fsync never`: it was
//! written). A segment is created only after the one before was synced, with its name, whatever `--fsync` says.

use std::collections::VecDeque;

use super::groups::{Group, Groups};
use super::reach::{Reach, ShardReach};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::config::Fsync;
use crate::crdt::Time;
use crate::handover::{Batch, seal, set_mark};

/// Bytes past which what comes waits for the next group, so that a sync never waits for a huge write.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// The largest segment, whatever is asked for: offsets in it have to fit 32 bits, behind the largest group too.
const SEGMENT_BYTES_MAX: usize = 1 << 30;

/// What to do with the files of the journal's folder.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Create a file, which becomes the current one. Its name is relative to the data directory.
    Create { name: String },
    /// Write all of `bytes` into the current file; they are handed back to [`Journal::step_done`].
    Write { offset: u64, bytes: Vec<u8> },
    /// Make the content of the current file survive.
    Sync,
    /// Make the names in the journal's folder survive.
    SyncFolder,
}

/// How a journal is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub epoch: u64,
    /// Of the first record. Everything before must have been synced, as recovery sees to.
    pub next_sequence: u64,
    /// Bytes at which a segment ends; only a single group that is larger makes one larger.
    pub segment_bytes: usize,
    pub fsync: Fsync,
    pub shards: usize,
}

/// A segment that is synced and will not change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedSegment {
    /// Relative to the data directory.
    pub name: String,
    /// The sequence number behind its last record.
    pub next_sequence: u64,
    pub bytes: u64,
    /// For each shard the tick up to which all its changes are in this segment or in one before.
    pub last_applied: Vec<Time>,
}

/// How far one shard's batches are safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The last batch that is durable (`--fsync never`: written); 0: none yet.
    pub batch: u64,
    /// Bytes of all its durable batches since the start.
    pub bytes: u64,
    /// The newest tick that is durable, of any shard.
    pub clock: Time,
}

/// See the module.
pub struct Journal {
    options: Options,
    salt: Box<dyn FnMut() -> u32 + Send>,
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
}

/// The file that is written to.
#[derive(Debug)]
struct Current {
    name: String,
    salt: u32,
    /// Bytes written.
    bytes: u64,
    /// When the first byte was written that is not synced; `None`: all is.
    unsynced_since_ms: Option<u64>,
    is_named: bool,
    /// Nothing more is written to it.
    is_ending: bool,
}

#[derive(Debug)]
enum UnderWay {
    Create(Current),
    /// The group's bytes are with whoever carries the step out.
    Write(Group),
    Sync,
    SyncFolder,
}

impl Journal {
    /// Begins with no segment: the first is created when something comes. `salt` gives each a random one.
    pub fn new(options: Options, salt: impl FnMut() -> u32 + Send + 'static) -> Self {
        let nowhere = Reach::nowhere(options.shards);
        let segment_bytes = options.segment_bytes.min(SEGMENT_BYTES_MAX);
        Self {
            options: Options { segment_bytes, ..options },
            salt: Box::new(salt),
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
        self.end_full_segment();
        // Which may have to be synced first.
        self.sync_step(now_ms).or_else(|| self.write_step())
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

    /// Ends the segment if the next group would make it too large.
    fn end_full_segment(&mut self) {
        let (Some(current), Some(bytes)) = (&mut self.current, self.groups.next_bytes()) else { return };
        if current.bytes > 0 && current.bytes + bytes as u64 > self.options.segment_bytes as u64 {
            current.is_ending = true;
            self.finish_if_over();
        }
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
            let header = SegmentHeader { salt: current.salt, epoch: self.options.epoch, first_sequence };
            // Moves the group, once a segment; a second write would cost more.
            group.bytes.splice(0..0, header.encode());
        }
        Some(self.begin_write(offset, group))
    }

    fn begin_write(&mut self, offset: u64, mut group: Group) -> Step {
        let bytes = std::mem::take(&mut group.bytes);
        self.under_way = Some(UnderWay::Write(group));
        Step::Write { offset, bytes }
    }

    fn create_step(&mut self) -> Step {
        let name = segment_name(self.next_sequence);
        self.under_way = Some(UnderWay::Create(Current {
            name: name.clone(),
            salt: (self.salt)(),
            bytes: 0,
            unsynced_since_ms: None,
            is_named: false,
            is_ending: false,
        }));
        Step::Create { name }
    }

    /// The step was carried out; the bytes of a write come back. One that fails is the end of the process, as
    /// nobody knows then what is in the file, but see [`Journal::step_refused`].
    ///
    /// # Panics
    /// If no step is under way, or its bytes do not come back: a mistake of the caller.
    pub fn step_done(&mut self, now_ms: u64, bytes: Option<Vec<u8>>) {
        match self.under_way.take().expect("a step that is done was begun") {
            UnderWay::Create(current) => self.current = Some(current),
            UnderWay::Write(group) => {
                let bytes = bytes.expect("the bytes of a write come back");
                self.write_done(now_ms, Group { bytes, ..group });
            }
            UnderWay::Sync => {
                let current = self.current.as_mut().expect("what is synced is current");
                current.unsynced_since_ms = None;
                if current.is_named {
                    self.all_synced();
                }
            }
            UnderWay::SyncFolder => {
                self.current.as_mut().expect("what is named is current").is_named = true;
                self.all_synced();
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
            UnderWay::Create(_) => {}
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
        current.unsynced_since_ms.get_or_insert(now_ms);
        self.written += 1;
        if self.roll_after.is_some_and(|groups| self.written >= groups) {
            self.roll_after = None;
            current.is_ending = true;
        }
        self.written_reach.copy_from(&group.reach);
        if self.options.fsync == Fsync::Never {
            self.durable_reach.copy_from(&group.reach);
        }
        self.groups.recycle(group);
    }

    /// Everything that was written is synced, and so is the name of the file.
    fn all_synced(&mut self) {
        self.synced_through = self.next_sequence - 1;
        self.durable_reach.copy_from(&self.written_reach);
        self.finish_if_over();
    }

    fn finish_if_over(&mut self) {
        let is_over = |current: &mut Current| {
            current.is_ending && current.is_named && current.unsynced_since_ms.is_none()
        };
        if let Some(current) = self.current.take_if(is_over) {
            self.finished.push_back(FinishedSegment {
                name: current.name,
                next_sequence: self.next_sequence,
                bytes: current.bytes,
                last_applied: self.written_reach.shards.iter().map(|shard| shard.applied).collect(),
            });
        }
    }

    /// When [`Journal::next_step`] has something to do though nothing comes (`--fsync interval`).
    pub fn wake_at_ms(&self) -> Option<u64> {
        let Fsync::Interval { ms } = self.options.fsync else { return None };
        let current = self.current.as_ref().filter(|_| self.under_way.is_none())?;
        Some(current.unsynced_since_ms?.saturating_add(ms))
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
            let is_durable = current.is_named && current.unsynced_since_ms.is_none();
            !current.is_ending && (is_durable || self.options.fsync == Fsync::Never)
        };
        self.under_way.is_none() && self.groups.is_empty() && self.current.as_ref().is_none_or(is_settled)
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Journal")
            .field("current", &self.current)
            .field("under_way", &self.under_way)
            .field("next_sequence", &self.next_sequence)
            .field("synced_through", &self.synced_through)
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}
