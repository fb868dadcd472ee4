//! Reads a key of an or-map that holds 5 MB in twenty tags, a thousand times in one request of 7 KB.
//!
//! Bound in the server: `read` of a key that is larger than an answer may be; lengths that do not fit their field.

use super::behaviour::Row;
use super::requests::{OPS_MAX, add, read, value, writes};
use super::siege::Siege;

pub const ROW: Row = Row {
    name: "read-or-key",
    says: "reads an or-key of 5 MB a thousand times in one request of 7 KB",
    make: |size| {
        let value = value(250_000);
        let stored = writes((0..20).map(|_| add("wide", "key", &value)), OPS_MAX);
        let request = read("wide", std::iter::repeat_n("key".to_owned(), size.of(1000, 50)));
        Box::new(Siege::new(stored, 1, vec![request], 1))
    },
    server_arguments: &[],
};
