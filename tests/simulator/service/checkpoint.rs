//! Segments into the base, and only then out of the folder.

use annulus::crdt::Time;
use annulus::storage::{Disk, FinishedSegment, StorageError, is_without_room, prepare, recycle};

use super::{Now, Service};
use crate::random::Random;

/// A segment that is not in the base.
pub struct Unfolded {
    name: String,
    next_sequence: u64,
    /// For each shard, up to where it is in the base then; empty for one that was found at start.
    last_applied: Vec<Time>,
    prepared_bytes: Option<u64>,
}

impl Unfolded {
    pub fn finished(finished: FinishedSegment) -> Self {
        let FinishedSegment { name, next_sequence, last_applied, prepared_bytes, .. } = finished;
        Self { name, next_sequence, last_applied, prepared_bytes }
    }

    pub fn found(name: String, next_sequence: u64) -> Self {
        Self { name, next_sequence, last_applied: Vec::new(), prepared_bytes: None }
    }
}

impl Service {
    /// Has what has come so far end up in a finished segment.
    pub(super) fn roll(&mut self) {
        self.journal.roll();
        self.has_unrolled = false;
        self.may_step = true;
    }

    pub(super) fn checkpoint(&mut self, now: Now, random: &mut Random) -> Result<(), StorageError> {
        if self.checkpoint_at_us <= now.us {
            self.roll();
            self.checkpoint_at_us = now.us + self.spec.checkpoint_interval_us;
        }
        if self.fold_at_us > now.us {
            return Ok(());
        }
        let Some(segment) = self.unfolded.pop_front() else { return Ok(()) };
        self.fold_at_us = now.us + random.below(self.spec.fold_us as usize + 1) as u64;
        let folded = self.base.fold(&self.disk, &segment.name, self.format.epoch)?;
        if folded.is_interrupted {
            // It has found no room.
            self.unfolded.push_front(segment);
            return Ok(());
        }
        self.counts.folds += 1;
        if folded.has_cleared {
            self.types.clear();
        }
        let forget_before = Time::new(now.unix_ms.saturating_sub(self.spec.retention_ms), 0);
        self.base.sweep(forget_before, now.unix_ms, random.between(1, 50))?;
        self.tail.drop_through(segment.next_sequence - 1);
        for (shard, &applied) in segment.last_applied.iter().enumerate() {
            self.progress.shard(shard).set_folded(applied);
            self.woken.push(shard);
        }
        match segment.prepared_bytes.filter(|_| self.journal.spares() < 2) {
            Some(bytes) => {
                self.spare_number += 1;
                let spare = recycle(&self.disk, &segment.name, self.spare_number, bytes);
                self.journal.add_spare(spare.map_err(StorageError::io("use again", &segment.name))?);
                Ok(())
            }
            None => self.disk.remove(&segment.name).map_err(StorageError::io("remove", &segment.name)),
        }
    }

    /// Zero-fills a spare file if there is none.
    pub(super) fn prepare_spare(&mut self) -> Result<(), StorageError> {
        if self.spec.spare_bytes == 0 || self.journal.spares() > 0 {
            return Ok(());
        }
        self.spare_number += 1;
        match prepare(&self.disk, self.spare_number, self.spec.spare_bytes, &mut || true) {
            Ok(spare) => {
                self.journal.add_spare(spare.expect("nothing ends it"));
                Ok(())
            }
            Err(error) if is_without_room(&error) => Ok(()),
            Err(error) => Err(StorageError::io("prepare", "a spare file")(error)),
        }
    }
}
