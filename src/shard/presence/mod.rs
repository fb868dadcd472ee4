//! Presence over `/v1`: users in rooms, each with its connections, told at most once a tick.
//!
//! ```text
//!  connection ──join, update, leave──► stays.rs ──RoomRequest──► home.rs: members, their connections, who is away
//!      ▲                                                            │ what has changed; by the clock: tick.rs
//!      └── one frame a room, dialect and shard ◄── deliver.rs ◄──RoomNews, RoomAnswer
//! ```
//! Rooms of clients of other dialects (`rooms/`) with the same names are the same rooms: `shown.rs`.
//!
//! Invariant: whoever has been answered is told each later change once, in order, or is behind and is answered again. A member is
//! there exactly as long as any connection of it is, and for its grace after the last has gone without a word.

mod asked;
mod asking;
mod deliver;
mod home;
mod inspect;
mod shown;
mod stay;
mod stays;
mod tick;

use std::collections::BTreeSet;
use std::sync::Arc;

use slab::Slab;

pub use asked::refuse;
pub use stays::JoinRoom;

use deliver::Told;
use home::{Home, Joining};
use stay::Stay;

use super::divided::Divided;
use super::interest::{Interest, NameTable, Named};
use super::turn::Turn;
use crate::mesh::ReplyTo;

/// Slot of a room in this shard's table.
type Slot = u32;

/// See the module.
#[derive(Default)]
pub struct Presence {
    table: NameTable<Gathering>,
    stays: Slab<Stay>,
    /// Rooms whose home is here, by when they are told of next, in microseconds of the monotonic clock.
    due: BTreeSet<(u64, Slot)>,
    /// Members that are away, by when their grace is over, in milliseconds.
    away: BTreeSet<(u64, Slot, Box<str>)>,
    /// What connections of this shard are to be told, in order, by turns with work for it.
    told: Divided<Told, u32>,
    /// Stays of this shard that lack something of a room whose home is here.
    again: Vec<(ReplyTo, Arc<str>)>,
    counts: PresenceCounts,
}

/// What there is of rooms whose home is here, without clients of other dialects, and bytes of all that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceCounts {
    pub rooms: u64,
    pub members: u64,
    /// Rooms with a home here, whoever is in them.
    homes: usize,
    pub bytes: usize,
}

/// One room, as far as it concerns this shard.
struct Gathering {
    /// Its members are stays; at its home, other shards are those with stays of their own.
    interest: Interest,
    /// At its home, who is in it.
    home: Option<Box<Home>>,
}

impl Named for Gathering {
    fn interest(&self) -> &Interest {
        &self.interest
    }
}

impl Presence {
    /// As they were kept with each change.
    pub const fn counts(&self) -> PresenceCounts {
        self.counts
    }

    /// From scratch, which takes a look at each room: for tests.
    pub fn recounted(&self) -> PresenceCounts {
        let homes = || self.table.iter().filter_map(|gathering| gathering.home.as_ref());
        let of_homes = homes().map(|home| home.bytes).sum::<usize>();
        let of_stays = self.stays.iter().map(|(_, stay)| stay.name_bytes()).sum::<usize>();
        PresenceCounts {
            rooms: homes().filter(|home| home.own > 0).count() as u64,
            members: homes().map(|home| home.own as u64).sum(),
            homes: homes().count(),
            bytes: of_homes + of_stays,
        }
    }

    /// Whether any stay is yet to be answered, so that the next turn must not wait for an event.
    pub fn has_to_answer(&self) -> bool {
        !self.again.is_empty()
    }

    /// When something is due next, in microseconds of the monotonic clock. Nothing is told while memory is full, but whoever is
    /// away for too long leaves.
    pub fn next_us(&self, is_full: bool) -> Option<u64> {
        let tick = self.due.first().filter(|_| !is_full).map(|&(at_us, _)| at_us);
        let grace = self.away.first().map(|&(until_ms, ..)| until_ms * 1000);
        tick.into_iter().chain(grace).min()
    }

    fn find(&self, turn: &Turn, room: &str) -> Option<Slot> {
        self.table.find(room, turn.hasher.map(room))
    }

    fn find_or_insert(&mut self, turn: &Turn, room: &str) -> Slot {
        self.table.find_or_insert(room, turn.hasher.map(room), |interest| Gathering { interest, home: None })
    }

    fn name(&self, slot: Slot) -> Arc<str> {
        Arc::clone(self.table[slot].interest.name())
    }

    /// Forgets a room that nobody of `/v1` is in and nobody hears of, or has asked for.
    fn release_if_unused(&mut self, slot: Slot) {
        let Some(gathering) = self.table.get_mut(slot) else { return };
        let is_needed = |home: &Home| home.own > 0 || !home.to_answer.is_empty();
        if gathering.home.as_deref().is_some_and(is_needed) || gathering.interest.is_heard() {
            return;
        }
        if let Some(home) = gathering.home.take() {
            if home.is_shown {
                // What is shown to clients is taken away first.
                gathering.home = Some(home);
                return;
            }
            self.counts.homes -= 1;
            self.counts.bytes -= home.bytes;
            if let Some(at_us) = home.due_us {
                self.due.remove(&(at_us, slot));
            }
        }
        self.table.remove(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_memory_holds_back_what_is_told_and_no_grace() {
        let mut presence = Presence::default();
        presence.due.insert((1_000, 0));
        assert_eq!((presence.next_us(false), presence.next_us(true)), (Some(1_000), None));
        presence.away.insert((7, 0, "user:ada".into()));
        assert_eq!((presence.next_us(false), presence.next_us(true)), (Some(1_000), Some(7_000)));
    }
}
