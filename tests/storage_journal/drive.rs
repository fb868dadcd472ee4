//! Drives a journal over a disk as the service does, one step after the other, and reads what is found again.

use std::sync::Arc;

use annulus::config::Fsync;
use annulus::handover::{Batch, Body};
use annulus::storage::{
    BLOCK_BYTES, Disk, DiskFile, JOURNAL_FOLDER, Journal, JournalOptions, Location, Recovered,
    RecoveryOptions, Spare, Step, StorageError, prepare, recover, recycle, spare_number,
};

use crate::content::Change;

pub const EPOCH: u64 = 0xE90C;

pub struct Drive<D: Disk> {
    pub disk: D,
    pub journal: Journal,
    current: Option<Arc<dyn DiskFile>>,
    /// Each write to the current file is synced.
    is_reused: bool,
    spares: u64,
}

impl<D: Disk + Clone> Drive<D> {
    pub fn new(disk: &D, options: JournalOptions, salt: u32) -> Self {
        let mut salt = salt;
        let journal = Journal::new(options, move || {
            salt = salt.wrapping_mul(0x9E37_79B1).wrapping_add(1);
            salt
        });
        Self { disk: disk.clone(), journal, current: None, is_reused: false, spares: 0 }
    }

    /// Prepares a spare file of so many bytes for the journal.
    pub fn prepare_spare(&mut self, bytes: u64) {
        self.spares += 1;
        let spare = prepare(&self.disk, self.spares, bytes, &mut || true).unwrap().unwrap();
        self.journal.add_spare(spare);
    }

    /// Takes one of an earlier life.
    pub fn adopt(&mut self, spare: Spare) {
        self.spares = self.spares.max(spare_number(&spare.name).unwrap());
        self.journal.add_spare(spare);
    }

    /// Has a folded segment used again.
    pub fn recycle(&mut self, segment: &str, bytes: u64) {
        self.spares += 1;
        self.journal.add_spare(recycle(&self.disk, segment, self.spares, bytes).unwrap());
    }

    /// Carries out everything that there is to do now.
    pub fn run(&mut self, now_ms: u64) {
        while let Some(step) = self.journal.next_step(now_ms) {
            self.carry_out(&step);
            self.journal.step_done(now_ms, bytes_of(step));
        }
    }

    pub fn carry_out(&mut self, step: &Step) {
        match step {
            Step::Create { name } => {
                self.current = Some(self.disk.create(name).unwrap());
                self.is_reused = false;
            }
            Step::Reuse { spare, name } => {
                self.disk.rename(&spare.name, name).unwrap();
                self.current = Some(self.disk.open(name).unwrap());
                self.is_reused = true;
            }
            Step::Write { offset, bytes } => {
                self.file().write_at(bytes, *offset).unwrap();
                if self.is_reused {
                    assert!(
                        offset.is_multiple_of(BLOCK_BYTES as u64) && bytes.len().is_multiple_of(BLOCK_BYTES)
                    );
                    self.file().sync().unwrap();
                }
            }
            Step::Sync => self.file().sync().unwrap(),
            Step::SyncFolder => self.disk.sync_folder(JOURNAL_FOLDER).unwrap(),
        }
    }

    /// Writes only some of what the step says.
    pub fn carry_out_in_part(&mut self, step: &Step, bytes_written: usize) {
        match step {
            Step::Write { offset, bytes } => {
                let bytes = &bytes[..bytes_written.min(bytes.len())];
                self.file().write_at(bytes, *offset).unwrap();
            }
            _ => self.carry_out(step),
        }
    }

    fn file(&self) -> &Arc<dyn DiskFile> {
        self.current.as_ref().expect("a file is created before it is used")
    }
}

pub fn bytes_of(step: Step) -> Option<Vec<u8>> {
    match step {
        Step::Write { bytes, .. } => Some(bytes),
        _ => None,
    }
}

pub fn options(fsync: Fsync) -> JournalOptions {
    JournalOptions { epoch: EPOCH, next_sequence: 1, segment_bytes: 1 << 20, fsync, shards: 2 }
}

pub fn batch(number: u64, changes: &[Change]) -> Batch {
    let mut batch = Batch { number, ..Batch::default() };
    changes.iter().for_each(|change| change.push_to(&mut batch));
    batch
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub sequence: u64,
    pub location: Location,
    /// `None`: a mark.
    pub change: Option<Change>,
    /// Of a mark.
    pub synced_through: u64,
}

pub const STRICT: RecoveryOptions =
    RecoveryOptions { epoch: EPOCH, folded: 0, salvage: false, read_only: false };
pub const SALVAGE: RecoveryOptions = RecoveryOptions { salvage: true, ..STRICT };
pub const LOOK: RecoveryOptions = RecoveryOptions { read_only: true, ..STRICT };
pub const LOOK_HARD: RecoveryOptions = RecoveryOptions { read_only: true, ..SALVAGE };

/// What recovery says, and every record it gives.
pub fn find(disk: &dyn Disk, options: RecoveryOptions) -> Result<(Recovered, Vec<Seen>), StorageError> {
    let mut seen = Vec::new();
    let recovered = recover(disk, options, &mut |record, location| {
        let synced_through = match record.body {
            Body::Mark { synced_through } => synced_through,
            _ => 0,
        };
        seen.push(Seen { sequence: record.sequence, location, change: Change::of(record), synced_through });
    })?;
    Ok((recovered, seen))
}

pub fn changes(seen: &[Seen]) -> Vec<Change> {
    seen.iter().filter_map(|seen| seen.change.clone()).collect()
}
