//! Connections whose next message waits, because this shard or they themselves have too much under way.
//!
//! ```text
//!                  too much work in this turn, or the shard is congested ──► line ──► handled, first come first served
//!  next message ──► it has too much under way itself ──► until something of its own ends ──► line
//!                  it has sent as much as it may ──► until a moment ──► line
//! ```
//! Invariant: a connection that waits does so for exactly one of these (`Connection::waits`), and who is in line may go
//! on as far as it goes itself, so that a turn looks at nobody in vain.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::Clients;
use super::connection::{Connection, Waits};
use crate::config::{Config, RateLimit};
use crate::limits::{CONNECTION_REQUEST_BYTES_MAX, CONNECTION_REQUESTS_PENDING_MAX, UNREAD_BYTES_MAX};
use crate::mesh::ConnectionId;
use crate::shard::Command;
use crate::shard::turn::Turn;

/// See the module.
#[derive(Default)]
pub struct Pauses {
    /// Oldest first. Some may be gone, or no longer wait.
    line: VecDeque<ConnectionId>,
    /// Those that wait for a moment, in microseconds of the monotonic clock.
    rate_limited: BinaryHeap<Reverse<(u64, ConnectionId)>>,
}

impl Clients {
    /// Keeps what has come until [`Self::next_in_line`] gives the connection. It is read on if `is_brief`, as where only
    /// the turn has to end, and not too much of it is kept.
    pub fn wait(&mut self, turn: &mut Turn, id: ConnectionId, is_brief: bool) {
        let Some(connection) = self.get_mut(id) else { return };
        let may_be_read = is_brief && connection.unread.len() < UNREAD_BYTES_MAX;
        if !connection.paused && !may_be_read {
            connection.paused = true;
            turn.metrics.reads_paused += 1;
            turn.commands.push(Command::PauseReading(id));
        }
        // One that is not open yet is read on, and what it has sent is handled, when it is.
        if self.get(id).is_some_and(Connection::is_open) {
            self.wait_in_place(turn, id);
        }
    }

    /// Puts a connection where it waits, if it waits nowhere yet.
    fn wait_in_place(&mut self, turn: &Turn, id: ConnectionId) {
        let Some(connection) = self.get(id).filter(|connection| connection.waits == Waits::No) else {
            return;
        };
        let waits = if let Some(at_us) = self.rate_allows_at_us(turn, connection) {
            self.pauses.rate_limited.push(Reverse((at_us, id)));
            Waits::Rate
        } else if self.has_too_much_under_way(connection) {
            Waits::OwnEnd
        } else {
            self.pauses.line.push_back(id);
            Waits::InLine
        };
        self.at_mut(id.index).waits = waits;
    }

    /// Something of a connection has ended, which may be what it waits for.
    #[inline]
    pub fn something_ended(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get(id)
            && connection.waits == Waits::OwnEnd
            && !self.has_too_much_under_way(connection)
        {
            self.at_mut(id.index).waits = Waits::InLine;
            self.pauses.line.push_back(id);
        }
    }

    /// Operations of the connection's last message are left for the next turn.
    pub fn note_unfinished(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.has_unfinished = true;
        }
    }

    /// They are done.
    pub fn unfinished_ended(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.has_unfinished = false;
            self.something_finished(id);
        }
    }

    /// Some are yet to be sent a message of the connection.
    pub fn message_kept(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.undelivered += 1;
        }
    }

    /// All have been sent it.
    pub fn message_delivered(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.undelivered -= 1;
            self.something_finished(id);
        }
    }

    /// What may be handled now if nothing of the last message is left: the next, or the end that has come meanwhile.
    fn something_finished(&mut self, id: ConnectionId) {
        let connection = &mut self.table[id.index];
        if connection.ended && connection.waits == Waits::No && !connection.is_unfinished() {
            connection.waits = Waits::InLine;
            self.pauses.line.push_back(id);
        }
        self.something_ended(id);
    }

    /// Reads a connection again that was paused before it was open.
    pub fn unpause(&mut self, turn: &mut Turn, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.waits = Waits::No;
            if std::mem::take(&mut connection.paused) {
                turn.commands.push(Command::ResumeReading(id));
            }
        }
    }

    pub fn line_len(&self) -> usize {
        self.pauses.line.len()
    }

    /// Takes the connection that has been in line longest.
    pub fn next_in_line(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.pauses.line.pop_front() {
            if let Some(connection) = self.get_mut(id).filter(|connection| connection.waits == Waits::InLine)
            {
                connection.waits = Waits::No;
                return Some(id);
            }
        }
        None
    }

    /// When the next of the connections may go on that have sent as much as they may.
    pub fn next_rate_limited_us(&self) -> Option<u64> {
        self.pauses.rate_limited.peek().map(|Reverse((at_us, _))| *at_us)
    }

    /// Puts those in line that have waited until they may, whose silence was not theirs.
    pub fn end_rate_limits(&mut self, turn: &Turn) {
        while self.next_rate_limited_us().is_some_and(|at_us| at_us <= turn.now.monotonic_us)
            && let Some(Reverse((_, id))) = self.pauses.rate_limited.pop()
        {
            if let Some(connection) = self.get_mut(id).filter(|connection| connection.waits == Waits::Rate) {
                connection.heard_at_ms = turn.now.timer_ms();
                connection.waits = Waits::InLine;
                self.pauses.line.push_back(id);
            }
        }
    }

    /// Whether one more message of this connection may be handled now, as far as the connection goes: what it asked for
    /// before has been taken by other shards, and what it was told has been taken by its peer.
    pub fn may_take_requests(&self, turn: &Turn, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|connection| {
            connection.is_open()
                && !self.has_too_much_under_way(connection)
                && self.rate_allows_at_us(turn, connection).is_none()
        })
    }

    fn has_too_much_under_way(&self, connection: &Connection) -> bool {
        connection.takes_no_requests
            || connection.is_being_verified
            || connection.is_unfinished()
            || connection.requests_pending as usize >= CONNECTION_REQUESTS_PENDING_MAX
            || connection.request_bytes > CONNECTION_REQUEST_BYTES_MAX
            || connection.owed_bytes > self.answer_bytes_max() / 2
            || !connection.long_reads.is_empty()
            || connection.outbox.bytes() > self.soft_bytes
    }

    /// Handles no further message of a writer until then.
    pub fn slow(&mut self, turn: &mut Turn, id: ConnectionId, until_us: u64) {
        if let Some(connection) = self.get_mut(id) {
            connection.slowed_until_ms = until_us.div_ceil(1000);
            turn.metrics.writes_slowed += 1;
        }
    }

    /// When a connection may send again that has sent as much as it may, and is to wait for that, or that is slowed as a writer.
    fn rate_allows_at_us(&self, turn: &Turn, connection: &Connection) -> Option<u64> {
        let Config { messages_per_second_max, messages_per_minute_max, rate_limit, .. } = *turn.config;
        let now_us = turn.now.monotonic_us;
        let slowed = connection.slowed_until_us(turn);
        if rate_limit == RateLimit::Refuse {
            return slowed;
        }
        let in_second = connection.second.allows_at_us(messages_per_second_max, now_us);
        let in_minute = connection.minute.allows_at_us(messages_per_minute_max, now_us);
        slowed.max(in_second).max(in_minute).max(self.budget_allows_at_us(turn, connection))
    }
}
