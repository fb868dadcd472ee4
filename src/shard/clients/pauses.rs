//! Connections that are not read for a while, because this shard or they themselves have too much under way.
//!
//! Invariant: a paused connection waits in exactly one place: in the line of those that go on as soon as there is room,
//! or, where it has sent as much as it may, for a moment.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::Clients;
use super::connection::Connection;
use crate::config::{Config, RateLimit};
use crate::limits::CONNECTION_REQUESTS_PENDING_MAX;
use crate::mesh::ConnectionId;
use crate::shard::Command;
use crate::shard::turn::Turn;

/// See the module.
#[derive(Default)]
pub struct Pauses {
    /// Oldest first.
    line: VecDeque<ConnectionId>,
    /// Those that may go on at a moment, in microseconds of the monotonic clock, and not before.
    rate_limited: BinaryHeap<Reverse<(u64, ConnectionId)>>,
}

impl Clients {
    /// Stops reading a connection until [`Self::next_in_line`] gives it.
    pub fn pause(&mut self, turn: &mut Turn, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else { return };
        if !connection.paused {
            connection.paused = true;
            self.wait_in_line(turn, id);
            turn.metrics.reads_paused += 1;
            turn.commands.push(Command::PauseReading(id));
        }
    }

    /// Reads a connection again that was paused before it was open.
    pub fn unpause(&mut self, turn: &mut Turn, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id)
            && std::mem::take(&mut connection.paused)
        {
            self.pauses.line.retain(|&other| other != id);
            turn.commands.push(Command::ResumeReading(id));
        }
    }

    /// Puts a connection that is not read where it waits.
    pub fn wait_in_line(&mut self, turn: &Turn, id: ConnectionId) {
        match self.get(id).and_then(|connection| rate_allows_at_us(turn, connection)) {
            Some(at_us) => self.pauses.rate_limited.push(Reverse((at_us, id))),
            None => self.pauses.line.push_back(id),
        }
    }

    pub fn line_len(&self) -> usize {
        self.pauses.line.len()
    }

    /// Takes the connection that has waited longest.
    pub fn next_in_line(&mut self) -> Option<ConnectionId> {
        self.pauses.line.pop_front()
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
            self.pauses.line.push_back(id);
            if let Some(connection) = self.get_mut(id) {
                connection.heard_at_ms = turn.now.timer_ms();
            }
        }
    }

    /// Whether one more message of this connection may be handled now, as far as the connection goes: what it asked for
    /// before has been taken by other shards, and what it was told has been taken by its peer.
    pub fn may_take_requests(&self, turn: &Turn, id: ConnectionId) -> bool {
        let Some(connection) = self.get(id) else { return false };
        connection.is_open()
            && !connection.takes_no_requests
            && (connection.requests_pending as usize) < CONNECTION_REQUESTS_PENDING_MAX
            && connection.outbox.bytes() <= self.soft_bytes
            && rate_allows_at_us(turn, connection).is_none()
    }

    /// Counts one message; when to try again if it is one too many in its second or minute, which none is where those
    /// wait.
    pub fn over_message_rate(&mut self, turn: &Turn, id: ConnectionId) -> Option<u32> {
        let Config { messages_per_second_max, messages_per_minute_max, .. } = *turn.config;
        let now_us = turn.now.monotonic_us;
        let connection = self.get_mut(id)?;
        let in_second = connection.second.count(messages_per_second_max, 1_000, now_us);
        in_second.or_else(|| connection.minute.count(messages_per_minute_max, 60_000, now_us))
    }
}

/// When a connection may send again that has sent as much as it may, and is to wait for that.
pub fn rate_allows_at_us(turn: &Turn, connection: &Connection) -> Option<u64> {
    let Config { messages_per_second_max, messages_per_minute_max, rate_limit, .. } = *turn.config;
    if rate_limit == RateLimit::Refuse {
        return None;
    }
    let now_us = turn.now.monotonic_us;
    let in_second = connection.second.allows_at_us(messages_per_second_max, now_us);
    in_second.max(connection.minute.allows_at_us(messages_per_minute_max, now_us))
}
