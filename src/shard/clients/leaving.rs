//! What the way out of a connection does to its slot; `disconnect.rs` has the whole way.

use std::net::IpAddr;

use super::Clients;
use super::connection::{OwnMember, Phase, Waits};
use crate::limits::CLOSE_TIMEOUT_MS;
use crate::mesh::{ConnectionId, SubscriptionRef};
use crate::shard::Command;
use crate::shard::caller::Caller;
use crate::shard::turn::Turn;
use crate::wire::Close;
use crate::wire::websocket::{Reader, write_close};

/// What a connection has to let go of elsewhere.
pub struct Leaving {
    pub subscriptions: Vec<SubscriptionRef>,
    pub watches: Vec<u32>,
    pub members: Vec<OwnMember>,
    /// The address that it was counted for.
    pub counted: Option<IpAddr>,
    was_open: bool,
    was_paused: bool,
}

impl Clients {
    /// What the dialect remembers of a connection goes first, so that nothing of the rest reaches it.
    fn end_session(&mut self, id: ConnectionId) {
        let (Some(caller), dialect) = (self.caller(id), self.dialect_of(id)) else { return };
        let mut session = self.get_mut(id).and_then(|connection| connection.session.take());
        if session.is_some() {
            self.forget_session(dialect, &mut session);
            let next = dialect.closed(&mut session, &mut self.commons, caller);
            self.drained.extend(next.map(Caller::connection));
        }
    }

    /// Stops reading: what still arrives is dropped unread, and the timer waits for the end. `None`: it is ending already.
    pub fn leave(&mut self, turn: &Turn, id: ConnectionId) -> Option<Leaving> {
        self.end_session(id);
        let connection = self.get_mut(id).filter(|connection| connection.is_connected())?;
        let was_open = connection.is_open();
        let deadline_ms = turn.now.timer_ms() + CLOSE_TIMEOUT_MS;
        connection.phase = Phase::Flushing;
        connection.unread = Vec::new();
        connection.reader = Reader::new(0);
        connection.waits = Waits::No;
        connection.deadline_ms = deadline_ms;
        let names_bytes: usize = connection.members.iter().map(OwnMember::names_bytes).sum();
        connection.members_bytes = 0;
        let was_counted = std::mem::take(&mut connection.is_of_address);
        let leaving = Leaving {
            subscriptions: std::mem::take(&mut connection.subscriptions),
            watches: std::mem::take(&mut connection.watches),
            members: std::mem::take(&mut connection.members),
            counted: was_counted.then_some(connection.address),
            was_open,
            was_paused: std::mem::take(&mut connection.paused),
        };
        self.member_gone(names_bytes);
        self.set_timer(id, deadline_ms);
        Some(leaving)
    }

    /// Flushes the outbox, or drops it where the peer was too slow for it, and closes with the right code.
    pub fn say_goodbye(&mut self, turn: &mut Turn, id: ConnectionId, close: Close, leaving: &Leaving) {
        let Some(connection) = self.table.get_mut(id.index) else { return };
        let pool = &mut self.pool;
        if close == Close::SlowConsumer {
            connection.outbox.drop_filling(pool);
            turn.metrics.slow_consumers += 1;
        }
        if leaving.was_open {
            let close = self.dialects[usize::from(connection.dialect)].close(close);
            connection.outbox.append_uncounted(pool, |out| write_close(out, close));
            match close {
                Close::Echoed { code: Some(code) } => turn.metrics.count_close_of_peer(code),
                close => turn.metrics.count_close(close.code()),
            }
            turn.metrics.connections -= 1;
        }
        connection.urgent = true;
        let is_idle = !connection.outbox.is_filling() && !connection.outbox.is_sending();
        if leaving.was_paused {
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
        if connection.phase != Phase::Flushing {
            return;
        }
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
        if !connection.is_admitted {
            self.admission.close();
        }
        turn.commands.push(Command::Close(id));
    }

    /// The last completion of a closed connection has come: its slot is free.
    pub fn remove(&mut self, turn: &mut Turn, id: ConnectionId) {
        if self.get(id).is_none() {
            return;
        }
        self.timers.remove(&mut self.table, id.index);
        let mut connection = self.table.remove(id.index);
        debug_assert_eq!(connection.phase, Phase::Disconnected);
        connection.outbox.clear(&mut self.pool);
        turn.metrics.sockets -= 1;
        self.admission.released(connection.is_admitted);
    }
}
