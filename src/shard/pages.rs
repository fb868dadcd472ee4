//! The pages of plain HTTP: what this is, how it is, and its numbers. The connection ends with its page.

use std::sync::Arc;

use super::clients::Phase;
use super::maps::Journal;
use super::requests::Waiting;
use super::{DialectIndex, Health, Shard};
use crate::config::DialectPath;
use crate::mesh::{ConnectionId, Item, ReplyTo, Request};
use crate::metrics::{self, Metrics};
use crate::wire::Close;
use crate::wire::http::{self, Content, Page, StatusCode};

impl Shard {
    pub(super) fn page(&mut self, id: ConnectionId, page: Page, head_only: bool) {
        match page {
            Page::Front => {
                let config = Arc::clone(&self.turn.config);
                if let Some(page) = &config.front_page {
                    self.respond(id, |out| http::write_front_page(out, page, head_only));
                }
            }
            Page::Index => {
                let body = index(&self.turn.config.dialects);
                self.respond_page(id, head_only, StatusCode::OK, PLAIN_TEXT, &body);
            }
            Page::Health if self.is_leaving() => {
                self.respond_page(id, head_only, StatusCode::SERVICE_UNAVAILABLE, PLAIN_TEXT, "draining\n");
            }
            Page::Health => {
                let body = match self.maps.journal() {
                    None => "ok\nstorage memory\n".to_owned(),
                    Some(journal) => {
                        let progress = journal.progress();
                        let read_only = if progress.is_read_only() { ", read_only" } else { "" };
                        let numbers = progress.metrics().health(self.turn.now.unix_ms);
                        // Of this shard; /metrics has the sum.
                        let pending = journal.backlog_bytes();
                        format!("ok\nstorage disk{read_only}\njournal_pending_bytes {pending}\n{numbers}")
                    }
                };
                self.respond_page(id, head_only, StatusCode::OK, PLAIN_TEXT, &body);
            }
            Page::Metrics | Page::DialectHealth { .. } => self.collect_metrics(id, page, head_only),
        }
    }

    /// Says whether clients should come here. This is what HAProxy asks for unless it is told otherwise.
    pub(super) fn answer_options(&mut self, id: ConnectionId) {
        let status = if self.is_leaving() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        self.respond(id, |out| http::write_options(out, status));
    }

    pub(super) fn respond_page(
        &mut self,
        id: ConnectionId,
        head_only: bool,
        status: StatusCode,
        content: Content,
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
        self.clients.send_uncounted(id, self.turn.now, write);
        self.disconnect_for(id, Close::Gone, "its request is answered");
    }

    /// Asks every shard for its numbers; the page that is made of them follows when all have answered.
    fn collect_metrics(&mut self, id: ConnectionId, page: Page, head_only: bool) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.phase = Phase::Admission;
        let sum = Box::new(self.metrics_now());
        if self.turn.shards == 1 {
            return self.send_numbers(id, page, head_only, &sum);
        }
        let others = self.turn.shard_count() - 1;
        let waiting = Waiting::Metrics { sum, page, head_only };
        let reply = self.requests.wait_for(&mut self.turn, &mut self.clients, (id, None), waiting, others);
        for target in self.turn.others() {
            self.turn.outgoing.push(target, Item::Request(Request::Metrics { reply }));
        }
    }

    /// One more shard's numbers have come.
    pub(super) fn metrics_answered(&mut self, reply: ReplyTo, metrics: &Metrics) {
        if let Some(request) = self.requests.get_mut(reply)
            && let Waiting::Metrics { sum, .. } = &mut request.waiting
        {
            sum.add(metrics);
        }
        if let Some(request) = self.requests.answered(&mut self.turn, &mut self.clients, reply)
            && let Waiting::Metrics { sum, page, head_only } = request.waiting
        {
            self.send_numbers(reply.connection, page, head_only, &sum);
        }
    }

    fn send_numbers(&mut self, id: ConnectionId, page: Page, head_only: bool, metrics: &Metrics) {
        match page {
            Page::DialectHealth { dialect, may_be_read } => {
                let content = Content { is_for_all_origins: may_be_read, ..JSON };
                self.send_dialect_health(id, dialect, head_only, content, metrics);
            }
            _ => self.send_metrics(id, head_only, metrics),
        }
    }

    fn send_metrics(&mut self, id: ConnectionId, head_only: bool, metrics: &Metrics) {
        let progress = self.maps.journal().map(Journal::progress);
        let page = metrics::Page {
            metrics,
            storage: progress.map(|progress| (progress.metrics(), progress.is_read_only())),
            desk: self.access.desk_metrics(),
            tls_reloads: self.clients.tls_reloads(),
            hooks: self.turn.happenings.metrics(),
            admin: self.inspection.metrics(),
            process: (self.process)(),
            unix_ms: self.turn.now.unix_ms,
        };
        let page = page.render();
        self.respond_page(id, head_only, StatusCode::OK, Content::of(Metrics::CONTENT_TYPE), &page);
    }

    fn send_dialect_health(
        &mut self,
        id: ConnectionId,
        dialect: DialectIndex,
        head_only: bool,
        content: Content,
        metrics: &Metrics,
    ) {
        let health = Health {
            is_draining: self.is_leaving(),
            unix_ms: self.turn.now.unix_ms,
            uptime_ms: (self.turn.now.monotonic_us - self.began_us) / 1000,
            connections: metrics.connections,
            maps: metrics.map_names,
            subscriptions: metrics.subscriptions,
        };
        let status = if health.is_draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        match self.clients.dialect(dialect).health(health) {
            Some(body) => self.respond_page(id, head_only, status, content, &body),
            None => self.respond_page(id, head_only, StatusCode::NOT_FOUND, PLAIN_TEXT, "nothing is here\n"),
        }
    }
}

const PLAIN_TEXT: Content = Content::of("text/plain; charset=utf-8");
pub const JSON: Content = Content::of("application/json");

/// The first line of what `GET /` says.
pub const INDEX_TITLE: &str = "Annulus, a real-time sync server.";

/// What `GET /` says.
fn index(dialects: &[DialectPath]) -> String {
    let mut page = format!("{INDEX_TITLE}\n\n");
    for dialect in dialects {
        page += &line(&dialect.path, dialect.about);
    }
    page += &line("/healthz", "200 while it serves, 503 while it drains");
    for path in dialects.iter().filter_map(|dialect| dialect.health_path) {
        page += &line(path, "the same and some numbers, as JSON");
    }
    page + &line("/metrics", "Prometheus text")
}

fn line(path: &str, about: &str) -> String {
    format!("GET {path:<9} {about}\n")
}
