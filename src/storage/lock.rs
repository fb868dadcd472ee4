//! Who uses a data directory: one process that changes it, or any number that only read it. Both hold the file `LOCK`,
//! whose text says who the one is.
//!
//! Invariant: the kernel gives the lock back when its holder ends, however it does; the text is for people only.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StorageError;
use super::disk::{create_file, make_folder};
use crate::config::DataMode;

const NAME: &str = "LOCK";
/// Longer than any text a holder writes.
const HOLDER_BYTES_MAX: u64 = 1 << 10;
const READER: &str = "a process that reads it, such as `annulus verify`";

/// A data directory that nobody else uses while this lives.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Locks the directory `root`, which is made if it is not there. `holder` is what another process is told,
    /// such as `process 123, which listens on 127.0.0.1:9000`.
    ///
    /// # Errors
    /// [`StorageError::InUse`] with the text of the holder; [`StorageError::Io`].
    pub fn take(root: &Path, holder: &str) -> Result<Self, StorageError> {
        Self::take_with(root, DataMode::OWNER, holder)
    }

    /// The same, where what is made has the given rights.
    ///
    /// # Errors
    /// As [`Lock::take`].
    pub fn take_with(root: &Path, mode: DataMode, holder: &str) -> Result<Self, StorageError> {
        let path = root.join(NAME);
        let shown = path.display().to_string();
        make_folder(root, mode).map_err(StorageError::io("make", root.display().to_string()))?;
        let open = match create_file(&path, mode) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                OpenOptions::new().read(true).write(true).open(&path)
            }
            created => created,
        };
        let mut file = open.map_err(StorageError::io("open", &shown))?;
        if !try_lock(&file, FlockOperation::NonBlockingLockExclusive, &shown)? {
            // Who only reads writes no text, and what stands there may be of a server that was killed.
            let is_read = try_lock(&file, FlockOperation::NonBlockingLockShared, &shown)?;
            return Err(if is_read { held_by(root, READER) } else { in_use(root, &file) });
        }
        let write = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes()));
        write.map_err(StorageError::io("write", shown))?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Else the next holder could be taken for this one until it has written its own text.
        let _ = self.0.set_len(0);
    }
}

/// A data directory that nobody changes while this lives; others may read it, too.
#[derive(Debug)]
pub(super) struct ReadLock {
    /// `None`: no server has ever run here, as in a backup, and whoever reads makes no file.
    file: Option<File>,
}

impl ReadLock {
    /// Locks the directory `root` without writing there.
    ///
    /// # Errors
    /// [`StorageError::InUse`] with the text of the holder; [`StorageError::Io`].
    pub fn take(root: &Path) -> Result<Self, StorageError> {
        let path = root.join(NAME);
        let shown = path.display().to_string();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self { file: None }),
            Err(error) => return Err(StorageError::io("open", shown)(error)),
        };
        match try_lock(&file, FlockOperation::NonBlockingLockShared, &shown)? {
            true => Ok(Self { file: Some(file) }),
            false => Err(in_use(root, &file)),
        }
    }

    /// Called after reading: that nobody has changed anything meanwhile. Where there was no file to lock, one that is
    /// there now tells of a server that has begun.
    ///
    /// # Errors
    /// As [`ReadLock::take`].
    pub fn check(&self, root: &Path) -> Result<(), StorageError> {
        match (&self.file, Self::take(root)?.file) {
            (None, Some(file)) => Err(in_use(root, &file)),
            _ => Ok(()),
        }
    }
}

/// Whether nobody holds the file in a way that excludes this one.
fn try_lock(file: &File, operation: FlockOperation, shown: &str) -> Result<bool, StorageError> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(StorageError::io("lock", shown)(error.into())),
    }
}

fn in_use(root: &Path, file: &File) -> StorageError {
    let mut text = String::new();
    let is_read = file.take(HOLDER_BYTES_MAX).read_to_string(&mut text).is_ok();
    // Empty while its holder is about to write it.
    let holder = if is_read && !text.trim().is_empty() { text.trim() } else { "another process" };
    held_by(root, holder)
}

fn held_by(root: &Path, holder: &str) -> StorageError {
    StorageError::InUse { directory: root.display().to_string(), holder: holder.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn directory(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("annulus-lock-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_second_taker_is_told_who_holds_the_lock() {
        let root = directory("second");
        let lock = Lock::take(&root, "process 123, which listens on 127.0.0.1:9000").unwrap();
        let refused = Lock::take(&root, "process 124").unwrap_err();
        assert!(matches!(&refused, StorageError::InUse { holder, .. }
            if holder == "process 123, which listens on 127.0.0.1:9000"));
        assert!(refused.to_string().contains("is in use by process 123"), "{refused}");
        drop(lock);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn many_read_and_nobody_changes_meanwhile() {
        let root = directory("readers");
        fs::create_dir(&root).unwrap();
        fs::write(root.join(NAME), "process 123, which was killed").unwrap();
        let readers = [ReadLock::take(&root).unwrap(), ReadLock::take(&root).unwrap()];
        let refused = Lock::take(&root, "process 124").unwrap_err();
        assert!(refused.to_string().contains("a process that reads it"), "{refused}");
        readers.iter().for_each(|reader| reader.check(&root).unwrap());
        drop(readers);
        let lock = Lock::take(&root, "process 125").unwrap();
        let refused = ReadLock::take(&root).unwrap_err();
        assert!(refused.to_string().contains("process 125"), "{refused}");
        drop(lock);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn who_reads_without_a_file_makes_none_and_notices_who_comes() {
        let root = directory("no-file");
        fs::create_dir(&root).unwrap();
        let reader = ReadLock::take(&root).unwrap();
        reader.check(&root).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        let lock = Lock::take(&root, "process 126").unwrap();
        let noticed = reader.check(&root).unwrap_err();
        assert!(noticed.to_string().contains("process 126"), "{noticed}");
        drop(lock);
        // It is gone again, and may have changed anything.
        assert!(matches!(reader.check(&root), Err(StorageError::InUse { .. })));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_dropped_lock_can_be_taken_and_its_text_is_replaced() {
        let root = directory("dropped");
        drop(Lock::take(&root, "process 123 with a long text").unwrap());
        let lock = Lock::take(&root, "process 124").unwrap();
        assert_eq!(fs::read_to_string(root.join(NAME)).unwrap(), "process 124");
        drop(lock);
        fs::remove_dir_all(root).unwrap();
    }
}
