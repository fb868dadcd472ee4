//! Everything before a certain record is gone: how the base and what is found at start follow it.
//!
//! Invariant: one transaction empties the base and says in `folded` that it has everything up to the record, so the
//! segments before have nothing more to tell, whether they are folded afterwards or not.

use super::base::{Base, MAPS, NAMES, NUMBERS, failed};
use super::cells::{BLOCKS, CELLS};
use super::{StorageError, Tail};
use crate::crdt::Time;

/// Of the `numbers`: when all maps were dropped last.
pub(super) const CLEARED: &str = "cleared";

/// A record that drops all maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clear {
    /// Its sequence number: records before it count for nothing.
    pub sequence: u64,
    /// Above every tick of before, and below every tick of afterwards.
    pub tick: Time,
}

impl Base {
    /// Drops everything that the base has, unless it has what came after.
    ///
    /// # Errors
    /// [`StorageError::Base`].
    pub fn clear(&self, clear: Clear) -> Result<(), StorageError> {
        if clear.sequence <= self.folded() {
            return Ok(());
        }
        let mut writing = self.begin_write()?;
        for deleted in [
            writing.transaction.delete_table(CELLS),
            writing.transaction.delete_table(BLOCKS),
            writing.transaction.delete_table(MAPS),
            writing.transaction.delete_table(NAMES),
        ] {
            deleted.map_err(failed)?;
        }
        writing.open_tables()?;
        writing.set_used(0)?;
        let mut numbers = writing.transaction.open_table(NUMBERS).map_err(failed)?;
        numbers.insert(CLEARED, clear.tick.to_bits()).map_err(failed)?;
        drop(numbers);
        writing.set_folded(clear.sequence);
        writing.advance_clock(clear.tick);
        writing.commit()
    }

    /// The tick at which all maps were dropped last: a cursor below it tells nothing of what is there now.
    ///
    /// # Errors
    /// [`StorageError::Base`].
    pub fn cleared_through(&self) -> Result<Time, StorageError> {
        Ok(Time::from_bits(self.begin_read()?.number(CLEARED)?))
    }

    /// Follows what was found at start. Needed before anything is read of the two.
    ///
    /// # Errors
    /// As [`Base::clear`].
    pub fn follow(&self, tail: &Tail) -> Result<(), StorageError> {
        tail.clear().map_or(Ok(()), |clear| self.clear(clear))
    }
}
