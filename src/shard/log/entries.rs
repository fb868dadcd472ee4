//! What a log has in memory: the newest of what was said, in the order of offsets.
//!
//! ```text
//!  offsets   1 ──────────────────── trimmed_through │ entries ─────────── last │ next
//!            gone, whatever was there               │ all that there is        │
//! ```
//! Invariant: offsets only grow, and none is given twice. Everything above `trimmed_through` that was given and not undone is
//! in `entries`. What a crash has undone is a range of offsets that nobody has.

use std::collections::VecDeque;
use std::sync::Arc;

/// How much a log keeps: whatever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub entries: usize,
    /// As [`Entry::bytes`] counts them.
    pub bytes: usize,
}

/// One message of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub offset: u64,
    /// Where it is kept; `None`: in memory only.
    pub(super) place: Option<u32>,
    /// When it came, Unix milliseconds.
    pub time_ms: u64,
    /// When it goes, whatever else is there.
    pub expires_ms: u64,
    /// The user who has sent it.
    pub from: Arc<str>,
    /// Canonical JSON.
    pub data: Box<[u8]>,
}

impl Entry {
    /// Bytes it is counted with.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.from.len() + self.data.len()
    }
}

/// Why a log cannot go on from an offset without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The offset is of another log, or of messages that a crash has undone.
    Epoch,
    /// Some of what followed is gone.
    Trimmed,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Entries {
    /// Tells it from every other log that had the same name.
    epoch: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The last offset that was given.
    last: u64,
    trimmed_through: u64,
    /// First and last offset of each range that a crash has undone, in order.
    undone: Vec<(u64, u64)>,
}

impl Entries {
    /// One in which nothing was ever said.
    pub fn new(epoch: u64) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// One of which this is left, in order.
    pub(super) fn restored(epoch: u64, entries: VecDeque<Entry>, last: u64, undone: Vec<(u64, u64)>) -> Self {
        let bytes = entries.iter().map(Entry::bytes).sum();
        let before_first = |entry: &Entry| entry.offset - 1;
        let trimmed_through = entries.front().map_or(last, before_first);
        Self { epoch, entries, bytes, last, trimmed_through, undone }
    }

    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last offset that was given; 0: none was.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Whoever knows everything up to here knows all there is: the offset of the last entry, or the last that was given where none
    /// is left.
    pub fn newest(&self) -> u64 {
        self.entries.back().map_or(self.last, |entry| entry.offset)
    }

    /// Bytes of what it keeps.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The oldest of what it keeps.
    pub fn first(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Everything up to here is gone.
    pub const fn trimmed_through(&self) -> u64 {
        self.trimmed_through
    }

    /// Ranges of offsets that were undone.
    pub(super) fn undone(&self) -> &[(u64, u64)] {
        &self.undone
    }

    /// Adds an entry, whose offset is above all that were given.
    pub(super) fn push(&mut self, entry: Entry) {
        debug_assert!(entry.offset > self.last, "offsets grow");
        self.last = entry.offset;
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    /// Drops the oldest entry if there is more than `bounds` allow, or if its time is over; call until `None`.
    pub(super) fn trim(&mut self, bounds: Bounds, now_ms: u64) -> Option<Entry> {
        let first = self.entries.front()?;
        let is_too_much = self.entries.len() > bounds.entries || self.bytes > bounds.bytes;
        (is_too_much || first.expires_ms <= now_ms).then(|| self.pop())?
    }

    /// Drops the oldest entry if it is not above `offset`; call until `None`.
    pub(super) fn drop_through(&mut self, offset: u64) -> Option<Entry> {
        (self.entries.front()?.offset <= offset).then(|| self.pop())?
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes();
        self.trimmed_through = entry.offset;
        self.undone.retain(|&(_, end)| end > entry.offset);
        if self.entries.capacity() > 4 * self.entries.len().max(16) {
            self.entries.shrink_to(2 * self.entries.len());
        }
        Some(entry)
    }

    /// Whether who has everything up to `offset` can be given all that followed.
    ///
    /// # Errors
    /// Why not.
    pub fn follows(&self, offset: u64) -> Result<(), Lost> {
        let is_undone = |&(start, end): &(u64, u64)| (start..=end).contains(&offset);
        if offset > self.last || self.undone.iter().any(is_undone) {
            return Err(Lost::Epoch);
        }
        if offset < self.trimmed_through { Err(Lost::Trimmed) } else { Ok(()) }
    }

    /// What it has above `offset`, oldest first. O(log n), and what the caller takes of it.
    pub fn after(&self, offset: u64) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.range(self.entries.partition_point(|entry| entry.offset <= offset)..)
    }

    /// What it has below `offset`, oldest first. O(log n), and what the caller takes of it.
    pub fn before(&self, offset: u64) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.range(..self.entries.partition_point(|entry| entry.offset < offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { entries: 3, bytes: 10_000 };

    fn entry(offset: u64, bytes: usize, expires_ms: u64) -> Entry {
        let data = vec![b'1'; bytes].into();
        Entry { offset, place: None, time_ms: offset, expires_ms, from: "u".into(), data }
    }

    fn log_of(entries: &[Entry]) -> Entries {
        let mut log = Entries::new(7);
        entries.iter().cloned().for_each(|entry| log.push(entry));
        log
    }

    fn trim(log: &mut Entries, now_ms: u64) -> Vec<u64> {
        std::iter::from_fn(|| log.trim(BOUNDS, now_ms)).map(|entry| entry.offset).collect()
    }

    #[test]
    fn the_oldest_go_by_count_by_bytes_and_by_time() {
        let mut log = log_of(&[1, 2, 3, 4, 5].map(|offset| entry(offset, 10, 100 + offset)));
        assert_eq!((trim(&mut log, 0), log.trimmed_through()), (vec![1, 2], 2));
        assert_eq!((trim(&mut log, 104), log.len()), (vec![3, 4], 1));
        log.push(entry(6, 9_990, 1_000));
        assert_eq!((trim(&mut log, 0), log.len(), log.bytes()), (vec![5, 6], 0, 0));
        assert_eq!((log.last(), log.trimmed_through()), (6, 6));
    }

    #[test]
    fn who_asks_for_what_is_gone_is_told() {
        let mut log = log_of(&[1, 2, 3, 4, 5].map(|offset| entry(offset, 10, 1_000)));
        trim(&mut log, 0);
        let follows = |offset| log.follows(offset);
        assert_eq!(
            [0, 1, 2, 5, 6].map(follows),
            [Err(Lost::Trimmed), Err(Lost::Trimmed), Ok(()), Ok(()), Err(Lost::Epoch),]
        );
        let offsets = |entries: Vec<&Entry>| entries.iter().map(|entry| entry.offset).collect::<Vec<_>>();
        assert_eq!(offsets(log.after(3).collect()), [4, 5]);
        assert_eq!(offsets(log.before(5).rev().take(1).collect()), [4]);
    }

    #[test]
    fn what_a_crash_has_undone_is_of_another_epoch_until_it_is_trimmed() {
        let entries = [entry(3, 1, 1_000), entry(9, 1, 1_000)].into();
        let mut log = Entries::restored(7, entries, 20, vec![(4, 8), (10, 20)]);
        let follows = |log: &Entries, offsets: [u64; 5]| offsets.map(|offset| log.follows(offset).err());
        let [lost, trimmed] = [Some(Lost::Epoch), Some(Lost::Trimmed)];
        assert_eq!(follows(&log, [1, 2, 3, 5, 12]), [trimmed, None, None, lost, lost]);
        log.push(entry(21, 1, 1_000));
        assert!(
            log.drop_through(9).is_some() && log.drop_through(9).is_some() && log.drop_through(9).is_none()
        );
        assert_eq!(
            (follows(&log, [5, 9, 12, 20, 21]), log.undone().len()),
            ([trimmed, None, lost, lost, None], 1)
        );
    }
}
