//! TLS over real sockets, with the client of `rustls`. What a session does with bytes is in `src/tls/tests.rs`.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use annulus::config::{Config, TlsConfig};
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version;
use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::process::Running;
use crate::server::{PATIENCE, TestServer, await_that, exchange};
use crate::tls_files::{Authority, BOTH, Stream, connect, stream, stream_over};

fn start(authority: &Authority, change: impl FnOnce(&mut Config)) -> (TestServer, SocketAddr) {
    let server = TestServer::with_tls(authority.server(), change);
    let address = server.tls_address.expect("it speaks TLS");
    (server, address)
}

fn failures(server: &TestServer, reason: &str) -> f64 {
    server.metric(&format!("annulus_tls_failures_total{{reason=\"{reason}\"}}"))
}

/// A request for a page, and all that is answered until a clean end.
fn get(mut stream: Stream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a clean end");
    answer
}

#[test]
fn clients_with_tls_and_without_hear_of_each_other_on_every_shard() {
    let authority = Authority::new();
    let (server, address) = start(&authority, |_| {});
    let mut plain = Client::on_every_shard(server.address, 2);
    for version in BOTH {
        let config = authority.client(&[version], None);
        let mut secured: Vec<_> = (0..16).map(|_| connect(address, &config)).collect();
        assert!((0..2).all(|shard| secured.iter().any(|client| client.shard() == shard)));
        let map = format!("{version:?}").replace(|c: char| !c.is_alphanumeric(), "");
        for client in &mut secured {
            client.subscribe(&format!(r#""map":"{map}""#));
        }
        for client in &mut plain {
            client.subscribe(&format!(r#""map":"{map}""#));
        }
        for round in 0..20 {
            let value = format!("\"{round}{}\"", "x".repeat(100));
            secured[0].write(&set(&map, "key", &value));
            for client in &mut plain {
                assert_eq!(client.change(&map)[0]["value"].as_str(), Some(value.trim_matches('"')));
            }
            for client in &mut secured[1..] {
                assert_eq!(client.change(&map)[0]["value"].as_str(), Some(value.trim_matches('"')));
            }
        }
        plain[0].write(&set(&map, "other", 1));
        for client in &mut secured {
            assert_eq!(client.change(&map)[0]["key"], "other");
        }
        for client in &mut plain[1..] {
            client.change(&map);
        }
    }
    let handshakes = |version: &str| {
        [false, true].map(|resumed| {
            let labels = format!("version=\"{version}\",resumed=\"{resumed}\"");
            server.metric(&format!("annulus_tls_handshakes_total{{{labels}}}"))
        })
    };
    for version in ["1.2", "1.3"] {
        let [whole, resumed] = handshakes(version);
        assert_eq!(whole + resumed, 16.0);
        assert!(whole >= 1.0 && resumed >= 1.0, "tickets are taken on every shard: {whole} {resumed}");
    }
    await_that("no buffer is held", || server.metric("annulus_tls_bytes") == 0.0);
}

#[test]
fn large_messages_go_both_ways() {
    let authority = Authority::new();
    let (server, address) = start(&authority, |config| {
        (config.message_bytes_max, config.value_bytes_max) = (4 << 20, 2 << 20);
        (config.outbox_soft_bytes, config.outbox_hard_bytes) = (8 << 20, 32 << 20);
    });
    for version in BOTH {
        let config = authority.client(&[version], None);
        let (mut writer, mut reader) = (connect(address, &config), connect(address, &config));
        reader.subscribe(r#""map":"m""#);
        for letter in ["a", "b"] {
            let value = format!("\"{}\"", letter.repeat(1 << 20));
            writer.write(&set("m", "k", &value));
            assert_eq!(reader.change("m")[0]["value"].as_str().unwrap().len(), 1 << 20);
            assert_eq!(reader.read("m", "k").unwrap()["value"], letter.repeat(1 << 20));
        }
        assert_eq!(server.metric("annulus_outbox_bytes"), 0.0, "plaintext is counted as it is sent");
    }
}

#[test]
fn a_slow_reader_holds_plaintext_and_one_flight_of_records() {
    let authority = Authority::new();
    let (server, address) = start(&authority, |config| {
        (config.message_bytes_max, config.value_bytes_max) = (4 << 20, 2 << 20);
        (config.outbox_soft_bytes, config.outbox_hard_bytes) = (8 << 20, 32 << 20);
    });
    let config = authority.client(&BOTH, None);
    let mut slow = connect(address, &config);
    slow.subscribe(r#""map":"m""#);
    let mut writer = connect(address, &config);
    let value = |round: usize| format!("\"{round:02}{}\"", "x".repeat(1 << 20));
    for round in 0..16 {
        writer.write(&set("m", "k", value(round)));
    }
    // The kernel has taken some of it, of any size; far less than 64 KiB of records wait for the rest.
    await_that("it waits", || server.metric("annulus_outbox_bytes") > f64::from(1 << 20));
    let held = server.metric("annulus_tls_bytes");
    assert!(held > 0.0 && held < 160_000.0, "{held} bytes of records");
    // Then it reads, and has the last.
    let mut last = String::new();
    while !last.starts_with("15") {
        last = slow.change("m")[0]["value"].as_str().unwrap().to_owned();
    }
    await_that("nothing is held", || server.metric("annulus_tls_bytes") == 0.0);
}

#[test]
fn a_handshake_byte_by_byte_and_one_in_pieces_come_to_the_same() {
    let authority = Authority::new();
    let (_server, address) = start(&authority, |_| {});
    for version in BOTH {
        for piece in [1, 7, 100] {
            let config = authority.client(&[version], None);
            let mut stream = stream(address, &config, "localhost");
            // Until hands are shaken everything goes out in pieces, each a segment of its own.
            while stream.conn.is_handshaking() {
                let mut bytes = Vec::new();
                while stream.conn.wants_write() {
                    stream.conn.write_tls(&mut bytes).unwrap();
                }
                for part in bytes.chunks(piece) {
                    stream.sock.write_all(part).unwrap();
                }
                if stream.conn.is_handshaking() {
                    stream.conn.read_tls(&mut stream.sock).unwrap();
                    stream.conn.process_new_packets().unwrap();
                }
            }
            assert!(get(stream, "/healthz").contains("ok\nstorage memory\n"), "in pieces of {piece}");
        }
    }
}

#[test]
fn pages_end_cleanly_and_so_do_websockets() {
    let authority = Authority::new();
    let (server, address) = start(&authority, |_| {});
    for version in BOTH {
        let config = authority.client(&[version], None);
        let page = get(stream(address, &config, "localhost"), "/metrics");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with('\n'), "{page}");
        let mut client = connect(address, &config);
        client.stream().conn.send_close_notify();
        client.stream().flush().unwrap();
        // Whatever was sent before is whole, and behind it is an end that nobody else can have made.
        let mut rest = Vec::new();
        client.stream().read_to_end(&mut rest).expect("a clean end");
    }
    assert_eq!(failures(&server, "truncated"), 0.0);
    let client = connect(address, &authority.client(&BOTH, None));
    drop(client);
    await_that("an end without a word is counted", || failures(&server, "truncated") == 1.0);
}

#[test]
fn a_drain_says_goodbye_through_tls() {
    let authority = Authority::new();
    let (server, address) = start(&authority, |_| {});
    let client = connect(address, &authority.client(&BOTH, None));
    server.drain();
    assert_eq!(client.closed().0, 1001);
    server.join().unwrap();
}

#[test]
fn what_is_no_tls_is_told_so_or_closed_and_counted() {
    let authority = Authority::new();
    let (server, address) = start(&authority, |_| {});
    let answer = exchange(address, "GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("this port speaks TLS"), "{answer}");
    assert!(exchange(address, "\x01\x02\x03\r\n").contains("this port speaks TLS"));
    assert_eq!(failures(&server, "plain"), 2.0);
    for (count, garbage) in [&b"\x16\x03\x01\xFF\xFF"[..], b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"]
        .into_iter()
        .chain([&[0x16; 40_000][..]])
        .enumerate()
    {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = socket.write_all(garbage);
        let mut answer = Vec::new();
        // A reset, where more comes than anybody reads.
        let _ = socket.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer[0] == 21, "an alert: {answer:?}");
        await_that("it is counted", || failures(&server, "handshake") == (count + 1) as f64);
    }
    // A bad record behind a handshake.
    let config = authority.client(&BOTH, None);
    let mut client = connect(address, &config);
    client.stream().sock.write_all(b"\x17\x03\x03\x00\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    let error = client.stream().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    await_that("it is counted", || failures(&server, "record") == 1.0);
    assert_eq!(server.metric("annulus_tls_bytes"), 0.0);
    connect(address, &config).write(&set("m", "k", 1));
}

#[test]
fn who_has_another_protocol_in_mind_is_told_in_the_handshake() {
    let authority = Authority::new();
    let (server, address) = start(&authority, |_| {});
    let mut config = (*authority.client(&BOTH, None)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut stream = stream(address, &Arc::new(config), "localhost");
    let error = stream.conn.complete_io(&mut stream.sock).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    await_that("it is counted", || failures(&server, "handshake") == 1.0);
}

#[test]
fn half_handshakes_hold_little_and_not_for_long_and_keep_nobody_out() {
    const MANY: usize = 1500;
    let authority = Authority::new();
    let (server, address) = start(&authority, |config| {
        (config.handshakes_max, config.handshake_timeout_ms) = (400, 3_000);
    });
    let config = authority.client(&BOTH, None);
    let mut hello = Vec::new();
    stream(address, &config, "localhost").conn.write_tls(&mut hello).unwrap();
    let half = |bytes: &[u8]| {
        let mut socket = TcpStream::connect(address).unwrap();
        let _ = socket.write_all(bytes);
        socket
    };
    // Half of the first message, and the whole of it with nothing after.
    let sockets: Vec<TcpStream> = (0..MANY)
        .map(|number| half(if number % 2 == 0 { &hello[..hello.len() / 2] } else { &hello }))
        .collect();
    await_that("all are accepted", || server.metric("annulus_accepts_total") >= MANY as f64);
    let (held, held_sockets) = (server.metric("annulus_tls_bytes"), server.metric("annulus_sockets"));
    assert!(held <= 400.0 * 16_384.0, "{held} bytes of records for 400 handshakes");
    assert!(held_sockets <= 400.0 + 2.0 * 128.0 + 8.0, "{held_sockets} sockets");
    let mut client = connect(address, &config);
    client.write(&set("m", "k", 1));
    // The client and who asks.
    await_that("all are closed", || server.metric("annulus_sockets") <= 2.0);
    let abandoned = failures(&server, "abandoned");
    assert!((1.0..=MANY as f64).contains(&abandoned), "{abandoned}; some were closed before they were read");
    await_that("nothing is held", || server.metric("annulus_tls_bytes") == 0.0);
    client.write(&set("m", "k", 2));
    drop(sockets);
}

#[test]
fn a_name_gets_its_certificate() {
    let authority = Authority::new();
    let pairs =
        vec![authority.sign("one", &["localhost"]), authority.sign("two", &["two.example", "*.two.example"])];
    let server = TestServer::with_tls(TlsConfig { pairs: pairs.clone(), client_ca: None }, |_| {});
    let address = server.tls_address.unwrap();
    let config = authority.client(&BOTH, None);
    for (name, place) in [("localhost", 0), ("two.example", 1), ("a.two.example", 1)] {
        assert_eq!(shown(address, &config, name), certificate(&pairs[place].0), "{name}");
    }
}

fn certificate(path: &PathBuf) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

/// The certificate that a server shows to a new client.
fn shown(address: SocketAddr, config: &Arc<rustls::ClientConfig>, name: &str) -> CertificateDer<'static> {
    let mut config = (**config).clone();
    config.resumption = rustls::client::Resumption::disabled();
    let mut stream = stream(address, &Arc::new(config), name);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    stream.conn.peer_certificates().unwrap()[0].clone()
}

#[test]
fn new_certificates_count_for_who_connects_then_and_bad_ones_for_nobody() {
    let authority = Authority::new();
    let (server, address) = start(&authority, |_| {});
    let config = authority.client(&BOTH, None);
    let path = authority.path("server.pem");
    let first = certificate(&path);
    let mut before = connect(address, &config);
    assert_eq!(shown(address, &config, "localhost"), first);
    // The certificate, and then its key: for a moment they do not fit.
    authority.sign("server", &["localhost"]);
    let second = certificate(&path);
    assert_ne!(first, second);
    await_that("the new one", || shown(address, &config, "localhost") == second);
    assert_eq!(server.metric("annulus_tls_reloads_total"), 1.0);
    before.write(&set("m", "k", 1));
    // One that is none leaves what was.
    fs::write(&path, "nothing").unwrap();
    await_that("it is refused", || server.metric("annulus_tls_reloads_refused_total") >= 1.0);
    assert_eq!(shown(address, &config, "localhost"), second);
    before.write(&set("m", "k", 2));
    assert_eq!(server.metric("annulus_tls_reloads_total"), 1.0);
}

#[test]
fn new_certificates_count_though_something_beside_them_changes_all_the_time() {
    let authority = Authority::new();
    let (_server, address) = start(&authority, |_| {});
    let config = authority.client(&BOTH, None);
    let beside = authority.path("beside");
    thread::scope(|scope| {
        // Dropped in any case, and then it ends.
        let (_goes_on, is_over) = mpsc::channel::<()>();
        scope.spawn(move || {
            while is_over.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                fs::write(&beside, "again").unwrap();
            }
        });
        authority.sign("server", &["localhost"]);
        let second = certificate(&authority.path("server.pem"));
        await_that("the new one", || shown(address, &config, "localhost") == second);
    });
}

#[test]
fn a_certificate_of_the_client_is_asked_for_where_it_is_said_so() {
    let (authority, others) = (Authority::new(), Authority::new());
    let tls = TlsConfig { client_ca: Some(authority.path("ca.pem")), ..authority.server() };
    let server = TestServer::with_tls(tls, |_| {});
    let address = server.tls_address.unwrap();
    let (known, unknown) = (authority.sign("known", &["a client"]), others.sign("unknown", &["somebody"]));
    for (count, version) in BOTH.into_iter().enumerate() {
        connect(address, &authority.client(&[version], Some(&known))).write(&set("m", "k", 1));
        for shows in [None, Some(&unknown)] {
            let mut stream = stream(address, &authority.client(&[version], shows), "localhost");
            let _ = write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "{error}");
        }
        await_that("they are counted", || failures(&server, "handshake") == (2 * count + 2) as f64);
    }
    // Without TLS none is asked for.
    Client::connect(server.address).write(&set("m", "k", 2));
}

#[test]
fn plain_requests_are_sent_to_the_same_address_with_tls() {
    let authority = Authority::new();
    let (_server, address) = start(&authority, |config| config.http_redirect = true);
    let answer = exchange(address, &format!("GET /metrics?a HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(answer.contains(&format!("\r\nLocation: https://{address}/metrics?a\r\n")), "{answer}");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let answer = exchange(address, &format!("GET /v1 HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n"));
    assert!(answer.contains("\r\nLocation: wss://localhost/v1\r\n"), "{answer}");
    connect(address, &authority.client(&[&version::TLS13], None)).write(&set("m", "k", 1));
}

#[test]
fn who_ends_its_side_is_still_answered() {
    let authority = Authority::new();
    let (_server, address) = start(&authority, |_| {});
    let config = authority.client(&BOTH, None);
    let socket = TcpStream::connect(address).unwrap();
    let mut stream = stream_over(socket, &config, "localhost");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    stream.sock.shutdown(Shutdown::Write).unwrap();
    stream.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a clean end");
    assert!(answer.contains("annulus_tls_handshakes_total"), "{answer}");
}

#[test]
fn the_command_says_where_it_speaks_tls_and_reads_again_at_sighup() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("server", &["localhost"]);
    let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let arguments = ["--tls-listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key];
    let server = Running::in_memory(&arguments);
    let address = server.line("tls       wss://").trim_end_matches("/v1").parse().unwrap();
    connect(address, &authority.client(&BOTH, None)).write(&set("m", "k", 1));
    server.signal(Signal::HUP);
    await_that("it is told", || server.said(&["SIGHUP: certificates are read again"]));
    connect(address, &authority.client(&BOTH, None)).write(&set("m", "k", 2));
    server.stop();
}
