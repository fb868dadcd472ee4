//! A file that has its name only once it is whole.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::DataMode;

/// A file beside the one that it is to be; removed when this is dropped.
pub struct Unfinished {
    pub file: File,
    path: PathBuf,
}

impl Unfinished {
    /// # Errors
    /// It cannot be made there.
    pub fn create(whole: &Path, mode: DataMode) -> io::Result<Self> {
        let mut name = whole.as_os_str().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let path = PathBuf::from(name);
        let owner = DataMode::OWNER.of_files();
        let file = OpenOptions::new().write(true).create_new(true).mode(owner).open(&path)?;
        let unfinished = Self { file, path };
        // Exactly these rights, whatever the umask is.
        unfinished.file.set_permissions(Permissions::from_mode(mode.of_files()))?;
        Ok(unfinished)
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// It cannot be synced or renamed.
    pub fn finish(self, whole: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, whole)?;
        // The folder, so that the name survives as well.
        let folder = whole.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a rename there is none.
        let _ = fs::remove_file(&self.path);
    }
}
