//! A message where it arrived, with the slack behind it that lets `simd-json` parse it in place.

use crate::limits::PARSE_PADDING_BYTES;

/// The bytes of one message, ours to overwrite, followed by at least [`PARSE_PADDING_BYTES`] bytes of any
/// content that stay as they are.
#[derive(Debug)]
pub struct Payload<'a> {
    padded: &'a mut [u8],
    len: usize,
}

impl<'a> Payload<'a> {
    /// The first `len` bytes of `padded`.
    ///
    /// # Panics
    /// If less than [`PARSE_PADDING_BYTES`] bytes follow them.
    pub fn new(padded: &'a mut [u8], len: usize) -> Self {
        assert!(padded.len() >= len + PARSE_PADDING_BYTES, "the padding behind a payload is missing");
        Self { padded, len }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.padded[..self.len]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.padded[..self.len]
    }

    /// The same message, for whoever gives it back.
    pub fn reborrow(&mut self) -> Payload<'_> {
        Payload { padded: self.padded, len: self.len }
    }

    /// The bytes with their padding, and how many of them are the message.
    pub fn into_padded(self) -> (&'a mut [u8], usize) {
        (self.padded, self.len)
    }
}
