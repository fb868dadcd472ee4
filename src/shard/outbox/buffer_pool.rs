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
    /// Bytes that the peers of all outboxes have yet to take.
    waiting_bytes: usize,
    /// Bytes of memory that outboxes hold: also what is sent already of a send that is under way, and frames that many
    /// share once.
    held_bytes: usize,
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

    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// An outbox has appended so many bytes to a buffer of its own.
    pub(in crate::shard) fn took_in(&mut self, bytes: usize) {
        self.waiting_bytes += bytes;
        self.held_bytes += bytes;
    }

    /// An outbox has queued so many bytes of shared frames by reference.
    pub(in crate::shard) fn took_part(&mut self, frames: &SharedFrames, bytes: usize) {
        self.waiting_bytes += bytes;
        let others = frames.pieces.replace(frames.pieces.get() + 1);
        self.held_bytes += if others == 0 { frames.bytes.len() } else { 0 };
    }

    /// An outbox has put a copy in the place of this piece of shared frames.
    pub(in crate::shard) fn copied(&mut self, piece: &Piece) {
        self.held_bytes += piece.bytes().len();
        self.let_go(piece);
    }

    /// A piece is in no outbox any more.
    pub(in crate::shard) fn let_go(&mut self, piece: &Piece) {
        self.held_bytes -= match piece {
            Piece::Owned(bytes) => bytes.len(),
            Piece::Shared { frames, .. } => {
                let others = frames.pieces.get() - 1;
                frames.pieces.set(others);
                if others == 0 { frames.bytes.len() } else { 0 }
            }
        };
    }

    /// A piece that has left its outbox.
    pub(super) fn take_back(&mut self, piece: Piece) {
        self.let_go(&piece);
        if let Piece::Owned(bytes) = piece {
            self.give(bytes);
        }
    }

    /// So many bytes of outboxes have been taken by peers, or dropped.
    pub(in crate::shard) fn no_longer_waiting(&mut self, bytes: usize) {
        self.waiting_bytes -= bytes;
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
