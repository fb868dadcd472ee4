//! The stamps of one ack: mostly of one clock in one millisecond, so that only their counters differ.

use crate::crdt::{Node, Stamp};
use crate::limits::NODE_BYTES_MAX;

/// Bytes of the longest: quotes, a number of 48 bits, one of 16 bits, a node, what is between them, and a comma.
const BYTES_MAX: usize = 2 + 15 + 1 + 5 + 1 + NODE_BYTES_MAX + 1;

/// Writes stamps one after the other, each as text in quotes with a comma behind it. What they have in common is written once
/// and copied.
pub struct Stamps {
    /// The last one. All that is in it but the counter is right for the next of its millisecond and node.
    text: [u8; BYTES_MAX],
    len: usize,
    /// Where its counter is.
    counter: usize,
    counter_len: usize,
    millis: u64,
    node: Option<Node>,
}

impl Default for Stamps {
    fn default() -> Self {
        Self { text: [0; BYTES_MAX], len: 0, counter: 0, counter_len: 0, millis: 0, node: None }
    }
}

impl Stamps {
    pub fn write(&mut self, out: &mut Vec<u8>, stamp: &Stamp) {
        let mut digits = itoa::Buffer::new();
        if self.millis != stamp.time.millis() || self.node.as_ref() != Some(&stamp.node) {
            self.begin(stamp);
        }
        let counter = digits.format(stamp.time.counter()).as_bytes();
        if counter.len() != self.counter_len {
            let behind = self.counter + self.counter_len..self.len;
            self.text.copy_within(behind, self.counter + counter.len());
            self.len = self.len - self.counter_len + counter.len();
            self.counter_len = counter.len();
        }
        self.text[self.counter..self.counter + counter.len()].copy_from_slice(counter);
        out.extend_from_slice(&self.text[..self.len]);
    }

    /// Begins anew, with an empty counter.
    fn begin(&mut self, stamp: &Stamp) {
        (self.millis, self.node) = (stamp.time.millis(), Some(stamp.node));
        (self.len, self.counter_len) = (0, 0);
        self.push(b"\"");
        self.push(itoa::Buffer::new().format(self.millis).as_bytes());
        self.push(b":");
        self.counter = self.len;
        self.push(b":");
        self.push(stamp.node.as_bytes());
        self.push(b"\",");
    }

    fn push(&mut self, bytes: &[u8]) {
        self.text[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Time;

    #[test]
    fn each_is_written_as_if_it_stood_alone() {
        let nodes = [&b"n"[..], b"annulus", &[b'x'; NODE_BYTES_MAX]].map(|name| Node::new(name).unwrap());
        let (mut stamps, mut out, mut expected) = (Stamps::default(), Vec::new(), Vec::new());
        for (millis, counter, node) in [
            (0, 0, 0),
            (1_700_000_000_000, 9, 0),
            (1_700_000_000_000, 10, 0),
            (1_700_000_000_000, u16::MAX, 0),
            (1_700_000_000_000, 9, 0),
            (1_700_000_000_000, 9, 1),
            (Time::MILLIS_MAX, u16::MAX, 2),
            (Time::MILLIS_MAX, 0, 2),
            (7, 0, 1),
        ] {
            let stamp = Stamp { time: Time::new(millis, counter), node: nodes[node] };
            stamps.write(&mut out, &stamp);
            expected.push(b'"');
            stamp.write_to(&mut expected);
            expected.extend_from_slice(b"\",");
        }
        assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(expected).unwrap());
    }
}
