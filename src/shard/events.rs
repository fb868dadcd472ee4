//! What happens to connections, as the driver reports it.

use std::cmp::Reverse;
use std::net::IpAddr;

use super::clients::admission::NoRoom;
use super::clients::connection::{Connection, Phase};
use super::{Command, Shard};
use crate::limits::PARSE_PADDING_BYTES;
use crate::mesh::ConnectionId;
use crate::wire::Close;

impl Shard {
    /// A client connected. `None`: there is no room even to turn it away politely; close the transport.
    pub fn accepted(&mut self, address: IpAddr) -> Option<ConnectionId> {
        self.metrics.accepts += 1;
        let refusal = match self.admission.connect(self.now, &mut self.random, &mut self.metrics) {
            Ok(refusal) => refusal,
            Err(NoRoom) => return None,
        };
        let now_ms = self.now.timer_ms();
        let message_bytes_max = self.config.message_bytes_max;
        let id = self.clients.insert(|id| Connection::new(id, address, now_ms, message_bytes_max));
        self.metrics.sockets += 1;
        let deadline_ms = now_ms + self.config.handshake_timeout_ms;
        if let Some(connection) = self.clients.get_mut(id) {
            connection.refusal = refusal;
            connection.deadline_ms = deadline_ms;
        }
        self.look_at(id, deadline_ms);
        if self.is_draining() {
            self.hurry(id);
        }
        Some(id)
    }

    /// Bytes arrived: the first `len` of `padded`, whose last [`PARSE_PADDING_BYTES`] are slack.
    pub fn received(&mut self, id: ConnectionId, padded: &mut [u8], len: usize) {
        self.metrics.bytes_received += len as u64;
        self.take_in(id, padded, len);
    }

    fn take_in(&mut self, id: ConnectionId, padded: &mut [u8], len: usize) {
        let now_ms = self.now.timer_ms();
        let congested = self.is_congested();
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.heard_at_ms = now_ms;
        connection.received_bytes += len as u64;
        connection.pinged = false;
        match connection.phase {
            Phase::Open if connection.unread.is_empty() && !connection.paused && !congested => {
                self.handle_frames(id, padded, len);
            }
            Phase::Open | Phase::Admission => {
                connection.unread.extend_from_slice(&padded[..len]);
                self.hold(id);
            }
            Phase::Handshake => {
                // No more is kept than the largest header block, which is answered in any case. What follows it belongs
                // to a WebSocket, if there is one then.
                let room = self.config.header_bytes_max.saturating_sub(connection.unread.len());
                let kept = len.min(room);
                connection.unread.extend_from_slice(&padded[..kept]);
                self.handle_http(id);
                if kept < len {
                    self.take_in(id, &mut padded[kept..], len - kept);
                }
            }
            Phase::Flushing | Phase::Lingering | Phase::Disconnected => {}
        }
    }

    /// The peer has ended its side; nothing more will arrive.
    pub fn received_end(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.ended = true;
        match connection.phase {
            // What came before the end is still waiting to be handled, or to be answered by another shard.
            Phase::Open if !connection.unread.is_empty() => {}
            Phase::Admission => {}
            Phase::Lingering => self.finish(id),
            Phase::Flushing | Phase::Disconnected => {}
            Phase::Handshake | Phase::Open => self.disconnect(id, Close::Gone),
        }
    }

    /// The transport failed: reset, timed out, or worse.
    pub fn failed(&mut self, id: ConnectionId) {
        self.disconnect_for(id, Close::Gone, "the transport failed, such as by a reset");
        self.finish(id);
    }

    /// The kernel took `bytes` of [`Self::in_flight`].
    pub fn sent(&mut self, id: ConnectionId, bytes: usize) {
        self.metrics.sends += 1;
        self.metrics.bytes_sent += bytes as u64;
        let now_ms = self.now.timer_ms();
        let clients = &mut self.clients;
        let Some(connection) = clients.table.get_mut(id.index as usize).filter(|found| found.id == id) else {
            return;
        };
        connection.sent_bytes += bytes as u64;
        let all = connection.outbox.sent(bytes, &mut clients.pool);
        if connection.paused {
            // What it sends is not read now, so taking bytes is its only way to show that it lives.
            connection.heard_at_ms = now_ms;
            connection.pinged = false;
        }
        if connection.phase == Phase::Disconnected {
            return;
        }
        if !all {
            clients.commands.push(Command::Send(id));
            return;
        }
        let (walking, behind) = (connection.walking > 0, connection.watches_behind > 0);
        if connection.outbox.is_filling() {
            clients.mark(id, self.now);
        } else if connection.phase == Phase::Flushing {
            self.linger(id);
            return;
        }
        self.tell_if_drained(id);
        if walking && self.clients.has_room(id) {
            self.walk_on(id);
        }
        if behind {
            self.catch_up(id);
        }
    }

    /// Tells the dialect of a connection that everything is sent, if it wants to know.
    pub(in crate::shard) fn tell_if_drained(&mut self, id: ConnectionId) {
        if let Some(connection) = self.clients.get_mut(id)
            && connection.wants_drained
            && !connection.outbox.is_filling()
            && !connection.outbox.is_sending()
        {
            connection.wants_drained = false;
            self.dialect_of(id).drained(self, id);
        }
    }

    /// The last completion of a closed connection has come: its slot is free.
    pub fn released(&mut self, id: ConnectionId) {
        let clients = &mut self.clients;
        if clients.get(id).is_none() {
            return;
        }
        let mut connection = clients.table.remove(id.index as usize);
        debug_assert_eq!(connection.phase, Phase::Disconnected);
        connection.outbox.clear(&mut clients.pool);
        self.metrics.sockets -= 1;
        self.admission.depart();
    }

    /// The bytes of a [`Command::Send`], in order; they stay in place until [`Self::sent`].
    pub fn in_flight(&self, id: ConnectionId) -> impl Iterator<Item = &[u8]> {
        self.clients.get(id).into_iter().flat_map(|connection| connection.outbox.in_flight())
    }

    /// Keeps what has arrived and stops reading, until the shard takes requests again.
    pub(in crate::shard) fn hold(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        if !connection.paused {
            connection.paused = true;
            self.wait_in_line(id);
            self.metrics.reads_paused += 1;
            self.clients.commands.push(Command::PauseReading(id));
        }
    }

    /// Puts a connection that is not read where it waits: until a moment, or until there is room.
    fn wait_in_line(&mut self, id: ConnectionId) {
        match self.clients.get(id).and_then(|connection| self.rate_allows_at_us(connection)) {
            Some(at_us) => self.rate_limited.push(Reverse((at_us, id))),
            None => self.paused.push_back(id),
        }
    }

    /// When the next of the connections may go on that have sent as much as they may.
    pub(in crate::shard) fn next_rate_limited_us(&self) -> Option<u64> {
        self.rate_limited.peek().map(|Reverse((at_us, _))| *at_us)
    }

    /// Lets those go on that have waited until they may, whose silence was not theirs.
    pub(in crate::shard) fn release_rate_limited(&mut self) {
        let now_ms = self.now.timer_ms();
        while self.next_rate_limited_us().is_some_and(|at_us| at_us <= self.now.monotonic_us)
            && let Some(Reverse((_, id))) = self.rate_limited.pop()
        {
            self.paused.push_back(id);
            if let Some(connection) = self.clients.get_mut(id) {
                connection.heard_at_ms = now_ms;
            }
        }
    }

    /// Handles what the held connections had sent and reads on, as far as that is possible now.
    pub(in crate::shard) fn release_held(&mut self) {
        for _ in 0..self.paused.len() {
            if self.is_congested() {
                return;
            }
            let Some(id) = self.paused.pop_front() else { return };
            let Some(connection) = self.clients.get_mut(id) else { continue };
            if !connection.is_connected() {
                continue;
            }
            if !self.may_take_requests(id) {
                self.wait_in_line(id);
                continue;
            }
            let Some(connection) = self.clients.get_mut(id) else { continue };
            connection.paused = false;
            let ended = connection.ended;
            let mut unread = std::mem::take(&mut connection.unread);
            let len = unread.len();
            unread.resize(len + PARSE_PADDING_BYTES, 0);
            self.handle_frames(id, &mut unread, len);
            let Some(connection) = self.clients.get(id) else { continue };
            if connection.paused {
                continue;
            }
            if ended {
                self.disconnect(id, Close::Gone);
            } else {
                // Also where what it had sent ended the connection: the peer's end must still be seen.
                self.clients.commands.push(Command::ResumeReading(id));
            }
        }
    }
}
