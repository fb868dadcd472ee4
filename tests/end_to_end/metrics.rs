//! The numbers of `/metrics` against what was done.

use crate::client::{Client, set};
use crate::server::TestServer;

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
        ("annulus_connections", count + 1.0),
        ("annulus_handshakes_total", count),
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
    // The pages before may still be on their way out.
    server.await_metric("annulus_connections", 1.0);
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
        assert!((100_000.0..125_000.0).contains(&(after - before)), "{before} to {after}");
    }
}
