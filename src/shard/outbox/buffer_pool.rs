//! The buffers of all outboxes of a shard.

use std::rc::Rc;

use super::pieces::Piece;
use super::shared::{Frames, SharedFrames};

/// Buffers that were used and will be again, so that a steady turn allocates nothing.
#[derive(Debug, Default)]
pub struct BufferPool {
    owned: Vec<Vec<u8>>,
    /// Every shared buffer handed out, oldest first; one whose last connection has sent it is free.
    shared: std::collections::VecDeque<SharedFrames>,
    /// Emptied, for outboxes that have several pieces.
    lists: Vec<Vec<Piece>>,
}

/// Buffers kept for reuse, and the largest that is kept: 4 MiB a shard at most.
const POOLED_MAX: usize = 1024;
const POOLED_BYTES_MAX: usize = 4 << 10;
/// Places of the longest list of pieces that is kept.
const POOLED_PIECES_MAX: usize = 4;
/// Shared buffers remembered; a fan-out uses one a turn, and few turns are in flight at once.
const SHARED_MAX: usize = 64;

impl BufferPool {
    pub fn take(&mut self) -> Vec<u8> {
        self.owned.pop().unwrap_or_default()
    }

    pub fn give(&mut self, mut bytes: Vec<u8>) {
        if self.owned.len() < POOLED_MAX && bytes.capacity() <= POOLED_BYTES_MAX {
            bytes.clear();
            self.owned.push(bytes);
        }
    }

    pub(in crate::shard) fn take_list(&mut self) -> Vec<Piece> {
        self.lists.pop().unwrap_or_default()
    }

    pub(in crate::shard) fn give_list(&mut self, list: Vec<Piece>) {
        if self.lists.len() < POOLED_MAX && list.capacity() <= POOLED_PIECES_MAX {
            self.lists.push(list);
        }
    }

    /// A buffer filled by `write`, to be shared by reference.
    pub fn share(&mut self, write: impl FnOnce(&mut Frames)) -> SharedFrames {
        let mut frame = match self.shared.front() {
            Some(oldest) if Rc::strong_count(oldest) == 1 => self.shared.pop_front().unwrap_or_default(),
            _ => SharedFrames::default(),
        };
        let frames = Rc::make_mut(&mut frame);
        frames.bytes.clear();
        frames.hole = None;
        write(frames);
        if self.shared.len() < SHARED_MAX && frames.bytes.capacity() <= 16 * POOLED_BYTES_MAX {
            self.shared.push_back(Rc::clone(&frame));
        } else if self.shared.front().is_some_and(|oldest| Rc::strong_count(oldest) > 1) {
            // A slow reader holds the oldest: forget it here, so that it does not block those behind it.
            self.shared.pop_front();
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outbox;
    use super::*;

    fn share(pool: &mut BufferPool, bytes: &[u8]) -> SharedFrames {
        pool.share(|out| out.bytes.extend_from_slice(bytes))
    }

    #[test]
    fn a_shared_buffer_is_reused_only_when_nobody_sends_it() {
        let mut pool = BufferPool::default();
        let mut outbox = Outbox::default();
        let frame = share(&mut pool, b"first");
        outbox.append_shared(&mut pool, &frame);
        drop(frame);
        outbox.start_send();
        let second = share(&mut pool, b"second");
        assert_eq!(outbox.in_flight().collect::<Vec<_>>(), [b"first"]);
        drop(second);
        outbox.sent(5, &mut pool);
        share(&mut pool, b"third");
        assert!(pool.shared.len() <= 2, "a free buffer was used again");
    }
}
