//! What a connection is charged with for its requests: bytes that they take wherever they wait, and bytes that their
//! answers may take.
//!
//! Invariant: what a connection is charged with is the sum over its requests that have not ended.

use super::{Requests, Waiting};
use crate::limits::{
    ACK_OP_BYTES_MAX, ANSWER_FRAME_BYTES_MAX, PRESENCE_FULL_BYTES_MAX, PRESENCE_LIST_BYTES_MAX,
    PRESENCE_ROOM_BYTES_MAX, PRESENCE_STATE_BYTES_MAX,
};
use crate::mesh::{ConnectionId, ReplyTo};
use crate::shard::clients::Clients;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    pub request_bytes: usize,
    pub owed_bytes: usize,
}

impl Charge {
    /// Of a request that has just begun to wait.
    pub(super) const fn of(waiting: &Waiting) -> Self {
        let owed_bytes = match waiting {
            // Of HTTP, which owes one page, or of a token.
            Waiting::Admission { .. } | Waiting::Entry { .. } | Waiting::Metrics { .. } | Waiting::Clear => 0,
            // As many as a room may hold. Whoever has fallen behind has not asked for them.
            Waiting::Members { catches_up: false, .. } => PRESENCE_ROOM_BYTES_MAX + ANSWER_FRAME_BYTES_MAX,
            Waiting::Gathered { catches_up: false, .. } => PRESENCE_FULL_BYTES_MAX + ANSWER_FRAME_BYTES_MAX,
            Waiting::People { .. } => {
                PRESENCE_LIST_BYTES_MAX + PRESENCE_STATE_BYTES_MAX + ANSWER_FRAME_BYTES_MAX
            }
            Waiting::Channel(wait) => wait.owed_bytes() + ANSWER_FRAME_BYTES_MAX,
            _ => ANSWER_FRAME_BYTES_MAX,
        };
        Self { request_bytes: 0, owed_bytes }
    }

    /// Of a write of so many operations.
    pub(super) const fn of_write(request_bytes: usize, ops: usize) -> Self {
        Self { request_bytes, owed_bytes: ops * ACK_OP_BYTES_MAX }
    }
}

impl Requests {
    /// Charges whoever sent the request with more, until it ends.
    pub(super) fn charge(&mut self, clients: &mut Clients, reply: ReplyTo, charge: Charge) {
        let Some(request) = self.pending.get_mut(reply) else { return };
        request.charge.request_bytes += charge.request_bytes;
        request.charge.owed_bytes += charge.owed_bytes;
        self.owed_bytes += charge.owed_bytes;
        if let Some(client) = clients.get_mut(request.connection) {
            client.request_bytes += charge.request_bytes;
            client.owed_bytes += charge.owed_bytes;
        }
    }

    /// The request has ended.
    pub(super) fn discharge(&mut self, clients: &mut Clients, id: ConnectionId, serial: u32, charge: Charge) {
        self.owed_bytes -= charge.owed_bytes;
        let Some(client) = clients.get_mut(id) else { return };
        client.requests_pending -= 1;
        client.request_bytes -= charge.request_bytes;
        client.owed_bytes -= charge.owed_bytes;
        if !client.long_reads.is_empty() {
            client.long_reads.retain(|reply| reply.serial != serial);
            self.roomier.note(client);
        }
        clients.something_ended(id);
    }
}
