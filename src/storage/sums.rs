//! The sums of the pages of a base, in their file; in memory, too, where they were looked at of late or are changed, as a
//! block of them has those of a thousand pages.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
#[expect(clippy::disallowed_types, reason = "redb calls from whatever thread of the storage uses it")]
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::DiskFile;
use super::blocks::{BLOCK_BYTES, Blocks};

/// Blocks in memory: those of a base of a GiB.
const CACHED_BLOCKS_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub(super) struct Sums {
    file: Arc<dyn DiskFile>,
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    blocks: Blocks,
    /// Numbers of those that the file does not have as they are.
    changed: BTreeSet<u64>,
    /// The file was written since the last sync.
    is_dirty: bool,
}

impl Sums {
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, cached: Default::default() }
    }

    pub fn read(&self, sums: &mut [u8], offset: u64) -> io::Result<()> {
        let mut cached = self.cached();
        let beneath = |rest: &mut [u8], at| self.read_file(rest, at);
        if cached.blocks.len() >= CACHED_BLOCKS_MAX && cached.changed.is_empty() {
            cached.blocks.clear();
        }
        if cached.blocks.len() < CACHED_BLOCKS_MAX {
            cached.blocks.hold(offset, sums.len(), beneath)?;
        }
        cached.blocks.read(sums, offset, beneath)
    }

    /// Changes them in memory.
    pub fn write(&self, sums: &[u8], offset: u64) -> io::Result<()> {
        let mut cached = self.cached();
        if cached.blocks.len() >= CACHED_BLOCKS_MAX {
            self.write_blocks(&mut cached)?;
            cached.blocks.clear();
        }
        cached.blocks.write(sums, offset, |rest, at| self.read_file(rest, at))?;
        let last = (offset + sums.len() as u64).saturating_sub(1) / BLOCK_BYTES;
        cached.changed.extend(offset / BLOCK_BYTES..=last);
        Ok(())
    }

    /// Writes what is changed. Where that finds no room nothing is lost, and it may be tried again.
    pub fn write_changed(&self) -> io::Result<()> {
        self.write_blocks(&mut self.cached())
    }

    pub fn sync(&self) -> io::Result<()> {
        let mut cached = self.cached();
        self.write_blocks(&mut cached)?;
        let is_dirty = std::mem::take(&mut cached.is_dirty);
        // Nobody who reads waits for the disk.
        drop(cached);
        if is_dirty { self.file.sync() } else { Ok(()) }
    }

    fn write_blocks(&self, cached: &mut Cached) -> io::Result<()> {
        while let Some(&block) = cached.changed.first() {
            if let Some(content) = cached.blocks.get(block) {
                cached.is_dirty = true;
                self.file.write_at(content, block * BLOCK_BYTES)?;
            }
            cached.changed.pop_first();
        }
        Ok(())
    }

    /// Behind the end of the file there is nothing that was ever written.
    fn read_file(&self, sums: &mut [u8], offset: u64) -> io::Result<()> {
        match self.file.read_at(sums, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let there = self.file.size()?.saturating_sub(offset);
                let there = usize::try_from(there).map_or(sums.len(), |there| there.min(sums.len()));
                sums[there..].fill(0);
                if there == 0 { Ok(()) } else { self.file.read_at(&mut sums[..there], offset) }
            }
            read => read,
        }
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
