//! What whoever runs the server is told of connections.

use super::{Clients, Connection, Phase, Waits};
use crate::handover::inspection::{ClientRow, Share, Walk, WantedClients};
use crate::mesh::ConnectionId;
use crate::shard::Now;
use crate::shard::turn::Turn;

impl Clients {
    /// Connections from a slot on, those that are meant.
    pub fn inspect(&self, now: Now, walk: Walk, wanted: &WantedClients) -> Share<ClientRow> {
        self.table.inspect(walk, |connection| connection.is_meant(wanted).then(|| connection.row(now)))
    }

    pub fn row(&self, now: Now, id: ConnectionId) -> Option<ClientRow> {
        self.get(id).map(|connection| connection.row(now))
    }

    /// What keeps its next message from being handled.
    pub fn waits(&self, id: ConnectionId) -> &'static str {
        match self.get(id).map(|connection| connection.waits) {
            None | Some(Waits::No) => "no",
            Some(Waits::InLine) => "in_line",
            Some(Waits::OwnEnd) => "own_end",
            Some(Waits::Rate) => "rate",
        }
    }

    /// Whether as many sockets are counted as there are; what is wrong, in words.
    pub fn check_counts(&self, turn: &Turn, mut fault: impl FnMut(String)) {
        let (counted, held) = (turn.metrics.sockets, self.table.len());
        if counted != held as u64 {
            fault(format!("{counted} sockets are counted, and {held} are held"));
        }
    }

    /// Whether the connection can be ended; it is, by a turn with work for it.
    pub fn kick(&mut self, id: ConnectionId) -> bool {
        let is_there = self.get(id).is_some_and(Connection::is_connected);
        if is_there {
            self.end_later(id, super::End::Dismissed);
        }
        is_there
    }
}

impl Connection {
    fn is_meant(&self, wanted: &WantedClients) -> bool {
        let user = || self.principal.as_ref().map(|principal| &*principal.identity.user);
        self.phase != Phase::Disconnected
            && wanted.user.as_deref().is_none_or(|wanted| user() == Some(wanted))
            && wanted.address.is_none_or(|network| network.contains(&self.address.to_canonical()))
            && wanted.dialect.is_none_or(|dialect| self.phase == Phase::Open && self.dialect == dialect)
    }

    fn row(&self, now: Now) -> ClientRow {
        let identity = self.principal.as_ref().map(|principal| &principal.identity);
        let named_session = || self.of_user.as_ref()?.named_session.clone();
        let since_ms = |at_ms: u64| now.timer_ms().saturating_sub(at_ms);
        ClientRow {
            connection: self.id,
            phase: match self.phase {
                _ if self.is_leaving => "leaving",
                Phase::Accepted | Phase::Handshake | Phase::Admission => "handshake",
                Phase::Open => "open",
                Phase::Flushing | Phase::Lingering | Phase::Disconnected => "leaving",
            },
            user: identity.map(|identity| Box::from(&*identity.user)),
            session: identity.and_then(|identity| identity.session.clone()).or_else(named_session),
            roles: identity.map_or_else(Vec::new, |identity| identity.roles.to_vec()),
            address: self.address,
            dialect: self.dialect,
            connected_ms: since_ms(self.accepted_at_ms),
            idle_ms: since_ms(self.heard_at_ms),
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
            outbox_bytes: self.outbox.bytes(),
            subscriptions: self.subscriptions.len(),
            queries: self.queries.subscriptions().len(),
            channels: self.joined.len(),
            rooms: self.stays.as_ref().map_or(0, |stays| stays.slots.len()) + self.watches().len(),
        }
    }
}
