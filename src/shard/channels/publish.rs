//! What a connection says in a channel: it goes to the home, which answers with its offset.

use super::{Channels, check_name};
use crate::limits::CHANNEL_NAME_BYTES_MAX;
use crate::mesh::{ChannelRequest, Item, Publishing, Request, Said, Span};
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::requests::{ChannelWait, Requests, Waiting};
use crate::shard::turn::Turn;

/// A message for a channel.
#[derive(Clone, Copy)]
pub struct Publish<'a> {
    pub channel: &'a str,
    /// Canonical JSON.
    pub data: &'a [u8],
    pub how: Publishing,
}

impl Channels {
    /// Publishes a message; [`crate::shard::Event::Placed`] follows. Nobody needs to be in a channel for that.
    pub fn publish(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        asked: Asked,
        Publish { channel, data, how }: Publish<'_>,
    ) {
        let id = asked.connection();
        if let Err(reject) = check_name(channel) {
            return clients.reject(turn, id, asked.ticket(), reject);
        }
        if how.is_durable
            && let Some(reject) = maps.refuses_writes(turn, crate::shard::AckLevel::Durable)
        {
            return clients.reject(turn, id, asked.ticket(), reject);
        }
        let mut said = Vec::new();
        let Some(connection) = clients.get(id) else { return };
        let from = connection.principal.as_ref().map(|principal| &*principal.identity.user);
        Said { from, data }.pack(&mut said);
        let waiting = Waiting::Channel(ChannelWait::Publish { channel: channel.into(), how, offset: None });
        let reply = requests.wait_for(turn, clients, (id, asked.ticket), waiting, 1);
        let home = turn.owner(turn.hasher.map(channel));
        if home == turn.index {
            let outcome = self.publish_home(turn, clients, maps, reply, (channel, &said, how));
            let cover = (home, maps.covering());
            return requests.channel_published(turn, clients, maps, (reply, outcome), cover);
        }
        let envelope = turn.outgoing.filling(home);
        let channel = Span::append(&mut envelope.bytes, channel.as_bytes());
        let said = Span::append(&mut envelope.bytes, &said);
        let request = ChannelRequest::Publish { reply, channel, said, how };
        envelope.items.push(Item::Request(Request::Channel(Box::new(request))));
    }
}

const _: () = assert!(CHANNEL_NAME_BYTES_MAX <= crate::limits::MAP_NAME_BYTES_MAX);
