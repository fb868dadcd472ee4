//! A PN-counter: one slot for each replica, with what it has added and subtracted in total.
//!
//! Invariant: slots are sorted by replica, none is all zero, and `sum` is the sum of added minus subtracted.
//! A slot is written by its replica alone and only grows, so the maximum of two totals is the later one.

use super::{Node, Refused, digest};
use crate::limits::{COUNTER_TOTAL_MAX, SLOTS_PER_COUNTER_MAX};

/// What one replica has added and subtracted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub added: u64,
    pub subtracted: u64,
}

impl Totals {
    /// The totals after one more change; `None` if one would pass [`COUNTER_TOTAL_MAX`].
    pub fn after(self, by: i64) -> Option<Self> {
        let mut totals = self;
        let total = if by < 0 { &mut totals.subtracted } else { &mut totals.added };
        *total = total.checked_add(by.unsigned_abs()).filter(|&total| total <= COUNTER_TOTAL_MAX)?;
        Some(totals)
    }

    fn join(self, other: Self) -> Self {
        Self { added: self.added.max(other.added), subtracted: self.subtracted.max(other.subtracted) }
    }

    fn sum(self) -> i128 {
        i128::from(self.added) - i128::from(self.subtracted)
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    replica: Node,
    totals: Totals,
}

/// The counter at one key.
#[derive(Debug, Default)]
pub struct Counter {
    slots: Vec<Slot>,
    sum: i128,
}

impl Counter {
    /// The count; exact, as the sum of the largest totals of all slots is beyond an `i64`.
    pub const fn count(&self) -> i128 {
        self.sum
    }

    /// The totals of one replica; zero if it never counted here.
    pub fn totals(&self, replica: &Node) -> Totals {
        self.position(replica).map_or_else(|_| Totals::default(), |index| self.slots[index].totals)
    }

    /// All slots, sorted by replica.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = (&Node, Totals)> {
        self.slots.iter().map(|slot| (&slot.replica, slot.totals))
    }

    /// Raises the totals of a slot to at least the given ones. The change of the key's digest, or `None` if
    /// the slot had all of it; nothing counted is no slot.
    ///
    /// # Errors
    /// [`Refused::TooLarge`] for a new replica beyond [`SLOTS_PER_COUNTER_MAX`], [`Refused::CellFull`] where the slots would
    /// take more than `bytes_max`.
    pub(super) fn merge(
        &mut self,
        key: &[u8],
        replica: &Node,
        theirs: Totals,
        bytes_max: usize,
    ) -> Result<Option<u64>, Refused> {
        if theirs == Totals::default() {
            return Ok(None);
        }
        let (index, ours) = match self.position(replica) {
            Ok(index) => (index, self.slots[index].totals),
            Err(_) if self.slots.len() >= SLOTS_PER_COUNTER_MAX => return Err(Refused::TooLarge),
            Err(_) if (self.slots.len() + 1) * size_of::<Slot>() > bytes_max => {
                return Err(Refused::CellFull);
            }
            Err(index) => {
                // Most counters count on one server, and the first growth of a vector is for four.
                if self.slots.is_empty() {
                    self.slots.reserve_exact(1);
                }
                self.slots.insert(index, Slot { replica: *replica, totals: Totals::default() });
                (index, Totals::default())
            }
        };
        let joined = ours.join(theirs);
        if joined == ours {
            return Ok(None);
        }
        self.slots[index].totals = joined;
        self.sum += joined.sum() - ours.sum();
        Ok(Some(slot_digest(key, replica, joined).wrapping_sub(slot_digest(key, replica, ours))))
    }

    /// The sum of all slot digests, from scratch.
    pub(super) fn digest(&self, key: &[u8]) -> u64 {
        self.slots().fold(0, |sum, (replica, totals)| sum.wrapping_add(slot_digest(key, replica, totals)))
    }

    pub(super) const fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.slots.capacity() * size_of::<Slot>()
    }

    fn position(&self, replica: &Node) -> Result<usize, usize> {
        self.slots.binary_search_by(|slot| slot.replica.cmp(replica))
    }
}

fn slot_digest(key: &[u8], replica: &Node, totals: Totals) -> u64 {
    if totals == Totals::default() {
        0
    } else {
        digest::of_slot(key, replica, totals.added, totals.subtracted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_grow_on_their_side_and_stop_at_the_limit() {
        let totals = Totals { added: 5, subtracted: 1 };
        assert_eq!(totals.after(3), Some(Totals { added: 8, subtracted: 1 }));
        assert_eq!(totals.after(-3), Some(Totals { added: 5, subtracted: 4 }));
        assert_eq!(totals.after(0), Some(totals));
        assert_eq!(totals.after(i64::MIN), None);
        let full = Totals { added: COUNTER_TOTAL_MAX, subtracted: 0 };
        assert_eq!(full.after(1), None);
        assert!(full.after(-1).is_some());
    }

    #[test]
    fn a_late_total_takes_nothing_back() {
        let mut counter = Counter::default();
        let replica = Node::new(b"r").unwrap();
        let mut merge = |added, subtracted| {
            counter.merge(b"k", &replica, Totals { added, subtracted }, usize::MAX).unwrap();
            counter.count()
        };
        assert_eq!(merge(10, 0), 10);
        assert_eq!(merge(4, 3), 7);
        assert_eq!(merge(10, 1), 7);
        assert_eq!(counter.totals(&replica), Totals { added: 10, subtracted: 3 });
    }

    #[test]
    fn one_replica_too_many_is_refused_and_the_others_count_on() {
        let mut counter = Counter::default();
        let replica = |i: usize| Node::new(i.to_string().as_bytes()).unwrap();
        let one = Totals { added: 1, subtracted: 0 };
        for i in 0..SLOTS_PER_COUNTER_MAX {
            assert!(counter.merge(b"k", &replica(i), one, usize::MAX).unwrap().is_some());
        }
        assert_eq!(
            counter.merge(b"k", &replica(SLOTS_PER_COUNTER_MAX), one, usize::MAX),
            Err(Refused::TooLarge)
        );
        assert!(
            counter
                .merge(b"k", &replica(7), Totals { added: 2, subtracted: 0 }, usize::MAX)
                .unwrap()
                .is_some()
        );
        assert_eq!(counter.count(), SLOTS_PER_COUNTER_MAX as i128 + 1);
    }
}
