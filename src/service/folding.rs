//! One segment on its way into the base, and what follows from that, step by step. Between two steps anything may be loaded.
//!
//! ```text
//! transaction by transaction ──► removals that are old are forgotten ──► types leave that the base has ──► shards are told
//!        ▲     └── cut short        (sweep)                                                                      └─► the segment may go
//! ```
//! Invariant: nobody is told that something is in the base before the next start would find it there.

use super::data_set::DataSet;
use crate::crdt::Time;
use crate::storage::{FinishedSegment, Fold, Folded, StorageError};

/// See the module.
pub struct Folding {
    segment: FinishedSegment,
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
    /// Some of the segment is in the base. Who gives it up here folds the rest another time.
    Within,
    /// The disk has no room for the rest, which is to be folded another time.
    WithoutRoom,
    /// All of it is in the base, and there is more to be done.
    InBase,
    /// Everybody knows, so that the segment may go.
    End,
}

impl Folding {
    pub fn new(segment: FinishedSegment, sweep_cells: usize) -> Self {
        Self { segment, sweep_cells, stage: Stage::Begin, folded: Folded::default(), swept: 0 }
    }

    pub const fn segment(&self) -> &FinishedSegment {
        &self.segment
    }

    pub(super) const fn folded(&self) -> &Folded {
        &self.folded
    }

    pub(super) const fn swept(&self) -> u64 {
        self.swept
    }

    /// Does a piece of it. `unix_ms` is the wall clock.
    ///
    /// # Errors
    /// [`StorageError`]: whatever it is, it is the end of the server, and the next start goes on from the transaction before.
    pub fn step(&mut self, data: &DataSet<'_>, unix_ms: u64) -> Result<At, StorageError> {
        let (stage, at) = match std::mem::replace(&mut self.stage, Stage::Begin) {
            Stage::Begin => {
                let fold = Fold::new(data.base, data.disk, &self.segment.name, data.epoch)?;
                self.fold(Box::new(fold), data)?
            }
            Stage::Fold(fold) => self.fold(fold, data)?,
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
                self.tell(data, unix_ms);
                (Stage::Over, At::End)
            }
            Stage::Over => (Stage::Over, At::End),
        };
        self.stage = stage;
        Ok(at)
    }

    fn fold(&mut self, mut fold: Box<Fold>, data: &DataSet<'_>) -> Result<(Stage, At), StorageError> {
        let has_more = fold.step(data.base)?;
        let before = std::mem::replace(&mut self.folded, *fold.folded());
        let Folded { records, skipped, has_cleared, lacks_room, .. } = self.folded;
        data.progress.metrics().folded_records.add(records - before.records);
        if skipped > before.skipped {
            let (skipped, name) = (skipped - before.skipped, &self.segment.name);
            tracing::error!(
                "--salvage: {skipped} changes of {name} do not fit what is stored of their maps and are lost"
            );
        }
        if has_cleared && !before.has_cleared {
            data.types.clear();
        }
        Ok(match (has_more, lacks_room) {
            (true, _) => (Stage::Fold(fold), At::Within),
            (false, true) => (Stage::Begin, At::WithoutRoom),
            (false, false) => (Stage::Sweep, At::InBase),
        })
    }

    fn tell(&self, data: &DataSet<'_>, unix_ms: u64) {
        data.tail.drop_through(self.segment.next_sequence.saturating_sub(1));
        for (shard, &through) in self.segment.last_applied.iter().enumerate() {
            if through > Time::ZERO {
                data.progress.shard(shard).set_folded(through);
            }
        }
        let metrics = data.progress.metrics();
        metrics.checkpoints.add(1);
        metrics.checkpoint_unix_ms.set(unix_ms);
    }
}
