//! Changes a file of entries that a server may be reading: it has the old text or the new one, and two who change it at once
//! do so one after the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::unfinished::Unfinished;
use crate::config::DataMode;

/// The text of the file; empty where there is none.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text,
    }
}

/// Puts what `change` makes of the text in its place. The file is made if it is not there, with its folder, and belongs to
/// whom that belongs to, so that a server can read what root has made.
///
/// # Errors
/// Those of `change`, and what `failed` makes of those of the file.
pub fn change<T, E>(
    path: &Path,
    mode: DataMode,
    change: impl FnOnce(&str) -> Result<(String, T), E>,
    failed: impl Fn(io::Error) -> E,
) -> Result<T, E> {
    let (mut locked, path) = lock(path, mode).map_err(&failed)?;
    let mut text = String::new();
    locked.read_to_string(&mut text).map_err(&failed)?;
    let (text, done) = change(&text)?;
    let replace = || {
        let before = locked.metadata()?;
        let mut unfinished = Unfinished::create(&path, mode)?;
        unfinished.file.set_permissions(before.permissions())?;
        give_to(&unfinished.file, &before);
        unfinished.file.write_all(text.as_bytes())?;
        unfinished.finish(&path)
    };
    replace().map_err(failed)?;
    Ok(done)
}

/// The file, which nobody else changes while it is open, and where it really is.
fn lock(path: &Path, mode: DataMode) -> io::Result<(File, PathBuf)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.exists() {
        fs::DirBuilder::new().recursive(true).create(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(mode.of_folders()))?;
    }
    loop {
        let is_new = !path.exists();
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(mode.of_files())
            .open(path);
        let file = open?;
        if is_new {
            give_to(&file, &fs::metadata(folder)?);
        }
        flock(&file, FlockOperation::LockExclusive)?;
        // Who had it before has put another file in its place.
        let path = fs::canonicalize(path)?;
        if is_named(&file, &path)? {
            return Ok((file, path));
        }
    }
}

/// Whether a file has this name still, and no other has it by now.
///
/// # Errors
/// Nothing can be said of the file.
pub fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let (own, named) = (file.metadata()?, fs::metadata(path));
    Ok(named.is_ok_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())))
}

/// Only root can; for who is somebody else it belongs to the right one already.
fn give_to(file: &File, owner: &fs::Metadata) {
    let _ = fchown(file, Some(owner.uid()), Some(owner.gid()));
}
