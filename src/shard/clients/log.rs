//! What the log says of single connections: that one opens, and why one ends.
//!
//! Invariant: each is one line at `debug`. An end that no healthy client meets is a line at `info` as well, but at most
//! [`ENDS_LOGGED_PER_SECOND`] of them, then one with the number of the others: a thousand clients with one fault do not fill a
//! disk. What is not logged costs a look at the level, and no text is made for it.

use std::net::IpAddr;

use tracing::{Level, debug, enabled, info};

use super::Clients;
use super::connection::Connection;
use crate::limits::ENDS_LOGGED_PER_SECOND;
use crate::mesh::ConnectionId;
use crate::shard::Dialect;
use crate::shard::turn::Turn;
use crate::wire::Close;

/// How many ends may still be told of in the current second.
#[derive(Debug, Default)]
pub struct Endings {
    second_ends_ms: u64,
    left: u32,
    /// Those that were not told of.
    more: u64,
}

impl Endings {
    fn take(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.second_ends_ms && self.more == 0 {
            (self.second_ends_ms, self.left) = (now_ms + 1_000, ENDS_LOGGED_PER_SECOND);
        }
        let is_told = self.left > 0;
        self.left -= u32::from(is_told);
        self.more += u64::from(!is_told);
        is_told
    }

    /// How many were not told of in a second that is over.
    fn take_more(&mut self, now_ms: u64) -> Option<u64> {
        let is_due = self.due_ms().is_some_and(|due_ms| now_ms >= due_ms);
        is_due.then(|| std::mem::take(&mut self.more))
    }

    /// When the number of the others is told; `None`: there are none.
    pub fn due_ms(&self) -> Option<u64> {
        (self.more > 0).then_some(self.second_ends_ms)
    }
}

/// The end of a connection, as the log tells of it.
struct End<'a> {
    connection: String,
    address: IpAddr,
    dialect: &'static str,
    /// Of a WebSocket.
    code: Option<u16>,
    cause: &'a str,
    lasted_ms: u64,
    received_bytes: u64,
    sent_bytes: u64,
    /// Waiting to be sent: what a slow consumer was too slow for.
    unsent_bytes: usize,
}

/// One event, at one of two levels.
macro_rules! tell {
    ($level:ident, $end:expr) => {{
        let End {
            connection,
            address,
            dialect,
            code,
            cause,
            lasted_ms,
            received_bytes,
            sent_bytes,
            unsent_bytes,
        } = $end;
        $level!(
            connection,
            %address,
            dialect,
            code,
            cause,
            lasted_ms,
            received_bytes,
            sent_bytes,
            unsent_bytes,
            "connection ended"
        );
    }};
}

impl Clients {
    pub fn log_opened(&self, turn: &Turn, id: ConnectionId) {
        if !enabled!(Level::DEBUG) {
            return;
        }
        if let Some(Connection { address, dialect, .. }) = self.get(id) {
            let (name, dialect) = (turn.connection_name(id), self.dialects[usize::from(*dialect)].name());
            debug!(connection = name, %address, dialect, "connection opened");
        }
    }

    /// When [`Self::log_more_ended`] has something to tell, in milliseconds of the monotonic clock.
    pub fn next_ending_ms(&self) -> Option<u64> {
        self.endings.due_ms()
    }

    /// Called while the connection is still what it was.
    pub fn log_ended(&mut self, turn: &Turn, id: ConnectionId, close: Close, cause: &str) {
        let is_debug = enabled!(Level::DEBUG);
        let Some(connection) = self.get(id) else { return };
        let is_told = connection.is_open()
            && close.is_abnormal()
            && enabled!(Level::INFO)
            && self.endings.take(turn.now.timer_ms());
        if !is_told && !is_debug {
            return;
        }
        let Some(connection) = self.get(id) else { return };
        let dialect: Option<&dyn Dialect> =
            connection.is_open().then(|| self.dialects[usize::from(connection.dialect)]);
        let end = End {
            connection: turn.connection_name(id),
            address: connection.address,
            dialect: dialect.map_or("http", Dialect::name),
            code: dialect.map(|dialect| dialect.close(close).code()),
            cause,
            lasted_ms: turn.now.timer_ms() - connection.accepted_at_ms,
            received_bytes: connection.received_bytes,
            sent_bytes: connection.sent_bytes,
            unsent_bytes: connection.outbox.bytes(),
        };
        if is_told { tell!(info, end) } else { tell!(debug, end) }
    }

    /// Tells how many ends were not told of.
    pub fn log_more_ended(&mut self, turn: &Turn) {
        if let Some(more) = self.endings.take_more(turn.now.timer_ms()) {
            info!(shard = turn.index, "and {more} more connections ended in such a way within a second");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_some_and_counts_the_others() {
        let mut endings = Endings::default();
        let told = (0..25).filter(|at| endings.take(5_000 + at)).count();
        assert_eq!((told, endings.due_ms()), (ENDS_LOGGED_PER_SECOND as usize, Some(6_000)));
        assert_eq!(endings.take_more(5_999), None);
        assert_eq!(endings.take_more(6_000), Some(25 - u64::from(ENDS_LOGGED_PER_SECOND)));
        assert_eq!((endings.take_more(6_000), endings.due_ms()), (None, None));
        assert!(endings.take(6_001));
    }
}
