//! Stamps: hybrid logical time and the node that gave it.

use crate::limits::NODE_BYTES_MAX;

/// 48 bits of Unix milliseconds, 16 bits of counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Time(u64);

impl Time {
    pub const ZERO: Self = Self(0);

    pub const fn new(millis: u64, counter: u16) -> Self {
        Self(millis << 16 | counter as u64)
    }

    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }

    pub const fn counter(self) -> u16 {
        self.0 as u16
    }
}

/// A node's name, zero padded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Node([u8; NODE_BYTES_MAX]);

impl Node {
    /// `None` unless 1 to 40 graphic ASCII characters without `"`, `\` and `:`.
    pub fn new(name: &[u8]) -> Option<Self> {
        let legal = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b':');
        if name.is_empty() || name.len() > NODE_BYTES_MAX || !name.iter().all(legal) {
            return None;
        }
        let mut bytes = [0; NODE_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name);
        Some(Self(bytes))
    }
}

/// When, and who: the order of all writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Stamp {
    pub time: Time,
    pub node: Node,
}

impl Stamp {
    /// Reads `millis:counter:node`.
    pub fn parse(text: &str) -> Option<Self> {
        let (millis, rest) = text.split_once(':')?;
        let (counter, node) = rest.split_once(':')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(millis) || !digits(counter) {
            return None;
        }
        let millis = millis.parse::<u64>().ok().filter(|&millis| millis < 1 << 48)?;
        Some(Self { time: Time::new(millis, counter.parse().ok()?), node: Node::new(node.as_bytes())? })
    }

    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(self.time.millis()).as_bytes());
        out.push(b':');
        out.extend_from_slice(itoa::Buffer::new().format(self.time.counter()).as_bytes());
        out.push(b':');
        let len = self.node.0.iter().position(|&byte| byte == 0).unwrap_or(NODE_BYTES_MAX);
        out.extend_from_slice(&self.node.0[..len]);
    }
}
