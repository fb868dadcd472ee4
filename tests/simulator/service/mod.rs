//! The storage as `src/service` runs it, in one thread and at the pace of chance: between any two steps of it
//! anything else may happen. Loads, folds and what waits for them are the service's own; only the files of the journal, which it
//! writes on a ring of the kernel, and the spare files for it are done here as it does them.
//!
//! ```text
//! mod.rs      what there is, one step of it, and waking      loads.rs       maps for the shards
//! start.rs    recovery                                       checkpoint.rs  segments into the base
//! group.rs    the steps of the journal
//! ```

mod checkpoint;
mod group;
mod loads;
mod start;

use std::collections::VecDeque;
use std::sync::Arc;

use annulus::crdt::Time;
use annulus::handover::{FromStorage, LookUp, Progress, ShardPort, ToStorage};
use annulus::service::{DataSet, Folding, Pace, Segments, Types};
use annulus::storage::{Base, DiskFile, Format, Journal, StorageError, Tail, Timeline, backup};

use crate::disk::SimDisk;
use crate::random::Random;
use crate::scenario::StorageSpec;
use group::UnderWay;

/// See the module. Whatever fails in it ends the process.
pub struct Service {
    disk: SimDisk,
    spec: StorageSpec,
    pub format: Format,
    pub timeline: Timeline,
    pub progress: Arc<Progress>,
    pub clock: Time,
    /// All maps were dropped at this tick, as far as was known at the start.
    pub cleared_at_start: Time,
    base: Base,
    tail: Tail,
    journal: Journal,
    ports: Vec<ShardPort>,

    /// The segment that is written to, and what is done to it.
    file: Option<Arc<dyn DiskFile>>,
    under_way: Option<UnderWay>,
    /// It was a spare file: each write to it is synced.
    is_reused: bool,
    /// Of the last spare file.
    spare_number: u64,
    /// The journal may have a step to be done.
    may_step: bool,
    /// Shards that have not been told how far the journal is; the last place stands for the clock.
    untold: Vec<bool>,
    types: Types,
    /// Maps that shards have asked for, what is being loaded, and what is on its way to each shard.
    asked: Vec<(usize, Arc<str>)>,
    look_ups: Vec<(usize, LookUp)>,
    /// No load comes before.
    held_until_us: u64,
    loading: Option<loads::UnderWay>,
    outgoing: Vec<VecDeque<FromStorage>>,
    /// Segments that are not in the base, and the one that is being folded.
    segments: Segments,
    folding: Option<(Folding, Pace)>,
    checkpoint_at_us: u64,
    /// When the next one of them is folded, as folding takes its time.
    fold_at_us: u64,
    /// Something has come since the last checkpoint began.
    has_unrolled: bool,

    /// It waits for its event, and whether that has come.
    is_asleep: bool,
    pub is_woken: bool,
    /// Nothing stalls or fails any more.
    pub is_calm: bool,
    /// Shards to be woken.
    woken: Vec<usize>,
    pub counts: Counts,
}

/// What it has done, over all processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub groups: u64,
    pub segments: u64,
    pub folds: u64,
    pub fold_steps: u64,
    pub folds_cut_short: u64,
    pub loads: u64,
    pub look_ups: u64,
    pub failed_loads: u64,
    /// Steps of the journal that found no room.
    pub refused: u64,
    /// Segments that were made of spare files.
    pub reused: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.groups += other.groups;
        self.segments += other.segments;
        self.folds += other.folds;
        self.fold_steps += other.fold_steps;
        self.folds_cut_short += other.folds_cut_short;
        self.loads += other.loads;
        self.look_ups += other.look_ups;
        self.failed_loads += other.failed_loads;
        self.refused += other.refused;
        self.reused += other.reused;
    }
}

/// The time of a step.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub us: u64,
    pub unix_ms: u64,
}

impl Now {
    /// What `--fsync interval` counts in.
    const fn ms(self) -> u64 {
        self.us / 1000
    }
}

impl Service {
    fn data_set(&self) -> DataSet<'_> {
        DataSet {
            disk: &self.disk,
            epoch: self.format.epoch,
            base: &self.base,
            tail: &self.tail,
            types: &self.types,
            progress: &self.progress,
            retention_ms: self.spec.retention_ms,
        }
    }

    /// Has everything folded that was handed over so far, as for a backup.
    pub fn fold_everything(&mut self) {
        self.roll();
        self.is_woken = true;
    }

    /// Copies what is folded onto another disk.
    pub fn copy_onto(&self, to: &dyn annulus::storage::Disk, now_ms: u64) {
        backup::copy_onto(&self.base, &self.disk, None, to, now_ms, &mut |_| {})
            .expect("nothing fails at rest");
    }

    /// All maps were dropped at this tick, the last time that the base has followed.
    pub fn cleared_through(&self) -> Time {
        self.base.cleared_through().expect("reading does not fail on this disk")
    }

    /// Whether a step would do anything.
    pub fn is_runnable(&self, now_us: u64) -> bool {
        self.is_woken || !self.is_asleep || self.deadline_us().is_some_and(|at_us| at_us <= now_us)
    }

    /// Whether it has nothing to do until somebody hands something over.
    pub fn is_quiet(&self) -> bool {
        self.is_asleep
            && !self.is_woken
            && self.has_nothing()
            && self.loading.is_none()
            && self.segments.waiting() == 0
            && self.journal.is_idle()
    }

    /// When it wakes up by itself.
    pub fn deadline_us(&self) -> Option<u64> {
        let step = self.under_way.as_ref().map(|under_way| under_way.due_us);
        let sync = self.journal.wake_at_ms().map(|at_ms| at_ms * 1000);
        let checkpoint = self.has_unrolled.then_some(self.checkpoint_at_us);
        let fold = (self.segments.waiting() > 0).then_some(self.fold_at_us);
        let load = self.loading.as_ref().map(|under_way| under_way.due_us);
        [step, sync, checkpoint, fold, load].into_iter().flatten().min()
    }

    /// Does one thing, or falls asleep. Returns the shards to wake.
    pub fn step(&mut self, now: Now, random: &mut Random) -> Result<Vec<usize>, StorageError> {
        self.is_woken = false;
        if std::mem::take(&mut self.is_asleep) {
            self.progress.stay_awake();
        }
        match random.below(10) {
            0..3 => self.drain(random),
            3..6 => self.step_journal(now, random)?,
            6 => self.tell(random),
            7 => {
                self.roll_if_due(now);
                self.fold(now, random)?;
            }
            8 => self.load(now, random)?,
            _ if random.per_mille(100) => self.prepare_spare()?,
            _ => self.deliver(random),
        }
        if self.has_nothing() && !self.is_due(now) {
            self.progress.fall_asleep();
            self.is_asleep = true;
            // Something may have come before it was known that it must be woken.
            if self.ports.iter().any(|port| !port.from_shard.is_empty()) {
                self.progress.stay_awake();
                self.is_asleep = false;
            }
        }
        Ok(std::mem::take(&mut self.woken))
    }

    fn is_due(&self, now: Now) -> bool {
        self.deadline_us().is_some_and(|at_us| at_us <= now.us)
    }

    fn has_nothing(&self) -> bool {
        self.ports.iter().all(|port| port.from_shard.is_empty())
            && !(self.may_step && self.under_way.is_none())
            && !self.untold.contains(&true)
            && self.look_ups.is_empty()
            && (self.asked.is_empty() || self.loading.is_some())
            && self.outgoing.iter().all(VecDeque::is_empty)
    }

    /// Takes what shards have handed over.
    fn drain(&mut self, random: &mut Random) {
        let shard = random.below(self.ports.len());
        for _ in 0..random.between(1, 8) {
            let Ok(item) = self.ports[shard].from_shard.pop() else { return };
            match item {
                ToStorage::Records(batch) => {
                    self.has_unrolled = true;
                    self.may_step = true;
                    self.journal.push(shard, batch);
                }
                ToStorage::Typed { map, map_type } => {
                    let known = self.types.map_type(&map);
                    assert!(
                        known.is_none_or(|known| known == map_type),
                        "the type of {map} was decided twice"
                    );
                    self.types.insert(map, map_type);
                }
                ToStorage::Load { map } => {
                    let is_new = !self.asked.contains(&(shard, Arc::clone(&map)));
                    assert!(is_new, "shard {shard} asks twice for {map}");
                    self.asked.push((shard, map));
                }
                ToStorage::LookUp(look_up) => self.look_ups.push((shard, look_up)),
                ToStorage::Checkpoint => {
                    self.segments.hurry();
                    self.roll();
                }
                ToStorage::Evicted(map) => drop(map),
            }
        }
    }

    /// Tells some of those who do not know yet how far the journal is.
    fn tell(&mut self, random: &mut Random) {
        let place = random.below(self.untold.len());
        if !std::mem::take(&mut self.untold[place]) {
            return;
        }
        if place < self.ports.len() {
            let durable = self.journal.durable(place);
            self.progress.shard(place).set_durable(durable.batch, durable.bytes);
        } else {
            self.progress.advance_durable_clock(self.journal.durable(0).clock);
        }
        self.wake_waiting();
    }

    fn wake_waiting(&mut self) {
        for shard in 0..self.ports.len() {
            if self.progress.shard(shard).take_wants_wake() {
                self.woken.push(shard);
            }
        }
    }

    /// Puts some of what is on its way into the queues of the shards.
    fn deliver(&mut self, random: &mut Random) {
        let shard = random.below(self.ports.len());
        for _ in 0..random.between(1, 4) {
            let Some(item) = self.outgoing[shard].pop_front() else { return };
            if let Err(rtrb::PushError::Full(item)) = self.ports[shard].to_shard.push(item) {
                return self.outgoing[shard].push_front(item);
            }
            self.woken.push(shard);
        }
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("journal", &self.journal)
            .field("under_way", &self.under_way)
            .field("untold", &self.untold)
            .field("asked", &self.asked)
            .field("outgoing", &self.outgoing.iter().map(VecDeque::len).collect::<Vec<_>>())
            .field("unfolded", &self.segments.waiting())
            .field("is_asleep", &self.is_asleep)
            .finish_non_exhaustive()
    }
}
