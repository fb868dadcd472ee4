//! Adds 70 values of 250 KB to one key of an or-map, then subscribes to its map and reads it. A client that only wants to
//! see what is there must not be closed for it.
//!
//! Bound in the server: the bytes of one cell, well below what may wait for a connection.

use super::behaviour::Row;
use super::requests::{OPS_MAX, add, read, subscribe, value, writes};
use super::siege::Siege;

pub const ROW: Row = Row {
    name: "big-or-key",
    says: "subscribes to and reads a map with one or-key of 70 tags of 250 KB",
    make: |_| {
        let value = value(250_000);
        let stored = writes((0..70).map(|_| add("big", "key", &value)), OPS_MAX);
        let requests = vec![subscribe("big"), read("big", std::iter::once("key".to_owned()))];
        Box::new(Siege::new(stored, 2, requests, 1).never_closed_with(4008))
    },
    server_arguments: &[],
};
