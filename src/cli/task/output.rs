//! Where an export goes: stdout, or a file that has its name only once it is whole, as half an export looks like one.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::TaskError;
use crate::config::DataMode;
use crate::io::Unfinished;

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
