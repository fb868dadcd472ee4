//! The writer of the journal: takes what the shards hand over, carries the journal's steps out on the ring of the
//! service thread, and tells the shards what is durable.
//!
//! ```text
//! loop {
//!     drain()      what the shards handed over: changes to the journal, the rest to other threads
//!     step         create, write, sync: one at a time; while it is under way the next group collects
//!     publish()    what became durable; wake the shards that wait for it
//! }
//! ```
//!
//! Invariant: nothing is published before the step was carried out that makes it so. When a step fails the process
//! ends: after a failed sync nobody knows what is in the file. Nor is anything durable in a file that the next start will not
//! find, so it is looked for after each step. One that finds no room changes nothing, though, and is tried again until there
//! is some. Between groups nothing is allocated.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use rtrb::Consumer;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_uring::fs::File;

use super::files::{Done, Files, StepError, carry_out};
use super::loading::Wanted;
use super::parts::Parts;
use crate::crdt::{Map, Time};
use crate::handover::{FromStorage, LookUp, ToStorage};
use crate::mesh::ShardIndex;
use crate::storage::{Journal, Step};

/// While a step is under way no shard wakes this thread, as the end of the step does; what cannot wait that long, such
/// as a load, is seen after this at the latest.
const LOOK_WHILE_BUSY: Duration = Duration::from_millis(5);
/// The longest wait of an idle thread; whatever happens wakes it before.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// After a step that found no room, until it is tried again.
const RETRY_MS: u64 = 250;

/// Somebody wants everything that was handed over so far to be in complete segments.
pub(super) struct Roll {
    pub done: oneshot::Sender<Rolled>,
}

/// What became of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rolled {
    Complete,
    /// The disk has no room for all of it; what was acknowledged as durable is in files.
    WithoutRoom,
}

/// Where what is no change goes.
pub(super) struct Elsewhere {
    pub loader: Sender<Wanted>,
    pub look_ups: Sender<(ShardIndex, LookUp)>,
    pub evicted: Sender<Box<Map>>,
}

/// See the module.
pub(super) struct Writer {
    parts: Arc<Parts>,
    journal: Journal,
    from_shards: Vec<Consumer<ToStorage>>,
    elsewhere: Elsewhere,
    /// For each shard the last batch that was published, and the newest tick that was pushed.
    published: Vec<u64>,
    pushed: Vec<Time>,
    /// When the first change came that no checkpoint was asked for.
    unfolded_since_ms: Option<u64>,
    rolling: Vec<Rolling>,
    /// Of the write under way.
    under_way_bytes: u64,
    /// When the step is tried again that found no room.
    retry_at_ms: Option<u64>,
    /// The end of the storage does without a mark that finds no room.
    has_given_up: bool,
}

/// A roll that was asked for when the shards had pushed up to these ticks.
struct Rolling {
    pushed: Vec<Time>,
    done: oneshot::Sender<Rolled>,
}

impl Writer {
    pub(super) fn new(
        parts: Arc<Parts>,
        journal: Journal,
        from_shards: Vec<Consumer<ToStorage>>,
        elsewhere: Elsewhere,
    ) -> Self {
        let shards = from_shards.len();
        Self {
            parts,
            journal,
            from_shards,
            elsewhere,
            published: vec![0; shards],
            pushed: vec![Time::ZERO; shards],
            unfolded_since_ms: None,
            rolling: Vec::new(),
            under_way_bytes: 0,
            retry_at_ms: None,
            has_given_up: false,
        }
    }

    /// Writes until the shards have ended and everything they have handed over is synced.
    ///
    /// # Errors
    /// Of the first step that failed, with what it was.
    pub(super) async fn run(mut self, mut rolls: mpsc::UnboundedReceiver<Roll>) -> Result<(), StepError> {
        let files = Rc::new(Files::open(&self.parts.config).await?);
        let event = Rc::new(File::from_std(self.parts.event.file().map_err(StepError::event)?));
        // One place for whichever step is under way, used again and again.
        let mut under_way = pin!(None);
        let mut raised = pin!(wait_for(Rc::clone(&event), vec![0; 8]));
        let mut timer = pin!(sleep(IDLE_WAIT));
        let mut began_ns = 0;
        loop {
            self.drain();
            let now_ms = self.now_ms();
            self.roll_if_due(now_ms);
            let is_stopping = self.parts.is_stopping.load(Ordering::Acquire);
            self.take_spare();
            if under_way.is_none() {
                if self.has_given_up {
                    return Ok(());
                }
                if let Some(step) = self.next_step(now_ms, is_stopping) {
                    began_ns = self.parts.clock.elapsed_ns();
                    under_way.set(Some(carry_out(Rc::clone(&files), step)));
                } else if is_stopping && !self.has_arrivals() {
                    if self.journal.roll() {
                        // Which may take a sync.
                        continue;
                    }
                    self.hand_back();
                    return Ok(());
                }
            }
            // First what is complete, which is not current any more: else the journal would seem shorter by a segment.
            self.hand_back();
            // While a step is under way, too, however long the disk takes for it.
            let unfinished = self.journal.unfinished_bytes() + self.under_way_bytes;
            self.parts.pressure.set_current(unfinished, self.parts.clock.elapsed_ns());
            let is_busy = under_way.is_some();
            if !is_busy {
                self.parts.progress.fall_asleep();
                if self.has_arrivals() || self.parts.is_stopping.load(Ordering::Acquire) != is_stopping {
                    self.parts.progress.stay_awake();
                    continue;
                }
            }
            timer.as_mut().reset(Instant::now() + self.wait(is_busy, now_ms));
            tokio::select! {
                biased;
                done = async { under_way.as_mut().as_pin_mut().expect("a step is under way").await }, if is_busy => {
                    under_way.set(None);
                    self.carried_out(done?, began_ns)?;
                }
                buffer = &mut raised => {
                    raised.set(wait_for(Rc::clone(&event), buffer.map_err(StepError::event)?));
                }
                Some(roll) = rolls.recv() => self.roll(roll),
                () = &mut timer => {}
            }
            self.parts.progress.stay_awake();
        }
    }

    fn now_ms(&self) -> u64 {
        self.parts.clock.elapsed_ns() / 1_000_000
    }

    fn wait(&self, is_busy: bool, now_ms: u64) -> Duration {
        if is_busy {
            return LOOK_WHILE_BUSY;
        }
        let interval_ms = self.parts.config.checkpoint_interval_ms;
        let roll_at_ms = self.unfolded_since_ms.map(|since_ms| since_ms + interval_ms);
        let at_ms = [self.journal.wake_at_ms(), roll_at_ms, self.retry_at_ms].into_iter().flatten().min();
        at_ms.map_or(IDLE_WAIT, |at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)))
    }
}

// What the shards hand over.
impl Writer {
    fn has_arrivals(&self) -> bool {
        self.from_shards.iter().any(|queue| !queue.is_empty())
    }

    fn drain(&mut self) {
        for shard in 0..self.from_shards.len() {
            // As much as there is now, so that a busy shard does not keep the others waiting.
            for _ in 0..self.from_shards[shard].slots() {
                match self.from_shards[shard].pop() {
                    Ok(item) => self.take(shard, item),
                    Err(_) => break,
                }
            }
        }
    }

    fn take(&mut self, shard: usize, item: ToStorage) {
        match item {
            ToStorage::Records(batch) => {
                self.pushed[shard] = self.pushed[shard].max(batch.last_applied);
                if self.unfolded_since_ms.is_none() {
                    self.unfolded_since_ms = Some(self.now_ms());
                }
                self.journal.push(shard, batch);
            }
            ToStorage::Typed { map, map_type } => self.parts.types.insert(map, map_type),
            // The other threads end after this one.
            ToStorage::Load { map } => {
                let _ = self.elsewhere.loader.send(Wanted { shard: shard as ShardIndex, map });
            }
            ToStorage::LookUp(look_up) => {
                let _ = self.elsewhere.look_ups.send((shard as ShardIndex, look_up));
            }
            ToStorage::Evicted(map) => {
                let _ = self.elsewhere.evicted.send(map);
            }
            ToStorage::Checkpoint => {
                self.parts.segments.hurry();
                self.end_segment();
            }
        }
    }
}

// Segments.
impl Writer {
    fn roll_if_due(&mut self, now_ms: u64) {
        let interval_ms = self.parts.config.checkpoint_interval_ms;
        if self.unfolded_since_ms.is_some_and(|since_ms| now_ms >= since_ms + interval_ms) {
            self.end_segment();
        }
    }

    fn end_segment(&mut self) {
        self.unfolded_since_ms = None;
        self.journal.roll();
    }

    fn roll(&mut self, Roll { done }: Roll) {
        if self.retry_at_ms.is_some() {
            let _ = done.send(Rolled::WithoutRoom);
            return;
        }
        self.unfolded_since_ms = None;
        if self.journal.roll() {
            self.rolling.push(Rolling { pushed: self.pushed.clone(), done });
        } else {
            // Who has asked may be gone.
            let _ = done.send(Rolled::Complete);
        }
    }

    /// Gives emptied buffers back to the shards, and complete segments to the checkpoint.
    fn hand_back(&mut self) {
        while let Some((shard, bytes)) = self.journal.take_recycled() {
            // Without a wake: a shard looks in every turn. If there is no room it allocates another one.
            let _ = self.parts.shards.send(shard, FromStorage::Recycled(bytes));
        }
        while let Some(segment) = self.journal.take_finished() {
            let reaches = |rolling: &Rolling| {
                rolling.pushed.iter().zip(&segment.last_applied).all(|(pushed, finished)| pushed <= finished)
            };
            let done = self.rolling.extract_if(.., |rolling| reaches(rolling)).collect::<Vec<_>>();
            self.parts.finished(segment);
            for rolling in done {
                let _ = rolling.done.send(Rolled::Complete);
            }
        }
    }
}

// Steps.
impl Writer {
    /// What is to be done now, after the room for it was judged.
    fn next_step(&mut self, now_ms: u64, is_stopping: bool) -> Option<Step> {
        if self.retry_at_ms.is_some_and(|at_ms| now_ms < at_ms) && !is_stopping {
            return self.journal.next_sync(now_ms);
        }
        let step = self.journal.next_step(now_ms)?;
        if let Step::Write { bytes, .. } = &step {
            self.under_way_bytes = bytes.len() as u64;
            // What was prepared has its room.
            let taken = if self.journal.is_prepared() { 0 } else { bytes.len() as u64 };
            self.parts.room.before_write(taken, self.journal.unwritten_bytes());
        }
        Some(step)
    }

    fn take_spare(&mut self) {
        if self.journal.spares() == 0
            && let Some(spare) = self.parts.spares.take(self.journal.current())
        {
            self.journal.add_spare(spare);
        }
    }

    fn carried_out(&mut self, done: Done, began_ns: u64) -> Result<(), StepError> {
        let metrics = self.parts.progress.metrics();
        self.under_way_bytes = 0;
        let bytes = match done {
            Done::Wrote(bytes) => Some(self.wrote(bytes)),
            Done::WroteSynced(bytes) => {
                metrics.record_sync(self.parts.clock.elapsed_ns() - began_ns);
                Some(self.wrote(bytes))
            }
            Done::Reused => {
                self.parts.spares.used();
                None
            }
            Done::Synced => {
                metrics.record_sync(self.parts.clock.elapsed_ns() - began_ns);
                None
            }
            Done::Other => None,
            Done::WithoutRoom(bytes) => return self.wait_for_room(bytes),
        };
        self.journal.step_done(self.now_ms(), bytes);
        self.publish();
        Ok(())
    }

    fn wrote(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let metrics = self.parts.progress.metrics();
        metrics.groups.add(1);
        metrics.written_bytes.add(bytes.len() as u64);
        self.retry_at_ms = None;
        self.parts.room.wrote(self.journal.unwritten_bytes());
        bytes
    }

    /// Keeps what the disk has no room for. Nobody was told that it is durable.
    fn wait_for_room(&mut self, bytes: Option<Vec<u8>>) -> Result<(), StepError> {
        self.journal.step_refused(bytes);
        let unwritten = self.journal.unwritten_bytes();
        if self.parts.is_stopping.load(Ordering::Acquire) {
            self.has_given_up = !self.journal.has_unwritten_changes();
            return if self.has_given_up { Ok(()) } else { Err(StepError::without_room(unwritten)) };
        }
        self.parts.room.refused(unwritten);
        self.retry_at_ms = Some(self.now_ms() + RETRY_MS);
        for rolling in self.rolling.drain(..) {
            let _ = rolling.done.send(Rolled::WithoutRoom);
        }
        Ok(())
    }

    fn publish(&mut self) {
        let progress = &self.parts.progress;
        let mut is_news = false;
        for shard in 0..self.published.len() {
            let durable = self.journal.durable(shard);
            if durable.batch != self.published[shard] {
                self.published[shard] = durable.batch;
                // First, as who is told that a change is durable may want a cursor for it.
                progress.advance_durable_clock(durable.clock);
                progress.shard(shard).set_durable(durable.batch, durable.bytes);
                is_news = true;
            }
        }
        if is_news {
            for shard in 0..self.published.len() {
                // Any of them may wait for a change of another.
                if progress.shard(shard).take_wants_wake() {
                    self.parts.shards.wake(shard);
                }
            }
        }
    }
}

/// Waits until the event is raised; gives the buffer back.
async fn wait_for(event: Rc<File>, buffer: Vec<u8>) -> io::Result<Vec<u8>> {
    let (read, buffer) = event.read_at(buffer, 0).await;
    read.map(|_| buffer)
}
