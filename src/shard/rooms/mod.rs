//! The rooms this shard knows: those whose members it keeps, and those its clients watch.

pub mod members;
pub mod presence;
pub mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hashbrown::HashTable;
use slab::Slab;

use crate::mesh::{ReplyTo, ShardSet, Writer};
use crate::shard::rooms::watch::Watch;

/// Slot of a room in this shard's table.
pub type RoomSlot = u32;

/// Everything about rooms; see `presence.rs`.
#[derive(Default)]
pub struct Presence {
    pub rooms: Rooms,
    pub watches: Slab<Watch>,
    /// Watches to be answered with all members of a room whose home is here, oldest first.
    pub to_answer: VecDeque<(ReplyTo, Arc<str>)>,
}

/// One room, as far as it concerns this shard.
pub struct Room {
    pub name: Arc<str>,
    pub hash: u64,
    /// Slots of the watches of this shard's connections.
    pub watches: Vec<u32>,
    /// At its home, who is in it. Ordered by name, so that the same history gives the same bytes.
    pub members: BTreeMap<Box<str>, Present>,
    /// Bytes of the names and states of `members`.
    pub bytes: usize,
    /// At its home, the other shards that watch it.
    pub interested: ShardSet,
}

/// What is known of a member.
pub struct Present {
    /// Canonical JSON.
    pub state: Box<[u8]>,
    pub clock: u64,
    /// Who has set it last.
    pub by: Writer,
}

impl Room {
    fn is_unused(&self) -> bool {
        self.watches.is_empty() && self.members.is_empty() && self.interested.is_empty()
    }
}

/// All of them, by slot and by name.
#[derive(Default)]
pub struct Rooms {
    slots: Slab<Room>,
    by_name: HashTable<RoomSlot>,
}

impl Rooms {
    pub fn find(&self, name: &str, hash: u64) -> Option<RoomSlot> {
        let is_it = |&slot: &RoomSlot| &*self.slots[slot as usize].name == name;
        self.by_name.find(hash, is_it).copied()
    }

    pub fn find_or_insert(&mut self, name: &str, hash: u64) -> RoomSlot {
        if let Some(slot) = self.find(name, hash) {
            return slot;
        }
        let slot = self.slots.insert(Room {
            name: Arc::from(name),
            hash,
            watches: Vec::new(),
            members: BTreeMap::new(),
            bytes: 0,
            interested: ShardSet::EMPTY,
        }) as RoomSlot;
        let slots = &self.slots;
        self.by_name.insert_unique(hash, slot, |&slot| slots[slot as usize].hash);
        slot
    }

    /// Forgets a room that nobody is in and nobody watches.
    pub fn release_if_unused(&mut self, slot: RoomSlot) {
        if !self.slots.get(slot as usize).is_some_and(Room::is_unused) {
            return;
        }
        let room = self.slots.remove(slot as usize);
        if let Ok(entry) = self.by_name.find_entry(room.hash, |&candidate| candidate == slot) {
            entry.remove();
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Room> {
        self.slots.iter().map(|(_, room)| room)
    }
}

impl std::ops::Index<RoomSlot> for Rooms {
    type Output = Room;

    fn index(&self, slot: RoomSlot) -> &Room {
        &self.slots[slot as usize]
    }
}

impl std::ops::IndexMut<RoomSlot> for Rooms {
    fn index_mut(&mut self, slot: RoomSlot) -> &mut Room {
        &mut self.slots[slot as usize]
    }
}
