//! The pages of plain HTTP: what this is, how it is, and its numbers. The connection ends with its page.

use super::Shard;
use super::connection::Phase;
use super::journal::Journal;
use super::pending::Waiting;
use crate::mesh::{ConnectionId, ReplyTo};
use crate::metrics::Metrics;
use crate::wire::Close;
use crate::wire::http::{self, Page, StatusCode};

impl Shard {
    pub(super) fn page(&mut self, id: ConnectionId, page: Page, head_only: bool) {
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

    fn respond_page(
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
    pub(super) fn respond(&mut self, id: ConnectionId, write: impl FnOnce(&mut Vec<u8>)) {
        self.clients.send_urgent(id, self.now, write);
        self.disconnect(id, Close::Gone);
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

/// What `GET /` says.
const INDEX: &str = "\
Annulus, a real-time sync server.

GET /v1       the WebSocket, protocol v1 (see docs/protocol.md)
GET /healthz  200 while it serves, 503 while it drains
GET /metrics  Prometheus text
";
