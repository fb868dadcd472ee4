//! Forgetting what was removed from a set, as that is long ago or room is needed.

use super::OrSet;
use crate::crdt::Time;
use crate::limits::TAGS_PER_KEY_MAX;

/// What [`OrSet::forget_removed`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    pub tags: usize,
    /// When the latest of them was removed here.
    pub applied: Time,
}

impl OrSet {
    /// Forgets all tags whose removal was applied before the given time; `None` if there is none, which is
    /// known without looking at them. Their adds can come back from then on.
    pub(in crate::crdt) fn forget_removed(&mut self, applied_before: Time) -> Option<Forgotten> {
        if self.removed_since >= applied_before {
            return None;
        }
        let mut forgotten = Forgotten { tags: 0, applied: Time::ZERO };
        self.removed_since = Time::MAX;
        self.removed.retain(|removed| {
            let is_kept = removed.applied >= applied_before;
            if is_kept {
                self.removed_since = self.removed_since.min(removed.applied);
            } else {
                self.removed_bytes -= removed.tag.len();
                forgotten.tags += 1;
                forgotten.applied = forgotten.applied.max(removed.applied);
            }
            is_kept
        });
        if self.removed.len() * 4 < self.removed.capacity() {
            self.removed.shrink_to(self.removed.len() * 2);
        }
        (forgotten.tags > 0).then_some(forgotten)
    }

    /// Forgets the oldest removals, until they were so many tags and so many bytes, or all, and with them what was removed at
    /// the same tick as the last of them.
    pub(in crate::crdt) fn forget_oldest(&mut self, tags: usize, bytes: usize) -> Option<Forgotten> {
        let mut by_age: Vec<(Time, usize)> =
            self.removed.iter().map(|gone| (gone.applied, gone.bytes())).collect();
        by_age.sort_unstable();
        let mut freed_bytes = 0;
        let is_enough = |&(index, &(_, gone_bytes)): &(usize, &(Time, usize))| {
            freed_bytes += gone_bytes;
            index + 1 >= tags && freed_bytes >= bytes
        };
        let last = by_age.iter().enumerate().find(is_enough).map(|(_, age)| age);
        let &(through, _) = last.or(by_age.last())?;
        let since = self.removed_since;
        let forgotten = self.forget_removed(through.next());
        // The entry that pruning has stays where it is.
        self.removed_since = since;
        forgotten
    }

    /// Forgets the oldest removals beyond [`TAGS_PER_KEY_MAX`] tags, live ones included.
    pub(in crate::crdt) fn forget_beyond_limit(&mut self) -> Option<Forgotten> {
        let excess = (self.live.len() + self.removed.len()).saturating_sub(TAGS_PER_KEY_MAX);
        if excess == 0 { None } else { self.forget_oldest(excess, 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::CellLimits;

    #[test]
    fn only_removals_applied_before_are_forgotten() {
        let mut set = OrSet::new();
        for (tag, millis) in [("c", 1), ("a", 2), ("b", 3)] {
            set.remove(b"k", tag, Time::new(millis, 0), CellLimits::OF_PARTS).unwrap();
        }
        assert_eq!(set.forget_removed(Time::new(1, 0)), None);
        let forgotten = set.forget_removed(Time::new(3, 0));
        assert_eq!(forgotten, Some(Forgotten { tags: 2, applied: Time::new(2, 0) }));
        assert_eq!(set.removed().collect::<Vec<_>>(), ["b"]);
        assert_eq!(set.bytes_of_removed(), set.removed[0].bytes());
        assert_eq!(set.forget_removed(Time::new(3, 0)), None);
    }
}
