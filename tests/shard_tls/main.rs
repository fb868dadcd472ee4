//! TLS in a shard without sockets: what handshakes cost a turn, what sessions hold, and that every end takes the one way out.
//!
//! Method: one shard in the hands of the test, and clients of `rustls` whose bytes the test carries. No time is measured.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../client_frames/mod.rs"]
#[allow(dead_code, reason = "not every test asks for all of it")]
mod client_frames;
#[path = "../driven_shard/mod.rs"]
mod driven_shard;
#[path = "../shards/mod.rs"]
mod shards;

use std::io::{Read, Write};
use std::sync::Arc;

use annulus::config::Config;
use annulus::limits::{TLS_FLIGHT_BYTES_MAX, TLS_INCOMING_BYTES_MAX};
use annulus::mesh::{self, ConnectionId};
use annulus::metrics::TlsFailure;
use annulus::shard::{Now, Shard, Shared, Transport, work};
use annulus::tls::{Current, Offer, Pair, Pem};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use client_frames::{take_frame, text_frame};
use driven_shard::{Driven, LOCALHOST, next_turn};
use shards::{BEGIN, shared, upgrade};

/// A shard that speaks TLS, and how to trust it.
struct Host {
    driven: Driven,
    now: Now,
    config: Arc<ClientConfig>,
}

/// A client with TLS.
struct Client {
    id: ConnectionId,
    tls: ClientConnection,
    read: Vec<u8>,
}

impl Host {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = |name: &str, text: String| Pem { name: name.to_owned(), text: text.into_bytes() };
        let pair = Pair {
            certificate: pem("certificate", made.cert.pem()),
            key: pem("key", made.signing_key.serialize_pem()),
        };
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let mut config = Config::default();
        change(&mut config);
        let tls = Some(Current::new(Offer::new(&[pair], None, None).unwrap()));
        let shared = Shared { tls, ..shared(config, None) };
        let shard = Shard::new(shared, 0, mesh::connect(1).pop().unwrap(), None, BEGIN, 1);
        Self { driven: Driven::new(shard), now: BEGIN, config: Arc::new(client) }
    }

    fn client(&mut self) -> Client {
        let id = self.driven.accept_over(LOCALHOST, Transport::Tls).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Client { id, tls: ClientConnection::new(Arc::clone(&self.config), name).unwrap(), read: Vec::new() }
    }

    fn turn(&mut self) {
        next_turn(&mut self.now);
        self.driven.turn(self.now);
    }

    /// What the client has to say arrives, and what it was sent is read.
    fn carry(&mut self, client: &mut Client) {
        let sent = std::mem::take(self.driven.inbox(client.id));
        let mut unread = &sent[..];
        while !unread.is_empty() {
            client.tls.read_tls(&mut unread).unwrap();
            client.tls.process_new_packets().unwrap();
            let _ = client.tls.reader().read_to_end(&mut client.read);
        }
        let mut bytes = Vec::new();
        while client.tls.wants_write() {
            client.tls.write_tls(&mut bytes).unwrap();
        }
        if !bytes.is_empty() {
            self.driven.receive(client.id, bytes);
        }
    }

    /// Turns until nothing more comes of it.
    fn settle(&mut self, client: &mut Client) {
        for _ in 0..8 {
            self.carry(client);
            self.turn();
        }
    }

    fn say(&mut self, client: &mut Client, octets: &[u8]) {
        client.tls.writer().write_all(octets).unwrap();
        self.settle(client);
    }

    /// An open WebSocket whose `hello` was read.
    fn open(&mut self) -> Client {
        let mut client = self.client();
        self.settle(&mut client);
        self.say(&mut client, upgrade("/v1").as_bytes());
        let end = client.read.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        client.read.drain(..end);
        assert!(frames(&mut client)[0].starts_with(r#"{"type":"hello""#));
        client
    }

    fn held(&self) -> u64 {
        let (kept, counted) = (self.driven.shard.metrics_now(), self.driven.shard.recounted());
        assert_eq!((kept.tls_bytes, kept.outbox_bytes), (counted.tls_bytes, counted.outbox_bytes));
        kept.tls_bytes
    }

    fn failures(&self, failure: TlsFailure) -> u64 {
        self.driven.shard.metrics_now().tls_failures(failure)
    }
}

fn frames(client: &mut Client) -> Vec<String> {
    let frames = std::iter::from_fn(|| take_frame(&mut client.read));
    frames.map(|(_, payload)| String::from_utf8_lossy(&payload).into_owned()).collect()
}

#[test]
fn a_storm_of_handshakes_takes_turns_and_keeps_nobody_waiting() {
    const CLIENTS: usize = 60;
    let mut host = Host::new(|_| {});
    let mut pinging = host.open();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| host.client()).collect();
    clients.iter_mut().for_each(|client| host.carry(client));
    pinging.tls.writer().write_all(&text_frame(br#"{"type":"ping"}"#)).unwrap();
    host.carry(&mut pinging);
    let (mut turns, mut answered_before) = (0, 0);
    loop {
        host.turn();
        turns += 1;
        let units = host.driven.shard.work();
        assert!(units <= work::TURN_MAX + 2 * work::HANDSHAKE, "turn {turns} did {units} units");
        let answered = clients.iter().filter(|client| !host.driven.inbox(client.id).is_empty()).count();
        assert!(answered > answered_before, "one handshake a turn at least goes on");
        answered_before = answered;
        if turns == 1 {
            host.carry(&mut pinging);
            assert_eq!(frames(&mut pinging).len(), 1, "a ping is answered in the turn in which it came");
            // Whoever came first goes first.
            let is_answered =
                clients.iter().map(|client| !host.driven.inbox(client.id).is_empty()).collect::<Vec<_>>();
            assert!(is_answered.is_sorted_by(|a, b| a >= b), "{is_answered:?}");
            assert!(host.driven.shard.wait_us() == Some(0), "the next turn begins at once");
        }
        if answered == CLIENTS {
            break;
        }
    }
    let a_turn = (work::TURN_MAX / work::HANDSHAKE) as usize;
    assert!((CLIENTS / (a_turn + 2)..=CLIENTS / a_turn + 2).contains(&turns), "{turns} turns");
    for client in &mut clients {
        host.settle(client);
        assert!(!client.tls.is_handshaking());
    }
    assert_eq!(host.held(), 0);
}

#[test]
fn who_says_nothing_has_no_session_and_who_says_half_holds_half() {
    let mut host = Host::new(|config| config.handshake_timeout_ms = 5_000);
    let clients: Vec<Client> = (0..50)
        .map(|number| {
            let mut client = host.client();
            let mut hello = Vec::new();
            client.tls.write_tls(&mut hello).unwrap();
            // None of it, all but a byte, or a record that says it is long.
            let said = match number % 3 {
                0 => Vec::new(),
                1 => hello[..hello.len() - 1].to_vec(),
                _ => [&[22, 3, 1, 0x40, 0][..], &[1, 0, 0x3F, 0xFC], &[0; 8_000]].concat(),
            };
            if !said.is_empty() {
                host.driven.receive(client.id, said);
            }
            client
        })
        .collect();
    host.turn();
    let held = host.held();
    assert!(held > 0 && held <= 50 * TLS_INCOMING_BYTES_MAX as u64, "{held}");
    // A second at a time, as a shard that has stood still forgives.
    for _ in 0..8 {
        host.now.monotonic_us += 1_000_000;
        host.turn();
    }
    assert!(clients.iter().all(|client| host.driven.is_gone(client.id)));
    assert_eq!(host.held(), 0);
    assert_eq!(host.failures(TlsFailure::Abandoned), 33, "those who had said something");
}

#[test]
fn a_reader_that_stops_leaves_plaintext_and_one_flight() {
    let mut host = Host::new(|config| {
        (config.value_bytes_max, config.message_bytes_max) = (1 << 20, 2 << 20);
        (config.outbox_soft_bytes, config.outbox_hard_bytes) = (4 << 20, 16 << 20);
    });
    let (mut reader, mut writer) = (host.open(), host.open());
    host.say(&mut reader, &text_frame(br#"{"type":"subscribe","map":"m"}"#));
    frames(&mut reader);
    host.driven.stall(reader.id);
    let value = "x".repeat(500_000);
    let write = format!(r#"{{"type":"write","ops":[{{"map":"m","key":"k","op":"set","value":"{value}"}}]}}"#);
    for part in text_frame(write.as_bytes()).chunks(16_000) {
        writer.tls.writer().write_all(part).unwrap();
        host.carry(&mut writer);
        host.turn();
    }
    host.turn();
    let waiting = host.driven.shard.metrics_now().outbox_bytes;
    assert!(waiting > 500_000, "plaintext waits: {waiting}");
    let held = host.held();
    assert!(held >= TLS_FLIGHT_BYTES_MAX as u64 && held <= 2 * TLS_FLIGHT_BYTES_MAX as u64, "{held}");
    // In parts of any size it gets all of it, a flight at a time.
    for _ in 0..200 {
        host.driven.take(reader.id, 7_001);
        host.carry(&mut reader);
        host.turn();
        assert!(host.held() <= 2 * TLS_FLIGHT_BYTES_MAX as u64);
    }
    let told = frames(&mut reader);
    assert!(told.len() == 1 && told[0].contains(&value), "{} frames", told.len());
    assert_eq!((host.held(), host.driven.shard.metrics_now().outbox_bytes), (0, 0));
}

#[test]
fn a_goodbye_ends_with_close_notify_and_a_broken_session_without_more() {
    let mut host = Host::new(|_| {});
    let mut client = host.open();
    client.tls.writer().write_all(&client_frames::frame(0x88, &1000_u16.to_be_bytes())).unwrap();
    host.settle(&mut client);
    assert_eq!(frames(&mut client).len(), 1, "the close frame");
    assert_eq!(client.tls.reader().read(&mut [0]).unwrap(), 0, "and a clean end");
    assert!(host.driven.is_gone(client.id));

    let mut broken = host.open();
    // Something is queued for it in the turn in which it breaks.
    broken.tls.writer().write_all(&text_frame(br#"{"type":"ping"}"#)).unwrap();
    host.carry(&mut broken);
    host.driven.receive(broken.id, b"\x17\x03\x03\x00\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec());
    for _ in 0..4 {
        host.turn();
    }
    assert!(host.driven.is_gone(broken.id));
    assert_eq!((host.failures(TlsFailure::Record), host.held()), (1, 0));
    assert_eq!(
        host.driven.shard.metrics_now().outbox_bytes,
        0,
        "what could not be sent is not counted any more"
    );
    let sent = std::mem::take(host.driven.inbox(broken.id));
    let error = broken.tls.read_tls(&mut &sent[..]).map(|_| broken.tls.process_new_packets().unwrap_err());
    assert_eq!(error.unwrap(), rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));

    // One that breaks while the kernel has a flight of it.
    let mut flying = host.open();
    host.driven.stall(flying.id);
    flying.tls.writer().write_all(&text_frame(br#"{"type":"ping"}"#)).unwrap();
    host.carry(&mut flying);
    host.turn();
    host.driven.receive(flying.id, b"\x17\x03\x03\x00\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec());
    host.turn();
    host.driven.resume(flying.id);
    for _ in 0..4 {
        host.turn();
    }
    assert!(host.driven.is_gone(flying.id));
    assert_eq!((host.failures(TlsFailure::Record), host.held()), (2, 0));
}

#[test]
fn a_connection_without_tls_holds_nothing_for_it() {
    let mut host = Host::new(|_| {});
    let id = host.driven.accept(LOCALHOST).unwrap();
    host.driven.receive(id, upgrade("/v1").into_bytes());
    host.turn();
    host.turn();
    assert_eq!((host.held(), host.driven.read_frames(id).len()), (0, 1));
}
