//! An import: messages of a thousand operations, each sent as soon as one is acked. It goes over the same keys again, so that
//! what is stored stays the same.
//!
//! Bound in the server: the work of one connection in a turn; the rest waits its turn.

use super::behaviour::Row;
use super::requests::fill;
use super::siege::Siege;

/// Requests under way: as many as keep the server busy while an ack is on its way.
const WINDOW: u64 = 4;

pub const ROW: Row = Row {
    name: "importer",
    says: "writes of 1000 operations, each as soon as one is acked",
    make: |size| {
        let requests = fill("import", size.of(100_000, 20_000), 100);
        Box::new(Siege::new(requests.clone(), 1, requests, WINDOW))
    },
    server_arguments: &[],
};
