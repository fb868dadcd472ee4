//! A base of an earlier version, which has an entry for each cell, is copied to one of blocks, once, when it is opened for more than
//! to be read.

use super::compact::Compaction;
use super::{Base, Disk, StorageError};

/// Cells between two lines of the log.
const PROGRESS_CELLS: u64 = 1 << 20;

impl Base {
    /// Itself, converted if need be. A crash leaves the one or the other.
    ///
    /// # Errors
    /// [`StorageError::Io`], also where there is no room for a copy; [`StorageError::DamagedBase`] and [`StorageError::Base`].
    pub(super) fn with_blocks(self, disk: &dyn Disk) -> Result<Self, StorageError> {
        if self.begin_read()?.cells.has_blocks {
            return Ok(self);
        }
        tracing::info!(
            "the base is of an earlier version and is converted, which takes as much room once more"
        );
        let mut cells = 0_u64;
        let compaction = self.compact_telling(disk, &mut |cell| {
            if cell.is_some() {
                cells += 1;
                if cells.is_multiple_of(PROGRESS_CELLS) {
                    tracing::info!(cells, "converting the base");
                }
            }
            true
        })?;
        match compaction {
            Compaction::Done { before, after } => {
                tracing::info!(cells, bytes_before = before, bytes_after = after, "the base is converted");
                Ok(self)
            }
            Compaction::Failed(error) => Err(error),
            Compaction::Interrupted => Err(StorageError::Refused),
        }
    }
}
