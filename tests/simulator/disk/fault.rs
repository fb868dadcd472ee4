//! What goes wrong with a disk, and when.

use super::Crash;
use crate::random::Random;

/// Something that happens once.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Syncs, and changes of names, until then. Writes are not counted: a store may send those between two syncs in
    /// any order, and a run must not depend on it.
    pub after_barriers: usize,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The process ends there, in the middle of whatever it does.
    End(Crash),
    /// A read fails.
    ReadError,
    /// A write fails and leaves nothing.
    WriteError,
    /// A write ends early.
    ShortWrite,
    /// A sync fails. What it should have synced counts as clean and is lost with the power (fsyncgate, 2018).
    SyncError,
    /// The disk is full, in the middle of a write.
    NoSpace,
}

impl Fault {
    pub fn of(random: &mut Random) -> Self {
        let kind = random.pick(&[
            // As often as all others: there is always something on its way to the disk then.
            FaultKind::End(Crash::PowerCut),
            FaultKind::End(Crash::PowerCut),
            FaultKind::End(Crash::PowerCut),
            FaultKind::End(Crash::PowerCut),
            FaultKind::End(Crash::PowerCut),
            FaultKind::End(Crash::Kill),
            FaultKind::ReadError,
            FaultKind::WriteError,
            FaultKind::ShortWrite,
            FaultKind::SyncError,
            FaultKind::NoSpace,
        ]);
        let most = random.pick(&[1, 3, 20, 100]);
        Self { after_barriers: random.between(1, most), kind }
    }
}
