//! Hybrid logical stamps: which of two changes is the later one, on every replica alike.
//!
//! Invariant: the order of [`Time`], [`Node`] and [`Stamp`] is the order of their fields as written here, so
//! the derived `Ord` is the order of the protocol: milliseconds, then counter, then node bytes.

use std::fmt;

use crate::limits::NODE_BYTES_MAX;

/// A tick of a hybrid logical clock: 48 bits of unix milliseconds above a 16-bit counter (Kulkarni et al.,
/// "Logical Physical Clocks", 2014).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// Before every tick of every clock: the position of who has seen nothing.
    pub const ZERO: Self = Self(0);
    /// After every tick; the year 10889.
    pub const MAX: Self = Self(u64::MAX);
    /// The largest millisecond a tick can name.
    pub const MILLIS_MAX: u64 = (1 << 48) - 1;

    /// Milliseconds beyond [`Time::MILLIS_MAX`] count as that.
    pub const fn new(millis: u64, counter: u16) -> Self {
        let millis = if millis > Self::MILLIS_MAX { Self::MILLIS_MAX } else { millis };
        Self(millis << 16 | counter as u64)
    }

    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }

    pub const fn counter(self) -> u16 {
        (self.0 & 0xFFFF) as u16
    }

    /// The tick after this one: a full counter carries into the milliseconds. [`Time::MAX`] stays.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The tick before this one; [`Time::ZERO`] stays.
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The one number that cursors carry and disks keep; it orders as the tick does.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The name of the replica that made a stamp or owns a counter slot.
///
/// Padded with zero bytes, which no name contains, so that comparing the whole array compares the names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node([u8; NODE_BYTES_MAX]);

/// Bytes of a name that are looked at together to find its end.
const WORD_BYTES: usize = size_of::<u64>();
const _: () = assert!(NODE_BYTES_MAX.is_multiple_of(WORD_BYTES));

impl Node {
    /// `None` unless `name` is 1 to [`NODE_BYTES_MAX`] visible ASCII bytes without `"`, `\` and `:`: it goes
    /// into JSON and into the text form of stamps without an escape.
    pub fn new(name: &[u8]) -> Option<Self> {
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b':');
        if name.is_empty() || name.len() > NODE_BYTES_MAX || !name.iter().all(plain) {
            return None;
        }
        Some(Self::from_stored(name))
    }

    /// A name as [`Node::as_bytes`] gave it, or an empty one, which is below all.
    pub(super) fn from_stored(name: &[u8]) -> Self {
        let mut padded = [0; NODE_BYTES_MAX];
        padded[..name.len()].copy_from_slice(name);
        Self(padded)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("`new` admits ASCII only")
    }

    /// The name without its padding.
    pub fn as_bytes(&self) -> &[u8] {
        let (words, _) = self.0.as_chunks::<WORD_BYTES>();
        let mut len = 0;
        for &word in words {
            let bytes = WORD_BYTES - u64::from_le_bytes(word).leading_zeros() as usize / 8;
            len += bytes;
            if bytes < WORD_BYTES {
                break;
            }
        }
        &self.0[..len]
    }

    /// The name with its padding, for hashing.
    pub(super) const fn padded(&self) -> &[u8; NODE_BYTES_MAX] {
        &self.0
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// When and where a change was made. Two changes of one node never share a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    pub time: Time,
    pub node: Node,
}

impl Stamp {
    /// Reads the text form `millis:counter:node`. Zeros may lead the numbers, signs may not; `None` if a
    /// number is over its range or the node is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.as_bytes().splitn(3, |&byte| byte == b':');
        let millis = decimal(parts.next()?, Time::MILLIS_MAX)?;
        let counter = decimal(parts.next()?, u64::from(u16::MAX))?;
        let node = Node::new(parts.next()?)?;
        Some(Self { time: Time(millis << 16 | counter), node })
    }

    /// Appends the text form.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(self.time.millis()).as_bytes());
        out.push(b':');
        out.extend_from_slice(digits.format(self.time.counter()).as_bytes());
        out.push(b':');
        out.extend_from_slice(self.node.as_bytes());
    }
}

/// Reads one or more digits and nothing else, up to `max`.
fn decimal(digits: &[u8], max: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Cannot overflow: the number was at most `max` before, and the largest `max` has 48 bits.
        number = number * 10 + u64::from(digit);
        if number > max {
            return None;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(stamp: Stamp) -> String {
        let mut out = Vec::new();
        stamp.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_form_survives_a_round_trip() {
        for form in
            ["0:0:a", "1700000000000:7:node-1", "281474976710655:65535:6fa459ea-ee8a-3ca4-894e-db77e160355e"]
        {
            assert_eq!(text(Stamp::parse(form).unwrap()), form);
        }
        assert_eq!(text(Stamp::parse("007:01:n").unwrap()), "7:1:n");
    }

    #[test]
    fn what_is_not_a_stamp_is_refused() {
        let long_node = format!("1:1:{}", "n".repeat(NODE_BYTES_MAX + 1));
        let huge = format!("{}:1:n", "9".repeat(400));
        let wrong = [
            "",
            "1",
            "1:2",
            "1:2:",
            ":2:n",
            "1::n",
            "+1:2:n",
            "-1:2:n",
            "1:+2:n",
            " 1:2:n",
            "1 :2:n",
            "1.0:2:n",
            "281474976710656:0:n",
            "0:65536:n",
            "1:2:a:b",
            "1:2:a b",
            "1:2:a\"b",
            "1:2:a\\b",
            "1:2:a\0",
            "1:2:é",
            "0x1:2:n",
            &long_node,
            &huge,
        ];
        for form in wrong {
            assert_eq!(Stamp::parse(form), None, "{form}");
        }
        assert!(Stamp::parse(&format!("1:1:{}", "n".repeat(NODE_BYTES_MAX))).is_some());
    }

    #[test]
    fn stamps_order_by_millis_then_counter_then_node_bytes() {
        let ascending = ["9:9:z", "10:0:z", "10:1:B", "10:1:a", "10:1:aa", "10:1:b", "10:2:A", "11:0:a"];
        let stamps: Vec<Stamp> = ascending.iter().map(|form| Stamp::parse(form).unwrap()).collect();
        assert!(stamps.is_sorted_by(|earlier, later| earlier < later));
    }

    #[test]
    fn a_full_counter_carries_into_the_milliseconds() {
        assert_eq!(Time::new(5, u16::MAX).next(), Time::new(6, 0));
        assert_eq!(Time::new(6, 0).previous(), Time::new(5, u16::MAX));
        assert_eq!(Time::MAX.next(), Time::MAX);
        assert_eq!(Time::new(u64::MAX, 3), Time::new(Time::MILLIS_MAX, 3));
        assert_eq!(Time::from_bits(Time::new(5, 9).to_bits()), Time::new(5, 9));
    }
}
