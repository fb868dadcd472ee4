//! What one connection is sent in parts: its own, and such as others are sent, too.

use std::ops::Range;

use super::Outbox;
use super::buffer_pool::BufferPool;
use super::shared::SharedFrames;

/// Appends to an outbox.
pub struct Parts<'a> {
    outbox: &'a mut Outbox,
    pool: &'a mut BufferPool,
}

impl<'a> Parts<'a> {
    pub(super) fn new(outbox: &'a mut Outbox, pool: &'a mut BufferPool) -> Self {
        Self { outbox, pool }
    }

    /// Appends what `write` appends.
    pub fn own(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.outbox.append_uncounted(self.pool, write);
    }

    /// Appends these bytes of shared frames: by reference if they are many.
    pub fn shared(&mut self, frames: &SharedFrames, range: Range<usize>) {
        self.outbox.append_part(self.pool, frames, range);
    }
}
