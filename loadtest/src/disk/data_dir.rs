//! The data directory of a server we start: made for it, and removed with it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use crate::clock::now_ns;
use crate::failure::Failure;

/// Where it is made unless told otherwise: kept over a restart by its definition, so that it is on a disk, which the
/// folder for temporary files often is not.
pub const PARENT_DEFAULT: &str = "/var/tmp";

#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// # Errors
    /// [`Failure::Setup`] when it cannot be made.
    pub fn create(parent: &Path) -> Result<Self, Failure> {
        let path = parent.join(format!("annulus-loadtest-{}-{}", std::process::id(), now_ns()));
        fs::create_dir(&path).map_err(|error| {
            Failure::Setup(format!("no data directory in {}: {error}; see --data-parent", parent.display()))
        })?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        let mut sum = 0;
        let walked = each_file(&self.path, &mut |file| {
            sum += file.metadata()?.len();
            Ok(())
        });
        walked.map_or(0, |()| sum)
    }

    /// Has the kernel forget what it holds of these files, so that they are read from the disk, as after a reboot.
    ///
    /// # Errors
    /// [`Failure::Setup`] when a file cannot be opened or synced.
    pub fn forget_cached(&self) -> Result<(), Failure> {
        let forgotten = each_file(&self.path, &mut |file| {
            // What has not been written back is not forgotten.
            file.sync_all()?;
            Ok(fadvise(file, 0, None, Advice::DontNeed)?)
        });
        forgotten.map_err(|error| Failure::Setup(format!("cannot drop {}: {error}", self.path.display())))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn each_file(folder: &Path, visit: &mut impl FnMut(&File) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            each_file(&entry.path(), visit)?;
        } else if kind.is_file() {
            visit(&File::open(entry.path())?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_counts_its_bytes_and_is_removed_with_all_that_is_in_it() {
        let data = DataDir::create(&std::env::temp_dir()).unwrap();
        let path = data.path().to_owned();
        fs::create_dir(path.join("journal")).unwrap();
        fs::write(path.join("journal/1.log"), [0; 100]).unwrap();
        fs::write(path.join("base.redb"), [0; 10]).unwrap();
        assert_eq!(data.bytes(), 110);
        data.forget_cached().unwrap();
        drop(data);
        assert!(!path.exists());
    }
}
