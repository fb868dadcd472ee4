//! From the first byte to an open WebSocket, or to the one page an HTTP client asked for.

use super::admission::try_again_later;
use super::connection::Phase;
use super::journal::Journal;
use super::pending::Waiting;
use super::{Command, DialectIndex, Shard};
use crate::limits::PARSE_PADDING_BYTES;
use crate::mesh::{ConnectionId, ReplyTo};
use crate::metrics::{Metrics, Refusal};
use crate::wire::Close;
use crate::wire::http::{self, Answer, Endpoint, Page, Rules, StatusCode};
use crate::wire::websocket::Reader;

impl Shard {
    /// Looks at the request head received so far and answers it once it is complete.
    pub(super) fn handle_http(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        let rules = Rules { allowed_origins: &self.config.allowed_origins, echo: self.config.echo };
        let Some((answer, consumed)) = http::answer(&connection.unread, &rules) else { return };
        connection.unread.drain(..consumed);
        match answer {
            Answer::Refuse { response } => {
                self.metrics.handshakes_refused += 1;
                self.respond(id, |out| out.extend_from_slice(&response));
            }
            Answer::Page { page, head_only } => self.page(id, page, head_only),
            Answer::Upgrade { endpoint, response, .. } => self.upgrade(id, endpoint, response),
        }
    }

    fn page(&mut self, id: ConnectionId, page: Page, head_only: bool) {
        match page {
            Page::Index => self.respond_page(id, head_only, StatusCode::OK, PLAIN_TEXT, INDEX),
            Page::Health if self.is_draining() => {
                self.respond_page(id, head_only, StatusCode::SERVICE_UNAVAILABLE, PLAIN_TEXT, "draining\n");
            }
            Page::Health => {
                let body = match &self.journal {
                    None => "ok\nstorage memory\n".to_owned(),
                    Some(journal) => {
                        let progress = journal.progress();
                        let read_only = if progress.is_read_only() { ", read_only" } else { "" };
                        let numbers = progress.metrics().health(self.now.unix_ms);
                        // Of this shard; /metrics has the sum.
                        let pending = journal.backlog_bytes();
                        format!("ok\nstorage disk{read_only}\njournal_pending_bytes {pending}\n{numbers}")
                    }
                };
                self.respond_page(id, head_only, StatusCode::OK, PLAIN_TEXT, &body);
            }
            Page::Metrics => self.collect_metrics(id, head_only),
        }
    }

    pub(super) fn respond_page(
        &mut self,
        id: ConnectionId,
        head_only: bool,
        status: StatusCode,
        content: &str,
        body: &str,
    ) {
        self.respond(id, |out| {
            if head_only {
                http::write_page_head(out, status, content, body.len());
            } else {
                http::write_page(out, status, content, body.as_bytes());
            }
        });
    }

    /// Answers a plain HTTP request; the connection ends with it.
    fn respond(&mut self, id: ConnectionId, write: impl FnOnce(&mut Vec<u8>)) {
        self.clients.send_urgent(id, self.now, write);
        self.disconnect(id, Close::Gone);
    }

    fn upgrade(&mut self, id: ConnectionId, endpoint: Endpoint, response: Vec<u8>) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        if connection.refusal.is_none() && self.admission.limits_addresses() {
            connection.phase = Phase::Admission;
            let address = connection.address;
            let reply = self.wait_for(id, None, Waiting::Admission { endpoint, response, address }, 1);
            self.request_admission(reply, address);
        } else {
            self.open(id, endpoint, &response);
        }
    }

    /// The shard that counts the client's address has decided.
    pub(super) fn admission_answered(&mut self, reply: ReplyTo, admitted: bool) {
        let id = reply.connection;
        let Some(request) = self.end_wait(reply) else { return };
        let Waiting::Admission { endpoint, response, address } = request.waiting else { return };
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
            self.metrics.count_refusal(Refusal::PerIp);
            connection.refusal = Some(try_again_later(&mut self.random));
        }
        self.open(id, endpoint, &response);
    }

    /// The WebSocket is open, if only to be told to come back later.
    fn open(&mut self, id: ConnectionId, endpoint: Endpoint, response: &[u8]) {
        self.clients.send_urgent(id, self.now, |out| out.extend_from_slice(response));
        let now_ms = self.now.timer_ms();
        let dialect = match endpoint {
            Endpoint::Native => 0,
            Endpoint::Echo => 1,
        };
        let message_bytes_max = self.clients.dialects[dialect].message_bytes_max(&self.config);
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.phase = Phase::Open;
        connection.dialect = dialect as DialectIndex;
        connection.reader = Reader::new(message_bytes_max);
        connection.deadline_ms = u64::MAX;
        connection.heard_at_ms = now_ms;
        let paused = std::mem::take(&mut connection.paused);
        let refusal = connection.refusal;
        let mut early = std::mem::take(&mut connection.unread);
        self.metrics.handshakes += 1;
        if paused {
            self.paused.retain(|&held| held != id);
            self.clients.commands.push(Command::ResumeReading(id));
        }
        if let Some(close) = refusal {
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

    /// Asks every shard for its numbers; the page follows when all have answered.
    fn collect_metrics(&mut self, id: ConnectionId, head_only: bool) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.phase = Phase::Admission;
        let metrics = Box::new(self.metrics_now());
        if self.shards == 1 {
            return self.send_metrics(id, head_only, &metrics);
        }
        let reply =
            self.wait_for(id, None, Waiting::Metrics { sum: metrics, head_only }, self.shards as u32 - 1);
        self.ask_all_for_metrics(reply);
    }

    /// One more shard's numbers have come.
    pub(super) fn metrics_answered(&mut self, reply: ReplyTo, metrics: &Metrics) {
        let Some(request) = self.pending.get_mut(reply) else { return };
        if let Waiting::Metrics { sum, .. } = &mut request.waiting {
            sum.add(metrics);
        }
        request.remaining -= 1;
        if request.remaining == 0
            && let Some(request) = self.end_wait(reply)
            && let Waiting::Metrics { sum, head_only } = request.waiting
        {
            self.send_metrics(reply.connection, head_only, &sum);
        }
    }

    fn send_metrics(&mut self, id: ConnectionId, head_only: bool, metrics: &Metrics) {
        let mut page = String::new();
        metrics.render(&mut page);
        if let Some(progress) = self.journal.as_ref().map(Journal::progress) {
            progress.metrics().render(self.now.unix_ms, progress.is_read_only(), &mut page);
        }
        self.respond_page(id, head_only, StatusCode::OK, Metrics::CONTENT_TYPE, &page);
    }
}

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
pub const JSON: &str = "application/json";

/// What `GET /` says.
const INDEX: &str = "\
Annulus, a real-time sync server.

GET /v1       the WebSocket, protocol v1 (see docs/protocol.md)
GET /healthz  200 while it serves, 503 while it drains
GET /metrics  Prometheus text
";
