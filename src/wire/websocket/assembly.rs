//! The bytes of a connection that did not arrive as a whole frame: a message in pieces, and behind it a
//! control frame in pieces.
//!
//! Invariant: memory follows what has arrived, at most twice that, and never what a header announces. A
//! connection with nothing in pieces owns none.

use crate::limits::{PARSE_PADDING_BYTES, RECEIVE_BUFFER_BYTES};
use crate::wire::Payload;

/// Memory worth keeping between two messages of one input, so that a stream whose frames straddle every
/// receive buffer does not allocate for each.
const KEPT_BYTES_MAX: usize = 2 * RECEIVE_BUFFER_BYTES;

/// `[ message so far | control frame so far | padding, once something is handed out ]`
#[derive(Debug, Default)]
pub(super) struct Assembly {
    bytes: Vec<u8>,
    message_len: usize,
}

impl Assembly {
    /// Bytes of the message so far.
    pub(super) const fn message_len(&self) -> usize {
        self.message_len
    }

    /// Bytes of the control frame so far.
    pub(super) const fn control_len(&self) -> usize {
        self.bytes.len() - self.message_len
    }

    /// Bytes of memory held.
    pub(super) const fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds to the message. `announced_bytes` is the most that may still come of it: memory is not taken
    /// beyond that.
    ///
    /// # Panics
    /// If a control frame is under way: frames do not nest.
    pub(super) fn extend_message(&mut self, bytes: &[u8], announced_bytes: usize) {
        assert!(self.control_len() == 0, "a message went on inside a control frame");
        self.extend(bytes, announced_bytes);
        self.message_len += bytes.len();
    }

    /// Adds to the control frame.
    pub(super) fn extend_control(&mut self, bytes: &[u8], announced_bytes: usize) {
        self.extend(bytes, announced_bytes);
    }

    fn extend(&mut self, bytes: &[u8], announced_bytes: usize) {
        if bytes.is_empty() {
            return;
        }
        let wanted = self.bytes.len() + bytes.len() + PARSE_PADDING_BYTES;
        if wanted > self.bytes.capacity() {
            let doubled = wanted.max(2 * self.bytes.capacity());
            let capacity = doubled.min(wanted + announced_bytes);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The message is complete. It is gone after the next [`Self::forget_handed_out`].
    pub(super) fn hand_out_message(&mut self) -> Payload<'_> {
        let len = std::mem::take(&mut self.message_len);
        self.bytes.resize(len + PARSE_PADDING_BYTES, 0);
        Payload::new(&mut self.bytes, len)
    }

    /// The control frame is complete. It is gone after the next [`Self::forget_handed_out`].
    pub(super) fn hand_out_control(&self) -> &[u8] {
        &self.bytes[self.message_len..]
    }

    /// Drops what was handed out and is not part of the message so far.
    pub(super) fn forget_handed_out(&mut self) {
        self.bytes.truncate(self.message_len);
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }

    /// Gives the memory back if nothing is in pieces.
    pub(super) fn release_if_empty(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Drops everything: no frame of this connection will be read any more.
    pub(super) fn discard(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_what_arrived_not_what_was_announced() {
        let mut assembly = Assembly::default();
        assembly.extend_message(&[7; 100], 64 << 20);
        assert!(assembly.memory_bytes() <= 100 + PARSE_PADDING_BYTES, "{}", assembly.memory_bytes());
        for _ in 0..1000 {
            assembly.extend_message(&[7; 100], 64 << 20);
            let arrived = assembly.message_len();
            assert!(assembly.memory_bytes() <= 2 * (arrived + PARSE_PADDING_BYTES));
        }
    }

    #[test]
    fn memory_never_exceeds_the_announced_message() {
        let mut assembly = Assembly::default();
        for arrived in (0..100_000).step_by(1000) {
            assembly.extend_message(&[7; 1000], 99_000 - arrived);
        }
        assert_eq!(assembly.memory_bytes(), 100_000 + PARSE_PADDING_BYTES);
        let (padded, len) = assembly.hand_out_message().into_padded();
        assert_eq!((padded.len(), len), (100_000 + PARSE_PADDING_BYTES, 100_000));
    }

    #[test]
    fn a_control_frame_leaves_the_message_around_it_untouched() {
        let mut assembly = Assembly::default();
        assembly.extend_message(b"one", 100);
        assembly.extend_control(b"pi", 2);
        assembly.extend_control(b"ng", 0);
        assert_eq!(assembly.hand_out_control(), b"ping");
        assembly.forget_handed_out();
        assembly.extend_message(b"two", 0);
        assert_eq!(assembly.hand_out_message().bytes(), b"onetwo");
        assembly.forget_handed_out();
        assembly.release_if_empty();
        assert_eq!(assembly.memory_bytes(), 0);
    }
}
