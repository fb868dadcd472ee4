//! The small things a dialect asks of its shard; the large ones are `write`, `read`, `subscribe` and their like.

use super::{DialectIndex, Now, Session, Shard};
use crate::config::Config;
use crate::crdt::{Stamp, Time};
use crate::mesh::ConnectionId;
use crate::wire::json::Parser;

impl Shard {
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The parser that all messages of this shard are parsed with.
    pub fn parser(&mut self) -> &mut Parser {
        &mut self.parser
    }

    /// The clock of this shard, for clients to set theirs by: a stamp a millisecond later is not refused. So it is this
    /// shard's clock, unless that has been pushed as far ahead as stamps may be, when it is a millisecond less than that.
    pub fn clock_now(&mut self) -> Stamp {
        let time = self.clock.advance(self.now.unix_ms);
        let accepted_ms = self.reference_ms.saturating_add(self.config.clock_drift_max_ms);
        let time =
            if time.millis() < accepted_ms { time } else { Time::new(accepted_ms.saturating_sub(1), 0) };
        Stamp { time, node: self.node }
    }

    /// Whether the connection's peer takes what it is sent.
    pub fn has_room(&self, id: ConnectionId) -> bool {
        self.clients.has_room(id)
    }

    /// Has [`super::Dialect::drained`] called once all that was queued for the connection is sent.
    pub fn call_when_drained(&mut self, id: ConnectionId) {
        if let Some(connection) = self.clients.get_mut(id) {
            connection.wants_drained = true;
        }
    }

    /// Whether messages of the connection are handled, or wait, and it is not read, until this is called again.
    pub fn take_requests(&mut self, id: ConnectionId, takes: bool) {
        if let Some(connection) = self.clients.get_mut(id) {
            connection.takes_no_requests = !takes;
        }
    }

    /// What the connection is called in logs.
    pub fn connection_name(&self, id: ConnectionId) -> String {
        format!("{}-{}-{}", self.index, id.index, id.generation)
    }

    /// The time of this turn.
    pub fn now(&self) -> Now {
        self.now
    }

    /// What the connection's dialect remembers of it; `None` if it is gone.
    pub fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.clients.get_mut(id).map(|connection| &mut connection.session)
    }

    /// What the connection speaks; any if it is gone.
    pub fn dialect_index(&self, id: ConnectionId) -> DialectIndex {
        self.clients.get(id).map_or(0, |connection| connection.dialect)
    }

    /// From now on the connection speaks another dialect, with the same session.
    pub fn switch_dialect(&mut self, id: ConnectionId, dialect: DialectIndex) {
        if let Some(connection) = self.clients.get_mut(id) {
            connection.dialect = dialect;
        }
    }

    /// Counts a request that a dialect has refused by itself.
    pub fn count_refusal(&mut self) {
        self.metrics.requests_rejected += 1;
    }

    /// Queues the frames that `write` appends.
    pub fn send(&mut self, id: ConnectionId, write: impl FnOnce(&mut Vec<u8>)) {
        self.clients.send(id, self.now, write);
    }

    /// Like [`Self::send`] for what must not wait for company.
    pub fn send_urgent(&mut self, id: ConnectionId, write: impl FnOnce(&mut Vec<u8>)) {
        self.clients.send_urgent(id, self.now, write);
    }
}
