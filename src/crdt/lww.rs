//! A last-writer-wins register with tombstones and a time to live.
//!
//! Invariant: states are totally ordered, and a merge keeps the greater one. The order is: the stamp; at
//! equal stamps a tombstone above a value that expires above a value that stays; then the later expiry; then
//! the larger bytes. It is the order Cassandra arrived at (CASSANDRA-14592), for this reason:
//!
//! **Expiry needs no stamp of its own.** A value whose time is up becomes a tombstone *with the stamp of the
//! set*. In the order above nothing of another stamp lies between the two, so a concurrent or later write
//! wins or loses against the tombstone exactly as it would have against the value. Ending a value is then
//! monotonic (`a <= b` implies `ended(a) <= ended(b)`), and the maximum of ended states is the ended maximum:
//! replicas that expire at different moments converge without telling each other, and no write is lost
//! because it arrived after an expiry rather than before. A tombstone stamped with the expiry would lose it.

use super::{Stamp, digest};

/// Capacities are multiples of this, so that a number gaining a digit does not move the value.
const VALUE_STEP_BYTES: usize = 16;
/// A buffer may be this much larger than four times its value before it is exchanged for a smaller one.
const VALUE_SLACK_BYTES: usize = 256;

/// The register at one key.
#[derive(Debug)]
pub struct Lww {
    at: Stamp,
    value: Option<Vec<u8>>,
    expires_ms: u64,
    /// Where `Expiries` has this cell; 0: nowhere. Kept here as the map would need a table for it.
    pub(super) expiry_queued_ms: u64,
}

impl Lww {
    /// Below every state that can be written.
    pub(super) const fn new() -> Self {
        Self { at: Stamp::BOTTOM, value: None, expires_ms: 0, expiry_queued_ms: 0 }
    }

    /// When the value was set or deleted. The tombstone of an expired value has the stamp of its set.
    pub const fn at(&self) -> &Stamp {
        &self.at
    }

    /// `None`: deleted or expired.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// Unix milliseconds at which the value ends; 0: never.
    pub const fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// Takes over the given state if it is greater; whether it was.
    pub(super) fn merge(&mut self, at: &Stamp, value: Option<&[u8]>, expires_ms: u64) -> bool {
        let expires_ms = if value.is_some() { expires_ms } else { 0 };
        let by_rank = || rank(value, expires_ms).cmp(&rank(self.value(), self.expires_ms));
        if at.cmp(&self.at).then_with(by_rank).is_le() {
            return false;
        }
        self.at = *at;
        self.expires_ms = expires_ms;
        match value {
            Some(value) => self.store(value),
            None => self.value = None,
        }
        true
    }

    /// Turns the value into the tombstone it has become.
    pub(super) fn end(&mut self) {
        self.value = None;
        self.expires_ms = 0;
    }

    pub(super) fn digest(&self, key: &[u8]) -> u64 {
        match &self.value {
            Some(value) => digest::of_lww(key, &self.at, value, self.expires_ms),
            None => 0,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Vec::capacity)
    }

    /// Writes `value` over the old one, in its allocation unless that is too small or far too large.
    fn store(&mut self, value: &[u8]) {
        let needed = value.len().next_multiple_of(VALUE_STEP_BYTES);
        let mut buffer = self.value.take().unwrap_or_default();
        if !(needed..=4 * needed + VALUE_SLACK_BYTES).contains(&buffer.capacity()) {
            buffer = Vec::with_capacity(needed);
        }
        buffer.clear();
        buffer.extend_from_slice(value);
        self.value = Some(buffer);
    }
}

/// The order among states of one stamp: deleted, when it ends, bytes. What never ends is 0, below all that does.
fn rank(value: Option<&[u8]>, expires_ms: u64) -> (bool, u64, &[u8]) {
    (value.is_none(), expires_ms, value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(text: &str) -> Stamp {
        Stamp::parse(text).unwrap()
    }

    #[test]
    fn states_of_one_stamp_have_one_order() {
        let at = stamp("5:0:n");
        let ascending: [(Option<&[u8]>, u64); 6] = [
            (Some(b"1"), 0),
            (Some(b"2"), 0),
            (Some(b"0"), 10),
            (Some(b"1"), 10),
            (Some(b"0"), 11),
            (None, 0),
        ];
        for (i, &(value, expires_ms)) in ascending.iter().enumerate() {
            for (j, &(other, other_expires_ms)) in ascending.iter().enumerate() {
                let mut lww = Lww::new();
                assert!(lww.merge(&at, value, expires_ms));
                assert_eq!(lww.merge(&at, other, other_expires_ms), j > i, "{i} then {j}");
            }
        }
    }

    #[test]
    fn a_write_between_set_and_expiry_wins_before_and_after_the_expiry() {
        for ends_first in [false, true] {
            let mut lww = Lww::new();
            lww.merge(&stamp("5:0:b"), Some(b"1"), 1_000);
            if ends_first {
                lww.end();
            }
            assert!(!lww.merge(&stamp("5:0:a"), Some(b"2"), 0), "the write before the set loses");
            assert!(lww.merge(&stamp("5:0:c"), Some(b"3"), 0), "the write after the set wins");
            assert_eq!(lww.value(), Some(&b"3"[..]));
        }
    }

    #[test]
    fn a_tombstone_has_no_expiry_and_no_buffer() {
        let mut lww = Lww::new();
        lww.merge(&stamp("1:0:n"), Some(b"123"), 9);
        assert!(lww.merge(&stamp("2:0:n"), None, 77));
        assert_eq!((lww.value(), lww.expires_ms(), lww.heap_bytes()), (None, 0, 0));
        assert!(!lww.merge(&stamp("2:0:n"), None, 78), "what means nothing makes no difference");
    }

    #[test]
    fn a_buffer_is_kept_for_similar_values_and_exchanged_for_far_smaller_ones() {
        let mut lww = Lww::new();
        let mut set = |counter: u16, len: usize| {
            lww.merge(&stamp(&format!("1:{counter}:n")), Some(&vec![b'1'; len]), 0);
            lww.heap_bytes()
        };
        let first = set(1, 1_000);
        assert!((1_000..1_100).contains(&first));
        assert_eq!(set(2, 700), first);
        assert_eq!(set(3, 1_000), first);
        assert_eq!(set(4, 10), 16);
    }
}
