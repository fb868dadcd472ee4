//! What waits in an [`Outbox`](super::outbox::Outbox), piece by piece.

use std::ops::Range;
use std::rc::Rc;

use super::buffer_pool::BufferPool;
use super::shared::SharedFrames;

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

    pub fn push(&mut self, piece: Piece) {
        match self.first {
            None => self.first = Some(piece),
            Some(_) => self.rest.push(piece),
        }
    }

    /// Takes the last piece back if there is nothing in it.
    pub fn pop_empty(&mut self) -> Option<Vec<u8>> {
        let last = if self.rest.is_empty() { self.first.take() } else { self.rest.pop() };
        match last? {
            Piece::Owned(bytes) if bytes.is_empty() => Some(bytes),
            piece => {
                self.push(piece);
                None
            }
        }
    }

    pub fn last_mut(&mut self) -> Option<&mut Piece> {
        self.rest.last_mut().or(self.first.as_mut())
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.first.iter().chain(&self.rest).map(Piece::bytes)
    }

    pub fn recycle(&mut self, pool: &mut BufferPool) {
        for piece in self.first.take().into_iter().chain(self.rest.drain(..)) {
            if let Piece::Owned(bytes) = piece {
                pool.give(bytes);
            }
        }
        if self.rest.capacity() > 0 {
            self.rest = Vec::new();
        }
    }
}

/// Where a part that is queued by reference ends, at most.
pub const PART_END_MAX: usize = u32::MAX as usize;

pub fn part(frames: &SharedFrames, range: Range<usize>) -> Piece {
    Piece::Shared { frames: Rc::clone(frames), start: range.start as u32, end: range.end as u32 }
}
