//! Where an export goes: stdout, or a file that has its name only once it is whole, as half an export looks like one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::TaskError;
use crate::config::DataMode;

/// Bytes written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Has `write` write to the file `path`. One that is there is replaced if all went well, and is as it was if not; what
/// is there and no file, such as a pipe, is written to.
pub(super) fn to_file<T>(
    path: &Path,
    mode: DataMode,
    write: impl FnOnce(&mut dyn Write) -> Result<T, TaskError>,
) -> Result<T, TaskError> {
    let failed = |error| TaskError::file(path, error);
    let (path, is_file) = match fs::metadata(path) {
        // Through a link, as it would be written to.
        Ok(found) if found.is_file() => (fs::canonicalize(path).map_err(failed)?, true),
        Ok(_) => (path.to_owned(), false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), true),
        Err(error) => return Err(failed(error)),
    };
    if !is_file {
        let mut out = BufWriter::with_capacity(
            BUFFER_BYTES,
            OpenOptions::new().write(true).open(&path).map_err(failed)?,
        );
        let result = write(&mut out)?;
        out.flush().map_err(failed)?;
        return Ok(result);
    }
    let unfinished = Unfinished::create(&path, mode).map_err(failed)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, &unfinished.file);
    let result = write(&mut out)?;
    out.into_inner().map_err(|error| failed(error.into_error()))?;
    unfinished.finish(&path).map_err(failed)?;
    Ok(result)
}

/// A file beside the one that it is to be; removed when this is dropped.
pub(super) struct Unfinished {
    pub file: File,
    path: PathBuf,
}

impl Unfinished {
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
