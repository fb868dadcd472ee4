//! `digest`: what each shard has cached of its part of a map, added up.

use std::sync::Arc;

use super::{Requests, Waiting};
use crate::mesh::{Answer, Item, ReplyTo, Request};
use crate::shard::Event;
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;

impl Requests {
    /// Digests a map; [`Event::Digest`] follows.
    pub fn digest(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        asked: Asked,
        map: &str,
    ) {
        let waiting = Waiting::Digest { map: map.into(), entries: 0, hash: 0 };
        let shards = turn.shards as u32;
        let reply = self.wait_for(turn, clients, (asked.connection(), asked.ticket), waiting, shards);
        let name: Arc<str> = map.into();
        for owner in turn.others() {
            turn.outgoing.push(owner, Item::Request(Request::Digest { reply, map: name.clone() }));
        }
        self.digest_and_answer(turn, clients, maps, reply, &name);
    }

    /// The digest of this shard's part of the map.
    pub fn digest_and_answer(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        reply: ReplyTo,
        map: &Arc<str>,
    ) {
        let mut part = (0, 0);
        if let Some(slot) = maps.find_to_read(map, turn.hasher.map(map)) {
            if maps.must_wait(turn, slot) {
                let request = Request::Digest { reply, map: map.clone() };
                return maps.park_request(turn, slot, turn.index, request, Vec::new());
            }
            if let Some(cells) = maps[slot].typed() {
                part = (cells.live_entries() as u64, cells.digest());
            }
        }
        if reply.shard == turn.index {
            self.digest_answered(turn, clients, reply, part);
        } else {
            let (entries, hash) = part;
            turn.outgoing.push(reply.shard, Item::Answer(Answer::Digest { reply, entries, hash }));
        }
    }

    /// One more shard has digested its part: keys that are there, and their hash.
    pub fn digest_answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        reply: ReplyTo,
        (part_entries, part_hash): (u64, u64),
    ) {
        if let Some(request) = self.pending.get_mut(reply)
            && let Waiting::Digest { entries, hash, .. } = &mut request.waiting
        {
            *entries += part_entries;
            *hash = hash.wrapping_add(part_hash);
        }
        let Some(request) = self.answered(turn, clients, reply) else { return };
        if let Waiting::Digest { map, entries, hash } = &request.waiting {
            let (ticket, entries, hash) = (request.ticket.as_ref(), *entries, *hash);
            clients.tell(request.connection, turn.now, Event::Digest { ticket, map, entries, hash });
        }
    }
}
