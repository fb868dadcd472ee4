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
//!
//! **One allocation.** What a cell has allocated begins with its key; behind that is its register:
//!
//! ```text
//! key | node of the stamp | value | unused | expires_ms u64, queued_ms u64: if it ends or is queued
//! ```

use super::{Node, Stamp, Time, digest};
use crate::limits::NODE_BYTES_MAX;

/// What has to grow gets a multiple of this, so that a number gaining a digit does not move the value each time. A new cell
/// gets exactly what it takes, as most never grow.
const STEP_BYTES: usize = 16;
/// An allocation may be this much larger than four times what is in it before it is exchanged for a smaller one.
const SLACK_BYTES: usize = 256;
/// Bytes of one of the times at the end.
const TIME_BYTES: usize = size_of::<u64>();
/// Bytes of both.
const EXPIRY_BYTES: usize = 2 * TIME_BYTES;

/// What a cell has of its register beside its allocation.
#[derive(Debug)]
pub struct Head {
    time: Time,
    value_bytes: u32,
    node_bytes: u8,
    has_value: bool,
    has_expiry: bool,
}

const _: () = assert!(size_of::<Head>() == 16 && NODE_BYTES_MAX <= u8::MAX as usize);
const IN_LIMITS: &str = "deltas are within their limits, and so are names";

impl Head {
    /// Of a register that nobody has written: below every state that can be.
    pub const BOTTOM: Self =
        Self { time: Time::ZERO, value_bytes: 0, node_bytes: 0, has_value: false, has_expiry: false };

    /// Whether it was not deleted and has not expired.
    pub const fn has_value(&self) -> bool {
        self.has_value
    }
}

/// Bytes that a register in this state has behind its key.
pub fn bytes_of(at: &Stamp, value: Option<&[u8]>, expires_ms: u64) -> usize {
    let expiry = if value.is_some() && expires_ms != 0 { EXPIRY_BYTES } else { 0 };
    at.node.as_bytes().len() + value.map_or(0, <[u8]>::len) + expiry
}

/// The register at one key.
#[derive(Clone, Copy, Debug)]
pub struct Lww<'a> {
    head: &'a Head,
    /// What its cell has allocated, from behind the key on.
    bytes: &'a [u8],
}

impl<'a> Lww<'a> {
    pub(super) const fn new(head: &'a Head, bytes: &'a [u8]) -> Self {
        Self { head, bytes }
    }

    /// When the value was set or deleted. The tombstone of an expired value has the stamp of its set.
    pub fn at(self) -> Stamp {
        Stamp { time: self.head.time, node: Node::from_stored(self.node()) }
    }

    /// `None`: deleted or expired.
    pub fn value(self) -> Option<&'a [u8]> {
        let value = || &self.bytes[usize::from(self.head.node_bytes)..][..self.head.value_bytes as usize];
        self.head.has_value.then(value)
    }

    /// Unix milliseconds at which the value ends; 0: never.
    pub fn expires_ms(self) -> u64 {
        self.time_before_end(EXPIRY_BYTES)
    }

    /// Where `Expiries` has this cell; 0: nowhere. Kept here as the map would need a table for it.
    pub(super) fn expiry_queued_ms(self) -> u64 {
        self.time_before_end(TIME_BYTES)
    }

    pub(super) fn digest(self, key: &[u8]) -> u64 {
        self.value().map_or(0, |value| digest::of_lww(key, &self.at(), value, self.expires_ms()))
    }

    fn node(self) -> &'a [u8] {
        &self.bytes[..usize::from(self.head.node_bytes)]
    }

    fn time_before_end(self, bytes: usize) -> u64 {
        if !self.head.has_expiry {
            return 0;
        }
        let time = self.bytes[self.bytes.len() - bytes..].first_chunk();
        u64::from_le_bytes(*time.expect("both times are as long"))
    }
}

/// The register at one key, to be changed.
#[derive(Debug)]
pub struct LwwMut<'a> {
    pub head: &'a mut Head,
    /// All that its cell has allocated.
    pub bytes: &'a mut Box<[u8]>,
    pub key_bytes: usize,
}

impl LwwMut<'_> {
    pub fn as_ref(&self) -> Lww<'_> {
        Lww::new(self.head, &self.bytes[self.key_bytes..])
    }

    /// Takes over the given state if it is greater; whether it was.
    #[inline]
    pub fn merge(&mut self, at: &Stamp, value: Option<&[u8]>, expires_ms: u64) -> bool {
        let expires_ms = if value.is_some() { expires_ms } else { 0 };
        if at.time < self.head.time || at.time == self.head.time && !self.wins_tie(at, value, expires_ms) {
            return false;
        }
        let (node, content) = (at.node.as_bytes(), value.unwrap_or_default());
        let queued_ms = self.as_ref().expiry_queued_ms();
        *self.head = Head {
            time: at.time,
            value_bytes: u32::try_from(content.len()).expect(IN_LIMITS),
            node_bytes: u8::try_from(node.len()).expect(IN_LIMITS),
            has_value: value.is_some(),
            has_expiry: expires_ms != 0 || queued_ms != 0,
        };
        self.make_room(self.key_bytes);
        let (node_place, rest) = self.bytes[self.key_bytes..].split_at_mut(node.len());
        node_place.copy_from_slice(node);
        rest[..content.len()].copy_from_slice(content);
        if self.head.has_expiry {
            self.put_expiry(expires_ms, queued_ms);
        }
        true
    }

    /// Whether a state of the same time is greater. Apart, as times are hardly ever the same.
    #[cold]
    fn wins_tie(&self, at: &Stamp, value: Option<&[u8]>, expires_ms: u64) -> bool {
        let ours = self.as_ref();
        let by_rank = || rank(value, expires_ms).cmp(&rank(ours.value(), ours.expires_ms()));
        at.node.as_bytes().cmp(ours.node()).then_with(by_rank).is_gt()
    }

    /// Turns the value into the tombstone it has become, which is queued nowhere.
    pub fn end(&mut self) {
        *self.head = Head { value_bytes: 0, has_value: false, has_expiry: false, ..*self.head };
        self.make_room(self.key_bytes + usize::from(self.head.node_bytes));
    }

    /// Takes note of where `Expiries` has this cell. It has a value that ends, or had one when it was queued before.
    pub fn set_expiry_queued_ms(&mut self, queued_ms: u64) {
        self.put_expiry(self.as_ref().expires_ms(), queued_ms);
    }

    fn put_expiry(&mut self, expires_ms: u64, queued_ms: u64) {
        let times = self.bytes.last_chunk_mut::<EXPIRY_BYTES>().expect("there is room for the times");
        let (first, second) = times.split_at_mut(TIME_BYTES);
        first.copy_from_slice(&expires_ms.to_le_bytes());
        second.copy_from_slice(&queued_ms.to_le_bytes());
    }

    /// Exchanges the allocation if it is too small for what `head` says, or far too large; the first `kept` bytes stay.
    fn make_room(&mut self, kept: usize) {
        let Head { value_bytes, node_bytes, has_value, has_expiry, .. } = *self.head;
        let expiry = if has_expiry { EXPIRY_BYTES } else { 0 };
        let needed = self.key_bytes + usize::from(node_bytes) + value_bytes as usize + expiry;
        let largest = if has_value { 4 * needed + SLACK_BYTES } else { needed + STEP_BYTES };
        if !(needed..=largest).contains(&self.bytes.len()) {
            self.exchange(kept, needed.next_multiple_of(STEP_BYTES));
        }
    }

    #[inline(never)]
    fn exchange(&mut self, kept: usize, capacity: usize) {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(&self.bytes[..kept]);
        bytes.resize(capacity, 0);
        *self.bytes = bytes.into();
    }
}

/// The order among states of one stamp: deleted, when it ends, bytes. What never ends is 0, below all that does.
fn rank(value: Option<&[u8]>, expires_ms: u64) -> (bool, u64, &[u8]) {
    (value.is_none(), expires_ms, value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a cell has of a register, under the key `k`.
    struct Register {
        head: Head,
        bytes: Box<[u8]>,
    }

    impl Register {
        fn new() -> Self {
            Self { head: Head::BOTTOM, bytes: Box::from(*b"k") }
        }

        fn lww_mut(&mut self) -> LwwMut<'_> {
            LwwMut { head: &mut self.head, bytes: &mut self.bytes, key_bytes: 1 }
        }

        fn merge(&mut self, at: &str, value: Option<&[u8]>, expires_ms: u64) -> bool {
            let is_greater = self.lww_mut().merge(&Stamp::parse(at).unwrap(), value, expires_ms);
            assert_eq!(self.bytes[0], b'k');
            is_greater
        }

        /// Value, expiry, the same where it is queued, and the bytes allocated.
        fn seen(&mut self) -> (Option<&[u8]>, u64, u64, usize) {
            let lww = Lww::new(&self.head, &self.bytes[1..]);
            (lww.value(), lww.expires_ms(), lww.expiry_queued_ms(), self.bytes.len())
        }
    }

    #[test]
    fn states_of_one_stamp_have_one_order() {
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
                let mut register = Register::new();
                assert!(register.merge("5:0:n", value, expires_ms));
                assert_eq!(register.merge("5:0:n", other, other_expires_ms), j > i, "{i} then {j}");
            }
        }
    }

    #[test]
    fn states_of_different_stamps_have_the_order_of_the_stamps() {
        let ascending = ["0:0:!", "0:0:a", "0:0:aa", "0:0:b", "0:1:a", "1:0:!"];
        for (i, at) in ascending.iter().enumerate() {
            for (j, other) in ascending.iter().enumerate() {
                let mut register = Register::new();
                assert!(register.merge(at, Some(b"1"), 0), "all are above what nobody has written");
                assert_eq!(register.merge(other, Some(b"1"), 0), j > i, "{at} then {other}");
                let latest = Stamp::parse(ascending[i.max(j)]).unwrap();
                assert_eq!(register.lww_mut().as_ref().at(), latest);
            }
        }
    }

    #[test]
    fn a_write_between_set_and_expiry_wins_before_and_after_the_expiry() {
        for ends_first in [false, true] {
            let mut register = Register::new();
            register.merge("5:0:b", Some(b"1"), 1_000);
            if ends_first {
                register.lww_mut().end();
                assert_eq!(register.lww_mut().as_ref().at(), Stamp::parse("5:0:b").unwrap());
            }
            assert!(!register.merge("5:0:a", Some(b"2"), 0), "the write before the set loses");
            assert!(register.merge("5:0:c", Some(b"3"), 0), "the write after the set wins");
            assert_eq!(register.seen().0, Some(&b"3"[..]));
        }
    }

    #[test]
    fn a_tombstone_has_no_expiry_and_no_room_for_a_value() {
        let mut register = Register::new();
        register.merge("1:0:n", Some(&[b'1'; 100]), 9);
        assert!(register.merge("2:0:n", None, 77));
        assert_eq!(register.seen(), (None, 0, 0, STEP_BYTES));
        assert!(!register.merge("2:0:n", None, 78), "what means nothing makes no difference");
        register.merge("3:0:n", Some(&[b'1'; 100]), 9);
        register.lww_mut().end();
        assert_eq!(register.seen(), (None, 0, 0, STEP_BYTES));
    }

    #[test]
    fn both_times_are_behind_the_value_for_as_long_as_there_is_one_of_them() {
        let mut register = Register::new();
        register.merge("1:0:n", Some(b"12345678"), 0);
        assert_eq!(register.seen().3, STEP_BYTES);
        register.merge("2:0:n", Some(b"12345678"), 500);
        register.lww_mut().set_expiry_queued_ms(500);
        assert_eq!(register.seen(), (Some(&b"12345678"[..]), 500, 500, 2 * STEP_BYTES));
        register.merge("3:0:nodenode", Some(b"123456789"), 700);
        assert_eq!(register.seen(), (Some(&b"123456789"[..]), 700, 500, 3 * STEP_BYTES));
        register.merge("4:0:n", Some(&[b'1'; 46]), 0);
        assert_eq!(register.seen(), (Some(&[b'1'; 46][..]), 0, 500, 4 * STEP_BYTES));
        register.merge("5:0:n", None, 0);
        assert_eq!(register.seen(), (None, 0, 500, 2 * STEP_BYTES));
        register.lww_mut().set_expiry_queued_ms(0);
        register.merge("6:0:n", Some(&[b'1'; 30]), 0);
        assert_eq!(register.seen(), (Some(&[b'1'; 30][..]), 0, 0, 2 * STEP_BYTES));
    }

    #[test]
    fn an_allocation_is_kept_for_similar_values_and_exchanged_for_far_smaller_ones() {
        let mut register = Register::new();
        let mut set = |counter: u16, len: usize| {
            register.merge(&format!("1:{counter}:n"), Some(&vec![b'1'; len]), 0);
            register.seen().3
        };
        let first = set(1, 1_000);
        assert!((1_002..1_100).contains(&first));
        assert_eq!(set(2, 700), first);
        assert_eq!(set(3, 1_000), first);
        assert_eq!(set(4, 10), STEP_BYTES);
        assert_eq!(set(5, 14), STEP_BYTES);
        assert_eq!(set(6, 15), 2 * STEP_BYTES);
    }
}
