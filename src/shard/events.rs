//! What happens to connections, as the driver reports it.

use std::net::IpAddr;

use super::clients::{Connection, End, NoRoom, Phase, Unread, Waits};
use super::{Command, Shard, Transport, work};
use crate::mesh::{ConnectionId, TurnedAway};
use crate::metrics::Refusal;
use crate::wire::Close;

impl Shard {
    /// A client connected where `transport` is spoken. `None`: there is no room even to turn it away politely; close the transport.
    pub fn accepted(&mut self, address: IpAddr, transport: Transport) -> Option<ConnectionId> {
        self.turn.metrics.accepts += 1;
        let refusal = match self.clients.count_accept(&mut self.turn) {
            Ok(refusal) => refusal,
            Err(NoRoom) => return None,
        };
        let now_ms = self.turn.now.timer_ms();
        let message_bytes_max = self.turn.config.message_bytes_max;
        let id = self.clients.insert(|id| Connection::new(id, address, now_ms, message_bytes_max));
        self.turn.metrics.sockets += 1;
        let deadline_ms = now_ms + self.turn.config.handshake_timeout_ms;
        let layer = self.first_layer(transport, address);
        if let Some(connection) = self.clients.get_mut(id) {
            connection.layer = layer;
            connection.refusal = refusal.map(TurnedAway::from);
            connection.deadline_ms = deadline_ms;
        }
        self.clients.set_timer(id, deadline_ms);
        self.clients.line_up(id);
        while let Some(oldest) = self.clients.next_over_handshakes() {
            self.turn.metrics.count_refusal(Refusal::Handshakes);
            self.disconnect_for(oldest, Close::Gone, "over --max-handshakes, and the oldest of them");
            self.clients.finish(&mut self.turn, oldest);
        }
        if self.is_draining() {
            self.hurry(id);
        }
        if refusal.is_none() && self.clients.counts_at_accept(&self.turn, address) {
            self.count_address(id, address, None);
        }
        Some(id)
    }

    /// Bytes that came before anybody could look at them.
    pub(super) fn take_in_early(&mut self, id: ConnectionId, mut early: Unread) {
        let (padded, len) = early.padded();
        self.take_in(id, padded, len);
    }

    /// Takes plaintext, the first `len` of `padded`.
    pub(super) fn take_in(&mut self, id: ConnectionId, padded: &mut [u8], len: usize) {
        let now_ms = self.turn.now.timer_ms();
        let congested = self.is_congested();
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.heard_at_ms = now_ms;
        connection.received_bytes += len as u64;
        connection.pinged = false;
        match connection.phase {
            Phase::Open if connection.unread.is_empty() && connection.waits == Waits::No && !congested => {
                self.handle_arrived(id, padded, len);
            }
            Phase::Open | Phase::Accepted | Phase::Admission => {
                connection.unread.push(&padded[..len]);
                let is_brief = connection.is_open() && !congested;
                self.clients.wait(&mut self.turn, id, is_brief);
            }
            Phase::Handshake => {
                // No more is kept than the largest header block, which is answered in any case. What follows it belongs
                // to a WebSocket, if there is one then.
                let room = self.turn.config.header_bytes_max.saturating_sub(connection.unread.len());
                let kept = len.min(room);
                connection.unread.push(&padded[..kept]);
                self.handle_http(id);
                if kept < len {
                    self.take_in(id, &mut padded[kept..], len - kept);
                }
            }
            Phase::Flushing | Phase::Lingering | Phase::Disconnected => {}
        }
    }

    /// The peer has ended its side, or has said so: nothing more of it counts.
    pub(super) fn ended(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.ended = true;
        match connection.phase {
            // What came before the end is still waiting to be handled or finished, or to be answered by another shard.
            Phase::Open if !connection.unread.is_empty() || connection.is_unfinished() => {}
            Phase::Accepted | Phase::Admission => {}
            Phase::Lingering => self.clients.finish(&mut self.turn, id),
            Phase::Flushing | Phase::Disconnected => {}
            Phase::Open if self.turn.is_spent() => self.clients.end_later(id, End::Said),
            Phase::Handshake | Phase::Open => self.disconnect(id, Close::Gone),
        }
    }

    /// The transport failed: reset, timed out, or worse.
    pub fn failed(&mut self, id: ConnectionId) {
        let is_open = self.clients.get(id).is_some_and(Connection::is_open);
        if is_open && self.turn.is_spent() {
            self.clients.end_later(id, End::Failed)
        } else {
            self.end_failed(id);
        }
    }

    fn end_failed(&mut self, id: ConnectionId) {
        self.disconnect_for(id, Close::Gone, "the transport failed, such as by a reset");
        self.clients.finish(&mut self.turn, id);
    }

    /// Ends connections whose peers are gone, as many as a turn may, one at least: a thousand that go at once may have
    /// much to let go of.
    pub(super) fn end_gone(&mut self) {
        let mut is_first = true;
        while is_first || !self.turn.is_spent() {
            match self.clients.next_gone() {
                Some((id, End::Said)) => self.disconnect(id, Close::Gone),
                Some((id, End::Failed)) => self.end_failed(id),
                Some((id, End::Displaced)) => self.disconnect(id, Close::Replaced),
                Some((id, End::Dismissed)) => self.disconnect(id, Close::Dismissed),
                None => return,
            }
            is_first = false;
        }
    }

    /// How many sends what has come so far in this turn makes, as far as changes of maps go.
    pub fn planned_sends(&self) -> usize {
        self.feeds.planned_sends(&self.maps)
    }

    /// The kernel took `bytes` of [`Self::in_flight`].
    pub fn sent(&mut self, id: ConnectionId, bytes: usize) {
        let Self {
            turn, clients, maps, feeds, queries, requests, rooms, presence, channels, directs, ..
        } = self;
        turn.metrics.sends += 1;
        turn.metrics.bytes_sent += bytes as u64;
        let Some(all) = clients.sent(turn, id, bytes) else { return };
        clients.something_ended(id);
        let Some(connection) = clients.get_mut(id) else { return };
        if connection.phase == Phase::Disconnected {
            return;
        }
        if !all {
            turn.commands.push(Command::Send(id));
            return;
        }
        let behind = connection.watches_behind() > 0;
        let stays_behind = connection.stays.as_ref().is_some_and(|stays| stays.behind > 0);
        let lacks_directs = connection.lacks_directs();
        let lacks_messages = !connection.joined.behind().is_empty();
        if connection.has_to_send() {
            clients.mark(id, turn.now);
        } else if connection.phase == Phase::Flushing {
            clients.linger(turn, id);
            return;
        }
        clients.check_drained(id);
        requests.has_drained(clients, id);
        feeds.walk_on(turn, clients, maps, id);
        queries.has_drained(clients, id);
        if behind {
            rooms.catch_up(turn, clients, requests, id);
        }
        if stays_behind {
            presence.catch_up(turn, clients, requests, id);
        }
        if lacks_messages {
            channels.catch_up(turn, clients, maps, requests, id);
        }
        if lacks_directs {
            directs.fetch_on(turn, clients, id);
        }
        self.tell_drained();
    }

    /// Tells the dialects of connections that everything is sent, if they want to know.
    pub(super) fn tell_drained(&mut self) {
        while let Some(id) = self.clients.next_drained() {
            if let Some(caller) = self.clients.caller(id) {
                self.dialect_of(id).drained(self, caller);
            }
        }
    }

    /// The last completion of a closed connection has come: its slot is free.
    pub fn released(&mut self, id: ConnectionId) {
        self.clients.remove(&mut self.turn, id);
    }

    /// The bytes of a [`Command::Send`], in order; they stay in place until [`Self::sent`].
    pub fn in_flight(&self, id: ConnectionId) -> impl Iterator<Item = &[u8]> {
        self.clients.get(id).into_iter().flat_map(Connection::in_flight)
    }

    /// Handles what connections in line had sent, as much as a turn may, and reads on those that have nothing left.
    pub(super) fn resume_waiting(&mut self) {
        for handled in 0..self.clients.line_len() {
            // One at least, so that whatever comes with each turn leaves nobody in line for ever.
            if self.is_congested() || handled > 0 && self.turn.is_spent() {
                return;
            }
            let Some(id) = self.clients.next_in_line() else { return };
            self.turn.spend(work::FRAME);
            let Some(connection) = self.clients.get_mut(id).filter(|found| found.is_connected()) else {
                continue;
            };
            let unread = std::mem::take(&mut connection.unread);
            self.handle_unread(id, unread, handled == 0);
            let Some(connection) = self.clients.get_mut(id) else { continue };
            if connection.waits != Waits::No {
                continue;
            }
            let (ended, was_paused) = (connection.ended, std::mem::take(&mut connection.paused));
            // Until now it was not read, so that its silence begins here.
            connection.heard_at_ms = self.turn.now.timer_ms();
            if ended {
                self.disconnect(id, Close::Gone);
            } else if was_paused {
                // Also where what it had sent ended the connection: the peer's end must still be seen.
                self.turn.commands.push(Command::ResumeReading(id));
            }
        }
    }
}
