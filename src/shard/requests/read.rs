//! `read` and `digest`: what the owners have, gathered into one answer.

use crate::crdt::HashedKey;
use crate::mesh::{Answer, ConnectionId, Entries, Item, ReplyTo, Request, ShardIndex, Span};
use crate::metrics::{OpKind, OpOutcome};
use crate::shard::maps::MapSlot;
use crate::shard::maps::apply::pack_cell;
use crate::shard::requests::{PendingRequest, Waiting};
use crate::shard::{Event, Shard};
use crate::wire::Ticket;

impl Shard {
    /// Reads keys wherever they live; [`Event::Entries`] follows.
    pub fn read<'k>(
        &mut self,
        id: ConnectionId,
        ticket: Option<Ticket>,
        map: &str,
        keys: impl Iterator<Item = &'k str>,
    ) {
        let map_hash = self.hasher.map(map);
        let waiting = Waiting::Read { map: map.into(), entries: Vec::new() };
        // Counted one too many while keys are still being asked for, so that the request cannot end early.
        let reply = self.wait_for(id, ticket, waiting, 1);
        for key in keys {
            let key_hash = self.hasher.key(map_hash, key);
            let owner = self.owner(key_hash);
            if let Some(request) = self.pending.get_mut(reply) {
                request.remaining += 1;
            }
            if owner == self.index {
                self.read_and_answer(reply, map, map_hash, key, key_hash);
            } else {
                self.ask_for_entry(owner, reply, map, map_hash, key, key_hash);
            }
        }
        self.read_answered(reply, &[]);
    }

    /// Reads one key this shard owns. Where its map is being loaded or its type asked for, the read waits behind
    /// the writes that wait for it.
    pub(in crate::shard) fn read_and_answer(
        &mut self,
        reply: ReplyTo,
        map: &str,
        map_hash: u64,
        key: &str,
        key_hash: u64,
    ) {
        let mut entry = Vec::new();
        if let Some(slot) = self.find_to_read(map, map_hash) {
            if self.must_wait(slot) {
                let mut bytes = Vec::new();
                let map = Span::append(&mut bytes, map.as_bytes());
                let key = Span::append(&mut bytes, key.as_bytes());
                let request = Request::Read { reply, map, map_hash, key, key_hash };
                return self.wait_for_map(slot, self.index, request, bytes);
            }
            if let Some(cells) = self.maps[slot].typed()
                && let Some(cell) = cells.find(HashedKey { hash: key_hash, bytes: key.as_bytes() })
            {
                pack_cell(&mut entry, cells.cell(cell));
            }
        }
        self.metrics.count_op(OpKind::Read, OpOutcome::Applied);
        if reply.shard == self.index {
            self.read_answered(reply, &entry);
        } else {
            let envelope = self.outgoing.filling(reply.shard);
            let entry = Span::append(&mut envelope.bytes, &entry);
            envelope.items.push(Item::Answer(Answer::Read { reply, entry }));
        }
    }

    /// The slot of a map that is to be read; `None` if there is nothing of it.
    pub(in crate::shard) fn find_to_read(&mut self, map: &str, hash: u64) -> Option<MapSlot> {
        if self.journal.is_some() {
            // What is not in memory may be in the storage.
            return Some(self.maps.find_or_insert(map, hash));
        }
        self.maps.find(map, hash)
    }

    /// One more key has been read; `entry` is empty where there is nothing.
    pub(in crate::shard) fn read_answered(&mut self, reply: ReplyTo, entry: &[u8]) {
        let Some(request) = self.pending.get_mut(reply) else { return };
        if let Waiting::Read { entries, .. } = &mut request.waiting {
            entries.extend_from_slice(entry);
        }
        request.remaining -= 1;
        if request.remaining == 0
            && let Some(request) = self.end_wait(reply)
        {
            self.answer_read(&request);
        }
    }

    fn answer_read(&mut self, request: &PendingRequest) {
        let Waiting::Read { map, entries } = &request.waiting else { return };
        let (ticket, entries) = (request.ticket.as_ref(), Entries::new(entries));
        self.clients.tell(request.connection, self.now, Event::Entries { ticket, map, entries });
    }

    /// Digests a map; [`Event::Digest`] follows.
    pub fn digest(&mut self, id: ConnectionId, ticket: Option<Ticket>, map: &str) {
        let waiting = Waiting::Digest { map: map.into(), entries: 0, hash: 0 };
        let reply = self.wait_for(id, ticket, waiting, self.shards as u32);
        let name: std::sync::Arc<str> = map.into();
        for owner in (0..self.shards as ShardIndex).filter(|&owner| owner != self.index) {
            self.outgoing.push(owner, Item::Request(Request::Digest { reply, map: name.clone() }));
        }
        self.digest_and_answer(reply, &name);
    }

    /// The digest of this shard's part of the map.
    pub(in crate::shard) fn digest_and_answer(&mut self, reply: ReplyTo, map: &std::sync::Arc<str>) {
        let (mut entries, mut hash) = (0, 0);
        if let Some(slot) = self.find_to_read(map, self.hasher.map(map)) {
            if self.must_wait(slot) {
                let request = Request::Digest { reply, map: map.clone() };
                return self.wait_for_map(slot, self.index, request, Vec::new());
            }
            if let Some(cells) = self.maps[slot].typed() {
                (entries, hash) = (cells.live_entries() as u64, cells.digest());
            }
        }
        if reply.shard == self.index {
            self.digest_answered(reply, entries, hash);
        } else {
            self.outgoing.push(reply.shard, Item::Answer(Answer::Digest { reply, entries, hash }));
        }
    }

    pub(in crate::shard) fn digest_answered(&mut self, reply: ReplyTo, part_entries: u64, part_hash: u64) {
        let Some(request) = self.pending.get_mut(reply) else { return };
        if let Waiting::Digest { entries, hash, .. } = &mut request.waiting {
            *entries += part_entries;
            *hash = hash.wrapping_add(part_hash);
        }
        request.remaining -= 1;
        if request.remaining > 0 {
            return;
        }
        let Some(request) = self.end_wait(reply) else { return };
        if let Waiting::Digest { map, entries, hash } = &request.waiting {
            let (ticket, entries, hash) = (request.ticket.as_ref(), *entries, *hash);
            self.clients.tell(request.connection, self.now, Event::Digest { ticket, map, entries, hash });
        }
    }

    /// Answers a request that has waited too long with what there is.
    pub(in crate::shard) fn answer_late(&mut self, request: PendingRequest) {
        match &request.waiting {
            Waiting::Write { .. } => self.answer_write(request, true),
            Waiting::Members { .. } => self.members_late(&request),
            Waiting::Read { .. } | Waiting::Digest { .. } | Waiting::Member => {
                self.reject(request.connection, request.ticket.as_ref(), crate::wire::Reject::Timeout);
            }
            // These end by the deadline of their connection.
            Waiting::Admission { .. } | Waiting::Metrics { .. } | Waiting::Clear => {}
        }
    }
}
