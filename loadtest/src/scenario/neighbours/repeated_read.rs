//! Reads one large key a thousand times in one request of a few kilobytes: the answer would have 250 MB.
//!
//! Bound in the server: what an answer may hold, before it is made; a key named twice is read once.

use super::behaviour::Row;
use super::requests::{fill, read};
use super::siege::Siege;

pub const ROW: Row = Row {
    name: "repeated-read",
    says: "8 clients read one key of 250 KB a thousand times in one request",
    make: |size| {
        let stored = fill("repeated", 1, 250_000);
        let request = read("repeated", std::iter::repeat_n("k0".to_owned(), size.of(1000, 200)));
        Box::new(Siege::new(stored, 8, vec![request], 1))
    },
    server_arguments: &[],
};
