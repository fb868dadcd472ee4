//! The numbers of `/metrics` against what was done.

use crate::client::{Client, set};
use crate::raw::{PING, PONG, Raw, masked};
use crate::server::{TestServer, await_that, exchange, get};

#[test]
fn the_counters_of_all_shards_add_up_to_what_happened() {
    let server = TestServer::start();
    let mut clients = Client::on_every_shard(server.address, 4);
    let count = clients.len() as f64;
    for client in &mut clients {
        client.subscribe(r#""map":"m""#);
    }
    for (index, client) in clients.iter_mut().enumerate() {
        let key = format!("k{index}");
        client.write(&[set("m", &key, 1), set("m", &key, 2), set("m", &key, 3)].join(","));
        client.write(&format!(r#"{{"map":"m","key":"{key}","op":"set","value":0,"at":"1:0:c"}}"#));
        client.rejected(&format!(r#"{{"map":"m","key":"{key}","op":"increment","by":1}}"#));
        client.write(&format!(r#"{{"map":"m","key":"{key}","op":"delete"}}"#));
        client.read("m", &key);
        client.error(r#"{"type":"nonsense"}"#);
    }
    for client in &mut clients {
        client.digest("m");
    }
    let changes = 4.0 * count;
    for (series, expected) in [
        ("annulus_connections", count),
        ("annulus_handshakes_total", count),
        ("annulus_handshakes_refused_total", 0.0),
        ("annulus_subscriptions", count),
        ("annulus_snapshots_total", count),
        // Of each client: subscribe, four writes, read, nonsense, digest.
        ("annulus_messages_received_total", 8.0 * count),
        ("annulus_requests_rejected_total", count),
        ("annulus_ops_total{kind=\"set\",outcome=\"applied\"}", 3.0 * count),
        ("annulus_ops_total{kind=\"set\",outcome=\"lost\"}", count),
        ("annulus_ops_total{kind=\"delete\",outcome=\"applied\"}", count),
        ("annulus_ops_total{kind=\"increment\",outcome=\"rejected\"}", count),
        ("annulus_ops_total{kind=\"increment\",outcome=\"applied\"}", 0.0),
        ("annulus_ops_total{kind=\"read\",outcome=\"applied\"}", count),
        ("annulus_changes_total", changes),
        // Everybody but the writer of each change.
        ("annulus_deliveries_total", changes * (count - 1.0)),
        ("annulus_cells", count),
        ("annulus_bad_messages_total", 0.0),
        ("annulus_ring_overflows_total", 0.0),
    ] {
        assert_eq!(server.metric(series), expected, "{series}");
    }
    let accepts = server.metric("annulus_accepts_total");
    let later = server.metric("annulus_accepts_total");
    assert_eq!(later, accepts + 1.0, "each page is a connection");

    for client in clients {
        client.leave();
    }
    // tungstenite sends an empty close frame, which counts as 1005.
    server.await_metric("annulus_closes_total{code=\"1005\"}", count);
    assert_eq!(server.metric("annulus_connections"), 0.0);
    // The pages before may still be on their way out; this one is always there.
    await_that("the end of the sockets", || server.metric("annulus_sockets") == 1.0);
    assert_eq!(server.metric("annulus_outbox_bytes"), 0.0);
    assert!(server.metric("annulus_sends_total") > 0.0);
    assert!(server.metric("annulus_op_seconds_count") > 0.0);
}

#[test]
fn bytes_are_counted_both_ways() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    let before =
        ["annulus_bytes_received_total", "annulus_bytes_sent_total"].map(|series| server.metric(series));
    client.write(&set("m", "k", format!("\"{}\"", "x".repeat(100_000))));
    client.read("m", "k");
    let after =
        ["annulus_bytes_received_total", "annulus_bytes_sent_total"].map(|series| server.metric(series));
    for (before, after) in before.iter().zip(after) {
        assert!((100_000.0..150_000.0).contains(&(after - before)), "{before} to {after}");
    }
}

// A scrape must not change what it looks at, nor a health check what is charted.
#[test]
fn pages_and_control_frames_are_no_messages_and_no_clients() {
    let server = TestServer::with(|config| config.heartbeat_ms = 4_000);
    let mut client = Raw::open(server.address);
    client.send_text(br#"{"type":"write","id":1,"ops":[{"map":"m","key":"k","op":"set","value":1}]}"#);
    client.text();
    let numbers = || {
        ["annulus_messages_sent_total", "annulus_messages_received_total", "annulus_connections"]
            .map(|series| server.metric(series))
    };
    // The hello and the ack; the write.
    assert_eq!(numbers(), [2.0, 1.0, 1.0]);
    for path in ["/", "/healthz", "/health", "/metrics", "/nowhere"] {
        get(server.address, path);
    }
    exchange(server.address, "OPTIONS / HTTP/1.0\r\n\r\n");
    client.send(&masked(0x80 | PING, b"x"));
    assert_eq!(client.frame(), Some((PONG, b"x".to_vec())));
    assert_eq!(client.frame(), Some((PING, Vec::new())), "the server's own, after half the heartbeat");
    client.send(&masked(0x80 | PONG, b""));
    assert_eq!(numbers(), [2.0, 1.0, 1.0]);
    assert_eq!(server.metric("annulus_handshakes_refused_total"), 1.0, "the page that is not there");
    let health = get(server.address, "/health");
    assert!(health.contains(r#""totalConnections":1"#), "{health}");
    client.send(&masked(0x88, &1000_u16.to_be_bytes()));
    assert_eq!(client.close_code(), Some(1000));
    assert_eq!(numbers(), [2.0, 1.0, 0.0]);
}

// At the limit a health check is served, and is not one that was turned away.
#[test]
fn a_page_that_is_served_at_the_limit_is_no_refusal() {
    let server = TestServer::with(|config| config.connections_max = 2);
    let clients = [Raw::open(server.address), Raw::open(server.address)];
    assert!(get(server.address, "/healthz").starts_with("HTTP/1.1 200 "));
    let refusals = "annulus_refusals_total{reason=\"connections\"}";
    assert_eq!(server.metric(refusals), 0.0);
    assert_eq!(Raw::upgrade(server.address).close_code(), Some(1013));
    assert_eq!(server.metric(refusals), 1.0);
    assert_eq!(server.metric("annulus_connections"), 2.0);
    drop(clients);
}

#[test]
fn the_process_is_measured_under_the_names_prometheus_has_for_it() {
    let server = TestServer::start();
    let open = server.metric("process_open_fds");
    let clients: Vec<_> = (0..50).map(|_| Raw::open(server.address)).collect();
    // Both ends are of this process; other tests have their own.
    assert!(open > 0.0 && server.metric("process_open_fds") >= 100.0);
    assert!(server.metric("process_resident_memory_bytes") > f64::from(1 << 20));
    assert!(server.metric("process_max_fds") > 0.0);
    let started = server.metric("process_start_time_seconds");
    assert!(started > 1.6e9 && server.metric("process_start_time_seconds") == started);
    await_that("some CPU time", || server.metric("process_cpu_seconds_total") > 0.0);
    drop(clients);
}
