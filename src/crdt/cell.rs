//! One key of a map: its CRDT state and what the map needs to know about it.
//!
//! Invariant: `digest` is always what `State::digest` computes from scratch, and a cell in a map has an
//! `applied` above [`Time::ZERO`].

use super::counter::{Counter, Totals};
use super::lww::{Head, Lww, LwwMut};
use super::or_set::{OrSet, Removal};
use super::{CellLimits, Count, Delta, MapType, Refused, Time, digest};
use crate::limits::{KEY_BYTES_MAX, LARGE_SET_BYTES};

/// The place of a cell in its map. Valid until the map is pruned: then another cell may have it, and its cell one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellIndex(u32);

impl CellIndex {
    /// Cells one map can have on one shard; beyond half a terabyte of them.
    pub(super) const CELLS_MAX: usize = u32::MAX as usize;

    pub(super) const FIRST: Self = Self(0);

    pub(super) const fn from_usize(index: usize) -> Self {
        assert!(index < Self::CELLS_MAX, "the map refuses cells beyond its limit");
        Self(index as u32)
    }

    pub(super) const fn to_usize(self) -> usize {
        self.0 as usize
    }

    pub(super) const fn to_u32(self) -> u32 {
        self.0
    }
}

/// One key.
///
/// # Memory
/// What an LWW key costs beyond the bytes of its key and value:
///
/// ```text
///  56  the cell: 16 allocation, 8 time of the stamp, 8 lengths and kind of state, 8 applied, 8 digest, 4 hash, 2 length of
///      the key, 2 padding
///  10  the name of the stamp's node, in one allocation with key and value; a client's may have 1 to 40
///  10 to 21  its index entry: 8 bytes and 1 control byte, the table being 7/8 to 7/16 full
///  12 to 24  its entries in the applied order: 12 bytes, of which 1 to 2 for each cell
///  88 to 111 together
/// ```
///
/// and up to 15 bytes by which what has grown since it was new is rounded up. A value with a time to live has 16 bytes more there, and about
/// 24 in `Expiries`. A map of up to four keys has neither index nor order.
#[derive(Debug)]
pub struct Cell {
    /// The key; behind it whatever `content` has here.
    bytes: Box<[u8]>,
    content: Content,
    pub(super) applied: Time,
    digest: u64,
    /// What the index needs to find this cell's entry again.
    pub(super) index_hash: u32,
    key_bytes: u16,
}

const _: () = assert!(size_of::<Cell>() == 56 && KEY_BYTES_MAX <= u16::MAX as usize);

/// The state as the cell has it: an lww value is behind the key.
#[derive(Debug)]
enum Content {
    Lww(Head),
    OrSet(Box<OrSet>),
    Counter(Box<Counter>),
}

/// The CRDT at one key.
#[derive(Clone, Copy, Debug)]
pub enum State<'a> {
    Lww(Lww<'a>),
    OrSet(&'a OrSet),
    Counter(&'a Counter),
}

/// What finds a cell again, whatever became of its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellName {
    /// What the index has of the hash of the key.
    pub(super) hash: u32,
    pub(super) key: Box<[u8]>,
}

impl CellName {
    pub fn is_of(&self, cell: &Cell) -> bool {
        *self.key == *cell.key()
    }
}

/// What a cell adds to the totals of its map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub digest: u64,
    /// 1 if a reader sees a value.
    pub live: usize,
    /// Bytes the cell owns outside the map's tables.
    pub heap_bytes: usize,
}

impl Tally {
    pub const fn plus(self, other: Self) -> Self {
        Self {
            digest: self.digest.wrapping_add(other.digest),
            live: self.live + other.live,
            heap_bytes: self.heap_bytes + other.heap_bytes,
        }
    }

    pub const fn minus(self, other: Self) -> Self {
        Self {
            digest: self.digest.wrapping_sub(other.digest),
            live: self.live - other.live,
            heap_bytes: self.heap_bytes - other.heap_bytes,
        }
    }
}

impl Cell {
    /// A key to which nothing has been written, with room for so many bytes behind it.
    pub(super) fn new(key: &[u8], map_type: MapType, index_hash: u32, room: usize) -> Self {
        let content = match map_type {
            MapType::Lww => Content::Lww(Head::BOTTOM),
            MapType::Or => Content::OrSet(Box::new(OrSet::new())),
            MapType::Counter => Content::Counter(Box::default()),
        };
        let key_bytes = u16::try_from(key.len()).expect("no key is longer than KEY_BYTES_MAX");
        let mut bytes = Vec::with_capacity(key.len() + room);
        bytes.extend_from_slice(key);
        bytes.resize(key.len() + room, 0);
        Self { bytes: bytes.into(), content, applied: Time::ZERO, digest: 0, index_hash, key_bytes }
    }

    /// One of which nothing is left; allocates nothing.
    pub(super) fn vacant() -> Self {
        Self::new(&[], MapType::Lww, 0, 0)
    }

    pub fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_bytes)]
    }

    pub fn name(&self) -> CellName {
        CellName { hash: self.index_hash, key: self.key().into() }
    }

    /// The owner's tick when it accepted the latest change.
    pub const fn applied(&self) -> Time {
        self.applied
    }

    pub fn state(&self) -> State<'_> {
        match &self.content {
            Content::Lww(head) => State::Lww(Lww::new(head, &self.bytes[usize::from(self.key_bytes)..])),
            Content::OrSet(set) => State::OrSet(set),
            Content::Counter(counter) => State::Counter(counter),
        }
    }

    /// Whether a reader sees a value: it was not deleted, or not all of it.
    pub const fn is_live(&self) -> bool {
        match &self.content {
            Content::Lww(head) => head.has_value(),
            Content::OrSet(set) => set.has_live(),
            Content::Counter(_) => true,
        }
    }

    /// Joins the state with a delta of its type; whether that changed it. `applied` dates a tag or a
    /// slot; the cell's own is set by the map.
    ///
    /// # Errors
    /// [`Refused::TooLarge`] for one tag or slot too many, [`Refused::MapType`] for a delta of another type,
    /// [`Refused::CellFull`] where tags or slots would grow beyond the limit, [`Refused::Crowded`] where removed tags do.
    #[inline]
    pub(super) fn merge(
        &mut self,
        delta: &Delta<'_>,
        applied: Time,
        limits: CellLimits,
    ) -> Result<bool, Refused> {
        if let (Some(mut lww), Delta::Lww { at, value, expires_ms }) = (self.lww_mut(), delta) {
            if !lww.merge(at, *value, *expires_ms) {
                return Ok(false);
            }
            self.digest = value.map_or(0, |value| digest::of_lww(self.key(), at, value, *expires_ms));
            return Ok(true);
        }
        let key = &self.bytes[..usize::from(self.key_bytes)];
        let digest_change = match (&mut self.content, delta) {
            (Content::OrSet(set), Delta::OrAdd { tag, value, at }) => {
                set.add(key, tag, value, (at, applied), limits)?
            }
            (Content::OrSet(set), Delta::OrRemove { tag }) => set.remove(key, tag, applied, limits)?,
            (Content::Counter(counter), Delta::Counter { replica, added, subtracted }) => {
                let totals = Totals { added: *added, subtracted: *subtracted };
                counter.merge(key, replica, (totals, applied), limits)?
            }
            (Content::Counter(counter), &Delta::CounterAbsorbed { count: Count(count), through }) => {
                counter.absorb(key, count, through)
            }
            _ => return Err(Refused::MapType),
        };
        self.digest = self.digest.wrapping_add(digest_change.unwrap_or(0));
        Ok(digest_change.is_some())
    }

    /// Removes tags at once; how many, and to `work` it adds what that took.
    ///
    /// # Errors
    /// As [`OrSet::remove_all`], and [`Refused::MapType`] if this is no set.
    pub(super) fn remove_all(
        &mut self,
        removal: &mut Removal<'_, '_>,
        applied: Time,
        limits: CellLimits,
        work: &mut usize,
        each: impl FnMut(&str),
    ) -> Result<usize, Refused> {
        let Content::OrSet(set) = &mut self.content else { return Err(Refused::MapType) };
        let key = &self.bytes[..usize::from(self.key_bytes)];
        let (removed, digest_change) = set.remove_all(key, removal, applied, limits, work, each)?;
        self.digest = self.digest.wrapping_add(digest_change);
        Ok(removed)
    }

    /// Turns an LWW value whose time is up into its tombstone.
    pub(super) fn end_value(&mut self) {
        if let Some(mut lww) = self.lww_mut() {
            lww.end();
            self.digest = 0;
        }
    }

    pub(super) fn lww_mut(&mut self) -> Option<LwwMut<'_>> {
        match &mut self.content {
            Content::Lww(head) => {
                Some(LwwMut { head, bytes: &mut self.bytes, key_bytes: usize::from(self.key_bytes) })
            }
            _ => None,
        }
    }

    pub(super) const fn or_set_mut(&mut self) -> Option<&mut OrSet> {
        match &mut self.content {
            Content::OrSet(set) => Some(set),
            _ => None,
        }
    }

    pub(super) const fn counter(&self) -> Option<&Counter> {
        match &self.content {
            Content::Counter(counter) => Some(counter),
            _ => None,
        }
    }

    /// Whether it is a set larger than [`LARGE_SET_BYTES`].
    pub(super) const fn is_large_set(&self) -> bool {
        matches!(&self.content, Content::OrSet(set) if set.bytes() > LARGE_SET_BYTES)
    }

    /// In O(1), from what the cell has cached.
    pub(super) fn tally(&self) -> Tally {
        let content_bytes = match &self.content {
            Content::Lww(_) => 0,
            Content::OrSet(set) => set.heap_bytes(),
            Content::Counter(counter) => counter.heap_bytes(),
        };
        let heap_bytes = self.bytes.len() + content_bytes;
        Tally { digest: self.digest, live: usize::from(self.is_live()), heap_bytes }
    }

    /// The digest from scratch.
    pub(super) fn recompute_digest(&self) -> u64 {
        match self.state() {
            State::Lww(lww) => lww.digest(self.key()),
            State::OrSet(set) => set.digest(self.key()),
            State::Counter(counter) => counter.digest(self.key()),
        }
    }
}
