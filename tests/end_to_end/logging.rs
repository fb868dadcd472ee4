//! What the log of the built command says of single connections.

use simd_json::prelude::*;

use crate::client::Client;
use crate::process::Running;
use crate::raw::Raw;
use crate::server::{await_that, get};

/// A text frame without a mask, which no client may send (RFC 6455 section 5.1).
const UNMASKED: [u8; 3] = [0x81, 0x01, b'x'];

#[test]
fn debug_tells_of_each_connection_that_opens_and_why_it_ends() {
    let server = Running::in_memory(&["--log-level", "debug"]);
    let client = Client::connect(server.address);
    let name = client.hello["connection"].as_str().unwrap().to_owned();
    let named = format!("connection=\"{name}\"");
    let opened = [named.as_str(), "DEBUG", "connection opened", "address=127.0.0.1", "dialect=\"native\""];
    await_that("the opening", || server.said(&opened));
    client.leave();
    let ended =
        [named.as_str(), "DEBUG", "connection ended", "code=1005", "the peer closed it", "lasted_ms="];
    await_that("the end", || server.said(&ended));
    get(server.address, "/healthz");
    await_that("the page", || {
        server.said(&["dialect=\"http\"", "its request is answered", "received_bytes=37"])
    });
    drop(Raw::open(server.address));
    await_that("the end without a close", || server.said(&["code=1006", "without a close frame"]));
    server.stop();
}

#[test]
fn ends_that_should_not_be_are_told_without_being_asked_for_but_not_without_end() {
    let server = Running::in_memory(&[]);
    get(server.address, "/healthz");
    let bad = || {
        let mut raw = Raw::open(server.address);
        raw.send(&UNMASKED);
        assert_eq!(raw.close_code(), Some(1002));
    };
    (0..60).for_each(|_| bad());
    await_that("the number of the others", || server.said(&["INFO", "more connections ended in such a way"]));
    let told = server.count_said(&["INFO", "connection ended", "code=1002"]);
    assert!((10..=40).contains(&told), "{told} of 60");
    assert!(!server.said(&["dialect=\"http\""]) && !server.said(&["connection opened"]));
    server.stop();
}
