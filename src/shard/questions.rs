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
use crate::mesh::ConnectionId;

/// See the module.
#[derive(Default)]
pub struct Questions {
    port: Option<QuestionsPort>,
    unsent: VecDeque<Ask>,
    /// Questions that the thread has, which may be of connections that are gone.
    asked: usize,
    waiting: HashMap<ConnectionId, (Waiter, u32)>,
    /// Bytes of all of them, and of what is unsent, some of which may be of connections that are gone.
    bytes: usize,
    unsent_bytes: usize,
    /// More was answered than a turn had work for.
    has_more: bool,
}

/// A connection that comes in once the application has allowed it.
pub struct Waiter {
    /// `None`: anonymous.
    pub principal: Option<Arc<Principal>>,
    pub awaited: Awaited,
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
    pub fn ask(
        &mut self,
        turn: &mut Turn,
        ask: Ask,
        (principal, awaited): (Option<Arc<Principal>>, Awaited),
    ) {
        let bytes = bytes_of(&ask);
        self.bytes += bytes;
        self.unsent_bytes += bytes;
        self.waiting.insert(ask.connection, (Waiter { principal, awaited, bytes }, ask.serial));
        self.unsent.push_back(ask);
        self.send(turn);
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
            if self.waiting.get(&ask.connection).is_none_or(|(_, serial)| *serial != ask.serial) {
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

    /// Takes who waits for an answer, if it still does.
    pub fn take(&mut self, answered: &Answered) -> Option<Waiter> {
        let (_, serial) = self.waiting.get(&answered.connection)?;
        if *serial != answered.serial { None } else { self.forget(answered.connection) }
    }

    /// A connection waits no longer.
    pub fn forget(&mut self, id: ConnectionId) -> Option<Waiter> {
        if self.waiting.is_empty() {
            return None;
        }
        let (waiter, _) = self.waiting.remove(&id)?;
        self.bytes -= waiter.bytes;
        Some(waiter)
    }
}

fn bytes_of(ask: &Ask) -> usize {
    size_of::<Ask>() + size_of::<Waiter>() + ask.body.len()
}
