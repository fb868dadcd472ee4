//! What waits in an [`Outbox`](super::Outbox), piece by piece.

use std::ops::Range;
use std::rc::Rc;

use super::buffer_pool::BufferPool;
use super::shared::SharedFrames;
use crate::limits::SHARED_BYTES_MIN;

#[derive(Debug)]
pub enum Piece {
    Owned(Vec<u8>),
    /// Bytes `start..end` of these frames; positions of half a word, so that a piece is no larger than a vector.
    Shared {
        frames: SharedFrames,
        start: u32,
        end: u32,
    },
}

const _: () = assert!(size_of::<Piece>() == size_of::<Vec<u8>>());

impl Piece {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared { frames, start, end } => &frames.bytes[*start as usize..*end as usize],
        }
    }

    /// Whether it is all of frames so small that they are copied unless they come first.
    pub fn is_small(&self) -> bool {
        match self {
            Self::Owned(_) => false,
            Self::Shared { frames, start, end } => {
                let bytes = frames.bytes.len();
                bytes < SHARED_BYTES_MIN && (*end - *start) as usize == bytes
            }
        }
    }
}

/// A queue of pieces. Most of the time there is one, which needs no heap of its own.
#[derive(Debug, Default)]
pub struct Pieces {
    first: Option<Piece>,
    rest: Vec<Piece>,
}

impl Pieces {
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub fn push(&mut self, piece: Piece, pool: &mut BufferPool) {
        if self.first.is_none() {
            self.first = Some(piece);
        } else {
            self.push_behind(piece, pool);
        }
    }

    #[inline(never)]
    fn push_behind(&mut self, piece: Piece, pool: &mut BufferPool) {
        if self.rest.capacity() == 0 {
            self.rest = pool.take_list();
        }
        self.rest.push(piece);
    }

    /// Takes the last piece back if there is nothing in it.
    pub fn pop_empty(&mut self) -> Option<Vec<u8>> {
        let is_empty = |piece: &mut Piece| matches!(piece, Piece::Owned(bytes) if bytes.is_empty());
        let last =
            if self.rest.is_empty() { self.first.take_if(is_empty) } else { self.rest.pop_if(is_empty) };
        match last? {
            Piece::Owned(bytes) => Some(bytes),
            Piece::Shared { .. } => None,
        }
    }

    pub fn last_mut(&mut self) -> Option<&mut Piece> {
        self.rest.last_mut().or(self.first.as_mut())
    }

    pub fn ends_owned(&self) -> bool {
        matches!(self.rest.last().or(self.first.as_ref()), Some(Piece::Owned(_)))
    }

    /// The owned piece at the end.
    ///
    /// # Panics
    /// If [`Self::ends_owned`] is false.
    pub fn owned_end(&mut self) -> &mut Vec<u8> {
        match self.last_mut() {
            Some(Piece::Owned(bytes)) => bytes,
            _ => unreachable!("who asks has seen that the last piece is owned"),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.first.iter().chain(&self.rest).map(Piece::bytes)
    }

    pub fn recycle(&mut self, pool: &mut BufferPool) {
        if let Some(piece) = self.first.take() {
            pool.take_back(piece);
        }
        if self.rest.capacity() > 0 {
            self.recycle_rest(pool);
        }
    }

    #[inline(never)]
    fn recycle_rest(&mut self, pool: &mut BufferPool) {
        let mut list = std::mem::take(&mut self.rest);
        list.drain(..).for_each(|piece| pool.take_back(piece));
        pool.give_list(list);
    }
}

/// Where a part that is queued by reference ends, at most.
pub const PART_END_MAX: usize = u32::MAX as usize;

pub fn part(frames: &SharedFrames, range: Range<usize>) -> Piece {
    let place = |at: usize| u32::try_from(at).expect("who asks has seen that it ends by `PART_END_MAX`");
    Piece::Shared { frames: Rc::clone(frames), start: place(range.start), end: place(range.end) }
}
