//! The files of a data directory: journal, base, recovery. `docs/storage.md` draws them.
//!
//! ```text
//! disk.rs    what is needed of a file system       segment.rs   one file of the journal
//! format.rs  what a data set keeps for life        scan.rs      everything in it that verifies
//! lock.rs    one process at a time                 journal.rs   records on their way to the disk
//! error.rs   what its owner has to be told         recovery.rs  what is found at start
//!                                                  salvage.rs   what can be kept of a damaged journal
//! ```

mod disk;
mod error;
mod format;
mod journal;
mod lock;
mod recovery;
mod salvage;
mod scan;
mod segment;

pub use disk::{Disk, DiskFile, HostDisk, replace_file};
pub use error::StorageError;
pub use format::Format;
pub use journal::{Durable, FinishedSegment, Journal, Options as JournalOptions, Step};
pub use lock::Lock;
pub use recovery::{Location, Lost, Recovered, RecoveredSegment, RecoveryOptions, Torn, recover};
pub use segment::{HeaderFault, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, first_sequence, segment_name};

/// The folder of the segments in a data directory.
pub const JOURNAL_FOLDER: &str = "journal";
/// The base in a data directory.
pub const BASE_FILE: &str = "base.redb";
