//! A data directory that no server uses, opened for one of the commands.

use std::path::Path;

use super::{
    Base, Format, HostDisk, JOURNAL_FOLDER, Lock, Recovered, RecoveryOptions, StorageError, Tail, format,
    recover,
};
use crate::mesh::KeyHasher;

/// Bytes of the base that a command may hold in memory.
pub(super) const CACHE_BYTES: usize = 256 << 20;

/// The directory, locked while this lives.
pub(super) struct Offline {
    pub disk: HostDisk,
    pub format: Format,
    _lock: Option<Lock>,
}

impl Offline {
    /// # Errors
    /// [`StorageError::NotOurs`] if it is no data directory, [`StorageError::InUse`], [`StorageError::TooNew`].
    pub fn open(data_dir: &Path, holder: &str) -> Result<Self, StorageError> {
        // Before anything is made in a directory that was named by mistake.
        if !data_dir.join(format::NAME).is_file() {
            let file = data_dir.join(format::NAME).display().to_string();
            return Err(StorageError::NotOurs { file, what: "is not there" });
        }
        let lock = match Lock::take(data_dir, holder) {
            // Where nobody can write there is no server.
            Err(StorageError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem =>
            {
                None
            }
            taken => Some(taken?),
        };
        let disk = HostDisk::new(data_dir).map_err(StorageError::io("open", JOURNAL_FOLDER))?;
        let format = Format::load(&disk)?;
        Ok(Self { disk, format, _lock: lock })
    }

    pub const fn hasher(&self) -> KeyHasher {
        KeyHasher::new(self.format.secret)
    }

    /// The base, which stays as it is on the disk.
    pub fn base(&self) -> Result<Base, StorageError> {
        Base::open_unchanged(&self.disk, self.hasher(), CACHE_BYTES)
    }

    /// What the journal has behind `folded`, which stays as it is on the disk.
    pub fn tail(&self, folded: u64, salvage: bool) -> Result<(Tail, Recovered), StorageError> {
        let mut tail = Tail::new(self.hasher(), folded);
        let options = RecoveryOptions { epoch: self.format.epoch, folded, salvage, read_only: true };
        let recovered = recover(&self.disk, options, &mut |record, location| tail.add(record, location))?;
        tail.attach(&self.disk, &recovered.segments)?;
        Ok((tail, recovered))
    }
}
