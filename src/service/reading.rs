//! Small files, read whole and no further than they may be long.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRead {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it has more than {0} bytes")]
    TooLong(usize),
}

/// What is in a file of `bytes_max` bytes at most.
///
/// # Errors
/// [`NotRead`].
pub(super) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, NotRead> {
    let mut content = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut content)?;
    if content.len() > bytes_max { Err(NotRead::TooLong(bytes_max)) } else { Ok(content) }
}
