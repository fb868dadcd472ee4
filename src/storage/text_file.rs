//! Small text files of the data directory: a line for each field, and at last a checksum of all that.

use std::fmt::Write;

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
