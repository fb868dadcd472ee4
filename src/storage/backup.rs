//! A consistent copy of a data directory while its server goes on.
//!
//! The base is copied from one moment of it, and the segments that are not folded at that moment; together they
//! are everything that was in a finished segment when the copy began. `FORMAT` comes last: a server refuses a
//! directory that has data and none, so a copy that was not finished cannot pass for one.

use std::fmt;
use std::fs;
use std::path::Path;

use redb::ReadableTable;
use serde::Serialize;

use super::base::{CELLS, MAPS, NAMES, NEXT_MAP_ID, NUMBERS, Reading, failed};
use super::clear::CLEARED;
use super::offline::{CACHE_BYTES, Offline};
use super::{Base, Disk, HostDisk, JOURNAL_FOLDER, StorageError, first_sequence, format, replace_file};
use crate::crdt::Time;

/// How much was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    pub maps: u64,
    /// Of the base; those in the segments are not counted.
    pub cells: u64,
    pub segments: u64,
    /// Of keys, images and segments.
    pub bytes: u64,
}

impl fmt::Display for Copied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { maps, cells, segments, bytes } = self;
        write!(formatter, "{maps} maps, {cells} cells and {segments} journal segments, {bytes} bytes")
    }
}

/// Cells of one transaction.
const TRANSACTION_CELLS: u64 = 64 << 10;
/// Bytes of a segment that are copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// Copies `base` and the given `segments` to `target`, a directory that is new or empty, and makes the copy
/// survive. The result is a data directory, with the same epoch.
///
/// The caller has rolled the journal, and names every finished segment that was not folded yet and that stays until
/// this returns. `progress` is called now and then.
///
/// # Errors
/// [`StorageError::NotEmpty`]; [`StorageError::Io`] and [`StorageError::Base`]. What is in the target then is of
/// no use.
pub fn copy(
    base: &Base,
    disk: &dyn Disk,
    segments: &[String],
    target: &Path,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, StorageError> {
    let shown = target.display().to_string();
    let is_empty = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(StorageError::io("read", shown)(error)),
    };
    if !is_empty {
        return Err(StorageError::NotEmpty { directory: shown });
    }
    let to = HostDisk::new(target).map_err(StorageError::io("make", &shown))?;
    let mut copying = Copying { copied: Copied::default(), progress };
    let reading = base.begin_read()?;
    let folded = reading.number(super::base::FOLDED)?;
    for name in unfolded(segments, folded) {
        copying.file(disk, &to, name)?;
        copying.copied.segments += 1;
    }
    to.sync_folder(JOURNAL_FOLDER).map_err(StorageError::io("sync", JOURNAL_FOLDER))?;
    drop(Base::create(&to, base.hasher, CACHE_BYTES, |copy| copying.base(&reading, copy))?);
    copying.format(disk, &to)?;
    if let Some(parent) = target.canonicalize().ok().as_deref().and_then(Path::parent) {
        let synced = fs::File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(StorageError::io("sync the folder of", shown))?;
    }
    Ok(copying.copied)
}

/// Copies a data directory that no server uses to `target`, as [`copy`] does. Changes nothing in it.
///
/// # Errors
/// As [`copy`]; [`StorageError::InUse`] and whatever else keeps a server from starting there, before anything is made.
pub fn copy_stopped(
    data_dir: &Path,
    target: &Path,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, StorageError> {
    Offline::read(data_dir, |offline| {
        let base = offline.base()?;
        let (_, recovered) = offline.tail(base.folded(), false)?;
        let segments: Vec<String> = recovered.segments.into_iter().map(|segment| segment.name).collect();
        copy(&base, &offline.disk, &segments, target, progress)
    })
}

/// The segments, oldest first, without those that are wholly folded.
fn unfolded(segments: &[String], folded: u64) -> impl Iterator<Item = &String> {
    let first = |name: &str| first_sequence(name.rsplit('/').next().unwrap_or(name)).unwrap_or(0);
    let mut names: Vec<&String> = segments.iter().collect();
    names.sort_unstable_by_key(|name| first(name));
    let nexts: Vec<Option<u64>> =
        (1..=names.len()).map(|index| names.get(index).map(|name| first(name))).collect();
    names.into_iter().zip(nexts).filter_map(move |(name, next)| {
        let is_folded = next.is_some_and(|next| next <= folded.saturating_add(1));
        (!is_folded).then_some(name)
    })
}

struct Copying<'a> {
    copied: Copied,
    progress: &'a mut dyn FnMut(&Copied),
}

impl Copying<'_> {
    fn base(&mut self, from: &Reading, to: &Base) -> Result<(), StorageError> {
        let mut writing = to.begin_write()?;
        writing.set_folded(from.number(super::base::FOLDED)?);
        writing.advance_clock(Time::from_bits(from.number(super::base::CLOCK)?));
        {
            let mut maps = writing.transaction.open_table(MAPS).map_err(failed)?;
            let mut names = writing.transaction.open_table(NAMES).map_err(failed)?;
            for entry in from.maps.iter().map_err(failed)? {
                let (name, bytes) = entry.map_err(failed)?;
                let row = super::base::Row::of_bytes(bytes.value());
                let row = row.ok_or_else(|| StorageError::damaged_map(name.value()))?;
                maps.insert(name.value(), bytes.value()).map_err(failed)?;
                names.insert(row.id, name.value()).map_err(failed)?;
                self.copied.maps += 1;
            }
            let mut numbers = writing.transaction.open_table(NUMBERS).map_err(failed)?;
            for name in [NEXT_MAP_ID, CLEARED] {
                numbers.insert(name, from.number(name)?).map_err(failed)?;
            }
        }
        let mut entries = from.cells.range::<&[u8]>(..).map_err(failed)?;
        loop {
            let before = self.copied.cells;
            {
                let mut cells = writing.transaction.open_table(CELLS).map_err(failed)?;
                for entry in entries.by_ref().take(TRANSACTION_CELLS as usize) {
                    let (cell_key, image) = entry.map_err(failed)?;
                    let (cell_key, image) = (cell_key.value(), image.value());
                    cells.insert(cell_key, image).map_err(failed)?;
                    self.copied.cells += 1;
                    self.copied.bytes += (cell_key.len() + image.len()) as u64;
                }
            }
            writing.commit()?;
            (self.progress)(&self.copied);
            if self.copied.cells - before < TRANSACTION_CELLS {
                return Ok(());
            }
            writing = to.begin_write()?;
        }
    }

    /// Copies one file under the same name, and syncs it.
    fn file(&mut self, disk: &dyn Disk, to: &HostDisk, name: &str) -> Result<(), StorageError> {
        let source = disk.open(name).map_err(StorageError::io("open", name))?;
        let size = source.size().map_err(StorageError::io("read", name))?;
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

    fn format(&mut self, disk: &dyn Disk, to: &HostDisk) -> Result<(), StorageError> {
        let file = disk.open(format::NAME).map_err(StorageError::io("open", format::NAME))?;
        let size = file.size().map_err(StorageError::io("read", format::NAME))?;
        let mut text = vec![0; size as usize];
        file.read_at(&mut text, 0).map_err(StorageError::io("read", format::NAME))?;
        replace_file(to, format::NAME, &text)
    }
}
