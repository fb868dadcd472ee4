//! Spare files of the journal, which become segments: zero-filled ones, and segments that were folded.
//!
//! Invariant: a file with the name of a spare has all its blocks written, and had zeros in the first one when it got that
//! name; whatever is behind it is of an earlier life, whose salt no later one has. `docs/storage.md` draws the way around.

use std::io;

use super::{BLOCK_BYTES, Disk, DiskFile, JOURNAL_FOLDER};

/// A file that is to become a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spare {
    /// Relative to the data directory.
    pub name: String,
    pub bytes: u64,
}

const PREFIX: &str = "spare.";
const UNFINISHED: &str = ".new";
/// Zeros that are written and synced at once: what is written beside them waits for no more.
const PIECE_BYTES: usize = 256 << 10;

/// The name of a spare file within the data directory.
pub fn spare_name(number: u64) -> String {
    format!("{JOURNAL_FOLDER}/{PREFIX}{number}")
}

/// Zero-fills a file of so many bytes, piece by piece as long as `may_go_on` says so; `None`: it did not, and the file is gone.
///
/// # Errors
/// Of the file system. The file is gone then, too.
pub fn prepare(
    disk: &dyn Disk,
    number: u64,
    bytes: u64,
    may_go_on: &mut dyn FnMut() -> bool,
) -> io::Result<Option<Spare>> {
    let name = spare_name(number);
    let unfinished = format!("{name}{UNFINISHED}");
    let file = disk.create(&unfinished)?;
    let filled = zero_fill(&*file, bytes, may_go_on);
    if matches!(filled, Ok(true)) {
        disk.rename(&unfinished, &name)?;
        return Ok(Some(Spare { name, bytes }));
    }
    disk.remove(&unfinished)?;
    filled.map(|_| None)
}

fn zero_fill(file: &dyn DiskFile, bytes: u64, may_go_on: &mut dyn FnMut() -> bool) -> io::Result<bool> {
    let zeros = vec![0; PIECE_BYTES];
    let mut offset = 0;
    while offset < bytes {
        if !may_go_on() {
            return Ok(false);
        }
        let len = (bytes - offset).min(PIECE_BYTES as u64);
        file.write_at(&zeros[..len as usize], offset)?;
        file.sync()?;
        offset += len;
    }
    Ok(true)
}

/// Makes a spare file of a prepared segment that is folded and that nobody has open. In this order a crash in here leaves the
/// segment as it was, or none.
///
/// # Errors
/// Of the file system: the segment may be gone, or not.
pub fn recycle(disk: &dyn Disk, segment: &str, number: u64, bytes: u64) -> io::Result<Spare> {
    let name = spare_name(number);
    let unfinished = format!("{name}{UNFINISHED}");
    disk.rename(segment, &unfinished)?;
    disk.sync_folder(JOURNAL_FOLDER)?;
    let file = disk.open(&unfinished)?;
    file.write_at(&[0; BLOCK_BYTES], 0)?;
    file.sync()?;
    disk.rename(&unfinished, &name)?;
    Ok(Spare { name, bytes })
}

/// What an earlier process has left: at most `count_max` spare files of so many bytes. All others are removed.
///
/// # Errors
/// Of the file system.
pub fn adopt(disk: &dyn Disk, bytes: u64, count_max: usize) -> io::Result<Vec<Spare>> {
    let mut spares = Vec::new();
    for file in disk.list(JOURNAL_FOLDER)? {
        let Some(number) = file.strip_prefix(PREFIX) else { continue };
        let name = format!("{JOURNAL_FOLDER}/{file}");
        let is_whole = number.parse::<u64>().is_ok() && is_blank(disk, &name, bytes)?;
        if is_whole && spares.len() < count_max {
            spares.push(Spare { name, bytes });
        } else {
            disk.remove(&name)?;
        }
    }
    Ok(spares)
}

/// Whether nothing was begun in a file of so many bytes.
fn is_blank(disk: &dyn Disk, name: &str, bytes: u64) -> io::Result<bool> {
    let file = disk.open(name)?;
    let mut block = [0; BLOCK_BYTES];
    if file.size()? != bytes || bytes < BLOCK_BYTES as u64 {
        return Ok(false);
    }
    file.read_at(&mut block, 0)?;
    Ok(block == [0; BLOCK_BYTES])
}

/// The number of a spare file; `None`: it is none.
pub fn spare_number(name: &str) -> Option<u64> {
    name.strip_prefix(JOURNAL_FOLDER)?.strip_prefix('/')?.strip_prefix(PREFIX)?.parse().ok()
}
