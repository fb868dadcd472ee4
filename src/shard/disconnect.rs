//! The one way out. Every cause, a peer's close, a fault, a limit, a timer, a stop, ends here, and each step
//! is taken exactly once, in this order, as the phase of the connection only moves forward:
//!
//! ```text
//! Open ──disconnect──► Flushing ──all sent──► Lingering ──peer's end or timer──► Disconnected ──► slot free
//!        stop reading            close frame is out,         transport is closed,   after the last
//!        leave, tell             our side is ended           `finish`               completion
//! ```

use super::connection::{Connection, Phase};
use super::{Command, Shard};
use crate::limits::CLOSE_TIMEOUT_MS;
use crate::mesh::ConnectionId;
use crate::wire::Close;
use crate::wire::websocket::{Reader, write_close};

impl Shard {
    /// Ends the connection because of `close`; does nothing if it is ending already.
    pub(super) fn disconnect(&mut self, id: ConnectionId, close: Close) {
        self.disconnect_for(id, close, close.cause());
    }

    /// The same, where the log can say more than `close` does.
    pub(super) fn disconnect_for(&mut self, id: ConnectionId, close: Close, cause: &str) {
        if !self.clients.get(id).is_some_and(Connection::is_connected) {
            return;
        }
        self.log_ended(id, close, cause);
        let Some(connection) = self.clients.get_mut(id) else { return };
        let was_open = connection.is_open();
        let deadline_ms = self.now.timer_ms() + CLOSE_TIMEOUT_MS;

        // Stop reading: what still arrives is dropped unread. Its timer now waits for the end.
        connection.phase = Phase::Flushing;
        connection.unread = Vec::new();
        connection.reader = Reader::new(0);
        connection.session = None;
        connection.deadline_ms = deadline_ms;
        let was_paused = std::mem::take(&mut connection.paused);
        let subscriptions = std::mem::take(&mut connection.subscriptions);
        let watches = std::mem::take(&mut connection.watches);
        let held = std::mem::take(&mut connection.held);
        let was_admitted = std::mem::take(&mut connection.admitted);
        let address = connection.address;
        self.look_at(id, deadline_ms);

        // Leave every subscription, which tells the owners where this was the last. An end is an answer to everything.
        for subscription in subscriptions {
            let _owed = self.end_subscription(subscription);
        }
        // Leave every room: first as a watcher, then with the members that it has set.
        watches.into_iter().for_each(|watch| self.end_watch(watch));
        held.iter().for_each(|member| self.release_member(id, member));
        // Tell who else must know.
        if was_admitted {
            self.depart(address);
        }

        // Flush the outbox, or drop it where the peer was too slow for it, and close with the right code.
        let Some(connection) = self.clients.table.get_mut(id.index as usize) else { return };
        let pool = &mut self.clients.pool;
        if close == Close::SlowConsumer {
            connection.outbox.drop_filling(pool);
            self.metrics.slow_consumers += 1;
        }
        if was_open {
            let close = self.clients.dialects[usize::from(connection.dialect)].close(close);
            connection.outbox.append_uncounted(pool, |out| write_close(out, close));
            match close {
                Close::Echoed { code: Some(code) } => self.metrics.count_close_of_peer(code),
                close => self.metrics.count_close(close.code()),
            }
            self.metrics.connections -= 1;
        }
        connection.urgent = true;
        let is_idle = !connection.outbox.is_filling() && !connection.outbox.is_sending();
        if was_paused {
            // The peer's end must still be seen.
            self.clients.commands.push(Command::ResumeReading(id));
        }
        if is_idle {
            self.linger(id);
        } else {
            self.clients.mark(id, self.now);
        }
    }

    /// Everything is out: end our side and wait for the peer to end its own, so that the kernel does not answer
    /// bytes still under way with a reset that would overtake the close frame.
    pub(super) fn linger(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        if connection.phase != Phase::Flushing {
            return;
        }
        connection.phase = Phase::Lingering;
        if connection.ended {
            self.finish(id);
        } else {
            self.clients.commands.push(Command::Shutdown(id));
        }
    }

    /// Closes the transport; the slot is free after its last completion.
    pub(super) fn finish(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        if connection.phase == Phase::Disconnected {
            return;
        }
        debug_assert!(!connection.is_connected(), "a connection is finished only after it was disconnected");
        connection.phase = Phase::Disconnected;
        self.clients.commands.push(Command::Close(id));
    }
}
