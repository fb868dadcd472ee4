//! The built command from its start to its end: signals, exit codes, and the line that says what is wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{Client, set};
use crate::process::{Running, failure};
use crate::raw::Raw;
use crate::server::{Directory, TestServer, await_that, exchange, get};

#[test]
fn a_signal_sends_every_client_away_with_a_time_to_come_back_and_exits_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Running::in_memory(&["--drain-ms", "5000"]);
        // Until every shard has some.
        let mut clients: Vec<Client> = Vec::new();
        while clients.len() < 12 {
            clients.push(Client::connect(server.address));
        }
        clients[0].subscribe(r#""map":"m""#);
        let began = Instant::now();
        server.signal(signal);
        let times: Vec<u32> = clients
            .into_iter()
            .map(|client| {
                let (code, reason) = client.closed();
                assert_eq!(code, 1001, "{reason}");
                reason.strip_prefix("retry_after_ms=").unwrap().parse().unwrap()
            })
            .collect();
        assert!(times.iter().all(|time| *time < 5_000), "{times:?}");
        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(most - least > 500, "no spread in {times:?}");
        assert_eq!(server.exit_code(), Some(0));
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "nobody is left, and yet it took {:?}",
            began.elapsed()
        );
    }
}

// A supervisor may think better of it at once. Many starts, as it is a race.
#[test]
fn a_signal_right_after_the_first_hello_drains_too() {
    for _ in 0..20 {
        let mut server = Running::in_memory(&[]);
        let mut first = Raw::open(server.address);
        server.signal(Signal::TERM);
        assert_eq!(first.close_code(), Some(1001));
        drop(first);
        assert_eq!(server.exit_code(), Some(0));
    }
}

#[test]
fn a_client_that_does_not_leave_delays_the_end_by_the_drain_time_at_most() {
    let mut server = Running::in_memory(&["--drain-ms", "600"]);
    let _stays = Raw::open(server.address);
    let began = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    let took = began.elapsed();
    assert!(took > Duration::from_millis(500) && took < Duration::from_secs(3), "{took:?}");
}

// A load balancer asks now and then. Until it knows, everybody it sends here must be served.
#[test]
fn during_the_lead_pages_say_503_and_everything_else_goes_on() {
    let mut server = Running::in_memory(&["--drain-lead-ms", "3000", "--drain-ms", "5000"]);
    let mut early = Client::connect(server.address);
    let began = Instant::now();
    server.signal(Signal::TERM);
    for request in [
        "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: test\r\n\r\n",
        "HEAD /healthz HTTP/1.0\r\n\r\n",
        "OPTIONS / HTTP/1.0\r\n\r\n",
    ] {
        await_that("503", || exchange(server.address, request).starts_with("HTTP/1.1 503 "));
    }
    // On every shard, of which the first to be told may not be ours.
    for _ in 0..8 {
        let mut late = Client::connect(server.address);
        late.subscribe(r#""map":"m""#);
        late.write(&set("m", "k", 1));
        assert!(get(server.address, "/healthz").ends_with("\r\n\r\ndraining\n"));
        late.leave();
    }
    early.write(&set("m", "k", 2));
    assert!(began.elapsed() < Duration::from_millis(2_900), "too slow to tell: {:?}", began.elapsed());
    let (code, reason) = early.closed();
    assert!(began.elapsed() >= Duration::from_millis(2_900), "the lead was cut: {:?}", began.elapsed());
    assert_eq!(code, 1001, "{reason}");
    assert_eq!(server.exit_code(), Some(0));
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn a_second_signal_ends_the_lead_and_the_process_at_once() {
    let mut server = Running::in_memory(&["--drain-lead-ms", "60000"]);
    let client = Raw::open(server.address);
    let began = Instant::now();
    server.signal(Signal::TERM);
    await_that("503", || get(server.address, "/healthz").starts_with("HTTP/1.1 503 "));
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(client);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut server = Running::in_memory(&["--drain-ms", "60000"]);
    let mut stays = Raw::open(server.address);
    server.signal(Signal::TERM);
    // The close frame shows that the first signal has arrived.
    assert_eq!(stays.frame().expect("a close frame").0, crate::raw::CLOSE);
    thread::sleep(Duration::from_millis(200));
    assert!(server.ended().is_none(), "it waits for its client");
    let began = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn nobody_connects_while_it_drains() {
    let server = TestServer::with(|config| config.drain_ms = 2_000);
    let _stays = Raw::open(server.address);
    let address = server.address;
    server.drain();
    await_that("the end of accepting", || TcpStream::connect(address).is_err());
    server.join().unwrap();
}

// What a supervisor does that does not wait, again and again, with its data on disk, while clients come and go.
#[test]
fn a_restart_at_once_finds_its_port_and_its_data_free_and_resets_nobody() {
    let data = Directory::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let mut running = Running::at(data.path(), &listen);
    let is_over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (is_over, served, address) = (Arc::clone(&is_over), Arc::clone(&served), running.address);
            thread::spawn(move || come_and_go(address, &is_over, &served))
        })
        .collect();
    // On a busy machine few clients get a turn between two restarts.
    for round in 1.. {
        thread::sleep(Duration::from_millis(50));
        running.signal(Signal::TERM);
        let next = Running::at(data.path(), &listen);
        assert_eq!(running.exit_code(), Some(0));
        running = next;
        let served = served.load(Ordering::Relaxed);
        assert!(round < 100, "only {served} were served in {round} lives");
        if round >= 10 && served > 20 {
            break;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    running.stop();
}

/// Connects and asks for a page, over and over, and counts how often it got one. Nobody may be connected and then turned
/// away.
fn come_and_go(address: SocketAddr, is_over: &AtomicBool, served: &AtomicUsize) {
    while !is_over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
        let read = asked.and_then(|()| stream.read_to_string(&mut answer));
        assert!(read.is_ok() && answer.starts_with("HTTP/1.1 "), "{read:?} {answer:?}");
        served.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn who_has_connected_and_not_asked_yet_is_answered_while_it_drains() {
    let server = TestServer::start();
    let (mut browser, mut silent) =
        (TcpStream::connect(server.address).unwrap(), TcpStream::connect(server.address).unwrap());
    server.await_metric("annulus_accepts_total", 2.0);
    server.drain();
    let mut answer = String::new();
    browser.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    browser.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("draining\n"), "{answer}");
    assert_eq!(silent.read(&mut [0; 8]).unwrap(), 0, "an end in order, and no reset");
    server.join().unwrap();
}

#[test]
fn a_busy_port_is_exit_code_1_and_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, line) = failure(&["--storage", "memory", "--listen", &address]);
    assert_eq!(code, Some(1));
    assert!(line.contains(&format!("{address} is in use")) && line.contains("--listen"), "{line}");

    // Another annulus is no exception, though both would share the port among their shards.
    let other = Running::in_memory(&[]);
    let (code, line) = failure(&["--storage", "memory", "--listen", &other.address.to_string()]);
    assert_eq!(code, Some(1));
    assert!(line.contains("is in use"), "{line}");
}

#[test]
fn a_core_that_does_not_exist_is_exit_code_2_and_one_line() {
    let (code, line) = failure(&["--cores", "60000"]);
    assert_eq!(code, Some(2));
    assert!(line.contains("core 60000 does not exist") && line.contains("--cores"), "{line}");
}
