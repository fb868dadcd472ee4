//! What the members of this shard are sent: each message once, in the order of offsets. It is divided over turns
//! (`shard/divided.rs`). Who is over the soft limit misses a message, and is told which it has missed before the next.

use std::sync::Arc;
use std::{iter, mem};

use slab::Slab;

use super::join::Member;
use super::{ChannelSlot, Channels};
use crate::mesh::{self, ConnectionId, Message, Said};
use crate::shard::clients::{Alike, Clients};
use crate::shard::divided::Divided;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{ChannelMessage, Dialect, Event, Frames};

/// A message that waits for a turn with work for it.
pub struct Undelivered {
    channel: Arc<str>,
    epoch: u64,
    offset: u64,
    time_ms: u64,
    from: Box<str>,
    data: Box<[u8]>,
    /// Who is not sent it.
    sender: Option<ConnectionId>,
}

/// A message on its way to the members of this shard.
#[derive(Clone, Copy)]
struct Delivery<'a> {
    epoch: u64,
    message: ChannelMessage<'a>,
    sender: Option<ConnectionId>,
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
        if !turn.is_spent() {
            turn.begin_share_of(work::MESSAGE_MIN);
        }
        self.deliver_or_keep(turn, clients, maps, slot, (arrived.epoch, message), (None, arrived.sender));
    }

    /// Sends a message to all who are there, or keeps it for those for whom the turn has no work: then it waits, as does whoever
    /// it is by if that is a connection of this shard.
    pub(super) fn deliver_or_keep(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        slot: ChannelSlot,
        (epoch, message): (u64, Message<'_>),
        (by, sender): (Option<ConnectionId>, Option<ConnectionId>),
    ) {
        let interest = &self.table[slot].interest;
        if interest.members().is_empty() {
            return;
        }
        let channel = Arc::clone(interest.name());
        let delivery = Delivery { epoch, message: ChannelMessage::of(&channel, message), sender };
        let mut left = None;
        if self.undelivered.is_empty() && !turn.is_over() {
            let mut members = interest.members().iter().copied();
            deliver_to_each(turn, clients, &mut self.members, delivery, &mut members);
            left = Some(members.collect::<Vec<_>>());
        }
        if left.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        if maps
            .may_wait(message.said.packed_bytes() + Divided::<Undelivered, _>::bytes_of(left.as_ref()))
            .is_err()
        {
            let left = left.unwrap_or_else(|| self.table[slot].interest.members().to_vec());
            return self.miss(turn, clients, delivery, left);
        }
        let Message { offset, time_ms, said } = message;
        let bytes = said.packed_bytes();
        let (from, data) = (said.from.into(), said.data.into());
        let undelivered = Undelivered { channel, epoch, offset, time_ms, from, data, sender };
        self.undelivered.keep(turn, clients, maps, (undelivered, bytes), (by, left));
    }

    /// Goes on with messages that wait.
    pub fn deliver_waiting(&mut self, turn: &mut Turn, clients: &mut Clients) {
        let mut undelivered = mem::take(&mut self.undelivered);
        undelivered.go_on(turn, clients, |turn, clients, waiting, left| {
            let Undelivered { channel, epoch, offset, time_ms, from, data, sender } = waiting;
            let message = Message { offset: *offset, time_ms: *time_ms, said: Said { from, data } };
            let message = ChannelMessage::of(channel, message);
            let delivery = Delivery { epoch: *epoch, message, sender: *sender };
            let left = left.or_else(|| {
                let slot = self.find(turn, channel)?;
                Some(self.table[slot].interest.members().to_vec())
            });
            // Who is a member since then has been told as much, and is told nothing twice.
            let mut left = left.unwrap_or_default();
            deliver_to_each(turn, clients, &mut self.members, delivery, &mut iter::from_fn(|| left.pop()));
            left
        });
        self.undelivered = undelivered;
    }

    /// Whether messages wait, so that the next turn must not wait for an event.
    pub fn has_undelivered(&self) -> bool {
        !self.undelivered.is_empty()
    }

    /// So much waits in this shard that those who are left miss a message.
    fn miss(&mut self, turn: &mut Turn, clients: &mut Clients, delivery: Delivery<'_>, left: Vec<u32>) {
        for slot in left {
            turn.spend(work::PASSED_OVER);
            let member = &mut self.members[slot as usize];
            if takes(member, clients, &delivery) {
                member.miss(turn, clients, slot, delivery.message.offset);
            }
        }
    }
}

impl Member {
    fn miss(&mut self, turn: &mut Turn, clients: &mut Clients, slot: u32, offset: u64) {
        turn.metrics.channel_missed += 1;
        self.told = offset;
        match &mut self.missed {
            Some((_, to)) => *to = offset,
            None => {
                self.missed = Some((offset, offset));
                clients.at_mut(self.connection.index).joined.fall_behind(slot);
            }
        }
    }
}

/// Whether a member is yet to be told of a message. Its own it counts as told.
fn takes(member: &mut Member, clients: &Clients, delivery: &Delivery<'_>) -> bool {
    let offset = delivery.message.offset;
    if member.joining.is_some() || member.epoch != delivery.epoch || offset <= member.told {
        return false;
    }
    let is_own = Some(member.connection) == delivery.sender;
    if is_own {
        member.told = offset;
    }
    !is_own && clients.takes_frames(member.connection.index)
}

/// Queues a message for one member after the other, until the turn and whose share of it this is have done enough.
fn deliver_to_each(
    turn: &mut Turn,
    clients: &mut Clients,
    members: &mut Slab<Member>,
    delivery: Delivery<'_>,
    left: &mut impl Iterator<Item = u32>,
) {
    let (message, offset) = (delivery.message, delivery.message.offset);
    let units = work::receivers(1, message.said.data.len());
    let mut alike = Alike::default();
    while !turn.is_over()
        && let Some(slot) = left.next()
    {
        turn.spend(units);
        let Some(member) = members.get_mut(slot as usize) else { continue };
        if !takes(member, clients, &delivery) {
            continue;
        }
        let index = member.connection.index;
        if clients.is_over_soft_limit(index) {
            member.miss(turn, clients, slot, offset);
            continue;
        }
        if let Some((from, to)) = member.missed.take() {
            turn.metrics.channel_gaps += 1;
            clients.at_mut(index).joined.catch_up(slot);
            clients.tell(member.connection, turn.now, Event::Gap { channel: message.channel, from, to });
        }
        member.told = offset;
        turn.metrics.channel_deliveries += 1;
        clients.send_alike(&mut alike, index, turn.now, |dialect: &dyn Dialect, out: &mut Frames| {
            dialect.channel_message(message, &mut out.bytes);
        });
    }
}
