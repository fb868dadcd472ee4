//! What a subscriber may be sent in a fan-out: each publish once, and in order; and nothing more behind it.

use crate::ack::AckLevel;
use crate::dialect::{Codec, Dialect};
use crate::failure::Failure;
use crate::fleet::Wire;
use crate::message::Message;

/// Publishes one publisher may have in flight: as many as [`Progress`] has bits.
pub const WINDOW_MAX: u64 = 64;
/// Keys a publisher writes to in turn: no key is written again before its last value has reached everybody, so that
/// a server which sends only the latest state of a key still owes every value.
pub const KEYS: u64 = WINDOW_MAX;

/// What one subscriber has had of one publisher.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// All before this one have come.
    pub next: u64,
    /// Bit `n`: `next + n` has come too.
    ahead: u64,
}

impl Progress {
    /// Takes note of publish `sequence`. `published`: how many there have been so far.
    ///
    /// # Errors
    /// [`Failure::Wrong`], [`Failure::Duplicated`], or unless `any_order`, [`Failure::OutOfOrder`].
    pub fn accept(&mut self, sequence: u64, published: u64, any_order: bool) -> Result<(), Failure> {
        if sequence >= published {
            return Err(Failure::Wrong(format!("publish {sequence} came before it was made")));
        }
        let ahead_by = sequence.wrapping_sub(self.next);
        if sequence < self.next || (ahead_by < WINDOW_MAX && self.ahead >> ahead_by & 1 == 1) {
            return Err(Failure::Duplicated(format!("publish {sequence} came again")));
        }
        if ahead_by >= WINDOW_MAX || (ahead_by > 0 && !any_order) {
            return Err(Failure::OutOfOrder(format!(
                "publish {sequence} came before {}, or that is lost",
                self.next
            )));
        }
        self.ahead |= 1 << ahead_by;
        let run = self.ahead.trailing_ones();
        self.next += u64::from(run);
        self.ahead = self.ahead.checked_shr(run).unwrap_or(0);
        Ok(())
    }
}

/// After the end, each connection is asked for a pong: whatever was queued for it comes before.
pub struct Barrier {
    codec: Codec,
    pub waiting: usize,
}

/// The id of the barrier's ping; no other request has it.
const BARRIER_ID: u64 = u64::MAX >> 12;

impl Barrier {
    pub fn new(dialect: Dialect) -> Self {
        Self { codec: Codec::new(dialect, AckLevel::default()), waiting: 0 }
    }

    pub fn ask(&mut self, wire: &mut Wire<'_>, connections: usize) {
        for index in 0..connections {
            wire.send(index, self.codec.ping(BARRIER_ID));
        }
        self.waiting += connections;
    }

    /// Whether `message` is the pong of the barrier.
    pub fn passes(&mut self, message: &Message<'_>) -> bool {
        let passes = self.waiting > 0 && self.codec.is_pong_of(message, BARRIER_ID);
        self.waiting -= usize::from(passes);
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_publish_is_accepted_once_and_in_order() {
        let mut progress = Progress::default();
        for sequence in 0..200 {
            progress.accept(sequence, 200, false).unwrap();
        }
        assert!(matches!(progress.accept(199, 300, false), Err(Failure::Duplicated(_))));
        assert!(matches!(progress.accept(201, 300, false), Err(Failure::OutOfOrder(_))));
        assert!(matches!(progress.accept(300, 300, false), Err(Failure::Wrong(_))));
    }

    #[test]
    fn any_order_within_the_window_still_counts_each_once() {
        let mut progress = Progress::default();
        for sequence in (0..WINDOW_MAX).rev() {
            progress.accept(sequence, WINDOW_MAX, true).unwrap();
        }
        assert_eq!(progress.next, WINDOW_MAX);
        progress.accept(WINDOW_MAX + 1, 100, true).unwrap();
        assert!(matches!(progress.accept(WINDOW_MAX + 1, 100, true), Err(Failure::Duplicated(_))));
    }
}
