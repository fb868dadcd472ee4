//! Who uses a data directory: one process that changes it, or any number that only read it. Both lock the directory itself,
//! which nobody can take away from under them; the file `LOCK` says who the one is.
//!
//! Invariant: the kernel gives the lock back when its holder ends, however it does; the text is for people only.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::disk::{create_file, make_folder};
use super::{StorageError, is_without_room};
use crate::config::DataMode;

const NAME: &str = "LOCK";
/// Longer than any text a holder writes.
const HOLDER_BYTES_MAX: u64 = 1 << 10;
const READER: &str = "a process that reads it, such as `annulus verify`";

/// A data directory that nobody else uses while this lives.
#[derive(Debug)]
pub struct Lock {
    _directory: File,
    text: File,
}

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
        make_folder(root, mode).map_err(StorageError::io("make", root.display().to_string()))?;
        let directory = open_directory(root)?;
        if !try_lock(&directory, FlockOperation::NonBlockingLockExclusive, root)? {
            // Who only reads writes no text, and what stands there may be of a server that was killed.
            let is_read = try_lock(&directory, FlockOperation::NonBlockingLockShared, root)?;
            return Err(if is_read { held_by(root, READER) } else { in_use(root) });
        }
        let path = root.join(NAME);
        let open = match create_file(&path, mode) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                OpenOptions::new().read(true).write(true).open(&path)
            }
            created => created,
        };
        let written = open.and_then(|mut text| {
            // On a disk without room nobody is told who it is; the lock is what counts.
            match text.set_len(0).and_then(|()| text.write_all(holder.as_bytes())) {
                Err(error) if is_without_room(&error) => {}
                written => written?,
            }
            Ok(Self { _directory: directory, text })
        });
        written.map_err(StorageError::io("write", path.display().to_string()))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Else the next holder could be taken for this one until it has written its own text.
        let _ = self.text.set_len(0);
    }
}

/// A data directory that nobody changes while this lives; others may read it, too.
#[derive(Debug)]
pub(super) struct ReadLock {
    _directory: File,
}

impl ReadLock {
    /// Locks the directory `root` without writing there.
    ///
    /// # Errors
    /// [`StorageError::InUse`] with the text of the holder; [`StorageError::Io`].
    pub fn take(root: &Path) -> Result<Self, StorageError> {
        let directory = open_directory(root)?;
        match try_lock(&directory, FlockOperation::NonBlockingLockShared, root)? {
            true => Ok(Self { _directory: directory }),
            false => Err(in_use(root)),
        }
    }
}

fn open_directory(root: &Path) -> Result<File, StorageError> {
    File::open(root).map_err(StorageError::io("open", root.display().to_string()))
}

/// Whether nobody holds the directory in a way that excludes this one.
fn try_lock(directory: &File, operation: FlockOperation, root: &Path) -> Result<bool, StorageError> {
    match flock(directory, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        // Such as NFS, where nothing of what a journal needs can be relied on either.
        Err(Errno::BADF) => Err(StorageError::io("lock", root.display().to_string())(io::Error::new(
            ErrorKind::Unsupported,
            "its file system cannot lock a directory; use a local one",
        ))),
        Err(error) => Err(StorageError::io("lock", root.display().to_string())(error.into())),
    }
}

fn in_use(root: &Path) -> StorageError {
    let mut text = String::new();
    let read =
        File::open(root.join(NAME)).and_then(|file| file.take(HOLDER_BYTES_MAX).read_to_string(&mut text));
    // Empty while its holder is about to write it, and nobody knows where somebody has removed it.
    let holder = if read.is_ok() && !text.trim().is_empty() { text.trim() } else { "another process" };
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
    fn a_lock_holds_though_its_text_was_removed() {
        let root = directory("removed");
        let lock = Lock::take(&root, "process 123").unwrap();
        fs::remove_file(root.join(NAME)).unwrap();
        for refused in [Lock::take(&root, "process 124").map(drop), ReadLock::take(&root).map(drop)] {
            let refused = refused.unwrap_err();
            assert!(refused.to_string().contains("another process"), "{refused}");
        }
        drop(lock);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn many_read_without_a_file_and_nobody_changes_meanwhile() {
        let root = directory("readers");
        fs::create_dir(&root).unwrap();
        let readers = [ReadLock::take(&root).unwrap(), ReadLock::take(&root).unwrap()];
        let refused = Lock::take(&root, "process 124").unwrap_err();
        assert!(refused.to_string().contains("a process that reads it"), "{refused}");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        drop(readers);
        let lock = Lock::take(&root, "process 125").unwrap();
        let refused = ReadLock::take(&root).unwrap_err();
        assert!(refused.to_string().contains("process 125"), "{refused}");
        drop(lock);
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
