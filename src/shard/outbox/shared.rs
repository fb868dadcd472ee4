//! Frames that are encoded once for many connections, and what a dialect puts into them for one alone.
//!
//! Invariant: what has no hole is queued by reference and costs its receivers nothing; of what has one, a receiver copies
//! what is around it and shares the rest if that is large.

use std::ops::Range;
use std::rc::Rc;

use super::Outbox;
use super::buffer_pool::BufferPool;

/// Frames, one after the other, and where in them a receiver's own part would go.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    pub bytes: Vec<u8>,
    pub hole: Option<Hole>,
}

/// A place in one frame of [`Frames`] where its dialect may put something for one receiver.
#[derive(Clone, Copy, Debug)]
pub struct Hole {
    /// Where the frame begins, its payload begins, and it ends.
    pub frame: usize,
    pub payload: usize,
    pub end: usize,
    /// The hole itself.
    pub at: usize,
}

/// One buffer of frames, by reference.
pub type SharedFrames = Rc<Frames>;

/// What one receiver gets instead of shared frames: parts of its own, and of those.
pub struct Personal<'a> {
    outbox: &'a mut Outbox,
    pool: &'a mut BufferPool,
    frames: &'a SharedFrames,
}

impl<'a> Personal<'a> {
    pub(in crate::shard) fn new(
        outbox: &'a mut Outbox,
        pool: &'a mut BufferPool,
        frames: &'a SharedFrames,
    ) -> Self {
        Self { outbox, pool, frames }
    }

    /// Appends what `write` appends, of about so many bytes.
    #[inline]
    pub fn own(&mut self, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.outbox.append_own(self.pool, |out| {
            out.reserve(bytes);
            write(out);
        });
    }

    /// Appends this part of the shared frames: by reference if it is large.
    #[inline]
    pub fn shared(&mut self, range: Range<usize>) {
        self.outbox.append_part(self.pool, self.frames, range);
    }
}
