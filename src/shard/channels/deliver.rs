//! What the members of this shard are sent: each message once, in the order of offsets.
//!
//! ```text
//!  give_offset, or an item of the home ──► batch of the channel ──end of turn, or 64 KiB──► each member once ──► who is left waits
//! ```
//! All that is said in a channel in one turn is one batch, made once for each dialect: a member costs one touch, however much was
//! said. A batch is divided over turns (`shard/divided.rs`). Who is over the soft limit misses it, and is told which messages it has
//! missed before the next.

use std::sync::Arc;
use std::{iter, mem};

use slab::Slab;

use super::join::Member;
use super::{ChannelSlot, Channels};
use crate::limits::CHUNK_BYTES;
use crate::mesh::{self, ConnectionId, Message, Messages, Said};
use crate::shard::clients::{Alike, Clients};
use crate::shard::divided::Divided;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{ChannelMessage, Dialect, Event, Frames};

/// What was said in a channel and is yet to be sent.
#[derive(Debug)]
pub struct Batch {
    channel: Arc<str>,
    epoch: u64,
    first: u64,
    last: u64,
    /// Packed [`Messages`].
    packed: Vec<u8>,
    /// Connections of this shard that are not sent what they have said, by the offset of that.
    senders: Vec<(u64, ConnectionId)>,
    /// Connections of this shard that take no further message before it is sent, if it has to wait.
    by: Vec<ConnectionId>,
}

impl Channels {
    /// The home of a channel has told of a message.
    pub fn message_arrived(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        arrived: &mesh::ChannelMessage,
        bytes: &[u8],
    ) {
        let Some(slot) = self.find(turn, &arrived.channel) else { return };
        let said = Said::unpack(arrived.said.of(bytes));
        let message = Message { offset: arrived.offset, time_ms: arrived.time_ms, said };
        turn.spend(work::PACKED + work::encoded(said.packed_bytes()));
        self.deliver(turn, clients, maps, slot, (arrived.epoch, message), (None, arrived.sender));
    }

    /// Has a message sent to all who are there: at the end of the turn, with all else that is said in it. It is `by` a connection of
    /// this shard, and `sender` is not sent it.
    pub(super) fn deliver(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: ChannelSlot,
        (epoch, message): (u64, Message<'_>),
        (by, sender): (Option<ConnectionId>, Option<ConnectionId>),
    ) {
        let channel = &mut self.table[slot];
        if channel.interest.members().is_empty() {
            return;
        }
        // What is left of another epoch was for members who have all left.
        let batch = match channel.batch.take().filter(|batch| batch.epoch == epoch) {
            Some(batch) => channel.batch.insert(batch),
            None => {
                self.batched.push(slot);
                channel.batch.insert(Box::new(Batch {
                    channel: Arc::clone(channel.interest.name()),
                    epoch,
                    first: message.offset,
                    last: 0,
                    packed: Vec::new(),
                    senders: Vec::new(),
                    by: Vec::new(),
                }))
            }
        };
        batch.last = message.offset;
        message.pack(&mut batch.packed);
        batch.senders.extend(sender.map(|sender| (message.offset, sender)));
        if let Some(by) = by.filter(|by| batch.by.last() != Some(by)) {
            batch.by.push(by);
        }
        // So that nobody is sent much more than the soft limit at once.
        if batch.packed.len() >= CHUNK_BYTES {
            self.flush(turn, clients, maps, slot);
        }
    }

    /// Sends what was said in this turn.
    pub fn flush_batches(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps) {
        for slot in mem::take(&mut self.batched) {
            self.flush(turn, clients, maps, slot);
        }
    }

    /// Sends a batch to all who are there, or keeps it for those for whom the turn has no work: then it waits, as does whoever has
    /// said any of it here.
    fn flush(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &Maps, slot: ChannelSlot) {
        let Some(channel) = self.table.get_mut(slot) else { return };
        let Some(batch) = channel.batch.take() else { return };
        let mut left = None;
        turn.begin_share_of(work::MESSAGE_MIN);
        if self.undelivered.is_empty() {
            let mut members = channel.interest.members().iter().copied();
            deliver_to_each(turn, clients, &mut self.members, &batch, &mut members);
            left = Some(members.collect::<Vec<_>>());
        }
        if left.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        let bytes = size_of::<Batch>() + batch.packed.len();
        if maps.may_wait(bytes + Divided::<Box<Batch>, _>::bytes_of(left.as_ref())).is_err() {
            let left = left.unwrap_or_else(|| channel.interest.members().to_vec());
            return self.miss(turn, clients, &batch, left);
        }
        batch.by.iter().for_each(|&by| clients.message_kept(by));
        self.undelivered.keep(turn, clients, maps, (batch, bytes), (None, left));
    }

    /// Goes on with batches that wait.
    pub fn deliver_waiting(&mut self, turn: &mut Turn, clients: &mut Clients) {
        let mut undelivered = mem::take(&mut self.undelivered);
        undelivered.go_on(turn, clients, |turn, clients, batch, left| {
            let left = left.or_else(|| {
                let slot = self.find(turn, &batch.channel)?;
                Some(self.table[slot].interest.members().to_vec())
            });
            // Who is a member since then has been told as much, and is told nothing twice.
            let mut left = left.unwrap_or_default();
            deliver_to_each(turn, clients, &mut self.members, batch, &mut iter::from_fn(|| left.pop()));
            if left.is_empty() {
                batch.by.iter().for_each(|&by| clients.message_delivered(by));
            }
            left
        });
        self.undelivered = undelivered;
    }

    /// Whether batches wait, so that the next turn must not wait for an event.
    pub fn has_undelivered(&self) -> bool {
        !self.undelivered.is_empty()
    }

    /// So much waits in this shard that those who are left miss a batch.
    fn miss(&mut self, turn: &mut Turn, clients: &mut Clients, batch: &Batch, left: Vec<u32>) {
        for slot in left {
            turn.spend(work::PASSED_OVER);
            let member = &mut self.members[slot as usize];
            if member.lacks(batch) && clients.takes_frames(member.connection.index) {
                member.miss(turn, clients, slot, batch);
            }
        }
    }
}

impl Batch {
    fn messages(&self) -> impl Iterator<Item = ChannelMessage<'_>> {
        Messages(&self.packed).map(|message| ChannelMessage::of(&self.channel, message))
    }

    fn is_by(&self, connection: ConnectionId) -> bool {
        self.senders.iter().any(|&(_, sender)| sender == connection)
    }
}

impl Member {
    /// Whether any of it is for this member. One that joins is of no epoch yet.
    fn lacks(&self, batch: &Batch) -> bool {
        self.epoch == batch.epoch && self.told < batch.last
    }

    /// Those that it is to be sent, of a batch that not all is for.
    fn own_part<'b>(&self, batch: &'b Batch) -> impl Iterator<Item = ChannelMessage<'b>> {
        let (told, me) = (self.told, self.connection);
        batch
            .messages()
            .filter(move |message| message.offset > told && !batch.senders.contains(&(message.offset, me)))
    }

    fn miss(&mut self, turn: &mut Turn, clients: &mut Clients, slot: u32, batch: &Batch) {
        let mut missed = self.own_part(batch).map(|message| message.offset);
        let range =
            missed.next().map(|first| (first, missed.fold((first, 1), |(_, count), last| (last, count + 1))));
        if let Some((first, (last, count))) = range {
            turn.spend(count * work::PASSED_OVER);
            turn.metrics.channel_missed += count;
            match &mut self.missed {
                Some((_, to)) => *to = last,
                None => {
                    self.missed = Some((first, last));
                    clients.at_mut(self.connection.index).joined.fall_behind(slot);
                }
            }
        }
        self.told = batch.last;
    }
}

/// Queues a batch for one member after the other, until the turn and whose share of it this is have done enough.
fn deliver_to_each(
    turn: &mut Turn,
    clients: &mut Clients,
    members: &mut Slab<Member>,
    batch: &Batch,
    left: &mut impl Iterator<Item = u32>,
) {
    let count = Messages(&batch.packed).count() as u64;
    let mut alike = Alike::default();
    while !turn.is_over()
        && let Some(slot) = left.next()
    {
        turn.reach_one(batch.packed.len());
        turn.spend(batch.senders.len() as u64 / 16);
        let Some(member) = members.get_mut(slot as usize) else { continue };
        let index = member.connection.index;
        if !member.lacks(batch) || !clients.takes_frames(index) {
            continue;
        }
        if clients.is_over_soft_limit(index) {
            member.miss(turn, clients, slot, batch);
            continue;
        }
        if let Some((from, to)) = member.missed.take() {
            turn.metrics.channel_gaps += 1;
            clients.at_mut(index).joined.catch_up(slot);
            clients.tell(member.connection, turn.now, Event::Gap { channel: &batch.channel, from, to });
        }
        if member.told < batch.first && !batch.is_by(member.connection) {
            turn.metrics.channel_deliveries += count;
            clients.send_alike(&mut alike, index, turn.now, |dialect: &dyn Dialect, out: &mut Frames| {
                batch.messages().for_each(|message| dialect.channel_message(message, &mut out.bytes));
            });
        } else {
            for message in member.own_part(batch) {
                turn.spend(work::encoded(message.said.data.len()));
                turn.metrics.channel_deliveries += 1;
                let write = |dialect: &dyn Dialect, out: &mut Vec<u8>| dialect.channel_message(message, out);
                clients.send_as(member.connection, turn.now, write);
            }
        }
        member.told = batch.last;
    }
}
