//! A consistent copy of a data directory, of a running server or of none.
//!
//! The base is copied from one moment of it. Of a running server that is all: the caller has had the journal folded,
//! so everything of before is in there. Of a server that was killed the journal is copied, too, and folded into the
//! copy. `FORMAT` comes last: a server refuses a directory that has data and none, so a copy that was not finished
//! cannot pass for one.

use std::fmt;
use std::fs;
use std::path::Path;

use redb::ReadableTableMetadata;
use serde::Serialize;

use super::base::{Reading, failed};
use super::compact::copy_cells;
use super::import::fold_journal;
use super::offline::{CACHE_BYTES, Offline};
use super::stored::glance;
use super::{Base, Counts, Disk, Format, HostDisk, JOURNAL_FOLDER, RecoveredSegment, StorageError, Timeline};
use crate::config::DataMode;

/// How to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// The wall clock, in unix milliseconds: values that have ended before count as tombstones.
    pub now_ms: u64,
    /// Who else may read the copy.
    pub mode: DataMode,
}

/// How much was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    pub counts: Counts,
    /// Cells that cannot be read, copied as they are.
    pub damaged: u64,
    /// Of keys, images and segments.
    pub bytes: u64,
}

impl fmt::Display for Copied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, damaged, bytes } = self;
        write!(formatter, "{counts}; {bytes} bytes")?;
        match damaged {
            0 => Ok(()),
            _ => write!(formatter, "; {damaged} keys are damaged, which `annulus verify` names"),
        }
    }
}

/// Bytes of a segment that are copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// Copies what is folded into `base` to `target`, a directory that is new or empty, and makes the copy survive. The
/// result is a data directory, with the same epoch. `progress` is called now and then.
///
/// # Errors
/// [`StorageError::NotEmpty`]; [`StorageError::Io`] and [`StorageError::Base`]. What is in the target then is of
/// no use.
pub fn copy(
    base: &Base,
    disk: &dyn Disk,
    target: &Path,
    options: CopyOptions,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, StorageError> {
    copy_with(base, disk, None, target, options, progress)
}

/// Copies a data directory that no server uses, as [`copy`] does. Changes nothing in it.
///
/// # Errors
/// As [`copy`]; [`StorageError::InUse`] and whatever else keeps a server from starting there, before anything is made.
pub fn copy_stopped(
    data_dir: &Path,
    target: &Path,
    options: CopyOptions,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, StorageError> {
    Offline::read(data_dir, |offline| {
        let base = offline.base()?;
        let (_, recovered) = offline.tail(base.folded(), false)?;
        let journal = Journal { segments: &recovered.segments, epoch: offline.format.epoch };
        copy_with(&base, &offline.disk, Some(journal), target, options, progress)
    })
}

/// What is not folded.
pub struct Journal<'a> {
    pub segments: &'a [RecoveredSegment],
    pub epoch: u64,
}

pub(super) fn copy_with(
    base: &Base,
    disk: &dyn Disk,
    journal: Option<Journal<'_>>,
    target: &Path,
    options: CopyOptions,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, StorageError> {
    let shown = target.display().to_string();
    match fs::read_dir(target) {
        Ok(entries) => {
            // The root of a file system is never quite empty.
            let found = entries.flatten().find(|entry| entry.file_name() != "lost+found");
            if let Some(found) = found {
                return Err(StorageError::NotEmpty { file: found.path().display().to_string() });
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(StorageError::io("read", shown)(error)),
    }
    let to = HostDisk::with_mode(target, options.mode).map_err(StorageError::io("make", &shown))?;
    let copied = copy_onto(base, disk, journal, &to, options.now_ms, progress)?;
    if let Some(parent) = target.canonicalize().ok().as_deref().and_then(Path::parent) {
        let synced = fs::File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(StorageError::io("sync the folder of", shown))?;
    }
    Ok(copied)
}

/// As [`copy`], onto a disk that has nothing yet, with what is not folded.
///
/// # Errors
/// As [`copy`].
pub fn copy_onto(
    base: &Base,
    disk: &dyn Disk,
    journal: Option<Journal<'_>>,
    to: &dyn Disk,
    now_ms: u64,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, StorageError> {
    let mut copying = Copying { copied: Copied::default(), now_ms, progress };
    let snapshot = base.snapshot()?;
    let reading = Reading::of(&snapshot)?;
    let copy = Base::create(to, base.hasher, CACHE_BYTES, |copy| copying.base(&reading, copy))?;
    if let Some(Journal { segments, epoch }) = journal.filter(|journal| !journal.segments.is_empty()) {
        segments.iter().try_for_each(|segment| copying.segment(disk, to, segment))?;
        fold_journal(to, &copy, epoch)?;
        copying.count(&Reading::of(&copy.snapshot()?)?)?;
    }
    drop(copy);
    to.sync_folder(JOURNAL_FOLDER).map_err(StorageError::io("sync", JOURNAL_FOLDER))?;
    Timeline::mark_copy(to)?;
    Copying::format(disk, to)?;
    Ok(copying.copied)
}

struct Copying<'a> {
    copied: Copied,
    now_ms: u64,
    progress: &'a mut dyn FnMut(&Copied),
}

impl Copying<'_> {
    fn base(&mut self, from: &Reading, to: &Base) -> Result<(), StorageError> {
        self.copied.counts.maps = from.maps.len().map_err(failed)?;
        let copied = copy_cells(from, to, &mut |cell| {
            match cell {
                Some((key, image)) => {
                    self.see(image);
                    self.copied.bytes += (key.len() + image.len()) as u64;
                }
                None => (self.progress)(&self.copied),
            }
            true
        });
        copied.map(drop)
    }

    fn see(&mut self, image: &[u8]) {
        match glance(None, image) {
            Ok(glanced) => self.copied.counts.add(&glanced, self.now_ms),
            Err(_) => self.copied.damaged += 1,
        }
    }

    /// Counts anew what is in a base.
    fn count(&mut self, reading: &Reading) -> Result<(), StorageError> {
        let maps = reading.maps.len().map_err(failed)?;
        self.copied = Copied { counts: Counts { maps, ..Counts::default() }, damaged: 0, ..self.copied };
        reading.cells.each(.., &mut |found| {
            match found.cell {
                Ok((_, image)) => self.see(image),
                Err(_) => self.copied.damaged += 1,
            }
            Ok(true)
        })
    }

    /// Copies what counts in a segment under the same name, and syncs it.
    fn segment(
        &mut self,
        disk: &dyn Disk,
        to: &dyn Disk,
        segment: &RecoveredSegment,
    ) -> Result<(), StorageError> {
        let RecoveredSegment { name, bytes: size, .. } = segment;
        let (name, size) = (name.as_str(), *size);
        let source = disk.open(name).map_err(StorageError::io("open", name))?;
        let target = to.create(name).map_err(StorageError::io("create", name))?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = 0;
        while offset < size {
            piece.truncate((size - offset) as usize);
            source.read_at(&mut piece, offset).map_err(StorageError::io("read", name))?;
            target.write_at(&piece, offset).map_err(StorageError::io("write", name))?;
            offset += piece.len() as u64;
            self.copied.bytes += piece.len() as u64;
            (self.progress)(&self.copied);
        }
        target.sync().map_err(StorageError::io("sync", name))
    }

    fn format(disk: &dyn Disk, to: &dyn Disk) -> Result<(), StorageError> {
        // In this version, as the base of the copy is, whatever the original is.
        Format::load(disk)?.write(to)
    }
}
