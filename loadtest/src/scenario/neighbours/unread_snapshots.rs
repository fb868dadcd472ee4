//! Clients that ask for a large map and then read nothing of it.
//!
//! Bound in the server: the next chunk is made when the outbox has room, so `--outbox-soft-bytes` and a chunk each.

use super::behaviour::Row;
use super::peer::{Part, Reading};
use super::requests::{fill, subscribe};
use super::siege::Siege;

pub const ROW: Row = Row {
    name: "unread-snapshots",
    says: "100 clients ask for a map of 50 MB and read nothing",
    make: |size| {
        let stored = fill("unread", 500, 100_000);
        let part = Part::NATIVE.reading(Reading::Nothing);
        Box::new(Siege::new(stored, size.of(100, 40), vec![subscribe("unread")], 1).asked_as(part))
    },
    server_arguments: &[],
};
