//! Batches of records on their way to the disk, collected in groups that are written at once.

use std::collections::VecDeque;

use super::reach::Reach;
use crate::handover::write_mark;

/// Groups whose memory is kept for the next: one that is written, one that collects, and one more.
const SPARE_GROUPS_MAX: usize = 3;
/// One that has grown beyond this is not kept.
const SPARE_BYTES_MAX: usize = 16 << 20;

/// What is written at once: a mark, and the batches behind it.
#[derive(Debug)]
pub(super) struct Group {
    pub bytes: Vec<u8>,
    /// How far the journal is when this is written.
    pub reach: Reach,
    /// There are batches behind the mark.
    pub has_changes: bool,
}

/// Groups that are not written, oldest first; the last one collects.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Comes before all others: it is sealed, and the disk had no room for it.
    refused: Option<Group>,
    queued: VecDeque<Group>,
    spare: Vec<Group>,
    begun: u64,
}

impl Groups {
    /// Adds a batch to the last group, or to another one if that would get larger than `bytes_max`. A single batch may be
    /// larger than a group should be.
    pub fn push(&mut self, bytes: &[u8], reach: &Reach, bytes_max: usize) {
        let has_room = self.queued.back().is_some_and(|group| group.bytes.len() + bytes.len() <= bytes_max);
        if !has_room {
            self.push_mark(reach);
        }
        if let Some(group) = self.queued.back_mut() {
            group.bytes.extend_from_slice(bytes);
            group.reach.copy_from(reach);
            group.has_changes = true;
        }
    }

    /// Begins a group, which has no more than its mark yet.
    pub fn push_mark(&mut self, reach: &Reach) {
        let fresh = || Group { bytes: Vec::new(), reach: reach.clone(), has_changes: false };
        let mut group = self.spare.pop().unwrap_or_else(fresh);
        // Filled in when it is written.
        write_mark(&mut group.bytes, 0);
        group.reach.copy_from(reach);
        self.queued.push_back(group);
        self.begun += 1;
    }

    pub fn has_changes(&self) -> bool {
        self.refused.iter().chain(&self.queued).any(|group| group.has_changes)
    }

    /// Groups begun since the start.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    pub fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.refused.is_none()
    }

    /// Bytes of the group that is to be written next, unless that was sealed for the segment at hand.
    pub fn next_bytes(&self) -> Option<usize> {
        let next = self.queued.front().filter(|_| self.refused.is_none())?;
        Some(next.bytes.len())
    }

    /// Bytes of all groups that are not with whoever writes.
    pub fn bytes(&self) -> u64 {
        self.refused.iter().chain(&self.queued).map(|group| group.bytes.len() as u64).sum()
    }

    pub fn next(&mut self) -> Option<Group> {
        self.queued.pop_front()
    }

    /// Takes back a group that is sealed and found no room.
    pub fn refuse(&mut self, group: Group) {
        self.refused = Some(group);
    }

    pub fn take_refused(&mut self) -> Option<Group> {
        self.refused.take()
    }

    /// Keeps the memory of a group that is written.
    pub fn recycle(&mut self, mut group: Group) {
        if self.spare.len() < SPARE_GROUPS_MAX && group.bytes.capacity() <= SPARE_BYTES_MAX {
            group.bytes.clear();
            group.has_changes = false;
            self.spare.push(group);
        }
    }
}
