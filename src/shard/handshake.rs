//! From the first byte to an open WebSocket, or to the page an HTTP client asked for (`pages.rs`).

use super::clients::admission::too_many_of_address;
use super::clients::connection::Phase;
use super::requests::Waiting;
use super::{Command, DialectIndex, Shard};
use crate::limits::PARSE_PADDING_BYTES;
use crate::mesh::{ConnectionId, ReplyTo};
use crate::metrics::Refusal;
use crate::wire::Close;
use crate::wire::http::{self, Answer, Rules};
use crate::wire::websocket::Reader;

impl Shard {
    /// Looks at the request head received so far and answers it once it is complete.
    pub(in crate::shard) fn handle_http(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        let config = &self.config;
        let rules = Rules {
            header_bytes_max: config.header_bytes_max,
            allowed_origins: &config.allowed_origins,
            dialects: &config.dialects,
            test_reset: config.test_reset,
            trusted_proxies: &config.trusted_proxies,
        };
        let Some((answer, consumed)) = http::answer(&connection.unread, connection.address, &rules) else {
            return;
        };
        connection.unread.drain(..consumed);
        match answer {
            Answer::Refuse { response } => {
                self.metrics.handshakes_refused += 1;
                self.respond(id, |out| out.extend_from_slice(&response));
            }
            Answer::Clear => self.clear_maps(id),
            Answer::Page { page, head_only } => self.page(id, page, head_only),
            Answer::Options => self.answer_options(id),
            Answer::Upgrade { dialect, response, client, .. } => {
                connection.address = client;
                self.upgrade(id, dialect, response);
            }
        }
    }

    fn upgrade(&mut self, id: ConnectionId, dialect: DialectIndex, response: Vec<u8>) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        if connection.refusal.is_none() && self.admission.limits_addresses() {
            connection.phase = Phase::Admission;
            let address = connection.address;
            let reply = self.wait_for(id, None, Waiting::Admission { dialect, response, address }, 1);
            self.request_admission(reply, address);
        } else {
            self.open(id, dialect, &response);
        }
    }

    /// The shard that counts the client's address has decided.
    pub(in crate::shard) fn admission_answered(&mut self, reply: ReplyTo, admitted: bool) {
        let id = reply.connection;
        let Some(request) = self.end_wait(reply) else { return };
        let Waiting::Admission { dialect, response, address } = request.waiting else { return };
        let Some(connection) = self.clients.get_mut(id).filter(|found| found.phase == Phase::Admission)
        else {
            // It left before the answer came: what was counted for it must be given back.
            if admitted {
                self.depart(address);
            }
            return;
        };
        connection.admitted = admitted;
        if !admitted {
            connection.refusal = Some((Refusal::PerIp, too_many_of_address(&mut self.random)));
        }
        self.open(id, dialect, &response);
    }

    /// The WebSocket is open, if only to be told to come back later.
    fn open(&mut self, id: ConnectionId, dialect: DialectIndex, response: &[u8]) {
        self.clients.send_uncounted(id, self.now, |out| out.extend_from_slice(response));
        let now_ms = self.now.timer_ms();
        let message_bytes_max = self.clients.dialects[usize::from(dialect)].message_bytes_max(&self.config);
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.phase = Phase::Open;
        connection.dialect = dialect;
        connection.reader = Reader::new(message_bytes_max);
        connection.deadline_ms = u64::MAX;
        connection.heard_at_ms = now_ms;
        let paused = std::mem::take(&mut connection.paused);
        let refusal = connection.refusal;
        let mut early = std::mem::take(&mut connection.unread);
        self.metrics.handshakes += 1;
        self.metrics.connections += 1;
        self.log_opened(id);
        if paused {
            self.paused.retain(|&held| held != id);
            self.clients.commands.push(Command::ResumeReading(id));
        }
        if let Some((reason, close)) = refusal {
            self.metrics.count_refusal(reason);
            return self.disconnect(id, close);
        }
        if self.is_draining() {
            let close = self.going_away();
            return self.disconnect(id, close);
        }
        self.dialect_of(id).opened(self, id);
        self.look_at(id, now_ms + self.config.heartbeat_ms / 2);
        if !early.is_empty() {
            let len = early.len();
            early.resize(len + PARSE_PADDING_BYTES, 0);
            self.handle_frames(id, &mut early, len);
        }
        if self.clients.get(id).is_some_and(|connection| connection.ended && !connection.paused) {
            self.disconnect(id, Close::Gone);
        }
    }
}
