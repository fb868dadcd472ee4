//! Messages of open connections: from frames to the command each one asks for.

use super::Shard;
use super::connection::Phase;
use super::subscribe::Subscribe;
use crate::limits::CONNECTION_REQUESTS_PENDING_MAX;
use crate::mesh::ConnectionId;
use crate::wire::http::Endpoint;
use crate::wire::message::{Message, Request};
use crate::wire::websocket::{self, Event, Input, Opcode, Reader};
use crate::wire::{Close, OwnedRequestId, Payload, Reject, encode};

impl Shard {
    /// Handles every complete frame of the first `len` bytes of `padded`. Stops early when this shard or this
    /// connection has too much under way; the rest is kept.
    pub(super) fn handle_frames(&mut self, id: ConnectionId, padded: &mut [u8], len: usize) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        let Phase::Open(endpoint) = connection.phase else { return };
        // The reader leaves the table while it lends out payloads, so that handling one may use the whole shard.
        let mut reader = std::mem::replace(&mut connection.reader, Reader::new(0));
        let mut input = Input::new(padded, len);
        let ended = loop {
            if !self.may_take_requests(id) {
                break None;
            }
            match reader.next(&mut input) {
                Ok(None) => break None,
                Ok(Some(event)) => {
                    if let Err(close) = self.handle_event(id, endpoint, event) {
                        break Some(close);
                    }
                }
                Err(close) => break Some(close),
            }
        };
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.reader = reader;
        if let Some(close) = ended {
            return self.disconnect(id, close);
        }
        if !input.is_empty() && connection.is_open() {
            connection.unread.extend_from_slice(input.remaining());
            self.hold(id);
        }
    }

    /// Whether one more message of this connection may be handled now: what it asked for before has been taken
    /// by other shards, and what it was told has been taken by its peer.
    pub(super) fn may_take_requests(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.clients.get(id) else { return false };
        connection.is_open()
            && (connection.requests_pending as usize) < CONNECTION_REQUESTS_PENDING_MAX
            && connection.outbox.bytes() <= self.config.outbox_soft_bytes
            && !self.is_congested()
    }

    fn handle_event(&mut self, id: ConnectionId, endpoint: Endpoint, event: Event<'_>) -> Result<(), Close> {
        match event {
            Event::Text(payload) => {
                self.metrics.messages_received += 1;
                match endpoint {
                    Endpoint::NATIVE => self.handle_text(id, payload),
                    Endpoint::Dialect(_) => Err(Close::Unsupported),
                    Endpoint::Echo => {
                        self.echo(id, Opcode::Text, payload.bytes());
                        Ok(())
                    }
                }
            }
            Event::Binary(payload) => {
                self.metrics.messages_received += 1;
                match endpoint {
                    Endpoint::Dialect(_) => Err(Close::Unsupported),
                    Endpoint::Echo => {
                        self.echo(id, Opcode::Binary, payload.bytes());
                        Ok(())
                    }
                }
            }
            Event::Ping(payload) => {
                self.clients.send_urgent(id, self.now, |out| websocket::write_pong(out, payload));
                Ok(())
            }
            Event::Pong(_) => Ok(()),
            Event::Close { code } => Err(Close::Echoed { code }),
        }
    }

    fn echo(&mut self, id: ConnectionId, opcode: Opcode, payload: &[u8]) {
        self.clients.send(id, self.now, |out| websocket::write_frame(out, opcode, payload));
    }

    fn handle_text(&mut self, id: ConnectionId, payload: Payload<'_>) -> Result<(), Close> {
        if let Some(retry_after_ms) = self.over_message_rate(id) {
            self.reject(id, None, Reject::RateLimited { retry_after_ms });
            return Ok(());
        }
        match self.parser.parse(payload) {
            Ok(message) => {
                self.handle_message(id, &message);
                self.parser.recycle(message);
                Ok(())
            }
            Err(reject) => self.bad_message(id, reject),
        }
    }

    fn handle_message(&mut self, id: ConnectionId, message: &Message<'_>) {
        let request_id = message.id().map(|request_id| request_id.to_owned());
        let waiting = self.pending.begun();
        match message.request() {
            Ok(request) => self.handle_request_of(id, request_id, request),
            Err(reject) => self.reject(id, request_id.as_ref(), reject),
        }
        self.answered_at_once += u64::from(self.pending.begun() == waiting);
    }

    fn handle_request_of(
        &mut self,
        id: ConnectionId,
        request_id: Option<OwnedRequestId>,
        request: Request<'_>,
    ) {
        match request {
            Request::Ping => self.pong(id, request_id.as_ref()),
            Request::Write { ack, ops } => self.write(id, request_id, ack, ops),
            Request::Read { map, keys } => self.read(id, request_id, map, keys),
            Request::Subscribe { map, since, keys, prefix, snapshot, echo } => {
                self.subscribe(id, request_id, Subscribe { map, since, keys, prefix, snapshot, echo });
            }
            Request::Unsubscribe { map } => self.unsubscribe(id, request_id.as_ref(), map),
            Request::Digest { map } => self.digest(id, request_id, map),
            Request::Auth { .. } => self.reject(id, request_id.as_ref(), Reject::AuthUnavailable),
        }
    }

    fn pong(&mut self, id: ConnectionId, request_id: Option<&OwnedRequestId>) {
        let stamp = crate::crdt::Stamp { time: self.clock.advance(self.now.unix_ms), node: self.node };
        self.clients
            .send_urgent(id, self.now, |out| text_frame(out, |out| encode::pong(out, request_id, &stamp)));
    }

    /// Answers with an `error`; the connection goes on.
    pub(super) fn reject(&mut self, id: ConnectionId, request_id: Option<&OwnedRequestId>, reject: Reject) {
        self.metrics.requests_rejected += 1;
        self.clients
            .send_urgent(id, self.now, |out| text_frame(out, |out| encode::error(out, request_id, reject)));
    }

    fn bad_message(&mut self, id: ConnectionId, reject: Reject) -> Result<(), Close> {
        self.metrics.bad_messages += 1;
        let Some(connection) = self.clients.get_mut(id) else { return Ok(()) };
        connection.bad_messages += 1;
        let too_many = connection.bad_messages >= self.config.bad_messages_max;
        self.reject(id, None, reject);
        if too_many { Err(Close::InvalidData("too many messages that are not JSON")) } else { Ok(()) }
    }

    /// Counts one message; when to try again if it is one too many in its second or minute.
    fn over_message_rate(&mut self, id: ConnectionId) -> Option<u32> {
        let (per_second, per_minute) =
            (self.config.messages_per_second_max, self.config.messages_per_minute_max);
        let now_ms = self.now.timer_ms();
        let connection = self.clients.get_mut(id)?;
        let in_second = connection.second.count(per_second, 1_000, now_ms);
        in_second.or_else(|| connection.minute.count(per_minute, 60_000, now_ms))
    }
}

/// Appends a ping without payload: any answer will do.
pub fn ping_frame(out: &mut Vec<u8>) {
    websocket::write_frame(out, Opcode::Ping, &[]);
}

/// Appends a text frame around what `write` appends.
pub fn text_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = websocket::begin_frame(out);
    write(out);
    websocket::end_frame(out, start, Opcode::Text);
}
