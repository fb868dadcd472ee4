//! What waits to be sent to one connection: pieces that fill, and pieces in flight.
//!
//! Invariant: bytes leave in the order they were queued, and what is in flight does not move or change until
//! its last completion. A piece is owned (copied) or a buffer shared with other connections.

mod buffer_pool;
mod parts;
mod pieces;
mod shared;

use std::ops::Range;

use pieces::{PART_END_MAX, Piece, Pieces, part};

pub use buffer_pool::BufferPool;
pub use parts::Parts;
pub use shared::{Frames, Hole, Personal, SharedFrames};

use crate::limits::{SHARED_BYTES_MIN, SHARED_PART_BYTES_MIN};

/// See the module. One for each connection; an empty one owns no heap.
#[derive(Debug, Default)]
pub struct Outbox {
    filling: Pieces,
    in_flight: Pieces,
    /// Bytes of `filling`.
    filling_bytes: usize,
    /// Bytes of `in_flight`, and how many of them the kernel has taken.
    in_flight_bytes: usize,
    in_flight_sent: usize,
    /// Messages in `filling`.
    messages: u32,
}

impl Outbox {
    /// Bytes the peer has yet to take.
    pub fn bytes(&self) -> usize {
        self.filling_bytes + self.in_flight_bytes - self.in_flight_sent
    }

    /// Bytes of memory it holds, if it shares none: what is sent already of a send that is under way is there until all is.
    pub fn held_bytes(&self) -> usize {
        self.filling_bytes + self.in_flight_bytes
    }

    pub fn is_filling(&self) -> bool {
        !self.filling.is_empty()
    }

    pub fn filling_bytes(&self) -> usize {
        self.filling_bytes
    }

    /// Messages queued since the last send began.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    pub fn is_sending(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Appends one message with `write`, which must only append. It may be several, which count as one, or none.
    pub fn append(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        self.messages += u32::from(self.append_uncounted(pool, write));
    }

    /// Appends what is no message: HTTP, a ping, a pong, a close frame. Whether it is anything.
    pub fn append_uncounted(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let tail = self.owned_tail(pool);
        let before = tail.len();
        write(tail);
        let appended = tail.len() - before;
        if appended == 0 {
            self.drop_empty_tail(pool);
            return false;
        }
        self.filling_bytes += appended;
        pool.took_in(appended);
        true
    }

    /// Nothing was put into the buffer at the end of `filling`, which may have been made for it.
    fn drop_empty_tail(&mut self, pool: &mut BufferPool) {
        if let Some(tail) = self.filling.pop_empty() {
            pool.give(tail);
        }
    }

    /// Queues frames that others share: by reference when they come first or are large, else copied, so that a
    /// slow reader does not pin many small buffers and one send still takes them all.
    pub fn append_shared(&mut self, pool: &mut BufferPool, frames: &SharedFrames) {
        let bytes = frames.bytes.len();
        if self.filling.is_empty() && bytes > 0 && bytes <= PART_END_MAX {
            pool.took_part(frames, bytes);
            self.filling.push(part(frames, 0..bytes), pool);
            self.filling_bytes += bytes;
        } else {
            self.append_range(pool, frames, 0..bytes, SHARED_BYTES_MIN);
        }
        self.messages += 1;
    }

    /// Queues what `write` makes of frames that others share, for this connection alone; what it says of that.
    pub(in crate::shard) fn append_personal(
        &mut self,
        pool: &mut BufferPool,
        frames: &SharedFrames,
        write: impl FnOnce(&mut Personal<'_>) -> bool,
    ) -> bool {
        let has_written = write(&mut Personal::new(self, pool, frames));
        self.messages += u32::from(has_written);
        has_written
    }

    /// Queues what `write` appends, which counts as one message if it is anything; what it says.
    pub fn append_parts<R>(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Parts<'_>) -> R) -> R {
        let before = self.filling_bytes;
        let said = write(&mut Parts::new(self, pool));
        self.messages += u32::from(self.filling_bytes > before);
        said
    }

    /// Appends a part of frames of which this connection gets the rest otherwise: by reference if it is large, else copied.
    pub(in crate::shard) fn append_part(
        &mut self,
        pool: &mut BufferPool,
        frames: &SharedFrames,
        range: Range<usize>,
    ) {
        self.append_range(pool, frames, range, SHARED_PART_BYTES_MIN);
    }

    /// Appends these bytes of frames: by reference if they are `shared_min` at least, else copied.
    fn append_range(
        &mut self,
        pool: &mut BufferPool,
        frames: &SharedFrames,
        range: Range<usize>,
        shared_min: usize,
    ) {
        let bytes = range.len();
        if bytes >= shared_min && range.end <= PART_END_MAX {
            pool.took_part(frames, bytes);
            self.filling.push(part(frames, range), pool);
        } else if bytes > 0 {
            self.owned_tail(pool).extend_from_slice(&frames.bytes[range]);
            pool.took_in(bytes);
        }
        self.filling_bytes += bytes;
    }

    /// Appends what `write`, which must append something, appends to a frame that others share the rest of.
    pub(in crate::shard) fn append_own(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        let tail = self.owned_tail(pool);
        let before = tail.len();
        write(tail);
        let appended = tail.len() - before;
        self.filling_bytes += appended;
        pool.took_in(appended);
    }

    /// The owned buffer at the end of `filling`.
    #[inline]
    fn owned_tail(&mut self, pool: &mut BufferPool) -> &mut Vec<u8> {
        if self.filling.ends_owned() { self.filling.owned_end() } else { self.own_tail(pool) }
    }

    /// Makes the end of `filling` an owned buffer, from the small shared frames there if need be. Apart, as most of what is
    /// appended finds one.
    #[inline(never)]
    fn own_tail(&mut self, pool: &mut BufferPool) -> &mut Vec<u8> {
        match self.filling.last_mut() {
            Some(last) if last.is_small() => {
                let mut owned = pool.take();
                owned.extend_from_slice(last.bytes());
                pool.copied(&std::mem::replace(last, Piece::Owned(owned)));
            }
            _ => {
                let owned = pool.take();
                self.filling.push(Piece::Owned(owned), pool);
            }
        }
        self.filling.owned_end()
    }

    /// What fills becomes what flies. Returns the number of messages.
    ///
    /// # Panics
    /// If a send is in flight.
    pub fn start_send(&mut self) -> u32 {
        assert!(!self.is_sending(), "one send in flight per connection");
        std::mem::swap(&mut self.in_flight, &mut self.filling);
        self.in_flight_bytes = std::mem::take(&mut self.filling_bytes);
        self.in_flight_sent = 0;
        std::mem::take(&mut self.messages)
    }

    /// The bytes still to be sent, in order. They stay where they are until [`Self::sent`] has counted the last.
    pub fn in_flight(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.in_flight_sent;
        self.in_flight.iter().filter_map(move |piece| {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            let rest = &piece[skipped..];
            (!rest.is_empty()).then_some(rest)
        })
    }

    /// The kernel took `bytes` more; whether that was all.
    pub fn sent(&mut self, bytes: usize, pool: &mut BufferPool) -> bool {
        self.in_flight_sent += bytes;
        pool.no_longer_waiting(bytes);
        debug_assert!(self.in_flight_sent <= self.in_flight_bytes);
        if self.in_flight_sent < self.in_flight_bytes {
            return false;
        }
        self.in_flight.recycle(pool);
        self.in_flight_bytes = 0;
        self.in_flight_sent = 0;
        true
    }

    /// Forgets what was queued and not yet handed to the kernel.
    pub fn drop_filling(&mut self, pool: &mut BufferPool) {
        pool.no_longer_waiting(self.filling_bytes);
        self.filling.recycle(pool);
        self.filling_bytes = 0;
        self.messages = 0;
    }

    /// Forgets everything; only after the last completion.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.drop_filling(pool);
        pool.no_longer_waiting(self.in_flight_bytes - self.in_flight_sent);
        self.in_flight.recycle(pool);
        self.in_flight_bytes = 0;
        self.in_flight_sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outbox: &Outbox) -> Vec<u8> {
        outbox.in_flight().flatten().copied().collect()
    }

    fn share(pool: &mut BufferPool, bytes: &[u8]) -> SharedFrames {
        pool.share(|out| out.bytes.extend_from_slice(bytes))
    }

    #[test]
    fn of_a_personal_frame_only_what_is_small_is_copied() {
        let mut pool = BufferPool::default();
        let mut outbox = Outbox::default();
        let frames =
            share(&mut pool, &[b"head|".as_slice(), &[b'x'; SHARED_PART_BYTES_MIN], b"|end"].concat());
        let large = 5..5 + SHARED_PART_BYTES_MIN;
        let says = outbox.append_personal(&mut pool, &frames, |copy| {
            copy.own(4, |out| out.extend_from_slice(b"own:"));
            copy.shared(0..5);
            copy.shared(large.clone());
            copy.shared(large.end..large.end + 4);
            copy.shared(3..3);
            true
        });
        assert!(says && !outbox.append_personal(&mut pool, &frames, |_| false));
        let expected = [b"own:".as_slice(), &frames.bytes].concat();
        assert_eq!((outbox.bytes(), outbox.start_send()), (expected.len(), 1));
        assert_eq!(all(&outbox), expected);
        let lies_shared = |part: &[u8]| part.as_ptr() == frames.bytes[large.clone()].as_ptr();
        assert_eq!(outbox.in_flight().map(lies_shared).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn a_part_by_reference_is_never_copied_and_small_frames_are_if_more_follows() {
        let mut pool = BufferPool::default();
        let mut outbox = Outbox::default();
        let frames = share(&mut pool, &[b'x'; SHARED_PART_BYTES_MIN + 1]);
        for (range, is_by_reference) in [
            (0..SHARED_PART_BYTES_MIN, true),
            (1..frames.bytes.len(), true),
            (0..SHARED_PART_BYTES_MIN - 1, false),
        ] {
            outbox.append_part(&mut pool, &frames, range);
            outbox.append(&mut pool, |out| out.push(b'.'));
            outbox.start_send();
            let lies_shared =
                outbox.in_flight().any(|piece| frames.bytes.as_ptr_range().contains(&piece.as_ptr()));
            assert_eq!(
                (lies_shared, outbox.in_flight().count()),
                (is_by_reference, 1 + usize::from(is_by_reference))
            );
            outbox.sent(all(&outbox).len(), &mut pool);
        }
        outbox.append_shared(&mut pool, &frames);
        outbox.append(&mut pool, |out| out.push(b'.'));
        outbox.start_send();
        assert_eq!(outbox.in_flight().count(), 1, "one send of one piece");
    }

    #[test]
    fn pieces_leave_in_order_whatever_they_are_made_of() {
        let mut pool = BufferPool::default();
        let mut outbox = Outbox::default();
        let small = share(&mut pool, b"shared ");
        let large = share(&mut pool, &[b'x'; SHARED_BYTES_MIN]);
        outbox.append_shared(&mut pool, &small);
        outbox.append(&mut pool, |out| out.extend_from_slice(b"owned "));
        outbox.append_shared(&mut pool, &small);
        outbox.append_shared(&mut pool, &large);
        outbox.append(&mut pool, |out| out.extend_from_slice(b"end"));
        let bytes = outbox.bytes();
        assert_eq!(outbox.start_send(), 5);
        let expected = [b"shared owned shared ".as_slice(), &large.bytes, b"end"].concat();
        assert_eq!(all(&outbox), expected);
        assert_eq!(bytes, expected.len());

        // Partial sends of every size continue where the kernel stopped.
        for step in 0..expected.len() {
            assert_eq!(all(&outbox), expected[step..]);
            assert_eq!(outbox.sent(1, &mut pool), step + 1 == expected.len());
        }
        assert!(!outbox.is_sending() && outbox.bytes() == 0);
    }

    #[test]
    fn what_is_queued_during_a_send_waits_for_the_next() {
        let mut pool = BufferPool::default();
        let mut outbox = Outbox::default();
        outbox.append(&mut pool, |out| out.extend_from_slice(b"one"));
        outbox.start_send();
        outbox.append(&mut pool, |out| out.extend_from_slice(b"two"));
        assert_eq!(all(&outbox), b"one");
        assert!(outbox.sent(3, &mut pool));
        outbox.start_send();
        assert_eq!(all(&outbox), b"two");
    }
}
