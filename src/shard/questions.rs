//! What waits for an answer of the application.
//!
//! Invariant: no more is being asked than there is room for answers, and what waits is bounded by bytes; a connection waits once
//! at most.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::Command;
use super::access::Awaited;
use super::turn::Turn;
use crate::auth::Principal;
use crate::handover::{Answered, Ask, QuestionsPort};
use crate::limits::{QUESTIONS_ASKED_MAX, QUESTIONS_WAITING_BYTES_MAX};
use crate::mesh::{ConnectionId, Publishing};
use crate::wire::Ticket;

/// See the module.
#[derive(Default)]
pub struct Questions {
    port: Option<QuestionsPort>,
    unsent: VecDeque<Ask>,
    /// Questions that the thread has, which may be of connections that are gone.
    asked: usize,
    waiting: HashMap<ConnectionId, Waiter>,
    /// Bytes of all of them, and of what is unsent, some of which may be of connections that are gone.
    bytes: usize,
    unsent_bytes: usize,
    /// More was answered than a turn had work for.
    has_more: bool,
}

/// What is done once the application has allowed it.
pub enum Waiting {
    /// A connection comes in. Without a principal it is anonymous.
    Entry { principal: Option<Arc<Principal>>, awaited: Awaited },
    /// A message goes on its way, with what its answer is known by.
    Message { ticket: Option<Ticket>, proposed: Proposed },
}

/// A message that waits.
pub struct Proposed {
    pub what: Proposal,
    /// Canonical JSON.
    pub data: Box<[u8]>,
}

/// What a message is, beside its data.
pub enum Proposal {
    Publish {
        channel: Box<str>,
        how: Publishing,
    },
    /// `to` as it stands in the message.
    Send {
        to: Box<str>,
        ttl_ms: Option<u64>,
        is_durable: bool,
    },
}

struct Waiter {
    waiting: Waiting,
    serial: u32,
    /// By the monotonic clock.
    since_ms: u64,
    bytes: usize,
}

impl Questions {
    pub fn connect(&mut self, port: QuestionsPort) {
        self.port = Some(port);
    }

    /// Whether there is anybody who could be asked.
    pub const fn is_connected(&self) -> bool {
        self.port.is_some()
    }

    /// Whether a question of so many bytes may wait.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes() + bytes <= QUESTIONS_WAITING_BYTES_MAX
    }

    /// Bytes of what waits, or is kept of connections that have left meanwhile.
    pub fn bytes(&self) -> usize {
        self.bytes.max(self.unsent_bytes)
    }

    /// Asks, for which there is room.
    pub fn ask(&mut self, turn: &mut Turn, ask: Ask, waiting: Waiting) {
        let bytes = bytes_of(&ask) + waiting.bytes();
        self.bytes += bytes;
        self.unsent_bytes += bytes_of(&ask);
        let waiter = Waiter { waiting, serial: ask.serial, since_ms: turn.now.timer_ms(), bytes };
        self.waiting.insert(ask.connection, waiter);
        self.unsent.push_back(ask);
        self.send(turn);
    }

    /// Takes the oldest message that has not been asked about in the time that the application has for an answer: others were
    /// before it for as long, and nobody knows what would be said.
    pub fn next_late(&mut self, turn: &Turn) -> Option<(ConnectionId, Waiting)> {
        loop {
            let ask = self.unsent.front()?;
            let id = ask.connection;
            if let Some(waiter) = self.waiting.get(&id).filter(|waiter| waiter.serial == ask.serial) {
                let late_ms = waiter.since_ms + ask.question.endpoint.timeout_ms;
                if matches!(waiter.waiting, Waiting::Entry { .. }) || turn.now.timer_ms() < late_ms {
                    return None;
                }
            }
            // Of those that have left, too.
            let ask = self.unsent.pop_front()?;
            self.unsent_bytes -= bytes_of(&ask);
            if let Some(waiting) = self.take(id, ask.serial) {
                return Some((id, waiting));
            }
        }
    }

    /// Hands on what there is room for.
    pub fn send(&mut self, turn: &mut Turn) {
        let Some(port) = &mut self.port else { return };
        let mut has_sent = false;
        while self.asked < QUESTIONS_ASKED_MAX
            && let Some(ask) = self.unsent.pop_front()
        {
            let bytes = bytes_of(&ask);
            self.unsent_bytes -= bytes;
            // Who has left is not asked about.
            if self.waiting.get(&ask.connection).is_none_or(|waiter| waiter.serial != ask.serial) {
                continue;
            }
            if let Err(rtrb::PushError::Full(ask)) = port.to_hooks.push(ask) {
                self.unsent.push_front(ask);
                self.unsent_bytes += bytes;
                break;
            }
            self.asked += 1;
            has_sent = true;
        }
        if has_sent {
            turn.commands.push(Command::WakeHooks);
        }
    }

    /// Takes the next answer, if the turn has work for it.
    pub fn next_answered(&mut self, may_take: bool) -> Option<Answered> {
        let from_hooks = &mut self.port.as_mut()?.from_hooks;
        self.has_more = !may_take && !from_hooks.is_empty();
        let answered = if may_take { from_hooks.pop().ok() } else { None };
        self.asked -= usize::from(answered.is_some());
        answered
    }

    /// Whether the next turn has something to do of all this, even if nothing happens.
    pub const fn has_work_left(&self) -> bool {
        self.has_more
    }

    /// Takes what waits for this answer, if it still does.
    pub fn take(&mut self, id: ConnectionId, serial: u32) -> Option<Waiting> {
        if self.waiting.get(&id)?.serial == serial { self.forget(id) } else { None }
    }

    /// A connection waits no longer.
    pub fn forget(&mut self, id: ConnectionId) -> Option<Waiting> {
        if self.waiting.is_empty() {
            return None;
        }
        let waiter = self.waiting.remove(&id)?;
        self.bytes -= waiter.bytes;
        Some(waiter.waiting)
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        match self {
            Self::Entry { .. } => 0,
            Self::Message { proposed, .. } => proposed.bytes(),
        }
    }
}

impl Proposed {
    /// What it takes beside itself.
    pub fn bytes(&self) -> usize {
        let (Proposal::Publish { channel: name, .. } | Proposal::Send { to: name, .. }) = &self.what;
        self.data.len() + name.len()
    }
}

fn bytes_of(ask: &Ask) -> usize {
    size_of::<Ask>() + size_of::<Waiter>() + ask.body.len()
}
