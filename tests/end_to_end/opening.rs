//! The first message and the simplest request.

use std::net::{TcpListener, TcpStream};

use simd_json::prelude::*;

use crate::client::Client;
use crate::raw::Raw;
use crate::server::TestServer;

#[test]
fn hello_comes_first_and_says_who_speaks_and_by_which_rules() {
    let server = TestServer::with(|config| {
        config.node = "node-a".to_owned();
        config.heartbeat_ms = 7_000;
        config.tombstone_retention_ms = 90_000;
        config.message_bytes_max = 50_000;
        config.subscriptions_max = 33;
    });
    let client = Client::connect(server.address);
    let hello = &client.hello;
    assert_eq!(hello["protocol"], 1);
    assert_eq!(hello["node"], "node-a");
    assert_eq!(hello["auth"], "none");
    assert_eq!(hello["heartbeat_ms"], 7_000);
    assert_eq!(hello["tombstone_retention_ms"], 90_000);
    assert_eq!(hello["limits"], simd_json::json!({"message_bytes": 50_000, "subscriptions": 33}));
    assert!(hello["time"].as_str().unwrap().ends_with(":node-a"));
}

#[test]
fn connections_have_names_of_their_own() {
    let server = TestServer::start();
    let clients = Client::on_every_shard(server.address, 8);
    let mut names: Vec<&str> = clients.iter().map(|c| c.hello["connection"].as_str().unwrap()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn pong_repeats_the_id_as_it_was_sent() {
    let server = TestServer::start();
    let mut raw = Raw::open(server.address);
    for id in ["7", "-1", "1.5", "\"abc\"", "\"a\\\"b\"", "18446744073709551615"] {
        raw.send_text(format!(r#"{{"id":{id},"type":"ping"}}"#).as_bytes());
        let pong = raw.text();
        assert!(pong.starts_with(&format!(r#"{{"type":"pong","id":{id},"time":""#)), "{pong}");
    }
    raw.send_text(br#"{"type":"ping"}"#);
    assert!(raw.text().starts_with(r#"{"type":"pong","time":""#));
}

#[test]
fn requests_are_answered_in_the_order_they_came_however_many_are_under_way() {
    let server = TestServer::start();
    let mut raw = Raw::open(server.address);
    let frames: Vec<u8> = (0..2_000)
        .flat_map(|id| crate::raw::masked(0x81, format!(r#"{{"type":"ping","id":{id}}}"#).as_bytes()))
        .collect();
    raw.send(&frames);
    for id in 0..2_000 {
        let pong = raw.text();
        assert!(pong.starts_with(&format!(r#"{{"type":"pong","id":{id},"#)), "{pong}");
    }
}

#[test]
fn a_token_is_not_taken_where_nobody_is_asked() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    assert_eq!(client.error(r#"{"type":"auth","token":"t"}"#), "auth_unavailable");
    for later in ["query", "presence"] {
        assert_eq!(client.error(&format!(r#"{{"type":"{later}"}}"#)), "unknown_type");
    }
}

/// Whether this host has IPv6; says so where a test cannot show anything without it.
fn has_ipv6() -> bool {
    let found = TcpListener::bind("[::1]:0").is_ok();
    if !found {
        eprintln!("skipped: this host has no IPv6");
    }
    found
}

fn hears(address: &str, port: u16) -> bool {
    TcpStream::connect(format!("{address}:{port}")).is_ok()
}

#[test]
fn both_families_can_share_a_port() {
    if !has_ipv6() {
        return;
    }
    let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
    let listen = |listen: &[String]| {
        let addresses = listen.iter().map(|address| address.parse().unwrap()).collect();
        TestServer::with(|config| config.listen = addresses)
    };
    let (four, six) = (format!("0.0.0.0:{port}"), format!("[::]:{port}"));
    for both in [[four.clone(), six.clone()], [six.clone(), four]] {
        let server = listen(&both);
        assert!(hears("127.0.0.1", port) && hears("[::1]", port));
        server.stop();
    }
    let server = listen(&[six]);
    assert!(hears("127.0.0.1", port) && hears("[::1]", port), "alone it takes both");
    server.stop();
}
