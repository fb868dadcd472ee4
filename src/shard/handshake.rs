//! From the first byte to an open WebSocket, or to the page an HTTP client asked for (`pages.rs`).

use std::net::IpAddr;

use super::access::{Shown, Upgrade};
use super::clients::{Connection, Phase, Waits, turned_away};
use super::requests::Waiting;
use super::{DialectIndex, Shard};
use crate::mesh::{ConnectionId, ReplyTo, TurnedAway};
use crate::wire::Close;
use crate::wire::http::{self, Answer, Rules};
use crate::wire::websocket::Reader;

impl Shard {
    /// Looks at the request head received so far and answers it once it is complete.
    pub(super) fn handle_http(&mut self, id: ConnectionId) {
        if self.answer_plain(id) {
            return;
        }
        let Some(connection) = self.clients.get_mut(id) else { return };
        let config = &self.turn.config;
        let rules = Rules {
            header_bytes_max: config.header_bytes_max,
            allowed_origins: &config.allowed_origins,
            dialects: &config.dialects,
            has_front_page: config.front_page.is_some(),
            test_reset: config.test_reset,
            trusted_proxies: &config.trusted_proxies,
        };
        let Some((answer, consumed)) = http::answer(connection.unread.bytes(), connection.address, &rules)
        else {
            return;
        };
        connection.unread.advance(consumed);
        match answer {
            Answer::Refuse { response } => {
                self.turn.metrics.handshakes_refused += 1;
                self.respond(id, |out| out.extend_from_slice(&response));
            }
            Answer::Clear => self.clear_maps(id),
            Answer::Page { page, head_only } => self.page(id, page, head_only),
            Answer::Options => self.answer_options(id),
            Answer::Upgrade { dialect, response, client, token, session } => {
                connection.address = client;
                if let Some(session) = session.filter(|_| self.access.takes_tokens()) {
                    connection.of_user.get_or_insert_default().named_session = Some(session.into());
                }
                let credential = token.map(String::into_boxed_str);
                self.upgrade(id, Upgrade { dialect, response, credential });
            }
        }
    }

    fn upgrade(&mut self, id: ConnectionId, upgrade: Upgrade) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        let address = connection.address;
        let is_to_count = connection.refusal.is_none() && !connection.is_of_address;
        if is_to_count && self.clients.limits_addresses() {
            self.count_address(id, address, Some(upgrade));
        } else {
            self.verify_and_open(id, upgrade);
        }
    }

    /// Counts one more connection of its address, and asks the shard that does so where it is another: at accept, or, where
    /// the peer is a trusted proxy, with the request that names the client.
    pub(super) fn count_address(&mut self, id: ConnectionId, address: IpAddr, upgrade: Option<Upgrade>) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.phase = if upgrade.is_some() { Phase::Admission } else { Phase::Accepted };
        let waiting = Waiting::Admission { upgrade, address };
        let reply = self.requests.wait_for(&mut self.turn, &mut self.clients, (id, None), waiting, 1);
        if let Some(outcome) = self.clients.request_admission(&mut self.turn, reply, address) {
            self.admission_answered(reply, outcome);
        }
    }

    /// The shard that counts the client's address has decided.
    pub(super) fn admission_answered(&mut self, reply: ReplyTo, outcome: Result<(), TurnedAway>) {
        let id = reply.connection;
        let Some(request) = self.requests.end_wait(&mut self.turn, &mut self.clients, reply) else { return };
        let Waiting::Admission { upgrade, address } = request.waiting else { return };
        let waits = |found: &&mut Connection| matches!(found.phase, Phase::Accepted | Phase::Admission);
        let Some(connection) = self.clients.get_mut(id).filter(waits) else {
            // It left before the answer came: what was counted for it must be given back.
            if outcome.is_ok() {
                self.clients.depart(&mut self.turn, address);
            }
            return;
        };
        connection.is_of_address = outcome.is_ok();
        connection.refusal = outcome.err();
        match upgrade {
            Some(upgrade) => self.verify_and_open(id, upgrade),
            None => self.begin_handshake(id),
        }
    }

    /// Whoever has connected is counted, and what it has sent meanwhile is looked at.
    fn begin_handshake(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.phase = Phase::Handshake;
        let early = std::mem::take(&mut connection.unread);
        self.clients.unpause(&mut self.turn, id);
        if !early.is_empty() {
            self.take_in_early(id, early);
        }
        let has_left = |found: &Connection| found.ended && found.phase == Phase::Handshake;
        if self.clients.get(id).is_some_and(has_left) {
            self.disconnect(id, Close::Gone);
        }
    }

    /// The WebSocket is open, if only to be told to come back later.
    pub(super) fn open(&mut self, id: ConnectionId, dialect: DialectIndex, response: &[u8], shown: Shown) {
        self.clients.send_uncounted(id, self.turn.now, |out| out.extend_from_slice(response));
        let now_ms = self.turn.now.timer_ms();
        let message_bytes_max = self.clients.dialect(dialect).message_bytes_max(&self.turn.config);
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.phase = Phase::Open;
        connection.dialect = dialect;
        connection.reader = Reader::new(message_bytes_max);
        connection.deadline_ms = u64::MAX;
        connection.heard_at_ms = now_ms;
        let mut refusal = connection.refusal;
        let early = std::mem::take(&mut connection.unread);
        self.turn.metrics.handshakes += 1;
        self.turn.metrics.connections += 1;
        self.clients.log_opened(&self.turn, id);
        self.clients.unpause(&mut self.turn, id);
        if refusal.is_none() {
            refusal = self.clients.enter(id).map(TurnedAway::from);
        }
        if let Some(refused) = refusal {
            let close = turned_away(refused, &mut self.turn.random);
            self.turn.metrics.count_refusal(refused.reason);
            return self.disconnect(id, close);
        }
        if self.is_draining() {
            let close = self.going_away();
            return self.disconnect(id, close);
        }
        self.clients.set_timer(id, now_ms + self.turn.config.heartbeat_ms / 2);
        self.clients.open_purse(&self.turn, id);
        self.settle(id, &shown);
        if let Some(caller) = self.clients.caller(id) {
            self.dialect_of(id).opened(self, caller);
        }
        self.tell_shown(id, shown);
        if self.clients.caller(id).is_some_and(|caller| !caller.is_nobody()) {
            self.welcome(id);
        }
        if !early.is_empty() {
            self.handle_unread(id, early, false);
        }
        if self.clients.get(id).is_some_and(|connection| connection.ended && connection.waits == Waits::No) {
            self.disconnect(id, Close::Gone);
        }
    }
}
