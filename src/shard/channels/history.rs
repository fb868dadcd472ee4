//! `history`: what was said before, page by page.

use super::Channels;
use super::home::ask;
use crate::limits::CHUNK_BYTES;
use crate::mesh::{ChannelRequest, Page};
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::requests::{ChannelWait, Requests, Waiting};
use crate::shard::turn::Turn;

impl Channels {
    /// Asks for messages of before; [`crate::shard::Event::History`] follows. Nobody needs to be in a channel for that.
    pub fn history(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        requests: &mut Requests,
        asked: Asked,
        (channel, before, limit): (&str, Option<u64>, u32),
    ) {
        let id = asked.connection();
        if let Some(reject) = turn.account.refuses_answers(clients.held_bytes()) {
            return clients.reject(turn, id, asked.ticket(), reject);
        }
        let owed_bytes = CHUNK_BYTES + turn.config.value_bytes_max;
        let waiting = Waiting::Channel(ChannelWait::History { channel: channel.into(), owed_bytes });
        let reply = requests.wait_for(turn, clients, (id, asked.ticket), waiting, 1);
        let page = Page { before, limit, room: u32::try_from(CHUNK_BYTES).unwrap_or(u32::MAX) };
        let home = self.home_of(turn, channel);
        let request = ChannelRequest::History { reply, channel: channel.into(), page };
        if home == turn.index {
            return self.handle(turn, clients, maps, requests, (home, request), &[]);
        }
        ask(turn, home, request);
    }
}
