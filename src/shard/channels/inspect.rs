//! What whoever runs the server is told of channels, and whether memberships are as they must be.

use super::Channels;
use crate::handover::inspection::{ChannelRow, Share, Walk};
use crate::shard::clients::Clients;
use crate::shard::slots;
use crate::shard::turn::Turn;

impl Channels {
    /// Channels whose home is here, from a slot on.
    pub fn inspect(&self, walk: Walk, prefix: &str) -> Share<ChannelRow> {
        self.table.inspect(walk, |channel| {
            let home = channel.home.as_ref()?;
            let name = channel.interest.name();
            let (messages, bytes) = home.size();
            let entries = home.log.entries();
            name.starts_with(prefix).then(|| ChannelRow {
                channel: Box::from(&**name),
                messages: messages as u64,
                bytes: (channel.own_bytes() + bytes) as u64,
                first_offset: entries.first().map(|entry| entry.offset),
                last_offset: entries.last(),
                epoch: format!("{:016x}", entries.epoch()),
                is_durable: home.log.is_kept(),
            })
        })
    }

    /// Connections of this shard that are in a channel.
    pub fn members_of(&self, turn: &Turn, channel: &str) -> u32 {
        let members = self.find(turn, channel).map_or(0, |slot| self.table[slot].interest.members().len());
        u32::try_from(members).unwrap_or(u32::MAX)
    }

    /// Whether as many memberships are counted as there are.
    pub fn check_counts(&self, turn: &Turn, mut fault: impl FnMut(String)) {
        let (counted, held) = (turn.metrics.channel_members, self.members.len());
        if counted != held as u64 {
            fault(format!("{counted} members of channels are counted, and {held} are held"));
        }
    }

    /// Whether some memberships have a connection and a channel, which know them; their slots are from one on. Where to go on.
    pub fn check(
        &self,
        clients: &Clients,
        from: u32,
        looks: u32,
        mut fault: impl FnMut(String),
    ) -> Option<u32> {
        slots::share(&self.members, from, looks, |slot, member| {
            let (channel, place) = member.place();
            match self.table.get(channel) {
                None => fault(format!("a membership, {slot}, has no channel")),
                Some(found) if found.interest.members().get(place as usize) != Some(&slot) => {
                    fault(format!("channel {:?} does not know its member {slot}", found.interest.name()));
                }
                Some(_) => {}
            }
            let Some(connection) = clients.get(member.connection) else {
                fault(format!("member {slot} of a channel has no connection"));
                return 0;
            };
            let known = connection.joined.members();
            if !known.contains(&slot) {
                fault(format!("a connection does not know that it is member {slot} of a channel"));
            }
            known.len()
        })
    }
}
