//! Segments one behind the other, read piece by piece.

use super::pieces::{Again, Pieces, Position};
use super::{Disk, StorageError};

/// See the module.
pub(super) struct Chain {
    segments: Vec<Pieces>,
    /// The one that is read.
    current: u16,
}

/// Where a record is: which of the segments, and where in its file.
pub(super) type InChain = (u16, u32);

impl Chain {
    /// # Errors
    /// As [`Pieces::open`].
    pub fn open(
        disk: &dyn Disk,
        names: &[&str],
        epoch: u64,
        piece_bytes: usize,
    ) -> Result<Self, StorageError> {
        let open = |name: &&str| Pieces::open(disk, name, epoch, piece_bytes);
        Ok(Self { segments: names.iter().map(open).collect::<Result<_, _>>()?, current: 0 })
    }

    /// Reads the next piece, and says which segment it is of; `None`: there is none.
    ///
    /// # Errors
    /// As [`Pieces::read_next`].
    pub fn read_next(&mut self) -> Result<Option<(u16, &mut Pieces)>, StorageError> {
        while let Some(pieces) = self.segments.get_mut(usize::from(self.current)) {
            if pieces.read_next()? {
                let pieces = &mut self.segments[usize::from(self.current)];
                return Ok(Some((self.current, pieces)));
            }
            pieces.release();
            self.current += 1;
        }
        Ok(None)
    }

    /// Where the next piece begins, if any does.
    pub fn position(&self) -> (u16, Option<Position>) {
        (self.current, self.segments.get(usize::from(self.current)).map(Pieces::position))
    }

    /// The next piece begins there, where one began before.
    pub fn go_to(&mut self, (segment, position): (u16, Option<Position>)) {
        for pieces in &mut self.segments[usize::from(segment)..] {
            pieces.go_to_begin();
        }
        self.current = segment;
        if let Some((pieces, position)) = self.segments.get_mut(usize::from(segment)).zip(position) {
            pieces.go_to(position);
        }
    }

    /// Reads some bytes that were read before.
    ///
    /// # Errors
    /// As [`Pieces::read_again`].
    pub fn read_again<'b>(
        &'b self,
        (segment, offset): InChain,
        bytes: usize,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Again<'b>, StorageError> {
        self.segments[usize::from(segment)].read_again(offset, bytes, buffer)
    }
}
