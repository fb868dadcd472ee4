//! Frames, each different one read once.
//!
//! Who watches the same is mostly sent identical frames. The first is read and checked in full; a frame that is byte for
//! byte the same says the same, which is as good a check and lets the load keep up with a million deliveries a second.

/// Frames looked at from where a receiver stands: it may have skipped a few that others were sent.
const AHEAD_MAX: u64 = 4;
/// Of the latest frames, those that are looked at where that fails: receivers on other shards see another order.
pub const LATEST_MAX: u64 = 16;

/// The latest frames and what they say, each a list of `T`.
pub struct Known<T> {
    /// Frame `n` is at `n` modulo their number.
    kept: Vec<Kept<T>>,
    /// Different frames read so far.
    pub count: u64,
}

struct Kept<T> {
    frame: Vec<u8>,
    said: Vec<T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { frame: Vec::new(), said: Vec::new() }
    }
}

impl<T> Known<T> {
    /// `kept`: by how many frames receivers may differ, for each of them to be known again.
    pub fn new(kept: usize) -> Self {
        Self { kept: (0..kept.max(LATEST_MAX as usize)).map(|_| Kept::default()).collect(), count: 0 }
    }

    /// The number of a frame that was read before. `place`: of the receiver, at first 0; the number of the frame that is
    /// likely its next.
    pub fn find(&self, frame: &[u8], place: &mut u64) -> Option<u64> {
        let oldest = self.count.saturating_sub(self.kept.len() as u64);
        let ahead = (*place).max(oldest)..self.count.min(*place + AHEAD_MAX);
        let latest = oldest.max(self.count.saturating_sub(LATEST_MAX))..self.count;
        let number = ahead.chain(latest.rev()).find(|&number| self.kept[self.slot(number)].frame == frame)?;
        *place = number + 1;
        Some(number)
    }

    /// What the frame of that number says, one of the latest.
    pub fn said(&self, number: u64) -> &[T] {
        &self.kept[self.slot(number)].said
    }

    /// Takes in a frame that is new, which `read` adds to an empty list; returns its number. One that fails is not kept.
    ///
    /// # Errors
    /// What `read` returns.
    pub fn keep<E>(
        &mut self,
        frame: &[u8],
        place: &mut u64,
        read: impl FnOnce(&mut Vec<T>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let slot = self.slot(self.count);
        // It is taken out while it is filled: what is left in its place is no frame.
        let mut kept = std::mem::take(&mut self.kept[slot]);
        kept.said.clear();
        read(&mut kept.said)?;
        kept.frame.clear();
        kept.frame.extend_from_slice(frame);
        self.kept[slot] = kept;
        self.count += 1;
        *place = self.count;
        Ok(self.count - 1)
    }

    fn slot(&self, number: u64) -> usize {
        (number % self.kept.len() as u64) as usize
    }
}
