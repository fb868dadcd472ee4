//! One process at a time uses a data directory: a lock on the file `LOCK`, whose text says who holds it.
//!
//! Invariant: the kernel gives the lock back when its holder ends, however it does; the text is for people only.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StorageError;

const NAME: &str = "LOCK";
/// Longer than any text a holder writes.
const HOLDER_BYTES_MAX: u64 = 1 << 10;

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
        let path = root.join(NAME);
        let shown = path.display().to_string();
        fs::create_dir_all(root).map_err(StorageError::io("make", root.display().to_string()))?;
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(StorageError::io("open", &shown))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(in_use(root, &file)),
            Err(error) => return Err(StorageError::io("lock", shown)(error.into())),
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

fn in_use(root: &Path, file: &File) -> StorageError {
    let mut text = String::new();
    let is_read = file.take(HOLDER_BYTES_MAX).read_to_string(&mut text).is_ok();
    // Empty while its holder is about to write it.
    let holder = if is_read && !text.trim().is_empty() { text.trim() } else { "another process" };
    StorageError::InUse { directory: root.display().to_string(), holder: holder.to_owned() }
}

#[cfg(test)]
mod tests {
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
    fn a_dropped_lock_can_be_taken_and_its_text_is_replaced() {
        let root = directory("dropped");
        drop(Lock::take(&root, "process 123 with a long text").unwrap());
        let lock = Lock::take(&root, "process 124").unwrap();
        assert_eq!(fs::read_to_string(root.join(NAME)).unwrap(), "process 124");
        drop(lock);
        fs::remove_dir_all(root).unwrap();
    }
}
