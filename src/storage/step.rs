//! What the journal has others do, and what it tells them.

use super::Spare;
use crate::config::Fsync;
use crate::crdt::Time;

/// What to do with the files of the journal's folder.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Create a file, which becomes the current one. Its name is relative to the data directory, as are all.
    Create { name: String },
    /// Give a spare file this name; it becomes the current one.
    Reuse { spare: Spare, name: String },
    /// Write all of `bytes` into the current file; they are handed back to [`super::Journal::step_done`]. If that was a spare
    /// file, make them survive, too: offset and length are multiples of [`super::BLOCK_BYTES`].
    Write { offset: u64, bytes: Vec<u8> },
    /// Make the content of the current file survive.
    Sync,
    /// Make the names in the journal's folder survive.
    SyncFolder,
}

/// How a journal is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub epoch: u64,
    /// Of the first record. Everything before must have been synced, as recovery sees to.
    pub next_sequence: u64,
    /// Bytes at which a segment ends; only a single group that is larger makes one larger.
    pub segment_bytes: usize,
    pub fsync: Fsync,
    pub shards: usize,
}

/// A segment that is synced and will not change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedSegment {
    /// Relative to the data directory.
    pub name: String,
    /// The sequence number behind its last record.
    pub next_sequence: u64,
    pub bytes: u64,
    /// For each shard the tick up to which all its changes are in this segment or in one before.
    pub last_applied: Vec<Time>,
    /// It was a spare file of so many bytes, and can be one again; `None`: it grew.
    pub prepared_bytes: Option<u64>,
}

/// How far one shard's batches are safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The last batch that is durable (`--fsync never`: written); 0: none yet.
    pub batch: u64,
    /// Bytes of all its durable batches since the start.
    pub bytes: u64,
    /// The newest tick that is durable, of any shard.
    pub clock: Time,
}
