//! `digest`: what each shard has cached of its part of a map, added up.

use std::sync::Arc;

use super::{Requests, Waiting};
use crate::mesh::{Answer, DigestPart, Item, ReplyTo, Request};
use crate::shard::Event;
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;
use crate::wire::Reject;

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
        let waiting = Waiting::Digest { map: map.into(), sum: Ok(DigestPart::default()) };
        let shards = turn.shard_count();
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
        let mut part = DigestPart::default();
        if let Some(slot) = maps.find_to_read(map, turn.hasher.map(map)) {
            if maps.must_wait(turn, slot) {
                if let Some(reject) = maps.load_failure(turn, slot) {
                    return self.answer_digest(turn, clients, reply, Err(reject));
                }
                let request = Request::Digest { reply, map: map.clone() };
                return maps.park_request(turn, slot, turn.index, request, Vec::new());
            }
            if let Some(cells) = maps[slot].typed() {
                part = DigestPart { entries: cells.live_entries() as u64, hash: cells.digest() };
            }
        }
        self.answer_digest(turn, clients, reply, Ok(part));
    }

    /// Tells whoever asked what this shard has.
    pub fn answer_digest(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        reply: ReplyTo,
        part: Result<DigestPart, Reject>,
    ) {
        if reply.shard == turn.index {
            self.digest_answered(turn, clients, reply, part);
        } else {
            turn.outgoing.push(reply.shard, Item::Answer(Answer::Digest { reply, part }));
        }
    }

    /// One more shard has digested its part, or cannot: then all of the digest is refused.
    pub fn digest_answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        reply: ReplyTo,
        part: Result<DigestPart, Reject>,
    ) {
        if let Some(request) = self.pending.get_mut(reply)
            && let Waiting::Digest { sum, .. } = &mut request.waiting
        {
            match (sum.as_mut(), part) {
                (Ok(sum), Ok(part)) => {
                    sum.entries += part.entries;
                    sum.hash = sum.hash.wrapping_add(part.hash);
                }
                (Ok(_), Err(reject)) => *sum = Err(reject),
                (Err(_), _) => {}
            }
        }
        let Some(request) = self.answered(turn, clients, reply) else { return };
        let (id, ticket) = (request.connection, request.ticket.as_ref());
        match request.waiting {
            Waiting::Digest { ref map, sum: Ok(DigestPart { entries, hash }) } => {
                clients.tell(id, turn.now, Event::Digest { ticket, map, entries, hash });
            }
            Waiting::Digest { sum: Err(reject), .. } => clients.reject(turn, id, ticket, reject),
            _ => {}
        }
    }
}
