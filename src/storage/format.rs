//! `FORMAT`: what kind of data directory this is, and what must stay the same for as long as it lives.
//!
//! Invariant: written once, and once more by the first server that knows a later version; whole or not at all.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::text_file::{self, TextFile};
use super::{Disk, HostDisk, JOURNAL_FOLDER, StorageError, replace_file};
use crate::crdt::Node;

pub(super) const NAME: &str = "FORMAT";
/// The version of everything in the directory. A change that an older server would misread raises it. In version 1 each cell was an
/// entry of the base by itself.
const VERSION: u32 = 2;
const VERSION_MIN: u32 = 1;
const MAGIC: &str = "annulus-data ";

/// What a data set keeps for life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The name of the data set in its journal, and in the cursors of its first [`super::Timeline`].
    pub epoch: u64,
    /// Seeds the key hash, so that a key stays in its partition.
    pub secret: u64,
    /// The name of this server in stamps and counters; as [`Node`] allows it.
    pub node: String,
}

impl Format {
    /// Reads the file, or writes it with what `fresh` gives if this is a new directory. One of an earlier version gets this
    /// one, before anything else in the directory is changed.
    ///
    /// # Errors
    /// As [`Format::load`]; [`StorageError::NotOurs`] also if the file is missing where data is.
    pub fn load_or_create(disk: &dyn Disk, fresh: impl FnOnce() -> Self) -> Result<Self, StorageError> {
        if let Some(text) = read(disk)? {
            let (format, version) = Self::parse(&text)?;
            if version < VERSION {
                format.write(disk)?;
            }
            return Ok(format);
        }
        // With a new secret no key would be found again.
        if has_data(disk)? {
            return Err(not_ours("is not there, but data is"));
        }
        let format = fresh();
        format.write(disk)?;
        Ok(format)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        replace_file(disk, NAME, self.text(VERSION).as_bytes())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`StorageError::TooNew`] if a newer server has written it, [`StorageError::NotOurs`] if it is not there or
    /// is damaged, [`StorageError::Io`].
    pub fn load(disk: &dyn Disk) -> Result<Self, StorageError> {
        let text = read(disk)?.ok_or_else(|| not_ours("is not there"))?;
        Self::parse(&text).map(|(format, _)| format)
    }

    fn text(&self, version: u32) -> String {
        let Self { epoch, secret, node } = self;
        TextFile::sealed(format!("{MAGIC}{version}\nepoch {epoch:016x}\nsecret {secret:016x}\nnode {node}\n"))
    }

    /// What it says, and in which version.
    fn parse(text: &[u8]) -> Result<(Self, u32), StorageError> {
        let damaged = || not_ours("is damaged or something else");
        let text = std::str::from_utf8(text).map_err(|_| damaged())?;
        let first = text.lines().next().and_then(|line| line.strip_prefix(MAGIC)).ok_or_else(damaged)?;
        // Before anything else: the rest of a newer one may look different.
        let version = first.parse().map_err(|_| damaged())?;
        if version > VERSION {
            return Err(StorageError::TooNew { found: version, known: VERSION });
        }
        let format = Self::fields(text).ok_or_else(damaged)?;
        // Stricter than a checksum: this is the only text that is read as this.
        let is_known = version >= VERSION_MIN && format.text(version) == text;
        if is_known { Ok((format, version)) } else { Err(damaged()) }
    }

    fn fields(text: &str) -> Option<Self> {
        let file = TextFile::of(text);
        let node = file.value("node").filter(|node| Node::new(node.as_bytes()).is_some())?;
        Some(Self { epoch: file.hex("epoch")?, secret: file.hex("secret")?, node: node.to_owned() })
    }
}

fn read(disk: &dyn Disk) -> Result<Option<Vec<u8>>, StorageError> {
    text_file::read(disk, NAME)
}

/// What may be in a directory that is to become ours: what a first start has made before it ended, and what is put into
/// folders that are kept empty or are the root of a file system. API keys may be made before the first start.
const HARMLESS: [&str; 10] = [
    "LOCK",
    "FORMAT.tmp",
    JOURNAL_FOLDER,
    "control.sock",
    "admin.sock",
    "api-keys",
    "revoked",
    "lost+found",
    ".gitignore",
    ".gitkeep",
];

/// Checks, before anything is made there, that `root` is a data directory or can become one: it is not there, or has
/// nothing of somebody else.
///
/// # Errors
/// [`StorageError::NotOurs`] with the name of a file; [`StorageError::TooNew`], [`StorageError::Io`].
pub fn check_ours(root: &Path) -> Result<(), StorageError> {
    let disk = HostDisk::read_only(root);
    let in_the_way = || match has_data(&disk)? {
        true => Err(not_ours("is not there, but data is")),
        false => check_nothing_foreign(root),
    };
    let found = in_the_way();
    // Read last: another server may be making a directory its own at this moment.
    let checked = match read(&disk) {
        Ok(None) => found,
        Ok(Some(_)) => Format::load(&disk).map(drop),
        Err(error) => Err(error),
    };
    checked.map_err(|error| error.within(root))
}

/// Checks that there is nothing in `root` but what a first start makes.
fn check_nothing_foreign(root: &Path) -> Result<(), StorageError> {
    let entries = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_harmless = |name: &OsStr| HARMLESS.iter().any(|harmless| *harmless == name);
    let beside = entries(root.to_owned()).find(|entry| !is_harmless(&entry.file_name()));
    match beside.or_else(|| entries(root.join(JOURNAL_FOLDER)).next()) {
        Some(entry) => {
            let what = "is not of annulus, and a data directory has nothing else in it";
            let name = entry.path();
            let name = name.strip_prefix(root).unwrap_or(&name);
            Err(StorageError::NotOurs { file: name.display().to_string(), what })
        }
        None => Ok(()),
    }
}

/// Whether there is anything that only a server with a `FORMAT` can have written.
fn has_data(disk: &dyn Disk) -> Result<bool, StorageError> {
    let names = disk.list("").map_err(StorageError::io("list", "the data directory"))?;
    let segments = disk.list(JOURNAL_FOLDER).map_err(StorageError::io("list", JOURNAL_FOLDER))?;
    // A backup that was not finished has a base without its name.
    Ok(names.iter().any(|name| name.starts_with(super::BASE_FILE))
        || segments.iter().any(|name| super::first_sequence(name).is_some()))
}

fn not_ours(what: &'static str) -> StorageError {
    StorageError::NotOurs { file: NAME.to_owned(), what }
}
