//! Segments on their way into the base, and what follows from that, step by step. Between two steps anything may be loaded.
//!
//! ```text
//! transaction by transaction ──► removals that are old are forgotten ──► types leave that the base has ──► shards are told
//!        ▲     └── cut short        (sweep)                                                                      └─► the segments may go
//! ```
//! Invariant: nobody is told that something is in the base before the next start would find it there.

use super::data_set::DataSet;
use crate::crdt::Time;
use crate::storage::{FinishedSegment, Fold, Folded, StorageError};

/// See the module.
pub struct Folding {
    segments: Vec<FinishedSegment>,
    /// Cells that are looked at for old removals.
    sweep_cells: usize,
    stage: Stage,
    folded: Folded,
    /// Cells that were forgotten, at least in part.
    swept: u64,
}

/// What is to be done next.
enum Stage {
    Begin,
    Fold(Box<Fold>),
    Sweep,
    Types,
    Tell,
    Over,
}

/// Where it is behind a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Part of them is in the base. Who gives it up here folds the rest another time ([`Folding::give_up`]).
    Within,
    /// The disk has no room for the rest, which is to be folded another time.
    WithoutRoom,
    /// All of them are in the base, and there is more to be done.
    InBase,
    /// Everybody knows, so that the segments may go.
    End,
}

impl Folding {
    /// Folds what waits, oldest first.
    pub fn new(segments: Vec<FinishedSegment>, sweep_cells: usize) -> Self {
        Self { segments, sweep_cells, stage: Stage::Begin, folded: Folded::default(), swept: 0 }
    }

    pub fn segments(&self) -> &[FinishedSegment] {
        &self.segments
    }

    pub(super) const fn folded(&self) -> &Folded {
        &self.folded
    }

    pub(super) const fn swept(&self) -> u64 {
        self.swept
    }

    /// Does a piece of it, which may be given up where `may_go_on` says no. `unix_ms` is the wall clock.
    ///
    /// # Errors
    /// [`StorageError`]: whatever it is, it is the end of the server, and the next start goes on from the transaction before.
    pub fn step(
        &mut self,
        data: &DataSet<'_>,
        unix_ms: u64,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<At, StorageError> {
        let (stage, at) = match std::mem::replace(&mut self.stage, Stage::Begin) {
            Stage::Begin => {
                let names: Vec<&str> = self.segments.iter().map(|segment| &*segment.name).collect();
                let fold = Fold::new(data.base, data.disk, &names, data.epoch)?;
                self.folded = *fold.folded();
                self.fold(Box::new(fold), data, may_go_on)?
            }
            Stage::Fold(fold) => self.fold(fold, data, may_go_on)?,
            Stage::Sweep => {
                let swept = data.base.sweep(data.forget_before(unix_ms), unix_ms, self.sweep_cells)?;
                self.swept = swept.forgotten;
                data.progress.metrics().swept_cells.add(swept.forgotten);
                (Stage::Types, At::InBase)
            }
            Stage::Types => {
                data.types.folded(data.base)?;
                (Stage::Tell, At::InBase)
            }
            Stage::Tell => {
                self.tell(data, self.segments.len(), unix_ms);
                (Stage::Over, At::End)
            }
            Stage::Over => (Stage::Over, At::End),
        };
        self.stage = stage;
        Ok(at)
    }

    /// Ends it before its end: everybody is told of the first segments, which are wholly in the base. How many those are.
    ///
    /// # Errors
    /// As [`Folding::step`].
    pub fn give_up(&self, data: &DataSet<'_>, unix_ms: u64) -> Result<usize, StorageError> {
        let is_whole = |segment: &&FinishedSegment| segment.next_sequence <= self.folded.through + 1;
        let count = self.segments.iter().take_while(is_whole).count();
        if count > 0 {
            data.types.folded(data.base)?;
            self.tell(data, count, unix_ms);
        }
        Ok(count)
    }

    fn fold(
        &mut self,
        mut fold: Box<Fold>,
        data: &DataSet<'_>,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<(Stage, At), StorageError> {
        let has_more = fold.step(data.base, may_go_on)?;
        let before = std::mem::replace(&mut self.folded, *fold.folded());
        let Folded { records, skipped, has_cleared, is_interrupted, lacks_room, .. } = self.folded;
        data.progress.metrics().folded_records.add(records - before.records);
        if skipped > before.skipped {
            let (skipped, name) = (skipped - before.skipped, &self.segments[0].name);
            tracing::error!(
                "--salvage: {skipped} changes of {name} and what follows it do not fit what is stored of their maps and are lost"
            );
        }
        if has_cleared && !before.has_cleared {
            data.types.clear();
        }
        Ok(match (has_more, is_interrupted) {
            (true, _) => (Stage::Fold(fold), At::Within),
            (false, true) if lacks_room => (Stage::Begin, At::WithoutRoom),
            (false, true) => (Stage::Begin, At::Within),
            (false, false) => (Stage::Sweep, At::InBase),
        })
    }

    /// Tells everybody that the first `count` segments are in the base.
    fn tell(&self, data: &DataSet<'_>, count: usize, unix_ms: u64) {
        let Some(last) = self.segments[..count].last() else { return };
        data.tail.drop_through(last.next_sequence.saturating_sub(1));
        for (shard, &through) in last.last_applied.iter().enumerate() {
            if through > Time::ZERO {
                data.progress.shard(shard).set_folded(through);
            }
        }
        let metrics = data.progress.metrics();
        metrics.checkpoints.add(count as u64);
        metrics.checkpoint_unix_ms.set(unix_ms);
    }
}
