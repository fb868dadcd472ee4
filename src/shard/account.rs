//! One account of what a shard's memory is used for, and what follows from how much that is.
//!
//! ```text
//!  0 ───────────── limit / 4 ───────────── limit / 2 ─────────────────────────────── limit
//!  clients: as they like │ the soft limit of each │ nothing large is begun for any,
//!                        │ shrinks; who drains    │ the largest are closed, new states
//!                        │ too slowly is closed   │ are refused
//!  maps:    whatever clients do not use, at least limit / 2: past 90 % the least recently used leave
//! ```
//! Invariant: each part says what it holds when the turn ends, or as it changes, so that nobody walks anything to know the
//! sum. What one turn adds beyond that is bounded by the work that a turn may do.

use crate::limits::RECEIVED_BYTES_MAX;
use crate::wire::Reject;

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Maps,
    /// What waits to be sent, and what is under way.
    Outboxes,
    /// States of members in rooms, and what connections know of those they have set.
    Presence,
    /// What channels keep.
    Channels,
    /// Requests that wait for their map, or because their shard is congested.
    Waiting,
    /// Answers that are being gathered.
    Answers,
    /// What dialects remember of connections, with messages that have come in part, and what they make for many.
    Sessions,
    /// Direct messages that are kept for users, and whom these have blocked.
    Directs,
    /// What is kept of queries, at owners and for subscribers.
    Queries,
    /// Records of TLS: what came in part, and what is being sent, beside what it was made of.
    Tls,
}

const USES: usize = 10;

/// The soft limit of an outbox when there is hardly any memory: what it may hold and its peer still be asked for more.
const SOFT_BYTES_MIN: usize = 16 << 10;
/// What a client is told to wait.
const RETRY_AFTER_MS: u32 = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Account {
    /// This shard's share of `--memory-limit`; 0: no limit.
    limit_bytes: usize,
    /// What clients may hold at least: what one of them alone may.
    outbox_hard_bytes: usize,
    used: [usize; USES],
}

impl Account {
    pub fn new(limit_bytes: usize, outbox_hard_bytes: usize) -> Self {
        Self { limit_bytes, outbox_hard_bytes, used: [0; USES] }
    }

    pub const fn set_outbox_hard_bytes(&mut self, bytes: usize) {
        self.outbox_hard_bytes = bytes;
    }

    pub fn set(&mut self, of: Use, bytes: usize) {
        self.used[of as usize] = bytes;
    }

    pub fn add(&mut self, of: Use, bytes: usize) {
        self.used[of as usize] += bytes;
    }

    pub fn take(&mut self, of: Use, bytes: usize) {
        self.used[of as usize] -= bytes;
    }

    pub const fn used(&self, of: Use) -> usize {
        self.used[of as usize]
    }

    /// Bytes used for anything but maps.
    pub fn clients_bytes(&self) -> usize {
        self.used.iter().sum::<usize>() - self.used(Use::Maps)
    }

    /// Bytes that maps may take, which they share with clients; `None`: no limit.
    pub fn maps_limit_bytes(&self) -> Option<usize> {
        let of_clients = self.clients_bytes().min(self.limit_bytes / 2);
        (self.limit_bytes > 0).then(|| self.limit_bytes - of_clients)
    }

    /// What clients may hold and be left alone, and what they may hold at all.
    pub fn shares(&self) -> (usize, usize) {
        if self.limit_bytes == 0 {
            return (usize::MAX, usize::MAX);
        }
        let share = (self.limit_bytes / 2).max(self.outbox_hard_bytes);
        (share / 2, share)
    }

    /// Whether clients hold so much that those who drain too slowly must go.
    pub fn is_pressed(&self) -> bool {
        self.clients_bytes() > self.shares().0
    }

    /// Whether nothing large may be begun for clients.
    pub fn is_full(&self) -> bool {
        self.clients_bytes() > self.shares().1
    }

    /// Takes note of what outboxes hold by now; whether something large may be begun for clients.
    pub fn has_room_beside(&mut self, outbox_bytes: usize) -> bool {
        self.set(Use::Outboxes, outbox_bytes);
        !self.is_full()
    }

    /// The soft limit of each outbox, of which this many bytes are configured.
    pub fn soft_bytes(&self, configured: usize) -> usize {
        let (alone, share) = self.shares();
        let over = self.clients_bytes().saturating_sub(alone);
        if over == 0 {
            return configured;
        }
        let left = (share - alone).saturating_sub(over);
        let shrunk = configured as u128 * left as u128 / (share - alone) as u128;
        (shrunk as usize).max(SOFT_BYTES_MIN).min(configured)
    }

    /// Bytes that messages which a dialect puts together from several may take while they are not complete: one of the longest
    /// in any case.
    pub fn received_bytes_max(&self, message_bytes_max: usize) -> usize {
        (self.shares().1 / 8).min(RECEIVED_BYTES_MAX).max(2 * message_bytes_max)
    }

    /// Why an answer of any size must be refused, as outboxes hold so much by now.
    pub fn refuses_answers(&mut self, outbox_bytes: usize) -> Option<Reject> {
        (!self.has_room_beside(outbox_bytes)).then_some(Reject::Overloaded { retry_after_ms: RETRY_AFTER_MS })
    }

    /// Bytes that channels may take beside what they `hold`: it stays, so all of it may be a quarter of what clients may hold.
    pub fn history_room(&self, hold: usize) -> usize {
        if self.is_full() { 0 } else { (self.shares().1 / 4).saturating_sub(hold) }
    }

    /// Why no more may be kept for users: it stays for long, so it may take a quarter of what clients may.
    pub fn refuses_queued(&self, bytes: usize) -> Option<Reject> {
        let is_over = self.is_full() || self.used(Use::Directs).saturating_add(bytes) > self.shares().1 / 4;
        is_over.then_some(Reject::Overloaded { retry_after_ms: RETRY_AFTER_MS })
    }

    /// Whether no more queries are kept: they stay, so they may take half of what clients may.
    pub fn refuses_queries(&self) -> bool {
        self.is_full() || self.used(Use::Queries) > self.shares().1 / 2
    }

    /// What is refused for want of memory.
    pub const fn busy(&self) -> Reject {
        Reject::Overloaded { retry_after_ms: RETRY_AFTER_MS }
    }

    /// Why states of members must not become `bytes` more: they stay, so they may take a quarter of what clients may.
    pub fn refuses_states(&self, bytes: usize) -> Option<Reject> {
        let is_over = self.is_full() || self.used(Use::Presence).saturating_add(bytes) > self.shares().1 / 4;
        (bytes > 0 && is_over).then_some(Reject::Overloaded { retry_after_ms: RETRY_AFTER_MS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_shrinks_from_a_quarter_of_the_limit_to_half_of_it() {
        let mut account = Account::new(64 << 20, 1 << 20);
        let mut soft_bytes = |used| {
            account.set(Use::Outboxes, used);
            account.soft_bytes(256 << 10)
        };
        assert_eq!([0, 16 << 20, 24 << 20].map(&mut soft_bytes), [256 << 10, 256 << 10, 128 << 10]);
        assert_eq!([32 << 20, 33 << 20, 640 << 20].map(&mut soft_bytes), [SOFT_BYTES_MIN; 3]);
    }

    #[test]
    fn without_a_limit_nothing_is_too_much() {
        let mut account = Account::new(0, 1 << 20);
        account.set(Use::Outboxes, usize::MAX / 2);
        assert!(!account.is_pressed() && !account.is_full());
        assert_eq!((account.soft_bytes(7), account.maps_limit_bytes()), (7, None));
        assert!(
            account.refuses_answers(usize::MAX / 2).is_none() && account.refuses_states(1 << 40).is_none()
        );
    }

    #[test]
    fn maps_have_what_clients_do_not_use_and_never_less_than_half() {
        let mut account = Account::new(100, 10);
        let mut left = |used| {
            account.set(Use::Waiting, used);
            account.maps_limit_bytes()
        };
        assert_eq!([0, 30, 500].map(&mut left), [Some(100), Some(70), Some(50)]);
    }

    #[test]
    fn one_client_may_hold_its_hard_limit_however_little_there_is() {
        let mut account = Account::new(1 << 20, 16 << 20);
        account.set(Use::Outboxes, 16 << 20);
        assert!(!account.is_full());
        account.add(Use::Answers, 1);
        assert!(account.is_full());
        account.take(Use::Answers, 1);
        assert!(!account.is_full());
    }
}
