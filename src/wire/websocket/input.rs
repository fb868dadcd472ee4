//! A cursor over bytes as they came from the socket.

use crate::limits::PARSE_PADDING_BYTES;
use crate::wire::Payload;

/// Received bytes, ours to overwrite, of which the front has been read.
#[derive(Debug)]
pub struct Input<'a> {
    padded: &'a mut [u8],
    start: usize,
    len: usize,
}

impl<'a> Input<'a> {
    /// The first `len` bytes of `padded` are what was received.
    ///
    /// # Panics
    /// If less than [`PARSE_PADDING_BYTES`] bytes follow them: a payload at the very end needs them.
    pub fn new(padded: &'a mut [u8], len: usize) -> Self {
        assert!(
            padded.len() >= len + PARSE_PADDING_BYTES,
            "the padding behind the received bytes is missing"
        );
        Self { padded, start: 0, len }
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.len
    }

    /// What is unread, as it was received: for a caller that pauses here and goes on later.
    pub fn remaining(&self) -> &[u8] {
        &self.padded[self.start..self.len]
    }

    /// Skips the front of the unread bytes.
    pub(super) fn advance(&mut self, count: usize) {
        assert!(count <= self.len - self.start, "more was read than had been received");
        self.start += count;
    }

    pub(super) fn advance_to_end(&mut self) {
        self.start = self.len;
    }

    /// Reads the next `len` bytes, which must be there, and returns where they lie.
    pub(super) fn take(&mut self, len: usize) -> Taken {
        let start = self.start;
        self.advance(len);
        Taken { start, len }
    }

    pub(super) fn bytes_mut(&mut self, taken: Taken) -> &mut [u8] {
        &mut self.padded[taken.start..taken.start + taken.len]
    }

    /// The taken bytes as a message. What was received behind them is its padding.
    pub(super) fn payload(&mut self, taken: Taken) -> Payload<'_> {
        Payload::new(&mut self.padded[taken.start..], taken.len)
    }
}

/// Bytes of an [`Input`] that were read, by their place. Valid for that input only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    start: usize,
    len: usize,
}
