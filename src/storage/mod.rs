//! The files of a data directory: journal, base, recovery. `docs/storage.md` draws them.
//!
//! ```text
//! disk.rs    what is needed of a file system       segment.rs   one file of the journal
//! format.rs  what a data set keeps for life        scan.rs      everything in it that verifies
//! timeline.rs which history of it this is          journal.rs   records on their way to the disk
//! text_file.rs  what both are written as             step.rs       what they take
//!                                                  groups.rs     collected for one write each
//!                                                  current.rs    the segment that is written to
//!                                                  spare.rs      files that become segments
//! room.rs    where there is none                   lock.rs      one process at a time
//! error.rs   what its owner has to be told         recovery.rs  what is found at start
//!                                                  salvage.rs   what can be kept of a damaged journal
//! base.rs    every cell as of the last checkpoint  tail.rs      records that are not folded yet
//!   database.rs  redb, opened anew over damage
//!   pages.rs    its file, and the sums of it (sums.rs)
//!   repeats.rs   what need not be written twice
//!   backend.rs  what redb writes to                fold.rs      segments into the base
//!   blocks.rs   what of it is in memory            chain.rs   read one behind the other, piece by piece (pieces.rs)
//!   compact.rs  into a smaller file                spots.rs   where its records are, in the order of the base
//!   convert.rs  one of an earlier version          merging.rs the records of one transaction
//!   row.rs      its keys and rows                  editing.rs  put into the blocks of cells
//!   block.rs    cells in one entry of its tree     filling.rs  blocks of a new base
//!   cells.rs    read one by one
//!   redb_header.rs  makes redb check its pages
//!   stored.rs   one key at rest                    sweep.rs     old removals out of it
//!   view.rs     one map, base and tail             load.rs      a map to its shards
//!                                                  look_up.rs   some of its cells
//! offline.rs what no server uses                   backup.rs, export.rs, import.rs (line.rs), verify.rs, clock.rs
//! counts.rs  how much there is                     rights.rs    who may read it
//! unfolded.rs  backup and export of a server that has no room to fold
//! ```

mod backend;
pub mod backup;
mod base;
mod block;
mod blocks;
mod cells;
mod chain;
mod clear;
pub mod clock;
mod compact;
mod convert;
mod counts;
mod current;
mod database;
mod disk;
mod editing;
mod error;
pub mod export;
mod filling;
mod fold;
mod format;
mod groups;
pub mod import;
mod journal;
mod line;
mod load;
mod lock;
mod look_up;
mod merging;
mod offline;
mod pages;
mod pieces;
mod reach;
mod recovery;
mod redb_header;
mod repeats;
mod rights;
mod room;
mod row;
mod salvage;
mod scan;
mod segment;
mod spare;
mod spots;
mod step;
mod stored;
mod sums;
mod sweep;
mod tail;
mod text_file;
mod timeline;
mod unfolded;
pub mod verify;
mod view;

pub use base::Base;
pub use clear::Clear;
pub use compact::Compaction;
pub use counts::Counts;
pub use disk::{Disk, DiskFile, HostDisk, replace_file};
pub use error::StorageError;
pub use fold::{Fold, Folded};
pub use format::{Format, check_ours};
pub use journal::Journal;
pub use load::{Load, LoadRequest};
pub use lock::Lock;
pub use recovery::{Location, Lost, Recovered, RecoveredSegment, RecoveryOptions, Torn, recover};
pub use rights::open_to_others;
pub use room::{Room, is_without_room};
pub use segment::{
    BLOCK_BYTES, HeaderFault, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, first_sequence, segment_name,
};
pub use spare::{Spare, adopt, prepare, recycle, spare_name, spare_number};
pub use step::{Durable, FinishedSegment, Options as JournalOptions, Step};
pub use sweep::Swept;
pub use tail::Tail;
pub use timeline::{Fork, Timeline};
pub use unfolded::Unfolded;

/// The folder of the segments in a data directory.
pub const JOURNAL_FOLDER: &str = "journal";
/// The base in a data directory.
pub const BASE_FILE: &str = "base.redb";
