//! Frames of open connections: complete messages go to the connection's dialect, the rest is answered here.

use super::clients::connection::{Connection, Phase};
use super::{Dialect, MessageKind, Shard};
use crate::config::{Config, RateLimit};
use crate::limits::CONNECTION_REQUESTS_PENDING_MAX;
use crate::mesh::ConnectionId;
use crate::wire::websocket::{self, Event, Input, Reader};
use crate::wire::{Close, Payload, Reject, Ticket};

impl Shard {
    /// Handles every complete frame of the first `len` bytes of `padded`. Stops early when this shard or this
    /// connection has too much under way; the rest is kept.
    pub(in crate::shard) fn handle_frames(&mut self, id: ConnectionId, padded: &mut [u8], len: usize) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        if connection.phase != Phase::Open {
            return;
        }
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
                    if let Err(close) = self.handle_event(id, event) {
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
    pub(in crate::shard) fn may_take_requests(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.clients.get(id) else { return false };
        // A subscription has one chunk under way; the others are of such as are over, whose chunks are made nonetheless.
        let chunks_max = connection.subscriptions.len() + CONNECTION_REQUESTS_PENDING_MAX;
        connection.is_open()
            && connection.chunks_pending as usize <= chunks_max
            && !connection.takes_no_requests
            && (connection.requests_pending as usize) < CONNECTION_REQUESTS_PENDING_MAX
            && connection.outbox.bytes() <= self.config.outbox_soft_bytes
            && !self.is_congested()
            && self.rate_allows_at_us(connection).is_none()
    }

    /// When a connection may send again that has sent as much as it may, and is to wait for that.
    pub(in crate::shard) fn rate_allows_at_us(&self, connection: &Connection) -> Option<u64> {
        let Config { messages_per_second_max, messages_per_minute_max, rate_limit, .. } = *self.config;
        if rate_limit == RateLimit::Refuse {
            return None;
        }
        let now_us = self.now.monotonic_us;
        let in_second = connection.second.allows_at_us(messages_per_second_max, now_us);
        in_second.max(connection.minute.allows_at_us(messages_per_minute_max, now_us))
    }

    fn handle_event(&mut self, id: ConnectionId, event: Event<'_>) -> Result<(), Close> {
        match event {
            Event::Text(payload) => self.handle_message(id, MessageKind::Text, payload),
            Event::Binary(payload) => self.handle_message(id, MessageKind::Binary, payload),
            Event::Ping(payload) => {
                self.clients.send_uncounted(id, self.now, |out| websocket::write_pong(out, payload));
                Ok(())
            }
            Event::Pong(_) => Ok(()),
            Event::Close { code } => Err(Close::Echoed { code }),
        }
    }

    fn handle_message(
        &mut self,
        id: ConnectionId,
        kind: MessageKind,
        payload: Payload<'_>,
    ) -> Result<(), Close> {
        self.metrics.messages_received += 1;
        let waiting = self.pending.begun();
        let handled = self.dialect_of(id).message(self, id, kind, payload);
        self.answered_at_once += u64::from(self.pending.begun() == waiting);
        handled
    }

    /// The dialect of a connection; any if it is gone.
    pub(in crate::shard) fn dialect_of(&self, id: ConnectionId) -> &'static dyn Dialect {
        self.clients.dialects[usize::from(self.dialect_index(id))]
    }

    /// Refuses a request as a whole; the connection goes on.
    pub fn reject(&mut self, id: ConnectionId, ticket: Option<&Ticket>, reject: Reject) {
        self.metrics.requests_rejected += 1;
        self.clients.tell_urgent(id, self.now, super::Event::Rejected { ticket, reject });
    }

    /// Refuses what is no message at all.
    ///
    /// # Errors
    /// Why the connection must end, once there were too many.
    pub fn bad_message(
        &mut self,
        id: ConnectionId,
        ticket: Option<&Ticket>,
        reject: Reject,
    ) -> Result<(), Close> {
        self.metrics.bad_messages += 1;
        let Some(connection) = self.clients.get_mut(id) else { return Ok(()) };
        connection.bad_messages += 1;
        let too_many = connection.bad_messages >= self.config.bad_messages_max;
        self.reject(id, ticket, reject);
        if too_many { Err(Close::InvalidData("too many messages that are not JSON")) } else { Ok(()) }
    }

    /// Counts one message; when to try again if it is one too many in its second or minute, which none is where those
    /// wait.
    pub fn over_message_rate(&mut self, id: ConnectionId) -> Option<u32> {
        let (per_second, per_minute) =
            (self.config.messages_per_second_max, self.config.messages_per_minute_max);
        let now_us = self.now.monotonic_us;
        let connection = self.clients.get_mut(id)?;
        let in_second = connection.second.count(per_second, 1_000, now_us);
        in_second.or_else(|| connection.minute.count(per_minute, 60_000, now_us))
    }
}
