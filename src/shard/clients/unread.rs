//! What a connection has sent and nobody has handled yet.
//!
//! Invariant: it is handled where it lies. However often a turn handles only some of it, nothing is copied, and when all is
//! handled no memory is held.

use crate::limits::PARSE_PADDING_BYTES;

/// See the module. A pointer: most connections never have any.
#[derive(Debug, Default)]
pub struct Unread(Option<Box<Kept>>);

/// `[ handled | to be handled | padding ]`
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    handled: usize,
}

impl Kept {
    const fn end(&self) -> usize {
        self.bytes.len().saturating_sub(PARSE_PADDING_BYTES)
    }
}

impl Unread {
    /// Bytes that are to be handled.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |kept| &kept.bytes[kept.handled..kept.end()])
    }

    /// The bytes to be handled, of which there are so many; what follows them is padding for the parser.
    pub fn padded(&mut self) -> (&mut [u8], usize) {
        let len = self.len();
        (self.0.as_mut().map_or(&mut [], |kept| &mut kept.bytes[kept.handled..]), len)
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let kept = self.0.get_or_insert_with(|| Box::new(Kept { bytes: Vec::new(), handled: 0 }));
        let end = kept.end();
        kept.bytes.truncate(end);
        let more = bytes.len() + PARSE_PADDING_BYTES;
        if end + more > kept.bytes.capacity() {
            kept.bytes.drain(..kept.handled);
            kept.handled = 0;
            kept.bytes.reserve(more);
        }
        kept.bytes.extend_from_slice(bytes);
        kept.bytes.resize(kept.bytes.len() + PARSE_PADDING_BYTES, 0);
    }

    /// The first `count` bytes have been handled.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn advance(&mut self, count: usize) {
        let len = self.len();
        assert!(count <= len, "more was handled than had come");
        if count == len {
            self.0 = None;
        } else if let Some(kept) = &mut self.0 {
            kept.handled += count;
        }
    }

    #[cfg(test)]
    fn memory_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |kept| kept.bytes.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_handled_in_order_in_the_place_where_they_were_put() {
        let mut unread = Unread::default();
        let sent: Vec<u8> = (0..100_000_u32).map(|byte| byte as u8).collect();
        unread.push(&sent);
        let place = unread.bytes().as_ptr_range().end;
        for step in 0..100 {
            let (padded, len) = unread.padded();
            assert_eq!((&padded[..len], padded.len()), (&sent[step * 1000..], len + PARSE_PADDING_BYTES));
            assert_eq!(unread.bytes().as_ptr_range().end, place, "nothing was moved");
            unread.advance(1000);
        }
        assert_eq!((unread.len(), unread.memory_bytes()), (0, 0));
    }

    #[test]
    fn memory_follows_what_is_to_be_handled_and_not_what_has_been() {
        let mut unread = Unread::default();
        unread.push(&[1; 10_000]);
        for _ in 0..1_000 {
            unread.push(&[2; 8_000]);
            unread.advance(8_000);
        }
        assert!(unread.len() == 10_000 && unread.memory_bytes() <= 4 * 18_000);
        assert!(unread.bytes().iter().all(|&byte| byte == 2));
    }
}
