//! Small text files of the data directory: a line for each field, and at last a checksum of all that.

use std::fmt::Write;
use std::io::ErrorKind;

use super::{Disk, StorageError};

/// Many times what this version writes.
const BYTES_MAX: u64 = 4 << 10;

/// What is in the file, or as much of it as there could be; `None`: there is no file.
///
/// # Errors
/// [`StorageError::Io`].
pub(super) fn read(disk: &dyn Disk, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
    let file = match disk.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("open", name)(error)),
    };
    let size = file.size().map_err(StorageError::io("read", name))?;
    let mut text = vec![0; size.min(BYTES_MAX) as usize];
    file.read_at(&mut text, 0).map_err(StorageError::io("read", name))?;
    Ok(Some(text))
}

/// Such a text, to look for fields in.
pub(super) struct TextFile<'a>(&'a str);

impl<'a> TextFile<'a> {
    /// Takes the text as it is: whoever has read the fields compares it with what it would have written, which is
    /// stricter than a checksum.
    pub const fn of(text: &'a str) -> Self {
        Self(text)
    }

    /// The value of a field.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    }

    /// The value of a field that is a number.
    pub fn hex(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.value(name)?, 16).ok()
    }

    /// The text with its checksum.
    pub fn sealed(mut text: String) -> String {
        let crc = crc32c::crc32c(text.as_bytes());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "crc32c {crc:08x}");
        text
    }
}
