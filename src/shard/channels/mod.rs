//! Channels: what is said to all who are there, in one order, with the last of it kept for who was away.
//!
//! A channel has a home, the shard that owns its name, which alone gives offsets, keeps what was said (`home.rs`, `upkeep.rs`)
//! and tells every shard with members of each message, in order. There it is delivered (`deliver.rs`). What a connection does is
//! in `join.rs`, `publish.rs` and `history.rs`.
//!
//! Invariant: a member is sent the messages of one epoch by ascending offset, each once, and is told where any is missing.

mod deliver;
mod history;
mod home;
mod inspect;
mod join;
mod publish;
mod upkeep;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use slab::Slab;

pub use publish::Publish;

use deliver::Batch;
use home::Home;
use join::Member;

use super::divided::Divided;
use super::interest::{Interest, NameTable, Named};
use super::maps::Maps;
use super::turn::Turn;
use crate::auth::rules::Rules;
use crate::mesh::ShardIndex;

/// Slot of a channel in this shard's table.
type ChannelSlot = u32;

/// See the module.
#[derive(Default)]
pub struct Channels {
    table: NameTable<Channel>,
    members: Slab<Member>,
    /// Channels in which something was said in this turn, once for each batch.
    batched: Vec<ChannelSlot>,
    /// What members of this shard are to be sent, in order, by turns with work for it.
    undelivered: Divided<Box<Batch>, u32>,
    /// What says which channels keep how much.
    rules: Option<Arc<Rules>>,
    /// Channels whose oldest message is too old, and when, in Unix milliseconds: each with a history once.
    due: BinaryHeap<Reverse<(u64, ChannelSlot, u64)>>,
    /// The slot from which on other rules are to be looked at.
    review: Option<ChannelSlot>,
    counts: ChannelCounts,
}

/// What there is of channels whose home is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounts {
    pub channels: u64,
    /// Messages that are kept.
    pub messages: u64,
    /// Bytes of names and of what is kept.
    pub bytes: usize,
}

/// One channel, as far as it concerns this shard.
struct Channel {
    /// Its members are memberships; at its home, other shards are those with members.
    interest: Interest,
    /// What members of this shard are to be sent of it at the end of the turn.
    batch: Option<Box<Batch>>,
    /// At its home.
    home: Option<Box<Home>>,
}

impl Named for Channel {
    fn interest(&self) -> &Interest {
        &self.interest
    }
}

impl Channel {
    /// What it takes at its home beside what is kept.
    fn own_bytes(&self) -> usize {
        size_of::<Self>() + size_of::<Home>() + self.interest.name().len()
    }
}

impl Channels {
    /// As they were kept with each change.
    pub const fn counts(&self) -> ChannelCounts {
        self.counts
    }

    /// From scratch, which takes a look at each channel: for tests.
    pub fn recounted(&self) -> ChannelCounts {
        let mut counts = ChannelCounts::default();
        for channel in self.table.iter() {
            let Some(home) = &channel.home else { continue };
            counts.channels += 1;
            let (messages, bytes) = home.size();
            counts.messages += messages as u64;
            counts.bytes += channel.own_bytes() + bytes;
        }
        counts
    }

    fn find(&self, turn: &Turn, name: &str) -> Option<ChannelSlot> {
        self.table.find(name, turn.hasher.channel(name))
    }

    fn find_or_insert(&mut self, turn: &Turn, name: &str) -> ChannelSlot {
        let hash = turn.hasher.channel(name);
        self.table.find_or_insert(name, hash, |interest| Channel { interest, batch: None, home: None })
    }

    /// The shard that has what is kept of a channel.
    fn home_of(&self, turn: &Turn, name: &str) -> ShardIndex {
        turn.owner(turn.hasher.channel(name))
    }

    /// Forgets a channel in which nobody is and of which nothing is kept.
    fn release_if_unused(&mut self, turn: &mut Turn, maps: &mut Maps, slot: ChannelSlot) {
        let is_unused = |channel: &Channel| {
            !channel.interest.is_heard()
                && channel.home.as_ref().is_none_or(|home| home.log.entries().is_empty())
        };
        if !self.table.get(slot).is_some_and(is_unused) {
            return;
        }
        let channel = self.table.remove(slot);
        let own_bytes = channel.own_bytes();
        if let Some(home) = channel.home {
            self.counts.channels -= 1;
            self.counts.bytes -= own_bytes;
            home.log.erase(turn, maps);
        }
    }
}
