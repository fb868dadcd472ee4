//! What has a name and is heard of: maps and rooms alike have members on this shard and hearers on others.
//!
//! ```text
//!  name ─► slot ─► { name, hash, members here: [u32], other shards: ShardSet, … what the owner keeps of it }
//! ```
//! Invariant: a slot is found by its name until it is removed, and a member knows its place among the others, so that
//! leaving costs nothing however many there are. What nobody hears of, as most maps, keeps no room for those who might.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use hashbrown::HashTable;

use super::slots::{Slots, slot};
use crate::handover::inspection::{Share, Walk};
use crate::mesh::{ShardIndex, ShardSet};

/// Who hears of one thing.
#[derive(Debug)]
pub struct Interest {
    name: Arc<str>,
    hash: u64,
    heard: Option<Box<Hearers>>,
}

/// Who hears of it; there is at least one.
#[derive(Debug)]
struct Hearers {
    members: Vec<u32>,
    shards: ShardSet,
    /// Of all shards, this one too, those that need what was there before a change.
    before: ShardSet,
    /// Work that a change is to those queries here, where its owner is, that look at it, by and large: they need what was there
    /// before. 0: there are none.
    queried_work: u64,
}

/// What follows from a member's leaving.
pub struct Left {
    /// The member that has its place now.
    pub moved: Option<u32>,
    /// Nobody on this shard hears of it any more.
    pub was_last: bool,
}

impl Interest {
    pub fn new(name: &str, hash: u64) -> Self {
        Self { name: Arc::from(name), hash, heard: None }
    }

    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Slots of those on this shard, whatever they are to the owner.
    pub fn members(&self) -> &[u32] {
        self.heard.as_ref().map_or(&[], |heard| &heard.members)
    }

    /// Other shards that hear of it.
    pub fn shards(&self) -> ShardSet {
        self.heard.as_ref().map_or(ShardSet::EMPTY, |heard| heard.shards)
    }

    /// Whether anybody would be told of a change.
    pub const fn is_heard(&self) -> bool {
        self.heard.is_some()
    }

    /// Whether any shard needs what was there before a change.
    pub fn wants_before(&self) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.queried_work > 0 || !heard.before.is_empty())
    }

    /// Whether a shard needs that.
    pub fn wants_before_for(&self, shard: ShardIndex) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.before.contains(shard))
    }

    /// A shard that hears of it needs that from now on, or no longer.
    pub fn set_before_for(&mut self, shard: ShardIndex, wants: bool) {
        match &mut self.heard {
            Some(heard) if wants => heard.before.insert(shard),
            Some(heard) => heard.before.remove(shard),
            None => debug_assert!(!wants, "it does not hear of it"),
        }
    }

    /// Work that queries have with a change, by and large; 0: none looks at its changes.
    pub fn queried_work(&self) -> u64 {
        self.heard.as_ref().map_or(0, |heard| heard.queried_work)
    }

    /// Queries look at its changes from now on, with so much work each, or no longer.
    pub fn set_queried_work(&mut self, work: u64) {
        if work > 0 {
            self.hearers().queried_work = work;
        } else if let Some(heard) = &mut self.heard {
            heard.queried_work = 0;
            self.forget_nobody();
        }
    }

    /// Adds a member; its place, which is 0 for the first.
    pub fn join(&mut self, member: u32) -> u32 {
        let members = &mut self.hearers().members;
        members.push(member);
        slot(members.len() - 1)
    }

    /// Takes the member at `place` out.
    pub fn leave(&mut self, place: u32) -> Left {
        let members = &mut self.hearers().members;
        members.swap_remove(place as usize);
        let left = Left { moved: members.get(place as usize).copied(), was_last: members.is_empty() };
        if left.was_last {
            *members = Vec::new();
            self.forget_nobody();
        }
        left
    }

    /// Another shard hears of it from now on, or no longer.
    pub fn set_heard_by(&mut self, shard: ShardIndex, hears: bool) {
        if hears {
            self.hearers().shards.insert(shard);
        } else if let Some(heard) = &mut self.heard {
            heard.shards.remove(shard);
            self.forget_nobody();
        }
    }

    fn hearers(&mut self) -> &mut Hearers {
        let nobody = || Hearers {
            members: Vec::new(),
            shards: ShardSet::EMPTY,
            before: ShardSet::EMPTY,
            queried_work: 0,
        };
        self.heard.get_or_insert_with(|| Box::new(nobody()))
    }

    fn forget_nobody(&mut self) {
        self.heard
            .take_if(|heard| heard.members.is_empty() && heard.shards.is_empty() && heard.queried_work == 0);
    }
}

/// Something with an [`Interest`] in it.
pub trait Named {
    fn interest(&self) -> &Interest;
}

/// Named things by slot and by name.
#[derive(Debug)]
pub struct NameTable<T> {
    slots: Slots<T>,
    by_name: HashTable<u32>,
}

impl<T> Default for NameTable<T> {
    fn default() -> Self {
        Self { slots: Slots::default(), by_name: HashTable::new() }
    }
}

impl<T: Named> NameTable<T> {
    pub fn find(&self, name: &str, hash: u64) -> Option<u32> {
        let is_it = |&slot: &u32| &**self.slots[slot].interest().name() == name;
        self.by_name.find(hash, is_it).copied()
    }

    pub fn find_or_insert(&mut self, name: &str, hash: u64, make: impl FnOnce(Interest) -> T) -> u32 {
        if let Some(slot) = self.find(name, hash) {
            return slot;
        }
        let slot = self.slots.insert(|_| make(Interest::new(name, hash)));
        let slots = &self.slots;
        self.by_name.insert_unique(hash, slot, |&slot| slots[slot].interest().hash());
        slot
    }

    /// Forgets what is in `slot`, which must be there.
    pub fn remove(&mut self, slot: u32) -> T {
        let removed = self.slots.remove(slot);
        if let Ok(entry) = self.by_name.find_entry(removed.interest().hash(), |&candidate| candidate == slot)
        {
            entry.remove();
        }
        removed
    }

    pub fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot)
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot)
    }

    /// Slots there have been at once, in whole chunks: every slot is below.
    pub fn slot_count(&self) -> u32 {
        self.slots.slots()
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// See [`Slots::inspect`].
    pub fn inspect<R>(&self, walk: Walk, row: impl FnMut(&T) -> Option<R>) -> Share<R> {
        self.slots.inspect(walk, row)
    }

    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().map(|(slot, _)| slot)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, named)| named)
    }
}

impl<T> Index<u32> for NameTable<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        &self.slots[slot]
    }
}

impl<T> IndexMut<u32> for NameTable<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.slots[slot]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Named for Interest {
        fn interest(&self) -> &Interest {
            self
        }
    }

    #[test]
    fn members_leave_in_any_order_and_the_last_is_told_of() {
        let mut interest = Interest::new("a", 1);
        assert_eq!([7, 8, 9].map(|member| interest.join(member)), [0, 1, 2]);
        let left = interest.leave(0);
        assert_eq!((left.moved, left.was_last, interest.members()), (Some(9), false, &[9, 8][..]));
        let left = interest.leave(1);
        assert_eq!((left.moved, left.was_last), (None, false));
        interest.set_heard_by(3, true);
        assert!(interest.leave(0).was_last && interest.is_heard());
        interest.set_heard_by(3, false);
        assert!(!interest.is_heard());
    }

    #[test]
    fn a_name_is_found_until_it_is_removed_though_hashes_collide() {
        let mut table = NameTable::<Interest>::default();
        let slots = ["a", "b", "c"].map(|name| table.find_or_insert(name, 5, |interest| interest));
        assert_eq!(table.find_or_insert("b", 5, |interest| interest), slots[1]);
        table.remove(slots[1]);
        assert_eq!(["a", "b", "c"].map(|name| table.find(name, 5)), [Some(slots[0]), None, Some(slots[2])]);
    }
}
