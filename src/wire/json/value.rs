//! A value inside a message, still as parsed.

use std::fmt;

use simd_json::Node;

use super::{Scratch, write_canonical};

/// Any JSON value, `null` included.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    nodes: &'a [Node<'a>],
    scratch: &'a Scratch,
}

impl<'a> Value<'a> {
    pub fn new(nodes: &'a [Node<'a>], scratch: &'a Scratch) -> Self {
        Self { nodes, scratch }
    }

    /// Appends the canonical form, which is what is stored, compared and sent. It may be longer than what the
    /// client sent: `1e20` has 21 digits.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        write_canonical(self.nodes, self.scratch, out);
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut canonical = Vec::new();
        self.write_canonical(&mut canonical);
        formatter.write_str(&String::from_utf8_lossy(&canonical))
    }
}
