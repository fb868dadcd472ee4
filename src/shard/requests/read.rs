//! `read` and `digest`: what the owners have, gathered into one answer.

use std::sync::Arc;

use super::{Requests, Waiting};
use crate::crdt::HashedKey;
use crate::mesh::{Answer, Entries, Item, ReplyTo, Request, Span};
use crate::metrics::{OpKind, OpOutcome};
use crate::shard::Event;
use crate::shard::account::Use;
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::maps::{Maps, pack_cell};
use crate::shard::turn::Turn;
use crate::shard::work;

/// A key of a map, with the hashes of both.
#[derive(Clone, Copy)]
pub struct KeyOf<'a> {
    pub map: &'a str,
    pub map_hash: u64,
    pub key: &'a str,
    pub key_hash: u64,
}

impl Requests {
    /// Reads keys wherever they live; [`Event::Entries`] follows.
    pub fn read<'k>(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        asked: Asked,
        map: &str,
        keys: impl Iterator<Item = &'k str>,
    ) {
        if let Some(reject) = turn.account.refuses_answers() {
            return clients.reject(turn, asked.connection(), asked.ticket(), reject);
        }
        let map_hash = turn.hasher.map(map);
        let waiting = Waiting::Read { map: map.into(), entries: Vec::new() };
        // Counted one too many while keys are still being asked for, so that the request cannot end early.
        let reply = self.wait_for(turn, clients, (asked.connection(), asked.ticket), waiting, 1);
        for key in keys {
            let key_hash = turn.hasher.key(map_hash, key);
            let owner = turn.owner(key_hash);
            if let Some(request) = self.pending.get_mut(reply) {
                request.remaining += 1;
            }
            let key = KeyOf { map, map_hash, key, key_hash };
            if owner == turn.index {
                self.read_and_answer(turn, clients, maps, reply, key);
            } else {
                let bytes = &mut turn.outgoing.filling(owner).bytes;
                let request = key.request(reply, bytes);
                turn.outgoing.push(owner, Item::Request(request));
            }
        }
        self.read_answered(turn, clients, reply, &[]);
    }

    /// Reads one key this shard owns. Where its map is being loaded or its type asked for, the read is parked behind
    /// the writes that are parked for it.
    pub fn read_and_answer(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        reply: ReplyTo,
        key: KeyOf<'_>,
    ) {
        let mut entry = Vec::new();
        if let Some(slot) = maps.find_to_read(key.map, key.map_hash) {
            if maps.must_wait(turn, slot) {
                let mut bytes = Vec::new();
                let request = key.request(reply, &mut bytes);
                return maps.park_request(turn, slot, turn.index, request, bytes);
            }
            if let Some(cells) = maps[slot].typed()
                && let Some(cell) = cells.find(HashedKey { hash: key.key_hash, bytes: key.key.as_bytes() })
            {
                pack_cell(&mut entry, cells.cell(cell));
            }
        }
        turn.metrics.count_op(OpKind::Read, OpOutcome::Applied);
        turn.spend(work::CELL + work::encoded(entry.len()));
        if reply.shard == turn.index {
            self.read_answered(turn, clients, reply, &entry);
        } else {
            let envelope = turn.outgoing.filling(reply.shard);
            let entry = Span::append(&mut envelope.bytes, &entry);
            envelope.items.push(Item::Answer(Answer::Read { reply, entry }));
        }
    }

    /// One more key has been read; `entry` is empty where there is nothing.
    pub fn read_answered(&mut self, turn: &mut Turn, clients: &mut Clients, reply: ReplyTo, entry: &[u8]) {
        if let Some(request) = self.pending.get_mut(reply)
            && let Waiting::Read { entries, .. } = &mut request.waiting
        {
            entries.extend_from_slice(entry);
            turn.account.add(Use::Answers, entry.len());
        }
        let Some(request) = self.answered(turn, clients, reply) else { return };
        if let Waiting::Read { map, entries } = &request.waiting {
            let (ticket, entries) = (request.ticket.as_ref(), Entries::new(entries));
            clients.tell(request.connection, turn.now, Event::Entries { ticket, map, entries });
        }
    }

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

impl KeyOf<'_> {
    /// The request for it, whose spans point into `bytes`.
    fn request(self, reply: ReplyTo, bytes: &mut Vec<u8>) -> Request {
        let map = Span::append(bytes, self.map.as_bytes());
        let key = Span::append(bytes, self.key.as_bytes());
        Request::Read { reply, map, map_hash: self.map_hash, key, key_hash: self.key_hash }
    }
}
