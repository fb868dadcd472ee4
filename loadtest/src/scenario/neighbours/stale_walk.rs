//! Subscribes again and again to a map whose keys were all written twice, with a prefix that no key has: each walk looks at
//! every cell and passes over as many stale entries, and nothing is sent.
//!
//! Bound in the server: the budget of a chunk, which must count what it passes over as well as what it looks at.

use super::behaviour::Row;
use super::requests::{fill, text};
use super::siege::Siege;

pub const ROW: Row = Row {
    name: "stale-walk",
    says: "8 clients walk a map of 500 000 keys written twice, and are sent none",
    make: |size| {
        let once = fill("stale", size.of(500_000, 100_000), 4);
        let twice = [once.as_slice(), &once].concat();
        let walk = text(r#"{"type":"subscribe","id":1,"map":"stale","prefix":"none"}"#);
        Box::new(Siege::new(twice, 8, vec![walk], 1))
    },
    server_arguments: &[],
};
