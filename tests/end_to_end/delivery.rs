//! Many clients, large maps and slow readers: everybody converges, and nobody waits for anybody else.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::raw::{self, Raw};
use crate::server::{TestServer, await_that};

#[test]
fn clients_on_every_shard_write_the_same_keys_and_all_subscribers_converge() {
    const KEYS: usize = 20;
    const WRITES: usize = 100;
    let server = TestServer::start();
    let clients = Client::on_every_shard(server.address, 8);
    let count = clients.len();
    let threads: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(index, mut client)| {
            thread::spawn(move || {
                let mut state = client.subscribe(r#""map":"m","echo":true"#).by_key();
                for n in 0..WRITES {
                    client.write(&set("m", &format!("k{}", (n * 7 + index) % KEYS), n * 100 + index));
                    take_in(&mut state, client.take_events());
                }
                (client, state)
            })
        })
        .collect();
    let mut clients: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    for (client, state) in &mut clients {
        // All writes were acknowledged, so the answers of all shards come behind the last changes.
        client.digest("m");
        take_in(state, client.take_events());
    }
    let truth = Client::connect(server.address).subscribe(r#""map":"m""#).by_key();
    assert_eq!(truth.len(), KEYS);
    for (_, state) in &clients {
        assert_eq!(*state, truth);
    }
    assert_eq!(server.metric("annulus_ops_total{kind=\"set\",outcome=\"applied\"}"), (count * WRITES) as f64);
}

/// Changes of a key come from its one owner, in order: the last is the latest.
fn take_in(state: &mut BTreeMap<String, Value>, events: Vec<Value>) {
    for event in events {
        for entry in event["entries"].as_array().unwrap() {
            state.insert(entry["key"].as_str().unwrap().to_owned(), entry.clone());
        }
    }
}

#[test]
fn a_large_snapshot_comes_in_chunks_while_another_client_is_answered() {
    const ENTRIES: usize = 100_000;
    let server = TestServer::start();
    let address = server.address;
    fill(address, ENTRIES);
    let reader = thread::spawn(move || Client::connect(address).subscribe(r#""map":"big""#));
    let mut pinger = Client::connect(address);
    let (mut pongs, mut longest) = (0, Duration::ZERO);
    while !reader.is_finished() {
        let asked = Instant::now();
        assert_eq!(pinger.ask(r#"{"type":"ping"}"#)["type"], "pong");
        longest = longest.max(asked.elapsed());
        pongs += 1;
    }
    let snapshot = reader.join().unwrap();
    assert_eq!(snapshot.by_key().len(), ENTRIES);
    assert_eq!(snapshot.entries.len(), ENTRIES, "each entry once");
    assert!(snapshot.chunks > 50, "in {} chunks", snapshot.chunks);
    // Not a benchmark: it only shows that pings are not queued behind the whole snapshot.
    assert!(pongs > 20 && longest < Duration::from_secs(1), "{pongs} pongs, one after {longest:?}");
}

#[test]
fn entries_that_change_during_a_snapshot_end_in_their_latest_state() {
    const ENTRIES: usize = 20_000;
    let server = TestServer::start();
    let address = server.address;
    fill(address, ENTRIES);
    let mut readers = Client::on_every_shard(address, 2);
    let writer = thread::spawn(move || {
        let mut writer = Client::connect(address);
        for n in 0..400 {
            let ops: Vec<String> =
                (0..5).map(|k| set("big", &format!("key{}", (n * 5 + k) * 7), 1)).collect();
            writer.write(&ops.join(","));
        }
    });
    let mut states = Vec::new();
    for reader in &mut readers {
        states.push(reader.subscribe(r#""map":"big""#).by_key());
    }
    writer.join().unwrap();
    let truth = Client::connect(address).subscribe(r#""map":"big""#).by_key();
    for (reader, state) in readers.iter_mut().zip(&mut states) {
        // A reader that fell behind gets the rest a little later.
        await_that("the last changes", || {
            reader.digest("big");
            take_in(state, reader.take_events());
            *state == truth
        });
    }
}

/// Writes `entries` keys into map `big`.
fn fill(address: SocketAddr, entries: usize) {
    let mut writer = Client::connect(address);
    for thousand in 0..entries / 1000 {
        let ops: Vec<String> = (0..1000)
            .map(|n| set("big", &format!("key{}", thousand * 1000 + n), "\"twenty octets of it\""))
            .collect();
        writer.write(&ops.join(","));
    }
}

#[test]
fn a_slow_reader_is_conflated_and_others_keep_flowing() {
    const KEYS: usize = 16;
    const ROUNDS: usize = 250;
    let server = TestServer::with(|config| config.outbox_soft_bytes = 128 << 10);
    let mut slow = narrow(server.address);
    slow.subscribe(r#""map":"m""#);
    let mut fast = Client::connect(server.address);
    fast.subscribe(r#""map":"m""#);
    let mut writer = Client::connect(server.address);
    // Far more than the buffers of both kernels take.
    let padding = "x".repeat(8 << 10);
    let mut fast_state = BTreeMap::new();
    for round in 0..ROUNDS {
        let value = |key: usize| format!(r#""{round}-{key}-{padding}""#);
        let ops: Vec<String> = (0..KEYS).map(|key| set("m", &format!("k{key}"), value(key))).collect();
        writer.write(&ops.join(","));
        // Flows on, however far behind the other is.
        fast.digest("m");
        take_in(&mut fast_state, fast.take_events());
    }
    server.await_metric("annulus_conflations_total", 1.0);
    let truth = writer.subscribe(r#""map":"m""#).by_key();
    await_that("the fast reader", || {
        fast.digest("m");
        take_in(&mut fast_state, fast.take_events());
        fast_state == truth
    });

    let (mut slow_state, mut entries) = (BTreeMap::new(), 0);
    while slow_state != truth {
        let event = slow.event();
        entries += event["entries"].as_array().unwrap().len();
        take_in(&mut slow_state, vec![event]);
    }
    assert!(entries < KEYS * ROUNDS, "nothing was left out");
    assert!(entries > KEYS, "it got what its buffers held, and the latest states");
    // It is live again.
    writer.write(&set("m", "after", 1));
    assert_eq!(slow.change("m")[0]["key"], "after");
}

/// A client whose kernel takes little for it while it does not read.
fn narrow(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).unwrap();
    set_socket_recv_buffer_size(&stream, 64 << 10).unwrap();
    Client::over(stream).unwrap()
}

#[test]
fn a_reader_over_the_hard_limit_is_closed_with_4008_and_others_keep_flowing() {
    // Values so large that one more is over the hard limit, however much of those before the kernel has taken, but where that
    // leaves what ends between the limits: they are close to each other.
    let server = TestServer::with(|config| {
        config.outbox_soft_bytes = 128 << 10;
        config.outbox_hard_bytes = 130 << 10;
    });
    let mut slow = narrow(server.address);
    slow.subscribe(r#""map":"m""#);
    let mut fast = Client::connect(server.address);
    fast.subscribe(r#""map":"m""#);
    let mut writer = Client::connect(server.address);
    let value = format!("\"{}\"", "x".repeat(100 << 10));
    let mut written = 0;
    while server.metric("annulus_slow_consumers_total") == 0.0 {
        assert!(written < 1_000, "a peer that reads nothing is never closed");
        writer.write(&set("m", &format!("k{}", written % 3), &value));
        // One at a time: the fast reader has taken each before the next is written.
        assert_eq!(fast.change("m").len(), 1);
        written += 1;
    }
    let (code, reason) = slow.closed();
    assert_eq!((code, &reason[..]), (4008, "slow consumer"));
    server.await_metric("annulus_closes_total{code=\"4008\"}", 1.0);
    writer.write(&set("m", "after", 1));
    assert_eq!(fast.change("m")[0]["key"], "after");
}

#[test]
fn a_client_that_asks_and_does_not_read_is_read_no_more_until_it_does() {
    let server = TestServer::start();
    let mut greedy = Raw::open(server.address);
    let mut other = Client::connect(server.address);
    other.write(&set("m", "k", format!("\"{}\"", "x".repeat(20 << 10))));
    // 30 MB of answers, which neither kernel takes; those under way at once stay below the hard limit.
    const READS: usize = 1_500;
    let request = raw::masked(0x81, br#"{"type":"read","id":1,"map":"m","keys":["k"]}"#);
    for _ in 0..READS {
        greedy.send(&request);
    }
    server.await_metric("annulus_reads_paused_total", 1.0);
    assert_eq!(other.ask(r#"{"type":"ping"}"#)["type"], "pong");
    for _ in 0..READS {
        assert!(greedy.text().starts_with(r#"{"type":"entries","id":1,"#));
    }
}
