//! Segments into the base, and only then out of the folder: the service's own folds, step by step.

use std::cell::Cell;

use annulus::service::{At, Folding, Pace};
use annulus::storage::{Disk, FinishedSegment, StorageError, is_without_room, prepare, recycle};

use super::{Now, Service};
use crate::random::Random;

/// Times in a thousand that a fold is put back between two transactions, as by one that is in more of a hurry.
const CUT_SHORT_PER_MILLE: usize = 50;

impl Service {
    /// Has what has come so far end up in a finished segment.
    pub(super) fn roll(&mut self) {
        self.journal.roll();
        self.has_unrolled = false;
        self.may_step = true;
    }

    pub(super) fn roll_if_due(&mut self, now: Now) {
        if self.checkpoint_at_us <= now.us {
            self.roll();
            self.checkpoint_at_us = now.us + self.spec.checkpoint_interval_us;
        }
    }

    /// One step of a fold.
    pub(super) fn fold(&mut self, now: Now, random: &mut Random) -> Result<(), StorageError> {
        if self.fold_at_us > now.us {
            return Ok(());
        }
        let Some((mut folding, pace)) = self.folding.take().or_else(|| self.begin_fold(random)) else {
            return Ok(());
        };
        let windows_left =
            Cell::new(if random.per_mille(CUT_SHORT_PER_MILLE) { random.below(3) } else { usize::MAX });
        let may_go_on = || {
            let left = windows_left.get();
            windows_left.set(left.saturating_sub(1));
            left > 0 && self.segments.may_go_on(pace)
        };
        let at = folding.step(&self.data_set(), now.unix_ms, &may_go_on)?;
        self.counts.fold_steps += 1;
        match at {
            At::Within if !self.segments.may_go_on(pace) || random.per_mille(CUT_SHORT_PER_MILLE) => {
                self.counts.folds_cut_short += 1;
                self.give_up(&folding, now)?;
            }
            At::Within | At::InBase => {
                self.folding = Some((folding, pace));
                self.fold_at_us = now.us + self.rest_us(random);
            }
            At::WithoutRoom => self.give_up(&folding, now)?,
            At::End => {
                self.counts.folds += 1;
                self.fold_at_us = now.us + random.below(self.spec.fold_us as usize + 1) as u64;
                self.woken.extend(0..self.ports.len());
                self.taken_out(folding.segments())?;
            }
        }
        Ok(())
    }

    fn begin_fold(&self, random: &mut Random) -> Option<(Folding, Pace)> {
        let (pace, segments) = [Pace::Idle, Pace::Hurry]
            .into_iter()
            .find_map(|pace| Some((pace, self.segments.next_if_any(pace)?)))?;
        Some((Folding::new(segments, random.between(1, 50)), pace))
    }

    /// Those of its segments that are in the base go, and the others wait for another fold.
    fn give_up(&mut self, folding: &Folding, now: Now) -> Result<(), StorageError> {
        let count = folding.give_up(&self.data_set(), now.unix_ms)?;
        self.taken_out(&folding.segments()[..count])
    }

    fn taken_out(&mut self, segments: &[FinishedSegment]) -> Result<(), StorageError> {
        self.segments.folded(segments.len());
        segments.iter().try_for_each(|segment| self.use_again_or_remove(segment))
    }

    fn use_again_or_remove(&mut self, segment: &FinishedSegment) -> Result<(), StorageError> {
        let FinishedSegment { name, prepared_bytes, .. } = segment;
        match prepared_bytes.filter(|_| self.journal.spares() < 2) {
            Some(bytes) => {
                self.spare_number += 1;
                let spare = recycle(&self.disk, name, self.spare_number, bytes);
                self.journal.add_spare(spare.map_err(StorageError::io("use again", name))?);
                Ok(())
            }
            None => self.disk.remove(name).map_err(StorageError::io("remove", name)),
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
