//! Limits on connections, and the life of one: who is let in, how long silence lasts, what closes it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use annulus::config::RateLimit;
use rustix::net::{AddressFamily, SocketType};
use simd_json::prelude::*;

use crate::client::{Client, Closed, set};
use crate::raw::{CLOSE, PING, Raw};
use crate::server::{TestServer, await_that, get};

/// The time to come back that a close names.
fn retry_after_ms((code, reason): &Closed, expected: u16) -> u32 {
    assert_eq!(*code, expected, "{reason}");
    reason.strip_prefix("retry_after_ms=").expect("a time to come back").parse().unwrap()
}

/// Tries until the server takes a client: places come free a little after their tenants are gone.
fn connect_at_last(address: SocketAddr) -> Client {
    let mut client = None;
    await_that("a place", || {
        client = Client::try_connect(address).ok();
        client.is_some()
    });
    client.unwrap()
}

#[test]
fn clients_over_the_total_are_told_to_come_back_at_different_times() {
    let server = TestServer::with(|config| config.connections_max = 3);
    let held: Vec<Client> = (0..3).map(|_| Client::connect(server.address)).collect();
    let times: Vec<u32> = (0..8)
        .map(|_| retry_after_ms(&Client::try_connect(server.address).err().expect("over the limit"), 1013))
        .collect();
    assert!(times.iter().all(|time| (500..5_000).contains(time)), "{times:?}");
    assert!(times.iter().any(|time| *time != times[0]), "no spread in {times:?}");
    for client in held {
        client.leave();
    }
    connect_at_last(server.address);
    assert!(server.metric("annulus_refusals_total{reason=\"connections\"}") >= 8.0);
}

#[test]
fn clients_of_one_address_are_counted_over_all_shards() {
    let server = TestServer::with(|config| config.connections_per_ip_max = 4);
    let mut held: Vec<Client> = (0..4).map(|_| Client::connect(server.address)).collect();
    for _ in 0..12 {
        let closed = Client::try_connect(server.address).err().expect("over the limit");
        assert!((500..5_000).contains(&retry_after_ms(&closed, 1013)));
    }
    // Another address has places of its own.
    assert!(Client::over(connect_from(Ipv4Addr::new(127, 0, 0, 2), server.address)).is_ok());
    held.pop().unwrap().leave();
    held.push(connect_at_last(server.address));
    assert!(Client::try_connect(server.address).is_err(), "the place was given back once");
    assert_eq!(held[0].ask(r#"{"type":"ping"}"#)["type"], "pong");
}

/// Opens a WebSocket as the client that a proxy names; the close code where it may not stay.
fn connect_for(server: &TestServer, source: Ipv4Addr, forwarded_for: &str) -> Result<Raw, u16> {
    let mut raw = Raw::over(connect_from(source, server.address));
    raw.upgrade_with(&format!("X-Forwarded-For: {forwarded_for}\r\n"));
    match raw.frame().expect("a hello or a close") {
        (CLOSE, payload) => Err(u16::from_be_bytes([payload[0], payload[1]])),
        _ => Ok(raw),
    }
}

#[test]
fn clients_behind_a_trusted_proxy_are_counted_one_by_one() {
    let proxy = Ipv4Addr::new(127, 0, 0, 5);
    let server = TestServer::with(|config| {
        config.connections_per_ip_max = 1;
        config.trusted_proxies = vec![IpAddr::from(proxy).into()];
    });
    let connect = |named: &str| connect_for(&server, proxy, named);
    let held = connect("192.0.2.1").expect("the first of its address");
    let _other = connect("192.0.2.2").expect("the first of another address");
    for named in ["192.0.2.1", "198.51.100.1, 192.0.2.1", "192.0.2.2, 127.0.0.5"] {
        assert_eq!(connect(named).err(), Some(1013), "{named}");
    }
    // The place of an address is given back under that address.
    drop(held);
    await_that("a place", || connect("192.0.2.1").is_ok());
}

#[test]
fn whoever_is_no_trusted_proxy_names_nobody() {
    let server = TestServer::with(|config| {
        config.connections_per_ip_max = 1;
        config.trusted_proxies = vec!["127.0.0.5/32".parse().unwrap()];
    });
    let source = Ipv4Addr::new(127, 0, 0, 6);
    let _held = connect_for(&server, source, "192.0.2.1").expect("the first of its address");
    assert_eq!(connect_for(&server, source, "192.0.2.2").err(), Some(1013));
}

/// A connection from another address of this machine.
fn connect_from(source: Ipv4Addr, target: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((source, 0))).unwrap();
    rustix::net::connect(&socket, &target).unwrap();
    TcpStream::from(socket)
}

#[test]
fn a_storm_is_taken_at_the_accept_rate() {
    let server = TestServer::with(|config| config.accepts_per_second_max = 4);
    let outcomes: Vec<_> = (0..40).map(|_| Client::try_connect(server.address)).collect();
    let refused: Vec<u32> =
        outcomes.iter().filter_map(|outcome| Some(retry_after_ms(outcome.as_ref().err()?, 1013))).collect();
    assert!(!refused.is_empty() && refused.len() < 40, "{} of 40 were refused", refused.len());
    assert!(refused.iter().all(|time| (500..5_000).contains(time)), "{refused:?}");
    connect_at_last(server.address);
}

#[test]
fn a_silent_peer_is_pinged_and_then_closed() {
    let server = TestServer::with(|config| config.heartbeat_ms = 600);
    let began = Instant::now();
    let mut silent = Raw::open(server.address);
    // As silent, but for its pongs, which tungstenite sends while it reads.
    let mut client = Client::connect(server.address);
    let answering = thread::spawn(move || {
        client.answer_pings(Duration::from_millis(1_500));
        client
    });
    assert_eq!(silent.frame().expect("a ping first").0, PING);
    assert!(began.elapsed() >= Duration::from_millis(300), "pinged after {:?}", began.elapsed());
    assert_eq!(silent.close_code(), Some(4005));
    assert!(began.elapsed() >= Duration::from_millis(600), "closed after {:?}", began.elapsed());
    assert_eq!(answering.join().unwrap().ask(r#"{"type":"ping"}"#)["type"], "pong");
}

#[test]
fn a_message_over_the_limit_closes_with_1009_and_one_at_it_does_not() {
    let server = TestServer::with(|config| config.message_bytes_max = 4_096);
    let message = |len: usize| {
        let empty = r#"{"type":"ping","x":""}"#;
        format!(r#"{{"type":"ping","x":"{}"}}"#, "x".repeat(len - empty.len()))
    };
    let mut client = Client::connect(server.address);
    client.send(&message(4_096));
    assert_eq!(client.receive()["type"], "pong");
    client.send(&message(4_097));
    assert_eq!(client.closed().0, 1009);
}

#[test]
fn binary_is_not_taken_on_v1() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    client.send_binary(br#"{"type":"ping"}"#);
    assert_eq!(client.closed().0, 1003);
}

#[test]
fn a_subscription_too_many_is_refused_and_the_others_stay() {
    let server = TestServer::with(|config| config.subscriptions_max = 2);
    let [mut client, mut writer] = Client::pair(server.address);
    client.subscribe(r#""map":"a""#);
    client.subscribe(r#""map":"b""#);
    assert_eq!(client.error(r#"{"type":"subscribe","map":"c"}"#), "too_many_subscriptions");
    client.subscribe(r#""map":"a","prefix":"k""#);
    writer.write(&set("b", "k", 1));
    assert_eq!(client.change("b")[0]["key"], "k");
    client.ask(r#"{"type":"unsubscribe","map":"a"}"#);
    client.subscribe(r#""map":"c""#);
}

#[test]
fn messages_over_the_rate_are_refused_one_by_one_until_the_second_is_over() {
    let server = TestServer::with(|config| config.messages_per_second_max = 5);
    let mut client = Client::connect(server.address);
    // In one segment, so that no second ends among them.
    let pings: Vec<_> = (0..8).map(|id| format!(r#"{{"type":"ping","id":{id}}}"#)).collect();
    client.send_at_once(&pings.iter().map(String::as_str).collect::<Vec<_>>());
    let answers: Vec<_> = (0..8).map(|_| client.receive()).collect();
    assert!(answers[..5].iter().all(|answer| answer["type"] == "pong"), "{answers:?}");
    let (mut longest, mut ids) = (0, 5..);
    for refused in &answers[5..] {
        assert_eq!(
            (refused["code"].as_str(), refused["id"].as_u64()),
            (Some("rate_limited"), ids.next()),
            "{refused}"
        );
        longest = longest.max(refused["retry_after_ms"].as_u64().unwrap());
    }
    assert!((1..=1_000).contains(&longest), "{longest}");
    thread::sleep(Duration::from_millis(longest + 50));
    assert_eq!(client.ask(r#"{"type":"ping"}"#)["type"], "pong");
}

#[test]
fn a_message_over_the_rate_is_refused_with_its_id_wherever_that_is_cheap_to_read() {
    let server = TestServer::with(|config| config.messages_per_minute_max = 1);
    let mut client = Client::connect(server.address);
    assert_eq!(client.ask(r#"{"type":"ping"}"#)["type"], "pong");
    let long = "x".repeat(10_000);
    for (message, id) in [
        (r#"{"type":"write","ops":[{"id":1,"value":"\"id\":2"}],"id":"a\"\u00e9"}"#.to_owned(), Some("a\"é")),
        (format!(r#"{{"id":"front","x":"{long}"}}"#), Some("front")),
        (format!(r#"{{"x":"{long}","id":"behind"}}"#), None),
        (format!(r#"{{"id":"{}"}}"#, "x".repeat(65)), None),
        ("nonsense".to_owned(), None),
    ] {
        client.send(&message);
        let refused = client.receive();
        assert_eq!((&refused["code"], refused.get_str("id")), (&"rate_limited".into(), id), "{message}");
    }
}

#[test]
fn messages_over_the_rate_wait_where_that_is_the_policy() {
    let server = TestServer::with(|config| {
        (config.messages_per_second_max, config.rate_limit) = (20, RateLimit::Wait);
    });
    let mut client = Client::connect(server.address);
    let began = Instant::now();
    for id in 0..50 {
        client.send(&format!(r#"{{"type":"ping","id":{id}}}"#));
    }
    for id in 0..50 {
        let pong = client.receive();
        assert_eq!((&pong["type"], &pong["id"]), (&"pong".into(), &id.into()), "{pong}");
    }
    // The last ten are of the third second. That no wait is longer than it must be is told in shard_storage.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
}

#[test]
fn messages_over_the_minutes_rate_are_refused_until_the_minute_is_over() {
    let server = TestServer::with(|config| config.messages_per_minute_max = 3);
    let [mut client, mut other] = Client::pair(server.address);
    for _ in 0..3 {
        assert_eq!(client.ask(r#"{"type":"ping"}"#)["type"], "pong");
    }
    client.send(r#"{"type":"ping"}"#);
    let refused = client.receive();
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    // Longer than any second: it is the minute that is full.
    assert!((1_001..=60_000).contains(&refused["retry_after_ms"].as_u64().unwrap()), "{refused}");
    assert_eq!(other.ask(r#"{"type":"ping"}"#)["type"], "pong", "each connection has its own");
}

#[test]
fn a_clients_own_close_is_answered_with_its_code() {
    let server = TestServer::start();
    let mut raw = Raw::open(server.address);
    raw.send(&crate::raw::masked(0x88, &[&4321_u16.to_be_bytes()[..], b"bye"].concat()));
    assert_eq!(raw.close_code(), Some(4321));
    Client::connect(server.address).leave();
    server.await_metric("annulus_closes_total{code=\"other\"}", 1.0);
}

// A series lives in whatever scrapes it for as long as that remembers, and is so a way to fill it up.
#[test]
fn no_peer_makes_a_series_of_its_own() {
    let server = TestServer::start();
    let series = || get(server.address, "/metrics").lines().filter(|line| !line.starts_with('#')).count();
    let close = |code: u16| {
        let mut raw = Raw::open(server.address);
        raw.send(&crate::raw::masked(0x88, &code.to_be_bytes()));
        assert_eq!(raw.close_code(), Some(code));
    };
    close(3000);
    server.await_metric("annulus_closes_total{code=\"other\"}", 1.0);
    let before = series();
    // Among them those that the server itself says to slow and silent clients.
    (3001..3050).chain(4000..4050).for_each(close);
    server.await_metric("annulus_closes_total{code=\"other\"}", 100.0);
    assert_eq!(series(), before);
}

#[test]
fn whoever_leaves_without_a_word_leaves_nothing_behind() {
    let server = TestServer::start();
    let mut watcher = Client::connect(server.address);
    for _ in 0..20 {
        let mut client = Client::connect(server.address);
        client.subscribe(r#""map":"m""#);
        drop(client);
    }
    await_that("the end of the subscriptions", || server.metric("annulus_subscriptions") == 0.0);
    await_that("the end of the connections", || server.metric("annulus_connections") == 1.0);
    assert_eq!(server.metric("annulus_closes_total{code=\"1006\"}"), 20.0);
    assert_eq!(watcher.ask(r#"{"type":"ping"}"#)["type"], "pong");
    assert!(get(server.address, "/healthz").starts_with("HTTP/1.1 200 "));
}
