//! A data directory that no server uses, opened for one of the commands.

use std::path::Path;

use super::lock::ReadLock;
use super::{Base, Format, HostDisk, Recovered, RecoveryOptions, StorageError, Tail};
use crate::mesh::KeyHasher;

/// Bytes of the base that a command may hold in memory.
pub(super) const CACHE_BYTES: usize = 256 << 20;

/// The directory, which nobody changes while this lives, this least of all: only the right to read is needed.
pub(super) struct Offline {
    pub disk: HostDisk,
    pub format: Format,
    _lock: ReadLock,
}

impl Offline {
    /// # Errors
    /// [`StorageError::NotOurs`] if it is no data directory, [`StorageError::InUse`], [`StorageError::TooNew`].
    fn open(data_dir: &Path) -> Result<Self, StorageError> {
        let disk = HostDisk::read_only(data_dir);
        let format = Format::load(&disk).map_err(|error| error.within(data_dir))?;
        Ok(Self { disk, format, _lock: ReadLock::take(data_dir)? })
    }

    /// Opens the directory and has `read` read it, while nobody changes it.
    ///
    /// # Errors
    /// As [`Offline::open`], and what `read` returns.
    pub fn read<T>(
        data_dir: &Path,
        read: impl FnOnce(&Self) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        read(&Self::open(data_dir)?)
    }

    pub const fn hasher(&self) -> KeyHasher {
        KeyHasher::new(self.format.secret)
    }

    /// The base, which stays as it is on the disk.
    pub fn base(&self) -> Result<Base, StorageError> {
        let opened = Base::open_unchanged(&self.disk, self.hasher(), CACHE_BYTES);
        opened.map_err(|error| error.within(self.disk.root()))
    }

    /// What the journal has behind `folded`, which stays as it is on the disk.
    pub fn tail(&self, folded: u64, salvage: bool) -> Result<(Tail, Recovered), StorageError> {
        let options = RecoveryOptions { epoch: self.format.epoch, folded, salvage, read_only: true };
        let read = Tail::read(&self.disk, self.hasher(), options);
        read.map_err(|error| error.within(self.disk.root()))
    }
}
