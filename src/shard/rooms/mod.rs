//! Presence: who is in a room, and a small state of each, kept in memory only and gone with the connection that set it.
//!
//! A room has a home, the shard that owns its name, which alone keeps its members (`members.rs`) and tells every shard
//! with watchers of each change, in order (`watch.rs`); there it is delivered (`deliver.rs`). What a connection does is in
//! `presence.rs`. Members of `/v1` (`shard/presence/`) are shown here as well, and hers are theirs (`shown.rs`).

mod deliver;
mod inspect;
mod members;
mod presence;
mod shown;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use slab::Slab;

pub use presence::{SetPresence, check_room, member_answered};
pub use shown::{ANONYMOUS, Noted, USER};

use deliver::Told;
use watch::Watch;

use super::divided::Divided;
use super::interest::{Interest, NameTable, Named};
use crate::mesh::{ReplyTo, Writer};

/// Slot of a room in this shard's table.
type RoomSlot = u32;

/// See the module.
#[derive(Default)]
pub struct Rooms {
    table: NameTable<Room>,
    watches: Slab<Watch>,
    /// Watches to be answered with all members of a room whose home is here, oldest first.
    to_answer: VecDeque<(ReplyTo, Arc<str>)>,
    /// Members of rooms whose home is here that are gone with their connection, oldest first.
    to_leave: VecDeque<Leaver>,
    /// What watchers are to be told, in order, by turns with work for it.
    told: Divided<Told, u32>,
    /// What `presence/` is to look at, where it shows anything on this shard: changes of clients' members, and first watches.
    noted: Vec<Noted>,
    pub are_noted: bool,
    counts: RoomCounts,
}

/// What there is of rooms whose home is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomCounts {
    /// Rooms with members.
    pub rooms: u64,
    pub members: u64,
    /// Bytes of their names and states.
    pub bytes: usize,
}

/// A member whose connection is gone.
struct Leaver {
    room: Box<str>,
    member: Box<str>,
    by: Writer,
}

/// One room, as far as it concerns this shard.
struct Room {
    /// Its members are watches; at its home, other shards are those that watch it.
    interest: Interest,
    /// At its home, who is in it. Ordered by name, so that the same history gives the same bytes.
    members: BTreeMap<Box<str>, Present>,
    /// Bytes of the names and states of `members`.
    bytes: usize,
    /// Of those, members of `/v1`, which `presence/` shows here.
    shown: usize,
}

/// What is known of a member.
struct Present {
    /// Canonical JSON.
    state: Arc<[u8]>,
    clock: u64,
    /// When it was set first, in Unix milliseconds.
    since_ms: u64,
    /// Who has set it last.
    by: Writer,
}

impl Named for Room {
    fn interest(&self) -> &Interest {
        &self.interest
    }
}

impl Rooms {
    /// As they were kept with each change.
    pub const fn counts(&self) -> RoomCounts {
        self.counts
    }

    /// From scratch, which takes a look at each room: for tests.
    pub fn recounted(&self) -> RoomCounts {
        let rooms = || self.table.iter().filter(|room| !room.members.is_empty());
        let own =
            |room: &Room| room.members.values().filter(|present| !shown::is_shown(present.by)).count() as u64;
        RoomCounts {
            rooms: rooms().filter(|room| own(room) > 0).count() as u64,
            members: rooms().map(own).sum(),
            bytes: rooms()
                .flat_map(|room| &room.members)
                .map(|(name, present)| name.len() + present.state.len())
                .sum(),
        }
    }

    /// Counts one more of a client's members in a room, or one less.
    fn count(&mut self, slot: RoomSlot, by: Writer, is_new: bool) {
        let Self { table, counts, .. } = self;
        let room = &mut table[slot];
        if shown::is_shown(by) {
            room.shown = if is_new { room.shown + 1 } else { room.shown - 1 };
            return;
        }
        let own = room.members.len() - room.shown;
        if is_new {
            counts.members += 1;
            counts.rooms += u64::from(own == 1);
        } else {
            counts.members -= 1;
            counts.rooms -= u64::from(own == 0);
        }
    }

    fn find(&self, name: &str, hash: u64) -> Option<RoomSlot> {
        self.table.find(name, hash)
    }

    fn find_or_insert(&mut self, name: &str, hash: u64) -> RoomSlot {
        self.table.find_or_insert(name, hash, |interest| Room {
            interest,
            members: BTreeMap::new(),
            bytes: 0,
            shown: 0,
        })
    }

    /// Forgets a room that nobody is in and nobody watches.
    fn release_if_unused(&mut self, slot: RoomSlot) {
        let is_unused = |room: &Room| room.members.is_empty() && !room.interest.is_heard();
        if self.table.get(slot).is_some_and(is_unused) {
            self.table.remove(slot);
        }
    }
}
