//! The files of a data directory: journal, base, recovery. `docs/storage.md` draws them.

mod disk;
mod error;

pub use disk::{Disk, DiskFile, HostDisk};
pub use error::StorageError;

/// The folder of the segments in a data directory.
pub const JOURNAL_FOLDER: &str = "journal";
