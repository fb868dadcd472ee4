//! The room on the disk, as the base sees it.
//!
//! redb takes an error for the end: after one write without room it answers nothing any more, not even who reads. So a base
//! that a server uses is given no such error. It folds no more at once than there is room for. Where room runs out all the
//! same, the transaction is given up; where it is being committed, the commit waits, and who reads is not held up by it.

use std::fmt::Debug;
use std::io::{self, ErrorKind};

/// Who knows the room.
pub trait Room: Debug + Send + Sync + 'static {
    /// Bytes that the disk has free; `u64::MAX`: nobody knows.
    fn free(&self) -> u64;

    /// Bytes of them that folds should leave to the journal. They take smaller steps the nearer they come, and below half of
    /// it only what the file of the base has already.
    fn floor(&self) -> u64;

    /// A commit has found no room: waits until there may be some. `false`: it will not wait, so the commit fails.
    fn wait(&self) -> bool;
}

/// Whether this is a disk without room, which leaves what was there as it was.
pub fn is_without_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
