//! What can go wrong with a data directory, said so that its owner knows what to do.

use std::io;
use std::path::Path;

/// Stop: what is on disk cannot be used, or can no longer be relied on. Printed behind `annulus: `.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot {what} {file}: {source}")]
    Io { what: &'static str, file: String, source: io::Error },
    /// Something that had been synced is not there any more.
    #[error(
        "{file} is damaged at byte {offset}: {fault}; restore a backup, or start once with --salvage to keep \
         everything that still verifies (`annulus verify` says what that is)"
    )]
    Damaged { file: String, offset: u64, fault: String },
    #[error(
        "the data directory {directory} is in use by {holder}; stop it or choose another with --data-dir"
    )]
    InUse { directory: String, holder: String },
    #[error("the data has format version {found}, this server knows {known}; run the newer one")]
    TooNew { found: u32, known: u32 },
    #[error("{file} {what}; is this the right directory?")]
    NotOurs { file: String, what: &'static str },
    /// The image of a cell in the base is not what was written.
    #[error(
        "the base is damaged: key {key:?} of map {map:?} cannot be read; restore a backup, or start once with \
         --salvage to go on without what is damaged (`annulus verify` says what that is)"
    )]
    DamagedCell { map: String, key: String },
    /// The block of some cells in the base is not what was written.
    #[error(
        "the base is damaged: keys of map {map:?}, of partition {partition}, cannot be read; restore a backup, or start \
         once with --salvage to go on without what is damaged"
    )]
    DamagedBlock { map: String, partition: u16 },
    /// A change that was accepted has no place in the base: it is of another type than its map, or over a limit.
    #[error(
        "a change of the journal, {sequence} or close behind, to key {key:?} of map {map:?}, does not fit what is stored of that map; nothing \
         was dropped: keep a copy of the data directory and report this, then restore a backup, or start once with \
         --salvage to go on without such changes"
    )]
    Misfit { sequence: u64, map: String, key: String },
    /// The file of the base is not what was written.
    #[error("the base is damaged: {fault}; restore a backup")]
    DamagedBase { fault: String },
    #[error("{file} is there already; choose a directory that is new or empty")]
    NotEmpty { file: String },
    #[error("there is no map {map:?} in {directory}")]
    NoSuchMap { map: String, directory: String },
    /// What is imported is not what an export writes. The lines before it are in the data directory.
    #[error("line {line} cannot be imported: {fault}; everything before it is in, and may be imported again")]
    Import { line: u64, fault: String },
    #[error("the base has as many maps as it can name, 2^32")]
    MapsFull,
    /// Another thread has met a damaged page of the base at this moment. The next try goes on without its trouble.
    #[error("the base was refused as another thread has met a damaged page of it")]
    Refused,
    #[error("the base store failed: {0}")]
    Base(#[from] Box<redb::Error>),
}

impl StorageError {
    /// For `map_err`: what was tried with which file.
    pub fn io(what: &'static str, file: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |source| Self::Io { what, file, source }
    }

    /// The same with the name of the file as whoever ran a command on the directory `root` would write it.
    pub(super) fn within(mut self, root: &Path) -> Self {
        if let Self::Io { file, .. } | Self::Damaged { file, .. } | Self::NotOurs { file, .. } = &mut self {
            *file = root.join(&*file).display().to_string();
        }
        self
    }

    /// For what the base knows of a map.
    pub(super) fn damaged_map(map: &str) -> Self {
        Self::DamagedBase { fault: format!("nothing is known of map {map:?} any more") }
    }

    /// For a record.
    pub(super) fn misfit(sequence: u64, map: &str, key: &[u8]) -> Self {
        Self::Misfit { sequence, map: map.to_owned(), key: String::from_utf8_lossy(key).into_owned() }
    }

    /// For a block of a map.
    pub(super) fn damaged_block(map: &str, partition: u16) -> Self {
        Self::DamagedBlock { map: map.to_owned(), partition }
    }

    /// For a key of a map.
    pub(super) fn damaged_cell(map: &str, key: &[u8]) -> Self {
        Self::DamagedCell { map: map.to_owned(), key: String::from_utf8_lossy(key).into_owned() }
    }
}
