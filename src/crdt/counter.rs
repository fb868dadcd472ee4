//! A PN-counter: one slot for each replica, with what it has added and subtracted in total.
//!
//! Invariant: slots are sorted by replica, none is all zero, and `sum` is the sum of added minus subtracted, and of what was
//! absorbed. A slot is written by its replica alone and only grows, so the maximum of two totals is the later one.
//!
//! **Absorbing.** Every slot knows when it last counted, by the tick of its owner. Where a counter has no room, the slots that
//! have not counted since some tick become one number. What is told of a slot as of that tick or before is in the
//! number, and adds nothing; of two numbers the one through the later tick has all that the other has. A replica that
//! counts on after that has a new slot, with its totals from its beginning: it must have taken a new name.

use super::{CellLimits, Lack, Node, Refused, Time, digest};
use crate::limits::COUNTER_TOTAL_MAX;

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
    /// The tick of its latest change.
    counted: Time,
}

/// What slots that are none any more had counted together.
#[derive(Clone, Copy, Debug)]
struct Absorbed {
    count: i128,
    /// None of them counted after this.
    through: Time,
}

/// The counter at one key.
#[derive(Debug, Default)]
pub struct Counter {
    slots: Vec<Slot>,
    sum: i128,
    absorbed: Option<Box<Absorbed>>,
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

    /// All slots, sorted by replica, each with the tick at which it last counted.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = (&Node, Totals, Time)> {
        self.slots.iter().map(|slot| (&slot.replica, slot.totals, slot.counted))
    }

    /// What was absorbed, and through which tick.
    pub fn absorbed(&self) -> Option<(i128, Time)> {
        self.absorbed.as_deref().map(|&Absorbed { count, through }| (count, through))
    }

    /// What [`Counter::absorb`] takes so that the slots are gone that last counted at `through` or before; `None` if there are
    /// none.
    pub(super) fn absorption(&self, through: Time) -> Option<(i128, Time)> {
        let old = || self.slots.iter().filter(|slot| slot.counted <= through);
        let latest = old().map(|slot| slot.counted).max()?;
        let before = self.absorbed().map_or(0, |(count, _)| count);
        Some((before + old().map(|slot| slot.totals.sum()).sum::<i128>(), latest))
    }

    /// Puts one number in place of the slots that last counted at `through` or before. The change of the key's digest, or
    /// `None` if all of it was absorbed already.
    pub(super) fn absorb(&mut self, key: &[u8], count: i128, through: Time) -> Option<u64> {
        if self.absorbed().is_some_and(|(_, before)| before >= through) {
            return None;
        }
        let before = (self.absorbed_digest(key), self.absorbed().map_or(0, |(count, _)| count));
        let mut digest = 0_u64;
        self.sum += count - before.1;
        self.slots.retain(|slot| {
            if slot.counted > through {
                return true;
            }
            self.sum -= slot.totals.sum();
            digest = digest.wrapping_sub(slot_digest(key, &slot.replica, slot.totals));
            false
        });
        self.slots.shrink_to_fit();
        self.absorbed = Some(Box::new(Absorbed { count, through }));
        Some(digest.wrapping_add(self.absorbed_digest(key)).wrapping_sub(before.0))
    }

    /// Raises the totals of a slot to at least the given ones, of that tick. The change of the key's digest, or `None` if
    /// the slot had all of it, or it was absorbed; nothing counted is no slot.
    ///
    /// # Errors
    /// [`Refused::Crowded`] where there are as many slots, or as many bytes of them, as there may be.
    pub(super) fn merge(
        &mut self,
        key: &[u8],
        replica: &Node,
        (theirs, applied): (Totals, Time),
        limits: CellLimits,
    ) -> Result<Option<u64>, Refused> {
        let is_absorbed = self.absorbed().is_some_and(|(_, through)| applied <= through);
        if theirs == Totals::default() || is_absorbed {
            return Ok(None);
        }
        let (index, ours) = match self.position(replica) {
            Ok(index) => (index, self.slots[index].totals),
            Err(_) if self.slots.len() >= limits.parts => {
                return Err(Refused::Crowded(Lack { parts: 1, bytes: 0 }));
            }
            Err(_) if (self.slots.len() + 1) * size_of::<Slot>() > limits.bytes => {
                return Err(Refused::Crowded(Lack { parts: 0, bytes: size_of::<Slot>() }));
            }
            Err(index) => {
                // Most counters count on one server, and the first growth of a vector is for four.
                if self.slots.is_empty() {
                    self.slots.reserve_exact(1);
                }
                let slot = Slot { replica: *replica, totals: Totals::default(), counted: applied };
                self.slots.insert(index, slot);
                (index, Totals::default())
            }
        };
        let joined = ours.join(theirs);
        if joined == ours {
            return Ok(None);
        }
        let slot = &mut self.slots[index];
        (slot.totals, slot.counted) = (joined, slot.counted.max(applied));
        self.sum += joined.sum() - ours.sum();
        Ok(Some(slot_digest(key, replica, joined).wrapping_sub(slot_digest(key, replica, ours))))
    }

    /// The sum of all slot digests, from scratch.
    pub(super) fn digest(&self, key: &[u8]) -> u64 {
        let of_slots = self.slots().map(|(replica, totals, _)| slot_digest(key, replica, totals));
        of_slots.fold(self.absorbed_digest(key), u64::wrapping_add)
    }

    fn absorbed_digest(&self, key: &[u8]) -> u64 {
        self.absorbed().map_or(0, |(count, through)| digest::of_absorbed(key, count, through))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let absorbed = self.absorbed.as_ref().map_or(0, |_| size_of::<Absorbed>());
        size_of::<Self>() + self.slots.capacity() * size_of::<Slot>() + absorbed
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
            let totals = (Totals { added, subtracted }, Time::new(1, 0));
            counter.merge(b"k", &replica, totals, CellLimits::DETACHED).unwrap();
            counter.count()
        };
        assert_eq!(merge(10, 0), 10);
        assert_eq!(merge(4, 3), 7);
        assert_eq!(merge(10, 1), 7);
        assert_eq!(counter.totals(&replica), Totals { added: 10, subtracted: 3 });
    }

    #[test]
    fn one_replica_too_many_has_room_once_others_are_absorbed_and_nothing_counts_twice() {
        const LIMITS: CellLimits = CellLimits { parts: 3, bytes: usize::MAX };
        let replica = |number: u64| Node::new(number.to_string().as_bytes()).unwrap();
        let tick = |millis| Time::new(millis, 0);
        let slot = |number: u64| (Totals { added: 10 * number, subtracted: number }, tick(number));
        let mut counter = Counter::default();
        let mut digest = 0_u64;
        for number in 1..=3 {
            let change = counter.merge(b"k", &replica(number), slot(number), LIMITS).unwrap();
            digest = digest.wrapping_add(change.unwrap());
        }
        let crowded = counter.merge(b"k", &replica(4), slot(4), LIMITS);
        assert_eq!(crowded, Err(Refused::Crowded(Lack { parts: 1, bytes: 0 })));
        assert_eq!(counter.absorption(tick(0)), None);
        assert_eq!(counter.absorption(Time::new(2, 9)), Some((27, tick(2))));

        digest = digest.wrapping_add(counter.absorb(b"k", 27, tick(2)).unwrap());
        assert_eq!(
            (counter.count(), counter.slots().len(), counter.absorbed()),
            (54, 1, Some((27, tick(2))))
        );
        assert_eq!(counter.absorb(b"k", 27, tick(2)), None, "again");
        assert_eq!(counter.absorb(b"k", 9, tick(1)), None, "an earlier one, late");
        assert_eq!(counter.merge(b"k", &replica(1), slot(1), LIMITS), Ok(None), "a late change of before");
        digest = digest.wrapping_add(counter.merge(b"k", &replica(4), slot(4), LIMITS).unwrap().unwrap());
        assert_eq!((counter.count(), counter.digest(b"k")), (90, digest));

        assert_eq!(counter.absorption(tick(9)), Some((90, tick(4))));
        digest = digest.wrapping_add(counter.absorb(b"k", 90, tick(4)).unwrap());
        assert_eq!((counter.count(), counter.slots().len(), counter.digest(b"k")), (90, 0, digest));
    }

    /// Goal: of the same slots and absorptions there is one outcome. Method: all orders of them.
    #[test]
    fn absorptions_and_slots_of_before_and_after_merge_in_any_order() {
        let replica = |number: u64| Node::new(number.to_string().as_bytes()).unwrap();
        let tick = |millis| Time::new(millis, 0);
        let apply = |counter: &mut Counter, step: u64| match step {
            0..4 => {
                let totals = (Totals { added: 1 << step, subtracted: 0 }, tick(step + 1));
                counter.merge(b"k", &replica(step), totals, CellLimits::DETACHED).map(drop).unwrap();
            }
            4 => drop(counter.absorb(b"k", 1, tick(1))),
            _ => drop(counter.absorb(b"k", 7, tick(3))),
        };
        let mut steps = [0, 1, 2, 3, 4, 5];
        let mut orders = 0;
        permute(&mut steps, 0, &mut |steps| {
            let mut counter = Counter::default();
            steps.iter().chain(&steps[..3]).for_each(|&step| apply(&mut counter, step));
            assert_eq!((counter.count(), counter.slots().len()), (15, 1), "{steps:?}");
            assert_eq!(counter.absorbed(), Some((7, tick(3))));
            orders += 1;
        });
        assert_eq!(orders, 720);
    }

    fn permute(steps: &mut [u64], from: usize, each: &mut impl FnMut(&[u64])) {
        if from == steps.len() {
            return each(steps);
        }
        for other in from..steps.len() {
            steps.swap(from, other);
            permute(steps, from + 1, each);
            steps.swap(from, other);
        }
    }
}
