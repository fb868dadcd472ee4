//! What each failure of the kernel does to a shard that serves. The kernel is the real one; what it does not do on demand is
//! put in its place at the boundary of the ring (`faults.rs`): an operation that fails does not happen.
//!
//! That nothing spins is told by a lower bound: so many turns took so long at least.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rustix::io::Errno;

use super::*;
use crate::config::Config;
use crate::dialect;
use crate::io::failures::{ACCEPT_REST_US, RETRY_US};
use crate::io::process;
use crate::io::sockets::RECEIVES_AT_FIRST;
use crate::limits::RECEIVE_BUFFER_BYTES;
use crate::mesh::{self, KeyHasher};
use crate::metrics::Metrics;
use crate::shard::Shared;

struct World {
    driver: Driver,
    address: SocketAddr,
    control: Control,
    /// The ring of a second shard, which nobody drives.
    other: Ring,
}

impl World {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, clock) = (listener.local_addr().unwrap(), Clock::start());
        let shared = Shared {
            config: Arc::new(Config { drain_ms: 500, ..Config::default() }),
            dialects: dialect::ALL,
            epoch: 1,
            hasher: KeyHasher::new(1),
            connections: Arc::new(AtomicUsize::new(0)),
            process: process::metrics,
            storage: None,
            tls: None,
        };
        let ports = mesh::connect(1).remove(0);
        let shard = Shard::new(shared, 0, ports, None, clock.now(), 1);
        let control = Control::new().unwrap();
        let (ring, other) = (Ring::new().unwrap(), Ring::new().unwrap());
        let rings = [ring.as_raw_fd(), other.as_raw_fd()].into();
        let listeners = vec![OwnedFd::from(listener).into()];
        let mut driver =
            Driver::new(ring, shard, clock, control.clone(), Beside::default(), listeners, rings);
        driver.start();
        Self { driver, address, control, other }
    }

    fn fail(&mut self, concerns: fn(Operation) -> bool, errno: Errno) {
        self.driver.ring.faults.failing = Some((concerns, errno));
    }

    /// What has failed is asked for once more, which succeeds.
    fn heal(&mut self) {
        self.driver.ring.faults.failing = None;
        self.turn_awake_until("an end of failures", |driver| driver.later.is_empty());
    }

    /// The same as [`Self::turn_until`], where what succeeds silently ends no wait.
    fn turn_awake_until(&mut self, what: &str, is_so: impl Fn(&mut Driver) -> bool) {
        for _ in 0..1000 {
            if is_so(&mut self.driver) {
                return;
            }
            self.control.wake();
            self.turn();
        }
        panic!("a thousand turns without: {what}");
    }

    fn turn(&mut self) -> bool {
        self.driver.turn().unwrap()
    }

    fn turn_until(&mut self, what: &str, is_so: impl Fn(&Driver) -> bool) {
        for _ in 0..1000 {
            if is_so(&self.driver) {
                return;
            }
            self.turn();
        }
        panic!("a thousand turns without: {what}");
    }

    /// Turns until `count` operations have failed, and how long that took.
    fn turn_until_failed(&mut self, count: usize) -> u64 {
        let (began_us, struck) = (self.driver.clock.elapsed_ns() / 1000, self.driver.ring.faults.struck);
        self.turn_until("failures", |driver| driver.ring.faults.struck >= struck + count);
        self.driver.clock.elapsed_ns() / 1000 - began_us
    }

    /// Connects somebody, whom the server has accepted.
    fn connect(&mut self) -> (TcpStream, ConnectionId) {
        let before = self.metrics().accepts;
        let stream = TcpStream::connect(self.address).unwrap();
        self.turn_until("an accept", |driver| driver.shard.metrics_now().accepts > before);
        let taken = |driver: &mut Driver, index| driver.sockets.whole(index).is_some();
        let index = (0..8).rev().find(|&index| taken(&mut self.driver, index)).unwrap();
        (stream, self.driver.sockets.whole(index).unwrap())
    }

    /// Whether a page is served.
    fn serves(&mut self) -> bool {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let sockets = |driver: &Driver| driver.shard.metrics_now().sockets;
        let before = self.metrics().accepts;
        self.turn_until("an accept", |driver| driver.shard.metrics_now().accepts > before);
        self.turn_until("an answer", |driver| driver.shard.metrics_now().bytes_sent > 0);
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        drop(stream);
        self.turn_until("the end of the page", |driver| sockets(driver) == 0);
        &answer == b"HTTP/1.1 200"
    }

    fn metrics(&self) -> Metrics {
        self.driver.shard.metrics_now()
    }
}

#[test]
fn accepting_rests_after_any_failure_and_goes_on() {
    for errno in [Errno::MFILE, Errno::INVAL, Errno::NOMEM] {
        let mut world = World::new();
        world.fail(|operation| matches!(operation, Operation::Accept(_)), errno);
        let took_us = world.turn_until_failed(3);
        assert!(took_us >= 2 * ACCEPT_REST_US, "three in {took_us} us");
        assert_eq!(world.metrics().ring_failures, 3);
        world.heal();
        assert!(world.serves());
    }
}

#[test]
fn what_belongs_to_no_connection_is_asked_for_again_after_a_rest() {
    let mut world = World::new();
    world.fail(|operation| operation == Operation::Control, Errno::NOMEM);
    world.control.wake();
    let took_us = world.turn_until_failed(5);
    assert!(took_us >= 4 * RETRY_US, "five in {took_us} us");
    world.heal();
    assert!(world.serves());
    world.control.drain();
    while !world.turn() {}
}

#[test]
fn a_wake_that_fails_is_sent_again_unless_the_other_shard_has_ended() {
    let mut world = World::new();
    world.fail(|operation| matches!(operation, Operation::Wake(_)), Errno::OVERFLOW);
    world.driver.wake(1);
    let took_us = world.turn_until_failed(5);
    assert!(took_us >= 4 * RETRY_US, "five in {took_us} us");
    world.heal();
    let mut completed = Vec::new();
    world.other.turn(Some(Duration::from_secs(5)), &mut completed).unwrap();
    let woken: Vec<_> = completed.iter().map(|completion| completion.operation).collect();
    assert_eq!(woken, [Operation::Woken], "once");

    let gone = std::fs::File::open("/dev/null").unwrap();
    world.driver.rings = [0, std::os::fd::AsRawFd::as_raw_fd(&gone)].into();
    world.driver.wake(1);
    world.control.wake();
    world.turn();
    world.control.wake();
    world.turn();
    assert!(world.driver.later.is_empty(), "no ring, no wake");
}

#[test]
fn without_a_timer_turns_come_all_the_same_and_do_not_spin() {
    let mut world = World::new();
    // Whoever connects and says nothing is waited for with a timer.
    let (_silent, _) = world.connect();
    world.fail(|operation| matches!(operation, Operation::Timer | Operation::MoveTimer), Errno::NOMEM);
    world.driver.timer_us = None;
    let took_us = world.turn_until_failed(5);
    assert!(took_us >= 4 * RETRY_US, "five in {took_us} us");
    world.heal();
    world.control.wake();
    world.turn();
    assert!(world.driver.timer_us.is_some());
}

#[test]
fn a_pause_that_the_kernel_did_not_take_is_asked_for_again() {
    let mut world = World::new();
    let (_client, id) = world.connect();
    world.fail(|operation| matches!(operation, Operation::CancelReceive(_)), Errno::ALREADY);
    world.driver.pause(id);
    let took_us = world.turn_until_failed(3);
    assert!(took_us >= 2 * RETRY_US, "three in {took_us} us");
    world.heal();
    world.turn_awake_until("a pause", |driver| !driver.sockets.find(id).unwrap().1.receiving);
}

#[test]
fn an_end_of_accepting_that_the_kernel_did_not_take_is_asked_for_again() {
    let mut world = World::new();
    assert!(world.serves());
    world.fail(|operation| matches!(operation, Operation::CancelAccept(_)), Errno::ALREADY);
    world.control.drain();
    world.turn_until_failed(3);
    assert_eq!(world.driver.accepting, Accepting::Ending);
    world.driver.ring.faults.failing = None;
    while !world.turn() {}
    // The ring is still there, and holds no listener: the next server may bind at once.
    assert!(TcpStream::connect(world.address).is_err());
    assert_eq!(TcpListener::bind(world.address).unwrap().local_addr().unwrap(), world.address);
}

#[test]
fn a_transfer_that_fails_ends_its_connection_alone() {
    for errno in [Errno::CONNRESET, Errno::NOMEM] {
        let mut world = World::new();
        let (_neighbour, _) = world.connect();
        let (mut client, _) = world.connect();
        world.fail(|operation| matches!(operation, Operation::Send(_)), errno);
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        world.turn_until("an end", |driver| driver.shard.metrics_now().sockets == 1);
        assert_eq!(client.read(&mut [0; 1]).unwrap_or_default(), 0);
        world.fail(|operation| matches!(operation, Operation::Receive(_)), errno);
        let (mut client, _) = world.connect();
        world.turn_until("an end", |driver| driver.shard.metrics_now().sockets == 1);
        assert_eq!(client.read(&mut [0; 1]).unwrap_or_default(), 0);
    }
}

/// Opens a WebSocket, or what answers the handshake of one.
fn open(world: &mut World) -> TcpStream {
    let (mut stream, _) = world.connect();
    stream
        .write_all(
            b"GET /v1 HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    let before = world.metrics().handshakes;
    world.turn_until("a handshake", |driver| driver.shard.metrics_now().handshakes > before);
    stream
}

/// A text message in a masked frame, whose mask is zero.
fn text(message: &str) -> Vec<u8> {
    assert!(message.len() < 126);
    [&[0x81, 0x80 | message.len() as u8, 0, 0, 0, 0], message.as_bytes()].concat()
}

/// A world with so many subscribers of the map `m`, and somebody who writes to it.
fn audience(subscribers: u64) -> (World, Vec<TcpStream>, TcpStream) {
    let mut world = World::new();
    let mut clients: Vec<TcpStream> = (0..subscribers).map(|_| open(&mut world)).collect();
    for client in &mut clients {
        client.write_all(&text(r#"{"type":"subscribe","id":1,"map":"m"}"#)).unwrap();
    }
    world.turn_until("all subscriptions", |driver| driver.shard.metrics_now().snapshots == subscribers);
    let writer = open(&mut world);
    // It is not received from as others are before it has sent a few messages.
    for _ in 0..RECEIVES_AT_FIRST {
        let before = world.metrics().messages_received;
        (&writer).write_all(&text(r#"{"type":"ping"}"#)).unwrap();
        world.turn_until("it", |driver| driver.shard.metrics_now().messages_received > before);
    }
    // Whatever is still on its way out.
    world.turn_until("calm", |driver| driver.shard.metrics_now().outbox_bytes == 0);
    world.driver.ring.faults.looks = 0;
    (world, clients, writer)
}

fn set(key: usize) -> Vec<u8> {
    text(&format!(r#"{{"type":"write","ops":[{{"map":"m","key":"k{key}","op":"set","value":1}}]}}"#))
}

// What one message costs a fan-out to many, a burst costs it too, although its messages come one by one.
#[test]
fn a_large_fan_out_takes_along_what_arrives_before_it_leaves() {
    const SUBSCRIBERS: u64 = 300;
    let (mut world, _clients, writer) = audience(SUBSCRIBERS);
    let mut burst = writer.try_clone().unwrap();
    world.driver.ring.faults.before_look = Some(Box::new(move |look| {
        if look < 7 {
            burst.write_all(&set(look)).unwrap();
        }
    }));
    let before = world.metrics();
    (&writer).write_all(&set(7)).unwrap();
    world.turn_until("a change", |driver| driver.shard.metrics_now().changes > before.changes);
    let after = world.metrics();
    assert_eq!(after.changes - before.changes, 8, "the first message and seven that came while it waited");
    assert_eq!(after.deliveries - before.deliveries, 8 * SUBSCRIBERS);
    // One message with all changes for each, and the acks.
    assert_eq!(after.messages_sent - before.messages_sent, SUBSCRIBERS + 8);
}

#[test]
fn a_fan_out_waits_neither_for_ever_nor_for_a_few() {
    let (mut world, _clients, writer) = audience(COMPANY_SENDS_MIN as u64);
    let mut burst = writer.try_clone().unwrap();
    // Somebody who never stops, unless nobody reads.
    burst.set_nonblocking(true).unwrap();
    world.driver.ring.faults.before_look = Some(Box::new(move |_| drop(burst.write(&set(1)))));
    (&writer).write_all(&set(0)).unwrap();
    let before = world.metrics();
    world.turn_until("a change", |driver| driver.shard.metrics_now().changes > before.changes);
    assert!(world.driver.ring.faults.looks >= 1);

    let (mut world, _clients, writer) = audience(COMPANY_SENDS_MIN as u64 - 1);
    (&writer).write_all(&set(0)).unwrap();
    let before = world.metrics();
    world.turn_until("a change", |driver| driver.shard.metrics_now().changes > before.changes);
    assert_eq!(world.driver.ring.faults.looks, 0);
}

// What a peer sends that is never through must not come in faster than it is handled, as it would lie in memory.
#[test]
fn whoever_sends_more_than_is_handled_is_received_from_one_buffer_at_a_time() {
    let mut world = World::new();
    let client = open(&mut world);
    let id = world.driver.sockets.whole(0).unwrap();
    client.set_nonblocking(true).unwrap();
    // Pongs that nobody asked for, which nobody answers; as many as the socket takes.
    let flood = [0x8A, 0x80, 0, 0, 0, 0].repeat(200_000);
    let mut sent = 0;
    let mut received = 0;
    for _ in 0..60 {
        while sent < flood.len()
            && let Ok(bytes) = (&client).write(&flood[sent..])
        {
            sent += bytes;
        }
        world.turn();
        let metrics = world.metrics();
        let in_turn = metrics.bytes_received - received;
        received = metrics.bytes_received;
        let was_paused = metrics.reads_paused > u64::from(in_turn > RECEIVE_BUFFER_BYTES as u64);
        assert!(!was_paused || in_turn <= RECEIVE_BUFFER_BYTES as u64, "{in_turn} B in a turn");
    }
    assert!(world.metrics().reads_paused > 0);
    world.turn_until("all of it", |driver| driver.shard.metrics_now().bytes_received as usize >= sent);
    let rest = (6 - sent % 6) % 6;
    (&client).write_all(&flood[sent % 6..][..rest]).unwrap();
    let is_multishot = |driver: &mut Driver| driver.sockets.find(id).unwrap().1.one_by_one == 0;
    assert!(!is_multishot(&mut world.driver));
    for asked in 1..=RECEIVES_ONE_BY_ONE {
        (&client).write_all(&text(r#"{"type":"ping"}"#)).unwrap();
        world.turn_until("it", |driver| driver.shard.metrics_now().messages_received >= u64::from(asked));
    }
    assert!(is_multishot(&mut world.driver), "it is received from as any other");
}
