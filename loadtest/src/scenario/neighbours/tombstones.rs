//! Rewrites the keys of a map in order, in which one key was deleted. The deletion is remembered, and stands in the applied
//! order behind more and more entries that are stale.
//!
//! Bound in the server: looking for the next tombstone to forget passes over stale entries, which must cost O(1) a write.

use super::behaviour::Row;
use super::requests::{fill, fill_by, text};
use super::siege::Siege;

pub const ROW: Row = Row {
    name: "tombstones",
    says: "rewrites 50 000 keys in order, in a map with one tombstone",
    make: |size| {
        let keys = size.of(50_000, 20_000);
        let mut stored = fill("tombstones", keys, 20);
        stored
            .push(text(r#"{"type":"write","id":1,"ops":[{"map":"tombstones","key":"gone","op":"delete"}]}"#));
        Box::new(Siege::new(stored, 1, fill_by("tombstones", keys, 20, 100), 1))
    },
    server_arguments: &[],
};
