//! Requests that wait for other shards, and for how long at most.

pub mod durable;
pub mod outcomes;
pub mod read;
pub mod write;

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use crate::mesh::{ConnectionId, ReplyTo};
use crate::metrics::Metrics;
use crate::shard::{AckLevel, DialectIndex, Outcomes, Shard};
use crate::wire::Ticket;
use crate::wire::http::Page;

/// One request, while any of its parts is with another shard.
pub struct PendingRequest {
    pub serial: u32,
    pub connection: ConnectionId,
    pub ticket: Option<Ticket>,
    pub waiting: Waiting,
    /// Answers still to come.
    pub remaining: u32,
    pub began_us: u64,
}

/// What has been answered so far.
pub enum Waiting {
    Write {
        ack: AckLevel,
        outcomes: Outcomes,
    },
    /// [`crate::mesh::Entries`].
    Read {
        map: Box<str>,
        entries: Vec<u8>,
    },
    Digest {
        map: Box<str>,
        entries: u64,
        hash: u64,
    },
    /// All members of a room; `catches_up`: not because the client asked, but because it was slow.
    Members {
        room: Arc<str>,
        catches_up: bool,
    },
    /// A member is being set.
    Member,
    Admission {
        dialect: DialectIndex,
        response: Vec<u8>,
        address: std::net::IpAddr,
    },
    /// For a page that is made of the numbers of all shards.
    Metrics {
        sum: Box<Metrics>,
        page: Page,
        head_only: bool,
    },
    Clear,
}

#[derive(Default)]
pub struct PendingRequests {
    slots: Slab<PendingRequest>,
    /// Requests in the order in which they began, which is the order in which they are given up.
    by_age: VecDeque<ReplyTo>,
    begun: u64,
}

impl PendingRequests {
    /// Requests that have ever waited.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    fn find(&self, reply: ReplyTo) -> Option<&PendingRequest> {
        self.slots.get(reply.slot as usize).filter(|request| request.serial == reply.serial)
    }

    pub fn get_mut(&mut self, reply: ReplyTo) -> Option<&mut PendingRequest> {
        self.slots.get_mut(reply.slot as usize).filter(|request| request.serial == reply.serial)
    }

    /// Ends the request and returns it.
    pub fn remove(&mut self, reply: ReplyTo) -> Option<PendingRequest> {
        self.find(reply)?;
        let request = self.slots.remove(reply.slot as usize);
        if self.slots.is_empty() {
            self.by_age.clear();
        }
        Some(request)
    }

    /// The oldest request that began before `began_us`.
    fn oldest_before(&mut self, began_us: u64) -> Option<ReplyTo> {
        while let Some(&reply) = self.by_age.front() {
            match self.find(reply) {
                None => drop(self.by_age.pop_front()),
                Some(request) if request.began_us < began_us => return Some(reply),
                Some(_) => return None,
            }
        }
        None
    }
}

impl Shard {
    /// Registers a request of `connection` that waits for `remaining` answers.
    pub(in crate::shard) fn wait_for(
        &mut self,
        connection: ConnectionId,
        ticket: Option<Ticket>,
        waiting: Waiting,
        remaining: u32,
    ) -> ReplyTo {
        let serial = self.next_serial();
        let began_us = self.now.monotonic_us;
        // An HTTP request ends by the deadline of its connection instead.
        let may_be_late =
            !matches!(waiting, Waiting::Admission { .. } | Waiting::Metrics { .. } | Waiting::Clear);
        let request = PendingRequest { serial, connection, ticket, waiting, remaining, began_us };
        self.pending.begun += 1;
        let slot = self.pending.slots.insert(request) as u32;
        let reply = ReplyTo { shard: self.index, slot, serial, index: 0, connection };
        if may_be_late {
            self.pending.by_age.push_back(reply);
        }
        if let Some(client) = self.clients.get_mut(connection) {
            client.requests_pending += 1;
        }
        reply
    }

    /// Ends a request: whoever sent it may send one more.
    pub(in crate::shard) fn end_wait(&mut self, reply: ReplyTo) -> Option<PendingRequest> {
        let request = self.pending.remove(reply)?;
        if request.began_us == self.now.monotonic_us {
            self.answered_at_once += 1;
        } else {
            self.metrics.op_ns.record((self.now.monotonic_us - request.began_us) * 1000);
        }
        if let Some(client) = self.clients.get_mut(request.connection) {
            client.requests_pending -= 1;
        }
        Some(request)
    }

    /// Answers the requests that have waited for `--ack-timeout-ms` with what was reached.
    pub(in crate::shard) fn give_up_old_requests(&mut self) {
        let timeout_us = self.config.ack_timeout_ms * 1000;
        let Some(began_us) = self.now.monotonic_us.checked_sub(timeout_us) else { return };
        while let Some(reply) = self.pending.oldest_before(began_us) {
            let Some(request) = self.end_wait(reply) else { continue };
            self.answer_late(request);
        }
    }

    /// When the oldest request that may be given up began; it may have been answered since.
    pub(in crate::shard) fn oldest_request_us(&self) -> Option<u64> {
        let reply = self.pending.by_age.front()?;
        Some(self.pending.find(*reply).map_or(self.now.monotonic_us, |request| request.began_us))
    }
}
