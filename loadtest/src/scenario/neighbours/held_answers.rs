//! A hundred clients each ask, in eight messages of 100 bytes, for 16 MB, and then read 2 KiB every four seconds: just enough to be taken for
//! alive, and just below what would close them.
//!
//! Bound in the server: how long one answer may be; all that waits for all connections together, and how fast who is over the soft limit must read.

use super::behaviour::Row;
use super::peer::{Part, Reading};
use super::requests::{fill, read};
use super::siege::Siege;

/// Values of 250 KB that one answer may have, and such answers that one connection may have waiting.
const VALUES: usize = 8;
const ANSWERS: u64 = 8;

pub const ROW: Row = Row {
    name: "held-answers",
    says: "100 clients ask for 8 answers of 2 MB and read 2 KiB every 4 s",
    make: |size| {
        let stored = fill("held", VALUES, 250_000);
        let request = read("held", (0..VALUES).map(|key| format!("k{key}")));
        let part = Part::NATIVE.reading(Reading::Paced { bytes: 2048, every_ns: 4_000_000_000 });
        Box::new(Siege::new(stored, size.of(100, 20), vec![request], ANSWERS).asked_as(part))
    },
    // The bound is an account: where half of the memory of the host is allowed, as by default, it is far away.
    server_arguments: &["--memory-limit", "96MiB"],
};
