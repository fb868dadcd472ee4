//! An observed-remove set: values under unique tags; a removal removes the tags it has seen.
//!
//! Invariant: a tag is live or removed, never both, and once removed it never comes back. Both lists are
//! sorted by tag. An add that nobody has seen has a tag of its own, so it survives a concurrent removal.

mod forgetting;
mod removal;

use super::{CellLimits, Lack, Refused, Stamp, Time, digest};
use crate::limits::TAGS_PER_KEY_MAX;

pub use removal::Removal;

/// A tag that was added and not removed.
#[derive(Debug)]
pub struct Tagged {
    tag: Box<str>,
    value: Box<[u8]>,
    at: Stamp,
    /// When it was last changed here, for walks; what was read from storage has the tick of its cell.
    applied: Time,
}

impl Tagged {
    pub const fn tag(&self) -> &str {
        &self.tag
    }

    pub const fn value(&self) -> &[u8] {
        &self.value
    }

    pub const fn at(&self) -> &Stamp {
        &self.at
    }

    fn digest(&self, key: &[u8]) -> u64 {
        digest::of_tag(key, &self.tag, &self.value, &self.at)
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.tag.len() + self.value.len()
    }
}

/// A tag that was removed, remembered so that a late add cannot bring it back.
#[derive(Debug)]
struct Gone {
    tag: Box<str>,
    /// When the removal was applied here, for pruning.
    applied: Time,
}

impl Gone {
    const fn bytes(&self) -> usize {
        size_of::<Self>() + self.tag.len()
    }
}

/// A tag of a set.
#[derive(Clone, Copy, Debug)]
pub enum Tag<'a> {
    Removed(&'a str),
    Live(&'a Tagged),
}

impl<'a> Tag<'a> {
    /// The place of this tag.
    pub const fn mark(self) -> TagMark<'a> {
        match self {
            Self::Removed(tag) => TagMark { tag, is_live: false },
            Self::Live(tagged) => TagMark { tag: tagged.tag(), is_live: true },
        }
    }
}

/// A place in a set: see [`OrSet::tags_after`]. It is found again whatever happens to the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagMark<'a> {
    pub tag: &'a str,
    pub is_live: bool,
}

/// The set at one key.
#[derive(Debug)]
pub struct OrSet {
    #[expect(clippy::vec_box, reason = "an insertion into a full set moves 8 bytes a tag instead of 88")]
    live: Vec<Box<Tagged>>,
    removed: Vec<Gone>,
    /// No removal in `removed` was applied before this, for which pruning has an entry (`prune.rs`).
    removed_since: Time,
    /// Bytes behind the boxes of each list.
    live_bytes: usize,
    removed_bytes: usize,
}

impl OrSet {
    pub(super) const fn new() -> Self {
        Self {
            live: Vec::new(),
            removed: Vec::new(),
            removed_since: Time::MAX,
            live_bytes: 0,
            removed_bytes: 0,
        }
    }

    /// The live tags, sorted.
    pub fn live(&self) -> impl ExactSizeIterator<Item = &Tagged> {
        self.live.iter().map(|tagged| &**tagged)
    }

    /// The live tag of that name.
    pub fn live_tag(&self, tag: &str) -> Option<&Tagged> {
        self.live_position(tag).ok().map(|index| &*self.live[index])
    }

    /// The removed tags, sorted.
    pub fn removed(&self) -> impl ExactSizeIterator<Item = &str> {
        self.removed.iter().map(|removed| &*removed.tag)
    }

    /// The removed tags, sorted, and when each was removed here.
    pub fn removed_at(&self) -> impl ExactSizeIterator<Item = (&str, Time)> {
        self.removed.iter().map(|removed| (&*removed.tag, removed.applied))
    }

    /// When the tag was removed here, if that is remembered.
    pub fn removed_when(&self, tag: &str) -> Option<Time> {
        self.removed_position(tag).ok().map(|index| self.removed[index].applied)
    }

    /// No removal that is remembered was applied before this.
    pub(super) const fn removed_since(&self) -> Time {
        self.removed_since
    }

    /// Whether the tag is in the set, or was and is remembered.
    pub fn knows(&self, tag: &str) -> bool {
        self.live_position(tag).is_ok() || self.removed_position(tag).is_ok()
    }

    /// All tags from behind `after` on, and when each was changed here: first those removed, then the live ones, each sorted.
    /// O(log n) to begin.
    pub fn tags_after(&self, after: Option<TagMark<'_>>) -> impl Iterator<Item = (Tag<'_>, Time)> + Clone {
        let behind = |found: Result<usize, usize>| found.map_or_else(|index| index, |index| index + 1);
        let (removed, live) = match after {
            None => (0, 0),
            Some(TagMark { tag, is_live: false }) => (behind(self.removed_position(tag)), 0),
            Some(TagMark { tag, is_live: true }) => (self.removed.len(), behind(self.live_position(tag))),
        };
        let removed = self.removed[removed..].iter().map(|gone| (Tag::Removed(&gone.tag), gone.applied));
        let live = self.live[live..].iter().map(|tagged| (Tag::Live(tagged), tagged.applied));
        removed.chain(live)
    }

    /// Adds a tag. The same tag added twice keeps the greater `(at, value)`, and a removed one stays removed.
    /// The change of the key's digest, or `None` if the set is as it was.
    ///
    /// # Errors
    /// [`Refused::TooLarge`] for a new tag beyond [`TAGS_PER_KEY_MAX`] live ones, [`Refused::CellFull`] where they would grow
    /// beyond the limit, [`Refused::Crowded`] where there is room only without removed tags.
    pub(super) fn add(
        &mut self,
        key: &[u8],
        tag: &str,
        value: &[u8],
        (at, applied): (&Stamp, Time),
        limits: CellLimits,
    ) -> Result<Option<u64>, Refused> {
        let mut digest_before = 0;
        match self.live_position(tag) {
            Ok(index) => {
                let ours = &self.live[index];
                if (at, value) <= (&ours.at, &*ours.value) {
                    return Ok(None);
                }
                self.check_room(0, (ours.value.len(), value.len()), limits)?;
                let ours = &mut self.live[index];
                digest_before = ours.digest(key);
                self.live_bytes = self.live_bytes - ours.value.len() + value.len();
                (ours.at, ours.applied) = (*at, applied);
                ours.value = value.into();
            }
            Err(_) if self.removed_position(tag).is_ok() => return Ok(None),
            Err(_) if self.live.len() >= TAGS_PER_KEY_MAX => return Err(Refused::TooLarge),
            Err(index) => {
                self.check_room(1, (0, size_of::<Tagged>() + tag.len() + value.len()), limits)?;
                let tagged = Tagged { tag: tag.into(), value: value.into(), at: *at, applied };
                self.live_bytes += tagged.heap_bytes();
                self.live.insert(index, Box::new(tagged));
            }
        }
        Ok(Some(digest::of_tag(key, tag, value, at).wrapping_sub(digest_before)))
    }

    /// Removes one tag, known or not: its add may still be under way. The change of the key's digest, or `None`
    /// if it was removed before.
    ///
    /// # Errors
    /// [`Refused::TooLarge`] and [`Refused::Crowded`] for an unknown tag beyond the limit; bytes have none here.
    pub(super) fn remove(
        &mut self,
        key: &[u8],
        tag: &str,
        applied: Time,
        limits: CellLimits,
    ) -> Result<Option<u64>, Refused> {
        let Err(index) = self.removed_position(tag) else { return Ok(None) };
        let (tag, digest) = match self.live_position(tag) {
            Ok(live_index) => {
                let tagged = self.live.remove(live_index);
                self.live_bytes -= tagged.heap_bytes();
                let digest = tagged.digest(key);
                (tagged.tag, 0_u64.wrapping_sub(digest))
            }
            Err(_) => {
                self.check_room(1, (0, 0), limits)?;
                (tag.into(), 0)
            }
        };
        self.removed_bytes += tag.len();
        self.removed.insert(index, Gone { tag, applied });
        self.removed_since = self.removed_since.min(applied);
        Ok(Some(digest))
    }

    pub(super) const fn has_live(&self) -> bool {
        !self.live.is_empty()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.live.is_empty() && self.removed.is_empty()
    }

    /// The sum of all tag digests, from scratch.
    pub(super) fn digest(&self, key: &[u8]) -> u64 {
        self.live().fold(0, |sum, tagged| sum.wrapping_add(tagged.digest(key)))
    }

    pub(super) const fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.live.capacity() * size_of::<Box<Tagged>>()
            + self.removed.capacity() * size_of::<Gone>()
            + self.live_bytes
            + self.removed_bytes
    }

    /// Bytes of what it holds: its tags and values, and what each takes beside.
    pub const fn bytes(&self) -> usize {
        self.live_bytes + self.bytes_of_removed()
    }

    /// What [`Self::bytes`] are fewer without the removed tags.
    const fn bytes_of_removed(&self) -> usize {
        self.removed_bytes + self.removed.len() * size_of::<Gone>()
    }

    /// Whether there is room for so many tags more, and to give so many bytes for so many; what is too large already may
    /// shrink.
    #[inline]
    fn check_room(
        &self,
        tags: usize,
        (freed, added): (usize, usize),
        limits: CellLimits,
    ) -> Result<(), Refused> {
        let parts = (self.live.len() + self.removed.len() + tags).saturating_sub(limits.parts);
        let bytes =
            if added > freed { (self.bytes() - freed + added).saturating_sub(limits.bytes) } else { 0 };
        if parts == 0 && bytes == 0 { Ok(()) } else { Err(self.refusal(Lack { parts, bytes })) }
    }

    #[cold]
    fn refusal(&self, lack: Lack) -> Refused {
        if lack.parts > self.removed.len() {
            Refused::TooLarge
        } else if lack.bytes > self.bytes_of_removed() {
            Refused::CellFull
        } else {
            Refused::Crowded(lack)
        }
    }

    fn live_position(&self, tag: &str) -> Result<usize, usize> {
        self.live.binary_search_by(|tagged| (*tagged.tag).cmp(tag))
    }

    fn removed_position(&self, tag: &str) -> Result<usize, usize> {
        self.removed.binary_search_by(|removed| (*removed.tag).cmp(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(text: &str) -> Stamp {
        Stamp::parse(text).unwrap()
    }

    #[test]
    fn a_removed_tag_never_comes_back_in_either_order() {
        let at = stamp("1:0:n");
        let mut removed_last = OrSet::new();
        removed_last.add(b"k", "t", b"1", (&at, Time::ZERO), CellLimits::OF_PARTS).unwrap();
        removed_last.remove(b"k", "t", Time::new(1, 0), CellLimits::OF_PARTS).unwrap();
        let mut removed_first = OrSet::new();
        removed_first.remove(b"k", "t", Time::new(1, 0), CellLimits::OF_PARTS).unwrap();
        for set in [&mut removed_last, &mut removed_first] {
            assert_eq!(
                set.add(b"k", "t", b"2", (&stamp("9:0:n"), Time::ZERO), CellLimits::OF_PARTS),
                Ok(None)
            );
            assert_eq!(set.remove(b"k", "t", Time::new(2, 0), CellLimits::OF_PARTS), Ok(None));
            assert_eq!((set.live().len(), set.removed().collect::<Vec<_>>()), (0, vec!["t"]));
        }
    }

    #[test]
    fn a_full_set_refuses_what_is_new_and_takes_what_is_known() {
        let at = stamp("1:0:n");
        let mut set = OrSet::new();
        for i in 0..TAGS_PER_KEY_MAX {
            set.add(b"k", &i.to_string(), b"1", (&at, Time::ZERO), CellLimits::OF_PARTS).unwrap();
        }
        assert_eq!(
            set.add(b"k", "new", b"1", (&at, Time::ZERO), CellLimits::OF_PARTS),
            Err(Refused::TooLarge)
        );
        assert_eq!(set.remove(b"k", "new", Time::new(1, 0), CellLimits::OF_PARTS), Err(Refused::TooLarge));
        assert!(set.remove(b"k", "7", Time::new(1, 0), CellLimits::OF_PARTS).unwrap().is_some());
        assert!(set.add(b"k", "8", b"2", (&at, Time::ZERO), CellLimits::OF_PARTS).unwrap().is_some());
        assert_eq!(
            set.add(b"k", "new", b"1", (&at, Time::ZERO), CellLimits::OF_PARTS),
            Err(Refused::Crowded(Lack { parts: 1, bytes: 0 })),
            "removed tags count"
        );
        set.forget_oldest(1, 0);
        assert!(set.add(b"k", "new", b"1", (&at, Time::ZERO), CellLimits::OF_PARTS).unwrap().is_some());
    }
}
