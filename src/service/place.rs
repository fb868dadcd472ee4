//! Whether a file that this process holds open is still where others, and the next start, will look for it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A path, and the file that was there.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    device: AtomicU64,
    inode: AtomicU64,
}

impl Place {
    /// # Errors
    /// Of the file system.
    pub(super) fn of(path: PathBuf) -> io::Result<Self> {
        let place = Self { path, device: AtomicU64::new(0), inode: AtomicU64::new(0) };
        place.renew()?;
        Ok(place)
    }

    /// Takes what is there now, which this process has put there. Only who has done that looks.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn renew(&self) -> io::Result<()> {
        let found = fs::metadata(&self.path)?;
        self.device.store(found.dev(), Ordering::Relaxed);
        self.inode.store(found.ino(), Ordering::Relaxed);
        Ok(())
    }

    /// Looks again.
    ///
    /// # Errors
    /// `NotFound` if it was removed, moved away or replaced; others of the file system.
    pub(super) fn check(&self) -> io::Result<()> {
        let found = match fs::metadata(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            found => found.ok().map(|found| (found.dev(), found.ino())),
        };
        let held = (self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed));
        if found == Some(held) {
            return Ok(());
        }
        let what = "it was removed, moved or replaced while this server held it, so the next start would not find it";
        Err(io::Error::new(io::ErrorKind::NotFound, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_removed_moved_or_replaced_is_not_in_place() {
        let folder = std::env::temp_dir().join(format!("annulus-place-{}", std::process::id()));
        let (path, other) = (folder.join("a"), folder.join("b"));
        for act in [
            |path: &PathBuf, _: &PathBuf| fs::remove_file(path),
            |path: &PathBuf, other: &PathBuf| fs::rename(path, other),
            |path: &PathBuf, other: &PathBuf| fs::write(other, "b").and_then(|()| fs::rename(other, path)),
        ] {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            fs::write(&path, "a").unwrap();
            let place = Place::of(path.clone()).unwrap();
            place.check().unwrap();
            act(&path, &other).unwrap();
            assert_eq!(place.check().unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
