//! Direct messages: from one user to another, in order, kept until the other has said that it has them.
//!
//! ```text
//!  sender's shard ──Send──► home of the user: blocks, limits, offset, queue ──Push──► shards of the user's connections
//!        ▲                    │        ▲  ▲                                              │ who is current takes it
//!        └────────Sent────────┘        │  └──────────────────Taken──────────────────────┘
//!                                      └──Fetch (from where, room)── who has just come, or was slow; Fetched ──►
//! ```
//! A connection is **current**, and takes what is pushed, or it is not, and fetches what it lacks as it has room for it. The
//! answer that has all makes it current: what comes later follows in the same FIFO. It takes nothing below what it has been sent. So each
//! message comes to each connection once and in order, however slow that is, and again to a new one until the user has
//! acknowledged it.
//!
//! A **mailbox** is a log and two lists of names, which lie in one map of the server's own where there is a disk (`shard/log/`). Whatever needs one
//! that is not here yet waits for its map, as requests of clients do.
//!
//! Invariant: a mailbox is here while it has anything that is nowhere else.
//!
//! order: { send, fetch, blocks, announce } → deliver → mailbox → lost

mod announce;
mod blocks;
mod deliver;
mod fetch;
mod lost;
mod mailbox;
mod send;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use hashbrown::HashTable;
use slab::Slab;

pub use announce::Announce;
pub use deliver::{begin, fetched as deliver_fetched};
pub use send::{Arrived, SendDirect, To};

use announce::Announcement;
use mailbox::Mailbox;
use send::Sending;

use super::clients::Clients;
use super::maps::{MapSlot, Maps};
use super::requests::Requests;
use super::slots::Slots;
use super::turn::Turn;
use super::work;
use crate::mesh::{
    Answer, ConnectionId, DirectAnswer, DirectRequest, FetchRequest, Fetched, Item, KeyHasher, ReplyTo,
    Request, ShardIndex, Span,
};
use crate::wire::Reject;

/// See the module.
#[derive(Default)]
pub struct Directs {
    mailboxes: Slots<Mailbox>,
    by_name: HashTable<u32>,
    /// Messages of which it is not known yet whether anybody takes them.
    sendings: Slab<Sending>,
    /// What connections lack, to be sent by turns with work for it, oldest first.
    fetches: VecDeque<FetchRequest>,
    /// Connections of this shard for which a turn had no work, in order.
    late: VecDeque<ConnectionId>,
    /// Messages to many, of which some are yet to be sent.
    announcements: VecDeque<Announcement>,
    /// When which mailbox is to be looked at, each once.
    dues: BinaryHeap<Reverse<(u64, u32, u32)>>,
    counts: DirectCounts,
}

/// What there is of mailboxes whose home is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectCounts {
    /// Messages that are kept.
    pub queued: u64,
    /// Bytes of these, and of blocks.
    pub bytes: usize,
}

/// What a message on its way touches beside [`Directs`].
pub struct Around<'a> {
    pub turn: &'a mut Turn,
    pub clients: &'a mut Clients,
    pub maps: &'a mut Maps,
    pub requests: &'a mut Requests,
}

impl Around<'_> {
    /// Answers whoever has asked, on whatever shard.
    pub fn answer(&mut self, reply: ReplyTo, answer: DirectAnswer) {
        if reply.shard == self.turn.index {
            let from = (self.turn.index, self.maps.covering());
            self.requests.direct_answered(self.turn, self.clients, self.maps, from, answer);
        } else {
            self.turn.outgoing.push(reply.shard, Item::Answer(Answer::Direct(Box::new(answer))));
        }
    }
}

impl Directs {
    /// As they were kept with each change.
    pub const fn counts(&self) -> DirectCounts {
        self.counts
    }

    /// From scratch, which takes a look at each mailbox: for tests.
    pub fn recounted(&self) -> DirectCounts {
        let mailboxes = || self.mailboxes.iter().map(|(_, mailbox)| mailbox);
        DirectCounts {
            queued: mailboxes().map(|mailbox| mailbox.len() as u64).sum(),
            bytes: mailboxes().map(Mailbox::bytes).sum(),
        }
    }

    /// Everything that is kept is gone, blocks too.
    pub fn clear(&mut self) {
        self.mailboxes = Slots::default();
        self.by_name = HashTable::new();
        self.dues.clear();
        self.counts = DirectCounts::default();
    }

    fn find(&self, hasher: &KeyHasher, user: &str) -> Option<u32> {
        self.by_name.find(hasher.user(user), |&slot| *self.mailboxes[slot].user == *user).copied()
    }

    /// The mailbox of a user.
    ///
    /// # Errors
    /// The slot of its map, which is not here yet: whoever asks waits for it ([`Self::park`]).
    fn open(&mut self, turn: &mut Turn, maps: &mut Maps, user: &str) -> Result<u32, MapSlot> {
        turn.spend(work::CELL);
        if let Some(slot) = self.find(&turn.hasher, user) {
            return self.mailboxes[slot].ready(turn, maps).map(|()| slot);
        }
        let mailbox = Mailbox::open(turn, maps, user)?;
        turn.spend(work::PASSED_OVER * mailbox.len() as u64);
        self.counts.queued += mailbox.len() as u64;
        self.counts.bytes += mailbox.bytes();
        let slot = self.mailboxes.insert(|_| mailbox);
        let mailboxes = &self.mailboxes;
        let hasher = turn.hasher;
        self.by_name.insert_unique(hasher.user(user), slot, |&slot| hasher.user(&mailboxes[slot].user));
        Ok(slot)
    }

    /// Changes a mailbox, and counts what that changes. It goes if it may.
    fn change<R>(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        slot: u32,
        change: impl FnOnce(&mut Mailbox, &mut Turn, &mut Maps) -> R,
    ) -> R {
        let mailbox = &mut self.mailboxes[slot];
        let (queued, bytes) = (mailbox.len() as u64, mailbox.bytes());
        let changed = change(mailbox, turn, maps);
        self.counts.queued = self.counts.queued - queued + mailbox.len() as u64;
        self.counts.bytes = self.counts.bytes - bytes + mailbox.bytes();
        if mailbox.may_rest(turn.now.unix_ms) {
            self.close(turn, maps, slot);
        } else if let Some(due_ms) = mailbox.note_due(turn.now.unix_ms, &turn.config.direct) {
            self.dues.push(Reverse((due_ms, slot, mailbox.serial)));
        }
        changed
    }

    fn close(&mut self, turn: &mut Turn, maps: &mut Maps, slot: u32) {
        let mailbox = self.mailboxes.remove(slot);
        self.counts.bytes -= mailbox.bytes();
        if let Ok(entry) = self.by_name.find_entry(turn.hasher.user(&mailbox.user), |&found| found == slot) {
            entry.remove();
        }
        mailbox.close(turn, maps);
    }

    /// Keeps a request until the map of a mailbox is there.
    fn park(&mut self, around: &mut Around<'_>, map: MapSlot, (request, bytes): (DirectRequest, Vec<u8>)) {
        let Around { turn, maps, .. } = around;
        // No client waits for the answer to a fetch, so it waits for a map that cannot be loaded.
        let may_wait = match request {
            DirectRequest::Fetch(_) => maps.may_wait(bytes.len()),
            _ => maps.may_wait_for(turn, map, bytes.len()),
        };
        if let Err(reject) = may_wait {
            return refuse(around, request, reject);
        }
        let request = Request::Direct(Box::new(request));
        maps.park_request(turn, map, turn.index, request, bytes);
    }

    /// Forgets what has been kept for long enough, and lets go of what nobody uses, as much as a turn may.
    pub fn expire(&mut self, turn: &mut Turn, maps: &mut Maps) {
        let now_ms = turn.now.unix_ms;
        while let Some(&Reverse((due_ms, slot, serial))) = self.dues.peek()
            && due_ms <= now_ms
            && !turn.is_spent()
        {
            self.dues.pop();
            turn.spend(work::CELL);
            if self.mailboxes.get(slot).is_none_or(|mailbox| mailbox.serial != serial) {
                continue;
            }
            let (dropped, gone) = self.change(turn, maps, slot, |mailbox, turn, _| {
                let before = mailbox.len();
                mailbox.due_ms = None;
                let dropped = mailbox.expire(now_ms, &turn.config.direct);
                (dropped, before - mailbox.len())
            });
            turn.metrics.directs_dropped += dropped;
            turn.spend(work::PASSED_OVER * gone as u64);
        }
    }

    /// When [`Self::expire`] has something to do, in Unix milliseconds.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.dues.peek().map(|&Reverse((due_ms, ..))| due_ms)
    }

    /// Whether messages that are kept wait for a turn with work for them.
    pub fn has_fetches(&self) -> bool {
        !self.fetches.is_empty()
    }

    /// Whether messages to many do.
    pub fn has_announcements(&self) -> bool {
        !self.announcements.is_empty()
    }
}

/// Asks the home of a user, on another shard.
fn ask(turn: &mut Turn, home: ShardIndex, request: DirectRequest) {
    turn.outgoing.push(home, Item::Request(Request::Direct(Box::new(request))));
}

/// Answers a request that waits for a map in vain, or must not wait.
pub fn refuse(around: &mut Around<'_>, request: DirectRequest, reject: Reject) {
    let (reply, answer) = match request {
        DirectRequest::Send(send) => {
            (send.reply, DirectAnswer::Sent { reply: send.reply, outcome: Err(reject) })
        }
        DirectRequest::Announce(announce) => {
            (announce.reply, DirectAnswer::Announced { reply: announce.reply, taken: 0 })
        }
        DirectRequest::Ack { reply, .. } => {
            let Some(reply) = reply else { return };
            (reply, DirectAnswer::Acked { reply, outcome: Err(reject) })
        }
        DirectRequest::Block(block) | DirectRequest::BlockOther(block) => {
            let Some(reply) = block.reply else { return };
            (reply, DirectAnswer::Blocked { reply, outcome: Err(reject) })
        }
        DirectRequest::Fetch(FetchRequest { by, through, .. }) => {
            let (connection, messages) = (by.connection, Span::default());
            // Who has waited in vain may wait again.
            let is_refused = reject != Reject::Timeout;
            let fetched = Fetched { connection, through, is_all: false, is_refused, dropped: 0, messages };
            if by.shard == around.turn.index {
                return deliver::fetched(around, (&fetched, &[]));
            }
            let answer = Answer::Direct(Box::new(DirectAnswer::Fetched(fetched)));
            return around.turn.outgoing.push(by.shard, Item::Answer(answer));
        }
    };
    around.answer(reply, answer);
}
