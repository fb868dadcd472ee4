//! Frames of open connections: complete messages go to the connection's dialect, the rest is answered here.

use super::clients::{Connection, Phase, Unread};
use super::{Dialect, MessageKind, Shard, work};
use crate::mesh::ConnectionId;
use crate::wire::websocket::{self, Event, Input, Reader};
use crate::wire::{Close, Payload};

/// Where frames of a connection have stopped being handled.
struct Stopped {
    /// Bytes of those before.
    handled: usize,
    /// Only this turn has to end for the next.
    is_brief: bool,
}

impl Shard {
    /// Handles what has just come, the first `len` bytes of `padded`, and keeps the rest.
    pub(super) fn handle_arrived(&mut self, id: ConnectionId, padded: &mut [u8], len: usize) {
        if let Some(stopped) = self.handle_frames(id, (&mut *padded, len), false)
            && let Some(connection) = self.clients.get_mut(id)
        {
            connection.unread.push(&padded[stopped.handled..len]);
            self.clients.wait(&mut self.turn, id, stopped.is_brief);
        }
    }

    /// Handles what was kept, and keeps the rest where it is. If it `is_due`, the first message is handled whatever the turn
    /// has done.
    pub(super) fn handle_unread(&mut self, id: ConnectionId, mut unread: Unread, is_due: bool) {
        if !unread.is_empty()
            && let Some(stopped) = self.handle_frames(id, unread.padded(), is_due)
            && let Some(connection) = self.clients.get_mut(id)
        {
            unread.advance(stopped.handled);
            connection.unread = unread;
            self.clients.wait(&mut self.turn, id, stopped.is_brief);
        }
    }

    /// Handles complete frames, until this shard or this connection has too much under way, or has done what it may in this
    /// turn: then it says where it stopped.
    fn handle_frames(
        &mut self,
        id: ConnectionId,
        (padded, len): (&mut [u8], usize),
        is_due: bool,
    ) -> Option<Stopped> {
        let connection = self.clients.get_mut(id)?;
        if connection.phase != Phase::Open {
            return None;
        }
        // The reader leaves the table while it lends out payloads, so that handling one may use the whole shard.
        let mut reader = std::mem::replace(&mut connection.reader, Reader::new(0));
        let mut input = Input::new(padded, len);
        let began = self.turn.work();
        let before = connection.work_before(&self.turn);
        let mut is_brief = false;
        let ended = loop {
            if !self.may_take_requests(id) {
                is_brief = self.clients.get(id).is_some_and(Connection::is_unfinished);
                break None;
            }
            let bytes = input.remaining().len() + reader.memory_bytes();
            let spent = before + self.turn.work() - began;
            if self.must_wait_for_turn(spent, bytes, is_due) {
                is_brief = true;
                break None;
            }
            self.turn.begin_share(spent);
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
        let connection = self.clients.get_mut(id)?;
        connection.reader = reader;
        connection.note_work(&self.turn, before + self.turn.work() - began);
        if let Some(close) = ended {
            self.disconnect(id, close);
            return None;
        }
        let left = input.remaining().len();
        (left > 0 && connection.is_open()).then_some(Stopped { handled: len - left, is_brief })
    }

    /// Whether one more message of this connection may be handled now.
    pub(super) fn may_take_requests(&self, id: ConnectionId) -> bool {
        !self.is_congested() && self.clients.may_take_requests(&self.turn, id)
    }

    /// Whether the next message of a connection, of which so many bytes are here, must wait for the next turn: because of
    /// what the connection has `spent` in this one, or because of what all have.
    fn must_wait_for_turn(&self, spent: u64, bytes: usize, is_due: bool) -> bool {
        if spent == 0 {
            let is_small = bytes <= work::SMALL_BYTES && !self.turn.is_over_ceiling();
            return !is_due && self.turn.is_spent() && !is_small;
        }
        spent >= work::CONNECTION_MAX || self.turn.is_spent()
    }

    fn handle_event(&mut self, id: ConnectionId, event: Event<'_>) -> Result<(), Close> {
        self.turn.spend(work::FRAME);
        match event {
            Event::Text(payload) => self.handle_message(id, MessageKind::Text, payload),
            Event::Binary(payload) => self.handle_message(id, MessageKind::Binary, payload),
            Event::Ping(payload) => {
                self.clients.send_uncounted(id, self.turn.now, |out| websocket::write_pong(out, payload));
                Ok(())
            }
            Event::Pong(_) => Ok(()),
            Event::Fragments(count) => {
                self.turn.spend(work::FRAGMENT * u64::from(count));
                Ok(())
            }
            Event::Close { code } => Err(Close::Echoed { code }),
        }
    }

    fn handle_message(
        &mut self,
        id: ConnectionId,
        kind: MessageKind,
        payload: Payload<'_>,
    ) -> Result<(), Close> {
        let Some(caller) = self.clients.caller(id) else { return Ok(()) };
        self.turn.metrics.messages_received += 1;
        self.turn.spend(work::decoded(payload.bytes().len()));
        let waiting = self.requests.begun();
        let handled = self.dialect_of(id).message(self, caller, kind, payload);
        if self.requests.begun() == waiting {
            self.requests.count_answered_at_once();
        }
        self.tell_much();
        handled
    }

    /// The dialect of a connection; any if it is gone.
    pub(super) fn dialect_of(&self, id: ConnectionId) -> &'static dyn Dialect {
        self.clients.dialect_of(id)
    }
}
