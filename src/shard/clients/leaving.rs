//! What the way out of a connection does to its slot; `disconnect.rs` has the whole way.

use super::connection::{Phase, Waits};
use super::own_members::OwnMember;
use super::unread::Unread;
use super::{Clients, tenant};
use crate::limits::CLOSE_TIMEOUT_MS;
use crate::mesh::{ConnectionId, SubscriptionRef};
use crate::metrics::TlsFailure;
use crate::shard::Command;
use crate::shard::caller::Caller;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Close;
use crate::wire::websocket::{Reader, write_close};

/// Members that are let go of at once, which are one step of it.
const MEMBERS_AT_ONCE: usize = 64;

/// A connection that lets go of what it has, and how it says goodbye then.
pub struct Leaving {
    pub id: ConnectionId,
    close: Close,
    /// Why, in other words than those of `close`.
    said: Option<Box<str>>,
    was_open: bool,
    was_paused: bool,
}

/// Something that a connection has to let go of elsewhere.
pub enum Held {
    Subscription(SubscriptionRef),
    Query(SubscriptionRef),
    Watch(u32),
    /// In a room of `/v1`; `is_final`: its member does not come back.
    Stay {
        stay: u32,
        is_final: bool,
    },
    Channel(u32),
    Members(Vec<OwnMember>),
}

/// How a connection has ended that goes once a turn has work for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has said so.
    Said,
    /// The transport has failed.
    Failed,
    /// It has not: a newer session of its user takes its place.
    Displaced,
    /// It has not: somebody who may has said that it has to go.
    Dismissed,
}

impl Clients {
    /// Keeps the end of a connection whose peer is gone for a turn with work for it.
    pub fn end_later(&mut self, id: ConnectionId, end: End) {
        self.gone.push_back((id, end));
    }

    /// Takes the connection whose peer has been gone longest.
    pub fn next_gone(&mut self) -> Option<(ConnectionId, End)> {
        self.gone.pop_front()
    }

    /// Whether any are to be ended.
    pub fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// What the dialect remembers of a connection goes first, so that nothing of the rest reaches it.
    fn end_session(&mut self, turn: &mut Turn, id: ConnectionId) {
        let (Some(caller), dialect) = (self.caller(id), self.dialect_of(id)) else { return };
        let mut session = self.get_mut(id).and_then(|connection| connection.session.take());
        if session.is_some() {
            turn.spend(work::freed(self.forget_session(dialect, &mut session)));
            let next = dialect.closed(&mut session, &mut self.commons, caller);
            self.drained.extend(next.map(Caller::connection));
        }
    }

    /// Stops reading: what still arrives is dropped unread, nothing more is queued, and the timer waits for the end. `None`: it
    /// is ending already. [`Self::say_goodbye`] comes once it has let go of all that it holds.
    pub fn leave(&mut self, turn: &mut Turn, id: ConnectionId, close: Close) -> Option<Leaving> {
        self.end_session(turn, id);
        let connection = tenant(&mut self.table, id).filter(|connection| connection.is_connected())?;
        let was_open = connection.is_open();
        let said = connection.of_user.as_mut().and_then(|of_user| of_user.denied.take());
        let said = said.filter(|_| close == Close::Denied);
        let deadline_ms = turn.now.timer_ms() + CLOSE_TIMEOUT_MS;
        connection.phase = Phase::Flushing;
        connection.is_leaving = true;
        connection.holds_changes = true;
        connection.unread = Unread::default();
        connection.reader = Reader::new(0);
        connection.waits = Waits::No;
        connection.deadline_ms = deadline_ms;
        let was_paused = std::mem::take(&mut connection.paused);
        if let Some(stays) = &mut connection.stays {
            stays.are_final = close.is_final();
        }
        if close == Close::SlowConsumer {
            connection.outbox.drop_filling(&mut self.pool);
            turn.metrics.slow_consumers += 1;
        }
        self.set_timer(id, deadline_ms);
        Some(Leaving { id, close, said, was_open, was_paused })
    }

    /// Takes the next thing that a connection which is leaving holds.
    pub fn next_held(&mut self, id: ConnectionId) -> Option<Held> {
        let connection = self.get_mut(id)?;
        if let Some(subscription) = connection.subscriptions.pop() {
            return Some(Held::Subscription(subscription));
        }
        if let Some(query) = connection.queries.pop() {
            return Some(Held::Query(query));
        }
        if let Some(watch) = connection.watches.as_mut().and_then(|watches| watches.slots.pop()) {
            return Some(Held::Watch(watch));
        }
        if let Some(stays) = &mut connection.stays
            && let Some(stay) = stays.slots.pop()
        {
            return Some(Held::Stay { stay, is_final: stays.are_final });
        }
        if let Some(member) = connection.joined.pop() {
            return Some(Held::Channel(member));
        }
        let members = connection.members.take_some(MEMBERS_AT_ONCE);
        self.member_gone(members.iter().map(OwnMember::names_bytes).sum());
        (!members.is_empty()).then_some(Held::Members(members))
    }

    /// Takes members of a connection that are in rooms where it may not be any more.
    pub fn take_members(&mut self, id: ConnectionId, is_one: impl FnMut(&str) -> bool) -> Vec<OwnMember> {
        let Some(connection) = self.get_mut(id) else { return Vec::new() };
        let members = connection.members.take_of(usize::MAX, is_one);
        self.member_gone(members.iter().map(OwnMember::names_bytes).sum());
        members
    }

    /// Keeps a connection that has more to let go of than a turn has work for.
    pub fn leave_later(&mut self, leaving: Leaving) {
        self.leaving.push_back(leaving);
    }

    /// Takes the connection that has been leaving longest.
    pub fn next_leaving(&mut self) -> Option<Leaving> {
        self.leaving.pop_front()
    }

    /// Puts who was taken back in its place.
    pub fn put_back_leaving(&mut self, leaving: Leaving) {
        self.leaving.push_front(leaving);
    }

    /// Whether any have more to let go of, so that the next turn must not wait for an event.
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Everything is let go of: tells who counts its address, flushes the outbox and closes with the right code.
    pub fn say_goodbye(&mut self, turn: &mut Turn, leaving: Leaving) {
        let Leaving { id, close, said, was_open, was_paused } = leaving;
        let Some(connection) = tenant(&mut self.table, id) else { return };
        connection.is_leaving = false;
        connection.subscriptions = Vec::new();
        connection.watches = None;
        connection.stays = None;
        let is_connected = connection.phase == Phase::Flushing;
        let counted = std::mem::take(&mut connection.is_of_address).then_some(connection.address);
        if was_open {
            let close = self.dialects[usize::from(connection.dialect)].close(close);
            if is_connected {
                let said = said.as_deref().filter(|_| close == Close::Denied);
                connection.outbox.append_uncounted(&mut self.pool, |out| write_close(out, close, said));
            }
            match close {
                Close::Echoed { code: Some(code) } => turn.metrics.count_close_of_peer(code),
                close => turn.metrics.count_close(close.code()),
            }
            turn.metrics.connections -= 1;
        }
        connection.urgent = true;
        let is_idle = !connection.has_to_send() && !connection.is_sending();
        let is_released = connection.is_released;
        if let Some(address) = counted {
            self.depart(turn, address);
        }
        if is_released {
            return self.remove(turn, id);
        }
        if was_paused && is_connected {
            // The peer's end must still be seen.
            turn.commands.push(Command::ResumeReading(id));
        }
        if is_idle {
            self.linger(turn, id);
        } else {
            self.mark(id, turn.now);
        }
    }

    /// Everything is out: end our side and wait for the peer to end its own, so that the kernel does not answer
    /// bytes still under way with a reset that would overtake the close frame.
    pub fn linger(&mut self, turn: &mut Turn, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else { return };
        if connection.phase != Phase::Flushing || connection.is_leaving || self.say_closed(turn, id) {
            return;
        }
        let Some(connection) = self.get_mut(id) else { return };
        connection.phase = Phase::Lingering;
        if connection.ended {
            self.finish(turn, id);
        } else {
            turn.commands.push(Command::Shutdown(id));
        }
    }

    /// Closes the transport; the slot is free after its last completion.
    pub fn finish(&mut self, turn: &mut Turn, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else { return };
        if connection.phase == Phase::Disconnected {
            return;
        }
        debug_assert!(!connection.is_connected(), "a connection is finished only after it was disconnected");
        connection.phase = Phase::Disconnected;
        if connection.has_abandoned_handshake() {
            turn.metrics.count_tls_failure(TlsFailure::Abandoned);
        }
        if !connection.is_admitted {
            self.admission.close();
        }
        turn.commands.push(Command::Close(id));
    }

    /// The last completion of a closed connection has come: its slot is free, once it has let go of all that names it.
    pub fn remove(&mut self, turn: &mut Turn, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else { return };
        if connection.is_leaving {
            connection.is_released = true;
            return;
        }
        self.timers.remove(&mut self.table, id.index);
        let mut connection = self.table.remove(id.index);
        debug_assert_eq!(connection.phase, Phase::Disconnected);
        connection.outbox.clear(&mut self.pool);
        self.forget_layer(&connection);
        turn.metrics.sockets -= 1;
        self.admission.released(connection.is_admitted);
    }
}
