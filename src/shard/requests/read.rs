//! `read`: what the owners have, gathered into one answer.
//!
//! Invariant: no entry is made before there is room for it. An owner looks how long its part is before it packs it. What
//! is longer than what the asker has set aside for it is not made, and asked for again once the connection is owed nothing
//! else, so that its outbox stays below the hard limit whatever it has asked for.

use std::mem;
use std::sync::Arc;

use hashbrown::HashTable;

use super::charge::Charge;
use super::gathered::Gathered;
use super::shown::pack_seen;
use super::{Requests, Waiting};
use crate::auth::rules::Parts;
use crate::crdt::{HashedKey, Map};
use crate::limits::{CONNECTION_REQUESTS_PENDING_MAX, READ_ANSWER_BYTES_MAX};
use crate::mesh::{
    Answer, ConnectionId, Entries, Item, KeyList, PackedRead, Read, ReadPart, ReplyTo, Request, ShardIndex,
    Span,
};
use crate::metrics::{OpKind, OpOutcome};
use crate::shard::Event;
use crate::shard::account::Use;
use crate::shard::caller::Asked;
use crate::shard::clients::Clients;
use crate::shard::maps::{Maps, pack_cell, text_bytes as text_bytes_of};
use crate::shard::outcomes::place;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

const TOO_LARGE: Reject = Reject::TooLarge(
    "the answer would be longer than 2 MiB, or than an outbox: read fewer keys, or subscribe",
);
const _: () = assert!(READ_ANSWER_BYTES_MAX == 2 << 20);

/// A key that is to be read.
struct Wanted<'k> {
    key: &'k str,
    hash: u64,
    owner: ShardIndex,
}

/// So many keys are compared one by one; of more, each is looked up among those before it.
const FEW_KEYS: usize = 8;

/// The keys, each once, by owner and else in their order.
fn distinct<'k>(turn: &Turn, map_hash: u64, keys: impl Iterator<Item = &'k str>) -> Vec<Wanted<'k>> {
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    let mut seen = HashTable::<u32>::new();
    for key in keys {
        let hash = turn.hasher.key(map_hash, key);
        let is_it = |wanted: &Wanted<'_>| wanted.hash == hash && wanted.key == key;
        let is_known = match wanted.len() {
            0..=FEW_KEYS => wanted.iter().any(is_it),
            _ => seen.find(hash, |&place| is_it(&wanted[place as usize])).is_some(),
        };
        if is_known {
            continue;
        }
        wanted.push(Wanted { key, hash, owner: turn.owner(hash) });
        if wanted.len() > FEW_KEYS {
            for index in seen.len()..wanted.len() {
                seen.insert_unique(wanted[index].hash, place(index), |&place| wanted[place as usize].hash);
            }
        }
    }
    wanted.sort_by_key(|wanted| wanted.owner);
    wanted
}

impl Requests {
    /// Reads keys wherever they live; [`Event::Entries`] follows, before direct messages that have waited where it is a greeting.
    pub fn read<'k>(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        (asked, view): (Asked, Option<&Arc<Parts>>),
        (map, is_greeting): (&str, bool),
        keys: impl Iterator<Item = &'k str>,
    ) {
        if let Some(reject) = turn.account.refuses_answers(clients.held_bytes()) {
            return clients.reject(turn, asked.connection(), asked.ticket(), reject);
        }
        let map_hash = turn.hasher.map(map);
        let wanted = distinct(turn, map_hash, keys);
        let bytes_max = bytes_max(clients, wanted.len());
        let gathered = Gathered { bytes_max, ..Gathered::default() };
        let receiving = clients.receiving(asked.connection()).filter(|_| is_greeting);
        let is_greeting = receiving.map(|receiving| receiving.greetings += 1).is_some();
        let waiting = Waiting::Read { map: map.into(), view: view.cloned(), gathered, is_greeting };
        // Counted one too many while keys are still being asked for, so that the request cannot end early.
        let reply = self.wait_for(turn, clients, (asked.connection(), asked.ticket), waiting, 1);
        let promised_bytes = promised_bytes(clients).min(bytes_max / turn.shards);
        // What is here is known at once, unless it is large and the turn has done what it may, or others wait.
        let has_room = !turn.is_spent() && self.roomier.is_empty();
        let is_here = has_room && wanted.iter().all(|wanted| wanted.owner == turn.index);
        let mut packed = mem::take(&mut self.keys);
        for part in wanted.chunk_by(|one, next| one.owner == next.owner) {
            packed.clear();
            part.iter().for_each(|wanted| KeyList::push(&mut packed, wanted.key, wanted.hash));
            let room = if is_here { bytes_max.min(clients.answer_bytes_max() / 2) } else { promised_bytes };
            let read = Read { map, map_hash, keys: KeyList(&packed), room, view };
            let charge =
                Charge { request_bytes: read_bytes(&read), owed_bytes: if is_here { 0 } else { room } };
            self.charge(clients, reply, charge);
            self.ask(turn, clients, maps, (part[0].owner, reply), read);
        }
        self.keys = packed;
        super::give_back(&mut self.keys);
        self.part_read(turn, clients, (turn.index, reply), ReadPart::NOTHING);
    }

    /// Reads what one owner has.
    fn ask(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        (owner, reply): (ShardIndex, ReplyTo),
        read: Read<'_>,
    ) {
        if let Some(request) = self.pending.get_mut(reply) {
            request.remaining += 1;
        }
        if owner == turn.index {
            return self.read_and_answer(turn, clients, maps, reply, read);
        }
        let envelope = turn.outgoing.filling(owner);
        let read = PackedRead::pack(&read, &mut envelope.bytes);
        envelope.items.push(Item::Request(Request::Read { reply, read }));
    }

    /// Reads keys this shard owns. Where their map is being loaded or its type asked for, the read is parked behind the
    /// writes that are parked for it.
    pub fn read_and_answer(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        reply: ReplyTo,
        read: Read<'_>,
    ) {
        let slot = maps.find_to_read(read.map, read.map_hash);
        if let Some(slot) = slot
            && maps.must_wait(turn, slot)
        {
            if let Err(reject) = maps.may_wait_for(turn, slot, read_bytes(&read)) {
                return self.answer_part(turn, clients, reply, ReadPart::Refused(reject));
            }
            // Many may be let go on at once.
            let room = read.room.min(promised_bytes(clients));
            if reply.shard == turn.index {
                self.charge(clients, reply, Charge { request_bytes: 0, owed_bytes: room });
            }
            let mut bytes = Vec::new();
            let read = PackedRead::pack(&Read { room, ..read }, &mut bytes);
            return maps.park_request(turn, slot, turn.index, Request::Read { reply, read }, bytes);
        }
        self.answer_from(turn, clients, reply, read, slot.and_then(|slot| maps[slot].typed()));
    }

    /// Answers a read from these cells.
    pub fn answer_from(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        reply: ReplyTo,
        read: Read<'_>,
        cells: Option<&Map>,
    ) {
        let (mut found, mut shown) = (mem::take(&mut self.found), mem::take(&mut self.shown));
        found.clear();
        let mut text_bytes = 0;
        if let Some(parts) = read.view {
            text_bytes = pack_seen(turn, &mut shown, (&read, parts), cells);
        }
        // Of what not all may be seen it is packed already.
        let cells = cells.filter(|_| read.view.is_none());
        for (key, hash) in read.keys.iter().take_while(|_| cells.is_some()) {
            if let Some(cells) = cells
                && let Some(cell) = cells.find(HashedKey { hash, bytes: key.as_bytes() })
            {
                text_bytes += text_bytes_of(cells.cell(cell), read.room - text_bytes);
                found.push(cell);
            }
            turn.spend(work::PASSED_OVER);
            if text_bytes > read.room {
                break;
            }
        }
        if cells.is_some() {
            turn.spend(work::CELL * found.len() as u64 + work::encoded(text_bytes.min(read.room)));
        }
        if text_bytes > read.room {
            let part = ReadPart::TooLong { room: read.room, keys: read.keys.0 };
            self.answer_part(turn, clients, reply, part);
        } else {
            read.keys.iter().for_each(|_| turn.metrics.count_op(OpKind::Read, OpOutcome::Applied));
            turn.metrics.read_bytes += text_bytes as u64;
            let pack = |out: &mut Vec<u8>| {
                if read.view.is_some() {
                    return out.extend_from_slice(&shown);
                }
                let cells = cells.into_iter().flat_map(|cells| found.iter().map(|&cell| cells.cell(cell)));
                cells.for_each(|cell| pack_cell(out, cell));
            };
            if reply.shard != turn.index {
                let envelope = turn.outgoing.filling(reply.shard);
                let start = envelope.bytes.len();
                pack(&mut envelope.bytes);
                let part = ReadPart::Entries { text_bytes, entries: Span::since(&envelope.bytes, start) };
                envelope.items.push(Item::Answer(Answer::Read { reply, part }));
            } else {
                if let Some(request) = self.pending.get_mut(reply)
                    && let Waiting::Read { gathered, .. } = &mut request.waiting
                {
                    let before = gathered.held_bytes();
                    gathered.entries.reserve(text_bytes);
                    pack(&mut gathered.entries);
                    turn.account.add(Use::Answers, gathered.held_bytes() - before);
                }
                if text_bytes > promised_bytes(clients) {
                    self.large_made_in = Some(turn.number());
                }
                self.part_read(
                    turn,
                    clients,
                    (turn.index, reply),
                    ReadPart::Entries { text_bytes, entries: &[] },
                );
            }
        }
        super::give_back(&mut shown);
        (self.found, self.shown) = (found, shown);
    }

    /// Tells whoever asked what became of its part, of which nothing is packed.
    pub fn answer_part(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        reply: ReplyTo,
        part: ReadPart<&[u8]>,
    ) {
        if reply.shard == turn.index {
            return self.part_read(turn, clients, (turn.index, reply), part);
        }
        let envelope = turn.outgoing.filling(reply.shard);
        let part = part.pack(&mut envelope.bytes);
        envelope.items.push(Item::Answer(Answer::Read { reply, part }));
    }

    /// An owner has answered.
    pub fn part_read(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        (owner, reply): (ShardIndex, ReplyTo),
        part: ReadPart<&[u8]>,
    ) {
        let Some(request) = self.pending.get_mut(reply) else { return };
        let Waiting::Read { map, gathered, .. } = &mut request.waiting else { return };
        match part {
            ReadPart::Entries { text_bytes, entries } => {
                gathered.text_bytes += text_bytes;
                gathered.entries.extend_from_slice(entries);
                turn.account.add(Use::Answers, entries.len());
            }
            ReadPart::TooLong { room, .. } if room >= gathered.bytes_max - gathered.text_bytes => {
                gathered.refused = Some(TOO_LARGE);
            }
            ReadPart::TooLong { keys, .. } => gathered.long.push((owner, keys.to_vec())),
            ReadPart::Refused(reject) => gathered.refused = Some(reject),
        }
        request.remaining -= 1;
        if request.remaining > 0 {
            return;
        }
        if gathered.refused.is_none()
            && !gathered.long.is_empty()
            && let Some(client) = clients.get_mut(request.connection)
        {
            if gathered.has_all_room {
                client.long_reads.push_front(reply);
            } else {
                turn.account.take(Use::Answers, gathered.held_bytes());
                gathered.start_over(turn, map);
                let owed_bytes = mem::take(&mut request.charge.owed_bytes);
                client.owed_bytes -= owed_bytes;
                self.owed_bytes -= owed_bytes;
                client.long_reads.push_back(reply);
            }
            self.roomier.note(client);
            return;
        }
        let Some(request) = self.end_wait(turn, clients, reply) else { return };
        let (id, ticket) = (request.connection, request.ticket.as_ref());
        match request.waiting {
            Waiting::Read { gathered: Gathered { refused: Some(reject), .. }, .. } => {
                clients.reject(turn, id, ticket, reject);
            }
            Waiting::Read { map, gathered, .. } => {
                let bytes = gathered.text_bytes + gathered.text_bytes / 64;
                let entries = Entries::new(&gathered.entries);
                clients.tell_large(id, turn.now, Event::Entries { ticket, map: &map, entries }, bytes);
            }
            _ => {}
        }
    }

    /// Takes note that the peer of a connection has taken what it was sent.
    pub fn has_drained(&mut self, clients: &mut Clients, id: ConnectionId) {
        if let Some(client) = clients.get_mut(id).filter(|client| !client.long_reads.is_empty()) {
            self.roomier.note(client);
        }
    }

    /// Whether a connection may have room since the last look.
    pub fn may_read_on(&self) -> bool {
        !self.roomier.is_empty()
    }

    /// Asks again for what was too long, for connections that may have room for it now: one in any case, if no other was made
    /// in this turn, and more as far as the turn has not done what it may.
    pub fn read_on(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps) {
        let mut has_asked = self.large_made_in == Some(turn.number());
        // However many have room, they may not in all.
        while turn.account.has_room_beside(clients.held_bytes())
            && !(has_asked && turn.is_spent())
            && let Some(id) = self.roomier.next(clients)
        {
            while let Some(&reply) = clients.get(id).and_then(|client| client.long_reads.front()) {
                if has_asked && turn.is_spent() {
                    self.roomier.put_back(clients, id);
                    break;
                }
                if !self.read_on_if_room(turn, clients, maps, reply) {
                    break;
                }
                has_asked = true;
            }
        }
    }

    /// Asks the next owner for its part of an answer that was too long, if nothing else is owed to the connection and its
    /// peer has taken enough; whether that was so. Then there is room for all that is ever sent in one answer.
    fn read_on_if_room(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        reply: ReplyTo,
    ) -> bool {
        let is_over = clients.is_over_soft_limit(reply.connection.index);
        let (Some(client), Some(request)) = (clients.get_mut(reply.connection), self.pending.get_mut(reply))
        else {
            return false;
        };
        let Waiting::Read { map, view, gathered, .. } = &mut request.waiting else { return false };
        let is_alone = client.owed_bytes == request.charge.owed_bytes;
        if is_over || !is_alone {
            return false;
        }
        let Some((owner, keys)) = gathered.long.pop() else { return false };
        client.long_reads.pop_front();
        gathered.has_all_room = true;
        let bytes_max = gathered.bytes_max;
        self.owed_bytes = self.owed_bytes + bytes_max - request.charge.owed_bytes;
        (client.owed_bytes, request.charge.owed_bytes) = (bytes_max, bytes_max);
        let (map, view, room) = (map.clone(), view.clone(), bytes_max - gathered.text_bytes);
        let read = Read {
            map: &map,
            map_hash: turn.hasher.map(&map),
            keys: KeyList(&keys),
            room,
            view: view.as_ref(),
        };
        self.ask(turn, clients, maps, (owner, reply), read);
        true
    }
}

/// Bytes that the answer to a `read` of so many keys may take. A turn makes it whole, but a key alone must be readable.
fn bytes_max(clients: &Clients, keys: usize) -> usize {
    let room = clients.answer_bytes_max();
    if keys > 1 { room.min(READ_ANSWER_BYTES_MAX) } else { room }
}

/// Bytes of an answer that any owner may have made before it is known how many it takes: as many requests as a
/// connection may have under way leave room for all of theirs.
fn promised_bytes(clients: &Clients) -> usize {
    clients.answer_bytes_max() / (2 * CONNECTION_REQUESTS_PENDING_MAX)
}

/// Bytes that a read takes while it waits.
fn read_bytes(read: &Read<'_>) -> usize {
    size_of::<Item>() + read.map.len() + read.keys.0.len()
}
