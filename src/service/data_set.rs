//! What loads read of a data set and folds change, whoever drives them: the threads of the server, or the simulator.

use super::types::Types;
use crate::crdt::Time;
use crate::handover::Progress;
use crate::mesh::KeyHasher;
use crate::storage::{
    Base, Disk, Fork, Format, Recovered, RecoveryOptions, StorageError, Tail, Timeline, recover,
};

/// See the module.
#[derive(Clone, Copy)]
pub struct DataSet<'a> {
    pub disk: &'a dyn Disk,
    /// Of its journal.
    pub epoch: u64,
    pub base: &'a Base,
    pub tail: &'a Tail,
    pub types: &'a Types,
    pub progress: &'a Progress,
    /// How long removals are remembered.
    pub retention_ms: u64,
}

impl DataSet<'_> {
    /// Removals before this tick are forgotten.
    pub(super) fn forget_before(&self, unix_ms: u64) -> Time {
        Time::new(unix_ms.saturating_sub(self.retention_ms), 0)
    }
}

/// Reads what the journal has behind a base, which follows it where all maps were dropped. `found` is called for each record.
///
/// # Errors
/// [`StorageError`], which says what to do.
pub fn read_journal(
    disk: &dyn Disk,
    format: &Format,
    base: &Base,
    salvage: bool,
    found: &mut dyn FnMut(),
) -> Result<(Tail, Recovered), StorageError> {
    let folded = base.folded();
    let mut tail = Tail::new(KeyHasher::new(format.secret), folded);
    let options = RecoveryOptions { epoch: format.epoch, folded, salvage, read_only: false };
    let recovered = recover(disk, options, &mut |record, location| {
        tail.add(record, location);
        found();
    })?;
    tail.attach(disk, &recovered.segments)?;
    base.follow(&tail)?;
    Ok((tail, recovered))
}

/// Which history of the data set goes on here, and why it is another one if it is. `clock`: no tick of it is above; `fresh` are
/// random numbers, of which the first was the epoch of `format` if that is new.
///
/// # Errors
/// [`StorageError::Io`].
pub fn follow_timeline(
    disk: &dyn Disk,
    format: &Format,
    clock: Time,
    has_lost: bool,
    fresh: [u64; 2],
) -> Result<(Timeline, Option<Fork>), StorageError> {
    let [epoch, incarnation] = fresh;
    // Also where a first start has ended before it came to this: nothing has happened that could have happened elsewhere.
    let is_new = format.epoch == epoch || clock == Time::ZERO;
    let first = is_new.then_some(Timeline { epoch: format.epoch, incarnation: 0 });
    let fork = || Timeline { epoch, incarnation: incarnation as u32 | 1 };
    Timeline::follow(disk, first, has_lost, fork)
}
