//! Memory that a device reads by itself (`O_DIRECT`), as its address is a multiple of a block.

use std::ops::Range;

use crate::storage::BLOCK_BYTES;

/// How a prepared segment is opened: one write brings its bytes to where they survive. Not the time of the write, which would have
/// the file system commit its own journal for each group; what rustix calls `DSYNC` is `O_SYNC` (1.1).
pub(super) const DIRECT_AND_SYNCED: i32 = libc::O_DIRECT | libc::O_DSYNC;
/// Memory that is kept for the next group.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Bytes, some of which begin at such an address.
#[derive(Debug, Default)]
pub(super) struct Blocks(pub Vec<u8>);

impl Blocks {
    /// Takes a copy of `bytes`; where it is, as long as nothing is added.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> Range<usize> {
        self.0.clear();
        if self.0.capacity() > KEPT_BYTES_MAX {
            self.0 = Vec::new();
        }
        self.0.reserve(BLOCK_BYTES + bytes.len());
        let skipped = self.0.as_ptr().addr().next_multiple_of(BLOCK_BYTES) - self.0.as_ptr().addr();
        self.0.resize(skipped, 0);
        self.0.extend_from_slice(bytes);
        skipped..self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_begins_at_a_block_whatever_was_there_before() {
        let mut blocks = Blocks::default();
        for len in [1, 4096, 2 << 20, 3, 8192] {
            let bytes = vec![len as u8; len];
            let place = blocks.fill(&bytes);
            assert_eq!(blocks.0[place.clone()], bytes);
            assert!(blocks.0[place].as_ptr().addr().is_multiple_of(BLOCK_BYTES));
        }
        assert!(blocks.0.capacity() <= KEPT_BYTES_MAX, "one large group is forgotten");
    }

    // `O_SYNC` has the bit of `O_DSYNC` and another one.
    #[test]
    fn a_group_does_not_wait_for_times_of_the_file() {
        assert_eq!(DIRECT_AND_SYNCED & libc::O_SYNC, libc::O_DSYNC);
    }
}
