//! What the process holds of the machine's memory.

use crate::client::{Client, set};
use crate::process::Running;
use crate::server::await_that;

const KEYS: usize = 2_000;
const VALUE_BYTES: usize = 50_000;

/// Goal: a server that was once large does not stay so. Method: the built command, which has the allocator that it is shipped
/// with; a hundred megabytes are written and deleted, and then nobody asks for anything.
#[test]
fn what_was_freed_goes_back_once_there_is_nothing_to_do() {
    let server = Running::in_memory(&[]);
    let mut client = Client::connect(server.address);
    let before = server.resident_bytes();
    let value = format!("\"{}\"", "x".repeat(VALUE_BYTES));
    for n in 0..KEYS {
        client.write(&set("large", &format!("k{n}"), &value));
    }
    let written = server.resident_bytes() - before;
    assert!(written > KEYS * VALUE_BYTES, "{written} bytes for what is stored");
    for n in 0..KEYS {
        client.write(&format!(r#"{{"map":"large","key":"k{n}","op":"delete"}}"#));
    }
    await_that("what was deleted to be given back", || server.resident_bytes() < before + written / 4);
}
