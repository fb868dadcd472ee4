//! One key of a map: its CRDT state and what the map needs to know about it.
//!
//! Invariant: `digest` is always what `State::digest` computes from scratch, and a cell in a map has an
//! `applied` above [`Time::ZERO`].

use super::counter::{Counter, Totals};
use super::lww::Lww;
use super::or_set::{OrSet, Removal};
use super::{CellLimits, Count, Delta, MapType, Refused, Time};
use crate::limits::LARGE_SET_BYTES;

/// The place of a cell in its map. Valid until the map is pruned: then another cell may have it, and its cell one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellIndex(u32);

impl CellIndex {
    /// Cells one map can have on one shard; beyond half a terabyte of them.
    pub(super) const CELLS_MAX: usize = u32::MAX as usize;

    /// One behind the last there may be.
    pub const END: Self = Self(u32::MAX);

    pub(super) const fn from_usize(index: usize) -> Self {
        assert!(index < Self::CELLS_MAX, "the map refuses cells beyond its limit");
        Self(index as u32)
    }

    pub(super) const fn to_usize(self) -> usize {
        self.0 as usize
    }
}

/// One key.
///
/// # Memory
/// What an LWW key costs beyond the bytes of its key and value:
///
/// ```text
/// 128  the cell: 48 stamp, 24 value, 16 key, 8 expires, 8 queued expiry, 8 applied, 8 digest, 4 hash, 4 padding
///  10 to 21  its index entry: 8 bytes and 1 control byte, the table being 7/8 to 7/16 full
///  12 to 32  its entries in the applied order: 12 bytes, of which 1 to 2.7 for each cell
/// 150 to 181 together
/// ```
///
/// and up to 15 bytes by which the value's capacity is rounded up. A value with a time to live has about 24
/// more in `Expiries`. A map of up to four keys has neither index nor order.
#[derive(Debug)]
pub struct Cell {
    key: Box<[u8]>,
    pub(super) applied: Time,
    digest: u64,
    /// What the index needs to find this cell's entry again.
    pub(super) index_hash: u32,
    state: State,
}

const _: () = assert!(size_of::<Cell>() <= 128);

/// The CRDT at one key.
#[derive(Debug)]
pub enum State {
    Lww(Lww),
    OrSet(Box<OrSet>),
    Counter(Box<Counter>),
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
    /// A key to which nothing has been written.
    pub(super) fn new(key: &[u8], map_type: MapType, index_hash: u32) -> Self {
        let state = match map_type {
            MapType::Lww => State::Lww(Lww::new()),
            MapType::Or => State::OrSet(Box::new(OrSet::new())),
            MapType::Counter => State::Counter(Box::default()),
        };
        Self { key: key.into(), applied: Time::ZERO, digest: 0, index_hash, state }
    }

    /// One of which nothing is left; allocates nothing.
    pub(super) fn vacant() -> Self {
        Self::new(&[], MapType::Lww, 0)
    }

    pub const fn key(&self) -> &[u8] {
        &self.key
    }

    /// The owner's tick when it accepted the latest change.
    pub const fn applied(&self) -> Time {
        self.applied
    }

    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Whether a reader sees a value: it was not deleted, or not all of it.
    pub fn is_live(&self) -> bool {
        match &self.state {
            State::Lww(lww) => lww.value().is_some(),
            State::OrSet(set) => set.has_live(),
            State::Counter(_) => true,
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
        let key = &self.key;
        let digest_change = match (&mut self.state, delta) {
            (State::Lww(lww), Delta::Lww { at, value, expires_ms }) => {
                if !lww.merge(at, *value, *expires_ms) {
                    return Ok(false);
                }
                self.digest = lww.digest(key);
                return Ok(true);
            }
            (State::OrSet(set), Delta::OrAdd { tag, value, at }) => {
                set.add(key, tag, value, (at, applied), limits)?
            }
            (State::OrSet(set), Delta::OrRemove { tag }) => set.remove(key, tag, applied, limits)?,
            (State::Counter(counter), Delta::Counter { replica, added, subtracted }) => {
                let totals = Totals { added: *added, subtracted: *subtracted };
                counter.merge(key, replica, (totals, applied), limits)?
            }
            (State::Counter(counter), &Delta::CounterAbsorbed { count: Count(count), through }) => {
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
        let State::OrSet(set) = &mut self.state else { return Err(Refused::MapType) };
        let (removed, digest_change) = set.remove_all(&self.key, removal, applied, limits, work, each)?;
        self.digest = self.digest.wrapping_add(digest_change);
        Ok(removed)
    }

    /// Turns an LWW value whose time is up into its tombstone.
    pub(super) fn end_value(&mut self) {
        if let State::Lww(lww) = &mut self.state {
            lww.end();
            self.digest = 0;
        }
    }

    pub(super) const fn lww_mut(&mut self) -> Option<&mut Lww> {
        match &mut self.state {
            State::Lww(lww) => Some(lww),
            _ => None,
        }
    }

    pub(super) const fn or_set_mut(&mut self) -> Option<&mut OrSet> {
        match &mut self.state {
            State::OrSet(set) => Some(set),
            _ => None,
        }
    }

    pub(super) const fn counter(&self) -> Option<&Counter> {
        match &self.state {
            State::Counter(counter) => Some(counter),
            _ => None,
        }
    }

    /// Whether it is a set larger than [`LARGE_SET_BYTES`].
    pub(super) const fn is_large_set(&self) -> bool {
        matches!(&self.state, State::OrSet(set) if set.bytes() > LARGE_SET_BYTES)
    }

    /// In O(1), from what the cell has cached.
    pub(super) fn tally(&self) -> Tally {
        let state_bytes = match &self.state {
            State::Lww(lww) => lww.heap_bytes(),
            State::OrSet(set) => set.heap_bytes(),
            State::Counter(counter) => counter.heap_bytes(),
        };
        let heap_bytes = self.key.len() + state_bytes;
        Tally { digest: self.digest, live: usize::from(self.is_live()), heap_bytes }
    }

    /// The digest from scratch.
    pub(super) fn recompute_digest(&self) -> u64 {
        match &self.state {
            State::Lww(lww) => lww.digest(&self.key),
            State::OrSet(set) => set.digest(&self.key),
            State::Counter(counter) => counter.digest(&self.key),
        }
    }
}
