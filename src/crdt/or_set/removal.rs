//! Removing many tags of a set at once, by name or by value.
//!
//! Invariant: a removal is planned before anything changes, so it happens as a whole or not at all; and it costs one pass
//! over what it names and one over the set, however many tags that are.

use super::{Gone, OrSet, Tagged};
use crate::crdt::{CellLimits, Refused, Time};

/// Comparisons of a sort that take as long as comparing or moving one tag of a set, which lies anywhere.
const SORT_COMPARISONS: usize = 4;

/// What a removal names.
#[derive(Debug)]
pub enum Removal<'a, 't> {
    /// Tags in any order, which becomes ascending; known or not, some perhaps more than once.
    Tags(&'a mut [&'t str]),
    /// The live tags of this value, given as canonical bytes.
    Value(&'a [u8]),
    /// All live tags.
    All,
}

impl OrSet {
    /// Removes all that `removal` names, or nothing, and calls `each` with every tag that was not removed before, ascending.
    /// How many those are, and the change of the key's digest.
    ///
    /// One pass over the set and one over the tags: O(tags log tags + set). To `work` it adds the tags that were compared and
    /// moved, be it to find that there is no room.
    ///
    /// # Errors
    /// [`Refused::TooLarge`] where unknown tags would be more than the limit, [`Refused::CellFull`] where the set would grow
    /// beyond it, [`Refused::Crowded`] where there is room only without what was removed before. Nothing has changed then.
    pub(in crate::crdt) fn remove_all(
        &mut self,
        key: &[u8],
        removal: &mut Removal<'_, '_>,
        applied: Time,
        limits: CellLimits,
        work: &mut usize,
        mut each: impl FnMut(&str),
    ) -> Result<(usize, u64), Refused> {
        let plan = match removal {
            Removal::Tags(tags) => self.plan_tags(tags, work),
            Removal::Value(value) => self.plan_live(|tagged| *tagged.value == **value, work),
            Removal::All => self.plan_live(|_| true, work),
        };
        self.check_plan(&plan, limits)?;
        let mut known = plan.iter().filter_map(|planned| planned.live).peekable();
        let mut looked_at = 0;
        let mut taken = self.live.extract_if(.., |_| {
            let is_planned = known.next_if_eq(&looked_at).is_some();
            looked_at += 1;
            is_planned
        });
        let mut digest = 0_u64;
        let mut gone = Vec::with_capacity(plan.len());
        for planned in &plan {
            let tag = match planned.live.and_then(|_| taken.next()) {
                Some(tagged) => {
                    self.live_bytes -= tagged.heap_bytes();
                    digest = digest.wrapping_sub(tagged.digest(key));
                    tagged.tag
                }
                None => planned.tag.into(),
            };
            each(&tag);
            self.removed_bytes += tag.len();
            gone.push((planned.place, Gone { tag, applied }));
        }
        drop(taken);
        *work += looked_at;
        if !gone.is_empty() {
            self.removed_since = self.removed_since.min(applied);
        }
        self.put_away(gone, work);
        Ok((plan.len(), digest))
    }

    /// What removing these tags takes.
    fn plan_tags<'t>(&self, tags: &mut [&'t str], work: &mut usize) -> Vec<Planned<'t>> {
        let mut comparisons = 0;
        tags.sort_unstable_by(|one, other| {
            comparisons += 1;
            one.cmp(other)
        });
        // They lie side by side, so that each is a small part of what it takes to look at a tag of the set.
        *work += comparisons / SORT_COMPARISONS;
        let mut plan: Vec<Planned<'t>> = Vec::with_capacity(tags.len());
        let (mut place, mut in_live) = (0, 0);
        for &mut tag in tags {
            if plan.last().is_some_and(|planned| planned.tag == tag) {
                continue;
            }
            let found = seek(&self.removed, place, |gone| &gone.tag, tag, work);
            place = found.unwrap_or_else(|place| place);
            if found.is_ok() {
                continue;
            }
            let live = seek(&self.live, in_live, |tagged| &tagged.tag, tag, work);
            in_live = live.unwrap_or_else(|place| place);
            plan.push(Planned { tag, live: live.ok(), place });
        }
        plan
    }

    /// What removing these live tags takes. They stay where they are: only their places are told.
    fn plan_live(&self, is_meant: impl Fn(&Tagged) -> bool, work: &mut usize) -> Vec<Planned<'static>> {
        let mut plan = Vec::new();
        let mut place = 0;
        for (index, tagged) in self.live.iter().enumerate() {
            if is_meant(tagged) {
                let found = seek(&self.removed, place, |gone| &gone.tag, &tagged.tag, work);
                place = found.unwrap_or_else(|place| place);
                plan.push(Planned { tag: "", live: Some(index), place });
            }
        }
        // Most differ in their length or first bytes, so that it is half of what it takes to put a tag elsewhere.
        *work += self.live.len() / 2;
        plan
    }

    fn check_plan(&self, plan: &[Planned<'_>], limits: CellLimits) -> Result<(), Refused> {
        let mut unknown = 0;
        let (mut freed_bytes, mut added_bytes) = (0, plan.len() * size_of::<Gone>());
        for planned in plan {
            match planned.live {
                Some(index) => {
                    let tagged = &self.live[index];
                    freed_bytes += tagged.heap_bytes();
                    added_bytes += tagged.tag.len();
                }
                None => {
                    unknown += 1;
                    added_bytes += planned.tag.len();
                }
            }
        }
        self.check_room(unknown, (freed_bytes, added_bytes), limits)
    }

    /// Merges ascending removals into the list, each at its place in it as it is.
    fn put_away(&mut self, gone: Vec<(usize, Gone)>, work: &mut usize) {
        if gone.len() <= 1 {
            for (place, gone) in gone {
                *work += self.removed.len() - place;
                self.removed.insert(place, gone);
            }
            return;
        }
        let merged = Vec::with_capacity(self.removed.len() + gone.len());
        let mut old = std::mem::replace(&mut self.removed, merged).into_iter();
        let mut moved = 0;
        for (place, gone) in gone {
            self.removed.extend(old.by_ref().take(place - moved));
            moved = place;
            self.removed.push(gone);
        }
        self.removed.extend(old);
        *work += self.removed.len();
    }
}

/// One tag that is to be removed.
struct Planned<'t> {
    /// Empty where it is known.
    tag: &'t str,
    /// Where it is among the live tags.
    live: Option<usize>,
    /// Where it goes among the removed ones.
    place: usize,
}

/// Where `tag` is in a sorted list, or would be; not before `from`. Strides double until they pass it, so that looking for
/// ascending tags one after the other costs no more than one pass.
fn seek<T>(
    list: &[T],
    from: usize,
    tag_of: impl Fn(&T) -> &str,
    tag: &str,
    work: &mut usize,
) -> Result<usize, usize> {
    let (mut low, mut high, mut stride) = (from, from, 1);
    while high < list.len() {
        *work += 1;
        if tag_of(&list[high]) >= tag {
            break;
        }
        low = high + 1;
        high += stride;
        stride *= 2;
    }
    let end = list.len().min(high + 1);
    let found = list[low..end].binary_search_by(|item| {
        *work += 1;
        tag_of(item).cmp(tag)
    });
    found.map(|index| low + index).map_err(|index| low + index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Stamp;
    use crate::limits::TAGS_PER_KEY_MAX;

    fn stamp(text: &str) -> Stamp {
        Stamp::parse(text).unwrap()
    }

    fn set_of(tags: impl IntoIterator<Item = (String, &'static [u8])>) -> OrSet {
        let mut set = OrSet::new();
        for (tag, value) in tags {
            set.add(b"k", &tag, value, (&stamp("1:0:n"), Time::ZERO), CellLimits::OF_PARTS).unwrap();
        }
        set
    }

    /// The tags that were removed, and the work that took.
    fn remove(set: &mut OrSet, mut removal: Removal<'_, '_>) -> Result<(Vec<String>, usize), Refused> {
        let (mut tags, mut work) = (Vec::new(), 0);
        let (digest, at) = (set.digest(b"k"), Time::new(5, 0));
        let each = |tag: &str| tags.push(tag.to_owned());
        let (removed, change) =
            set.remove_all(b"k", &mut removal, at, CellLimits::OF_PARTS, &mut work, each)?;
        assert_eq!(set.digest(b"k"), digest.wrapping_add(change));
        assert_eq!(removed, tags.len());
        Ok((tags, work))
    }

    #[test]
    fn removing_a_value_removes_the_tags_seen_and_a_concurrent_add_survives() {
        let mut set =
            set_of([("b", b"1"), ("a", b"1"), ("c", b"2")].map(|(tag, value)| (tag.to_owned(), &value[..])));
        assert_eq!(remove(&mut set, Removal::Value(b"1")).unwrap().0, ["a", "b"]);
        set.add(b"k", "d", b"1", (&stamp("1:0:m"), Time::ZERO), CellLimits::OF_PARTS).unwrap();
        assert_eq!(set.live().map(Tagged::tag).collect::<Vec<_>>(), ["c", "d"]);
        assert_eq!(set.removed().collect::<Vec<_>>(), ["a", "b"]);
        assert!(remove(&mut set, Removal::Value(b"3")).unwrap().0.is_empty());
    }

    /// Goal: many tags at once leave what they leave one by one. Method: both, over all subsets of six tags, of which some
    /// are live, some removed and some unknown.
    #[test]
    fn many_at_once_leave_what_they_leave_one_by_one() {
        let all = ["a", "b", "c", "d", "e", "f"];
        for chosen in 0..1_u32 << all.len() {
            let mut sets =
                [(); 2].map(|()| set_of(["a", "c", "d", "f"].map(|tag| (tag.to_owned(), &b"1"[..]))));
            for set in &mut sets {
                set.remove(b"k", "d", Time::new(1, 0), CellLimits::OF_PARTS).unwrap();
            }
            let mut tags: Vec<&str> =
                (0..all.len()).filter(|bit| chosen >> bit & 1 == 1).map(|bit| all[bit]).collect();
            let [at_once, one_by_one] = &mut sets;
            let changed = tags.iter().filter(|tag| {
                one_by_one.remove(b"k", tag, Time::new(5, 0), CellLimits::OF_PARTS).unwrap().is_some()
            });
            let changed: Vec<&str> = changed.copied().collect();
            tags.reverse();
            tags.extend(tags.clone());
            assert_eq!(remove(at_once, Removal::Tags(&mut tags)).unwrap().0, changed);
            assert!(at_once.removed_at().eq(one_by_one.removed_at()));
            assert!(at_once.live().map(Tagged::tag).eq(one_by_one.live().map(Tagged::tag)));
            assert_eq!(at_once.live_bytes, one_by_one.live_bytes);
            // What a refusal goes by, which looks at no tag.
            let counted: usize = at_once.removed.iter().map(Gone::bytes).sum();
            assert_eq!((at_once.bytes_of_removed(), one_by_one.bytes_of_removed()), (counted, counted));
            assert_eq!(at_once.removed_since, one_by_one.removed_since);
        }
    }

    #[test]
    fn a_removal_that_does_not_fit_removes_nothing() {
        let names = |range: std::ops::Range<usize>| range.map(|i| format!("{i:05}")).collect::<Vec<_>>();
        let mut set = set_of(names(1..TAGS_PER_KEY_MAX).into_iter().map(|tag| (tag, &b"1"[..])));
        let bytes = set.heap_bytes();
        let mut tags = ["00003", "new", "newer"];
        assert_eq!(remove(&mut set, Removal::Tags(&mut tags)), Err(Refused::TooLarge));
        assert_eq!(
            (set.live().len(), set.removed().len(), set.heap_bytes()),
            (TAGS_PER_KEY_MAX - 1, 0, bytes)
        );
        let mut tags = ["new", "00003"];
        assert_eq!(remove(&mut set, Removal::Tags(&mut tags)).unwrap().0, ["00003", "new"]);

        let mut small = set_of([("a".to_owned(), &b"1"[..])]);
        let bytes_max = small.bytes();
        let tag = "t".repeat(80);
        let mut removal = Removal::Tags(&mut [&tag, "b"]);
        let limits = CellLimits::of_bytes(bytes_max);
        let mut work = 0;
        let removed = small.remove_all(b"k", &mut removal, Time::new(5, 0), limits, &mut work, |_| ());
        assert_eq!(removed, Err(Refused::CellFull));
        assert!(work > 0, "it was planned");
        assert_eq!((small.removed().len(), small.bytes()), (0, bytes_max));
        let mut removal = Removal::Tags(&mut ["a", "b"]);
        let removed = small.remove_all(b"k", &mut removal, Time::new(5, 0), limits, &mut work, |_| ());
        assert!(removed.is_ok() && small.bytes() < bytes_max, "it has shrunk");
    }

    /// Goal: what a removal costs grows with what it names and with the set, not with their product. Method: the tags that
    /// were compared and moved.
    #[test]
    fn a_removal_is_one_pass_over_its_tags_and_the_set() {
        const HALF: usize = TAGS_PER_KEY_MAX / 2;
        let names = |count: usize, odd: usize| (0..count).map(move |i| format!("{:05}", 2 * i + odd));
        for (known, count) in [(false, HALF), (true, HALF), (false, 10), (true, 10)] {
            let mut set = set_of(names(HALF, 0).map(|tag| (tag, &b"1"[..])));
            let names: Vec<String> = names(count, usize::from(!known)).collect();
            let mut tags: Vec<&str> = names.iter().map(String::as_str).rev().collect();
            let (removed, work) = remove(&mut set, Removal::Tags(&mut tags)).unwrap();
            assert_eq!(removed.len(), count);
            let work_max = 2 * HALF + count * (8 + 2 * count.ilog2() as usize);
            assert!(work <= work_max, "{work} of {work_max}, {count} tags");
        }
        let mut set = set_of(names(HALF, 0).map(|tag| (tag, &b"1"[..])));
        let (removed, work) = remove(&mut set, Removal::Value(b"1")).unwrap();
        assert!(removed.len() == HALF && work <= 5 * HALF, "{work}");
        let (removed, work) = remove(&mut set, Removal::Value(b"1")).unwrap();
        assert_eq!((removed.len(), work), (0, 0), "nothing is left to look at");
    }
}
