//! The steps of the journal, each of which takes its time.

use annulus::handover::FromStorage;
use annulus::storage::{Disk, JOURNAL_FOLDER, Step, StorageError, is_without_room};

use super::{Now, Service};
use crate::random::Random;

/// A step that the disk is busy with.
#[derive(Debug)]
pub struct UnderWay {
    step: Step,
    pub due_us: u64,
}

impl Service {
    pub(super) fn step_journal(&mut self, now: Now, random: &mut Random) -> Result<(), StorageError> {
        if let Some(under_way) = self.under_way.take_if(|under_way| under_way.due_us <= now.us) {
            self.carry_out(under_way.step, now)?;
        }
        if self.under_way.is_none() {
            let step = self.journal.next_step(now.ms());
            self.under_way = step.map(|step| self.begin(step, now, random));
            self.may_step = false;
        }
        while let Some((shard, bytes)) = self.journal.take_recycled() {
            self.outgoing[shard].push_back(FromStorage::Recycled(bytes));
        }
        while let Some(finished) = self.journal.take_finished() {
            self.counts.segments += 1;
            self.segments.finished(finished);
        }
        Ok(())
    }

    fn begin(&self, step: Step, now: Now, random: &mut Random) -> UnderWay {
        let us = match step {
            // Now and then the disk stands still for longer than anybody waits.
            Step::Sync if !self.is_calm && random.per_mille(self.spec.stalls_per_mille) => 10_000_000,
            Step::Sync | Step::SyncFolder => random.pick(&[100, 2_000, 10_000, 30_000]),
            _ => random.pick(&[0, 0, 20]),
        };
        UnderWay { step, due_us: now.us + random.below(us + 1) as u64 }
    }

    fn carry_out(&mut self, step: Step, now: Now) -> Result<(), StorageError> {
        let file = || self.file.as_ref().expect("a step after the create");
        let mut returned = None;
        match step {
            Step::Create { name } => {
                let created = self.disk.create(&name);
                if created.as_ref().is_err_and(is_without_room) {
                    self.refused(None);
                    return Ok(());
                }
                self.file = Some(created.map_err(StorageError::io("create", &name))?);
                self.is_reused = false;
            }
            Step::Reuse { spare, name } => {
                self.disk.rename(&spare.name, &name).map_err(StorageError::io("rename", &name))?;
                self.file = Some(self.disk.open(&name).map_err(StorageError::io("open", &name))?);
                self.is_reused = true;
                self.counts.reused += 1;
            }
            Step::Write { offset, bytes } => {
                let written = file().write_at(&bytes, offset);
                if written.as_ref().is_err_and(is_without_room) {
                    self.refused(Some(bytes));
                    return Ok(());
                }
                written.map_err(StorageError::io("write", "a segment"))?;
                if self.is_reused {
                    file().sync().map_err(StorageError::io("sync", "a segment"))?;
                }
                self.counts.groups += 1;
                returned = Some(bytes);
            }
            Step::Sync => file().sync().map_err(StorageError::io("sync", "a segment"))?,
            Step::SyncFolder => {
                self.disk.sync_folder(JOURNAL_FOLDER).map_err(StorageError::io("sync", JOURNAL_FOLDER))?;
            }
        }
        self.journal.step_done(now.ms(), returned);
        self.may_step = true;
        self.untold.fill(true);
        Ok(())
    }

    /// There is no room for a step now, and there may be some at the next try.
    fn refused(&mut self, bytes: Option<Vec<u8>>) {
        self.journal.step_refused(bytes);
        self.counts.refused += 1;
        self.may_step = true;
    }
}
