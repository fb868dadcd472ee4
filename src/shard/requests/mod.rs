//! Requests that wait for other shards, and for how long at most.

mod channel;
mod charge;
mod digest;
mod direct;
mod durable;
mod gathered;
mod op_batch;
mod read;
mod roomier;
mod shown;
mod unfinished;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use charge::Charge;
use durable::DurableWaits;
use gathered::Gathered;
use roomier::Roomier;
use unfinished::Unfinished;
use write::OpHash;

pub use channel::ChannelWait;
pub use direct::DirectWait;
pub use write::{Op, Ops};

use super::AckLevel;
use super::access::{Awaited, Upgrade};
use super::account::Use;
use super::clients::Clients;
use super::maps::Maps;
use super::outcomes::{Outcomes, SpareOutcomes};
use super::slots;
use super::turn::Turn;
use crate::auth::Principal;
use crate::auth::rules::Parts;
use crate::crdt::CellIndex;
use crate::limits::SCRATCH_BYTES_MAX;
use crate::mesh::{ConnectionId, DigestPart, ReplyTo};
use crate::metrics::Metrics;
use crate::wire::http::Page;
use crate::wire::{Reject, Ticket};

/// One request, while any of its parts is with another shard.
pub struct PendingRequest {
    pub serial: u32,
    pub connection: ConnectionId,
    pub ticket: Option<Ticket>,
    pub waiting: Waiting,
    /// Answers still to come.
    pub remaining: u32,
    pub began_us: u64,
    /// What its connection is charged with for it.
    charge: Charge,
}

/// What has been answered so far.
pub enum Waiting {
    Write {
        ack: AckLevel,
        outcomes: Outcomes,
    },
    Read {
        map: Box<str>,
        /// What the reader may see; `None`: everything.
        view: Option<Arc<Parts>>,
        gathered: Gathered,
        is_greeting: bool,
    },
    Digest {
        map: Box<str>,
        /// Of those that have answered, or why there will be none.
        sum: Result<DigestPart, Reject>,
    },
    /// All members of a room; `catches_up`: not because the client asked, but because it was slow.
    Members {
        room: Arc<str>,
        catches_up: bool,
    },
    /// A member is being set.
    Member,
    /// Who is in a room of `/v1`. `joins`: for a connection that becomes one of a member; `catches_up`: as it was too slow.
    Gathered {
        room: Arc<str>,
        joins: bool,
        catches_up: bool,
    },
    /// A member of such a room is being changed.
    MemberUpdate {
        room: Arc<str>,
    },
    /// A part of its members.
    People {
        room: Box<str>,
    },
    Channel(ChannelWait),
    Direct(DirectWait),
    /// A connection of this address is to be counted, at accept or with its upgrade.
    Admission {
        upgrade: Option<Upgrade>,
        address: std::net::IpAddr,
    },
    /// A connection is to be one of its user's, which somebody waits for.
    Entry {
        principal: Arc<Principal>,
        awaited: Awaited,
    },
    /// The connections of a user are to be ended.
    Dismissal,
    /// For a page that is made of the numbers of all shards.
    Metrics {
        sum: Box<Metrics>,
        page: Page,
        head_only: bool,
    },
    Clear,
}

/// See the module.
pub struct Requests {
    pending: Pending,
    /// Requests of this turn that no other shard had a part in.
    answered_at_once: u64,
    durable: DurableWaits,
    /// Oldest first; a connection is in it once at most.
    unfinished: VecDeque<Unfinished>,
    /// Scratch: canonical values and packed tags of the operation at hand, hashes and outcomes of the request at hand.
    value: Vec<u8>,
    hashes: Vec<OpHash>,
    outcomes: Outcomes,
    spare_outcomes: SpareOutcomes,
    /// Scratch of a read: packed keys, and the cells found.
    keys: Vec<u8>,
    found: Vec<CellIndex>,
    /// The same of one through a view: what may be seen, packed.
    shown: Vec<u8>,
    /// Connections that may have room for an answer that was too long, each once.
    roomier: Roomier,
    /// The turn in which an answer was made that needed room of its own.
    large_made_in: Option<u32>,
    /// Bytes that the answers to all requests under way may take.
    owed_bytes: usize,
}

#[derive(Default)]
struct Pending {
    slots: Slab<PendingRequest>,
    /// Requests in the order in which they began, which is the order in which they are given up.
    by_age: VecDeque<ReplyTo>,
    begun: u64,
}

impl Pending {
    fn find(&self, reply: ReplyTo) -> Option<&PendingRequest> {
        self.slots.get(reply.slot as usize).filter(|request| request.serial == reply.serial)
    }

    fn get_mut(&mut self, reply: ReplyTo) -> Option<&mut PendingRequest> {
        self.slots.get_mut(reply.slot as usize).filter(|request| request.serial == reply.serial)
    }

    /// Ends the request and returns it.
    fn remove(&mut self, reply: ReplyTo) -> Option<PendingRequest> {
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

impl Requests {
    pub fn new(shards: usize) -> Self {
        Self {
            pending: Pending::default(),
            answered_at_once: 0,
            durable: DurableWaits::new(shards),
            unfinished: VecDeque::new(),
            value: Vec::new(),
            hashes: Vec::new(),
            outcomes: Outcomes::default(),
            spare_outcomes: SpareOutcomes::default(),
            keys: Vec::new(),
            found: Vec::new(),
            shown: Vec::new(),
            roomier: Roomier::default(),
            large_made_in: None,
            owed_bytes: 0,
        }
    }

    /// Bytes that the answers to all requests under way may take.
    pub const fn owed_bytes(&self) -> usize {
        self.owed_bytes
    }

    /// The same from scratch, which takes a look at each request: for tests.
    pub fn recounted_owed_bytes(&self) -> usize {
        self.pending.slots.iter().map(|(_, request)| request.charge.owed_bytes).sum()
    }

    /// Requests that have ever waited.
    pub fn begun(&self) -> u64 {
        self.pending.begun
    }

    pub fn get_mut(&mut self, reply: ReplyTo) -> Option<&mut PendingRequest> {
        self.pending.get_mut(reply)
    }

    /// Takes note of a message that was answered without waiting for anything.
    pub fn count_answered_at_once(&mut self) {
        self.answered_at_once += 1;
    }

    /// How many requests were received and answered in the turn that ends.
    pub fn take_answered_at_once(&mut self) -> u64 {
        std::mem::take(&mut self.answered_at_once)
    }

    /// Registers a request that waits for `remaining` answers.
    pub fn wait_for(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        (connection, ticket): (ConnectionId, Option<Ticket>),
        waiting: Waiting,
        remaining: u32,
    ) -> ReplyTo {
        let serial = turn.next_serial();
        let began_us = turn.now.monotonic_us;
        // An HTTP request ends by the deadline of its connection instead, and a token waits as long as it takes.
        let may_be_late = !matches!(
            waiting,
            Waiting::Admission { .. } | Waiting::Entry { .. } | Waiting::Metrics { .. } | Waiting::Clear
        );
        let charge = Charge::of(&waiting);
        let request = PendingRequest { serial, connection, ticket, waiting, remaining, began_us, charge };
        self.pending.begun += 1;
        self.owed_bytes += charge.owed_bytes;
        let slot = slots::slot(self.pending.slots.insert(request));
        let reply = ReplyTo { shard: turn.index, slot, serial, index: 0, connection };
        if may_be_late {
            self.pending.by_age.push_back(reply);
        }
        if let Some(client) = clients.get_mut(connection) {
            client.requests_pending += 1;
            client.owed_bytes += charge.owed_bytes;
        }
        reply
    }

    /// One more answer to a request has come; the request, if that was the last.
    pub fn answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        reply: ReplyTo,
    ) -> Option<PendingRequest> {
        let request = self.pending.get_mut(reply)?;
        request.remaining -= 1;
        if request.remaining > 0 { None } else { self.end_wait(turn, clients, reply) }
    }

    /// Ends a request: whoever sent it may send one more.
    pub fn end_wait(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        reply: ReplyTo,
    ) -> Option<PendingRequest> {
        let request = self.pending.remove(reply)?;
        if let &Waiting::Read { ref gathered, is_greeting, .. } = &request.waiting {
            turn.account.take(Use::Answers, gathered.held_bytes());
            if is_greeting && let Some(receiving) = clients.receiving(request.connection) {
                receiving.greetings -= 1;
            }
        }
        if request.began_us == turn.now.monotonic_us {
            self.answered_at_once += 1;
        } else {
            turn.metrics.op_ns.record((turn.now.monotonic_us - request.began_us) * 1000);
        }
        self.discharge(clients, request.connection, request.serial, request.charge);
        Some(request)
    }

    /// Ends the oldest request that has waited for `--ack-timeout-ms`; call until `None`.
    pub fn next_late(&mut self, turn: &mut Turn, clients: &mut Clients) -> Option<PendingRequest> {
        let timeout_us = turn.config.ack_timeout_ms * 1000;
        let began_us = turn.now.monotonic_us.checked_sub(timeout_us)?;
        let reply = self.pending.oldest_before(began_us)?;
        self.end_wait(turn, clients, reply)
    }

    /// Answers a request with what has been reached: all of it, or what there is after `--ack-timeout-ms`.
    pub fn answer(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        request: PendingRequest,
        timeout: bool,
    ) {
        match request.waiting {
            Waiting::Write { .. } => self.answer_write(turn, clients, maps, request, timeout),
            Waiting::Direct(_) => self.answer_direct(turn, clients, &request, timeout),
            Waiting::Channel(ChannelWait::Publish { .. }) => {
                channel::answer_published(turn, clients, &request, timeout);
            }
            _ => clients.reject(turn, request.connection, request.ticket.as_ref(), Reject::Timeout),
        }
    }

    /// When the oldest request that may be given up began; it may have been answered since.
    pub fn oldest_us(&self, turn: &Turn) -> Option<u64> {
        let reply = self.pending.by_age.front()?;
        Some(self.pending.find(*reply).map_or(turn.now.monotonic_us, |request| request.began_us))
    }
}

/// Gives memory back that one giant request has taken.
fn give_back<T>(scratch: &mut Vec<T>) {
    if scratch.capacity() * size_of::<T>() > SCRATCH_BYTES_MAX {
        *scratch = Vec::new();
    }
}
