//! Writes whose connection has had its share of a turn before their last operation: the rest goes on in the next turns, a
//! share in each.
//!
//! Invariant: operations of one connection are carried out in order. While some are left here it takes no further message,
//! and what else it writes queues behind them. They go on even if it is gone by then.

use std::collections::VecDeque;

use super::Requests;
use super::write::send_write;
use crate::mesh::{ConnectionId, PackedWrite, ReplyTo, Write};
use crate::shard::clients::Clients;
use crate::shard::maps::{Maps, WaitingBytes};
use crate::shard::turn::Turn;
use crate::shard::work;

/// Operations that a share of a turn is enough for, if they are on single cells.
const OPS_PER_SHARE: usize = (work::CONNECTION_MAX / work::CELL) as usize;

/// What is left of the writes of one connection.
pub struct Unfinished {
    connection: ConnectionId,
    ops: VecDeque<(ReplyTo, PackedWrite)>,
    /// What the spans of `ops` point into.
    bytes: Vec<u8>,
    counted: WaitingBytes,
}

impl Requests {
    /// Connections with writes that have operations left.
    pub fn unfinished_len(&self) -> usize {
        self.unfinished.len()
    }

    /// Keeps an operation for a later turn, behind what its connection has left.
    pub(super) fn put_off(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        reply: ReplyTo,
        write: &Write<'_>,
    ) {
        turn.spend(work::PACKED + work::copied(write.bytes()));
        let of_connection = |left: &Unfinished| left.connection == reply.connection;
        // All of it comes in one message, so it is the last.
        let place = self.unfinished.iter().rposition(of_connection).unwrap_or_else(|| {
            let (connection, counted) = (reply.connection, maps.count_waiting(0));
            let (ops, bytes) = (VecDeque::new(), Vec::new());
            self.unfinished.push_back(Unfinished { connection, ops, bytes, counted });
            clients.note_unfinished(connection);
            turn.metrics.writes_divided += 1;
            self.unfinished.len() - 1
        });
        let left = &mut self.unfinished[place];
        left.counted.add(size_of::<(ReplyTo, PackedWrite)>() + write.bytes());
        left.ops.push_back((reply, PackedWrite::pack(write, &mut left.bytes)));
    }

    /// Goes on with what has waited longest, one operation at least, as far as its connection's share of the turn goes.
    pub fn finish_next(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps) {
        let Some(mut left) = self.unfinished.pop_front() else { return };
        let id = left.connection;
        let before = clients.get(id).map_or(0, |connection| connection.work_before(turn));
        let began = turn.work();
        turn.begin_share(before);
        warm(turn, maps, &left);
        while let Some((reply, write)) = left.ops.pop_front() {
            // Otherwise whoever asked has been told that it was not carried out in time.
            if self.pending.find(reply).is_some() {
                self.carry_out(turn, clients, maps, reply, &write.unpack(&left.bytes));
            }
            // What telling of it costs is not known yet.
            if turn.is_share_over() || maps.has_full_batch() {
                break;
            }
        }
        if let Some(connection) = clients.get_mut(id) {
            connection.note_work(turn, before + turn.work() - began);
        }
        if left.ops.is_empty() {
            clients.unfinished_ended(id);
        } else {
            self.unfinished.push_back(left);
        }
    }

    fn carry_out(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &mut Maps,
        reply: ReplyTo,
        write: &Write<'_>,
    ) {
        let owner = turn.owner(write.key_hash);
        if owner == turn.index {
            self.apply_and_answer(turn, clients, maps, reply, write);
        } else {
            send_write(turn, maps, owner, reply, write);
        }
    }
}

/// Brings the cells of this shard into the cache that the next share of a turn is about: see [`Requests::write`].
fn warm(turn: &Turn, maps: &Maps, left: &Unfinished) {
    let mut last = None;
    for (_, write) in left.ops.iter().take(OPS_PER_SHARE) {
        let (map, map_hash, key_hash) = write.target(&left.bytes);
        if turn.owner(key_hash) != turn.index {
            continue;
        }
        if last.is_none_or(|(hash, _)| hash != map_hash) {
            last = Some((map_hash, maps.find(map, map_hash)));
        }
        let slot = last.and_then(|(_, slot)| slot);
        if let Some(cells) = slot.and_then(|slot| maps[slot].typed()) {
            cells.warm(key_hash);
        }
    }
}
