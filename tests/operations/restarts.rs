//! Under a service manager: what it is told, and that its listeners outlive the server.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::fleet::{Client, Fleet, Over, check};
use crate::manager::{Manager, one_core, two_cores};

/// Of the server of every test here.
fn arguments(data_dir: &str) -> Vec<&str> {
    vec!["--listen", "127.0.0.1:0", "--cores", two_cores(), "--drain-ms", "500", "--data-dir", data_dir]
}

/// How many of so many clients each shard has.
fn spread(address: SocketAddr, clients: usize) -> std::collections::BTreeMap<String, usize> {
    let connect = |_| Client::connect(address).unwrap().expect("it is taken");
    let clients: Vec<Client> = (0..clients).map(connect).collect();
    let mut counts = std::collections::BTreeMap::new();
    for client in &clients {
        *counts.entry(client.shard()).or_default() += 1;
    }
    counts
}

#[test]
fn the_manager_is_told_of_start_reload_and_stop() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    manager.start(&[&arguments(&data_dir)[..], &["--auth", "optional"]].concat());
    assert_eq!(manager.count("RELOADING=1"), 0);
    manager.signal(Signal::HUP);
    manager.await_that("READY=1 again", || manager.count("READY=1") == 2);
    assert_eq!(manager.count("RELOADING=1"), 1);
    assert!(manager.lines().iter().any(|line| line.starts_with("MONOTONIC_USEC=")));
    assert_eq!(manager.count("STOPPING=1"), 0);
    manager.stop();
    assert_eq!(manager.count("STOPPING=1"), 1);
}

#[test]
fn a_restart_refuses_nobody_and_loses_nothing_that_was_acknowledged() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    let address = manager.start(&arguments(&data_dir));
    assert_eq!(manager.count_kept(), 2, "one for each shard");
    let fleet = Fleet::start(address, 60);
    for _ in 0..2 {
        let acked = fleet.counts.acked.load(Ordering::Relaxed);
        manager.await_that("writes", || fleet.counts.acked.load(Ordering::Relaxed) > acked + 300);
        manager.stop();
        // Between two lives: whoever comes waits in a listener that the manager keeps.
        let waiting: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(manager.start(&arguments(&data_dir)), address, "the same port");
        assert_eq!(manager.count_kept(), 2, "the same listeners");
        drop(waiting);
    }
    thread::sleep(Duration::from_secs(1));
    let counts = std::sync::Arc::clone(&fleet.counts);
    let known = fleet.end();
    assert_eq!(counts.refused.load(Ordering::Relaxed), 0, "{counts:?}");
    assert_eq!(counts.cut.load(Ordering::Relaxed), 0, "{counts:?}");
    assert_eq!(counts.reset.load(Ordering::Relaxed), 0, "{counts:?}");
    assert!(counts.sent_away.load(Ordering::Relaxed) >= 120, "{counts:?}");
    check(&known);
    let spread = spread(address, 60);
    assert_eq!(spread.len(), 2, "every shard accepts: {spread:?}");
    manager.stop();
}

// The kernel gives each listener its own clients, so one from which nobody accepts keeps them for ever.
#[test]
fn whoever_waits_in_any_listener_is_served_also_with_other_cores() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    let address = manager.start(&arguments(&data_dir));
    manager.stop();
    let mut fewer = arguments(&data_dir);
    fewer[3] = one_core();
    for (arguments, shards) in [(fewer, 1), (arguments(&data_dir), 2)] {
        let waiting: Vec<_> = (0..40).map(|_| thread::spawn(move || Client::connect(address))).collect();
        thread::sleep(Duration::from_millis(200));
        assert_eq!(manager.start(&arguments), address);
        for client in waiting {
            assert!(client.join().unwrap().unwrap().is_ok());
        }
        assert_eq!(spread(address, 40).len(), shards);
        manager.stop();
    }
}

#[test]
fn a_listener_of_a_socket_unit_is_shared_by_the_shards_in_turns() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    let unit = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unit.local_addr().unwrap();
    manager.keep("annulus.socket", OwnedFd::from(unit));
    // Who comes before the server is started waits.
    let early = thread::spawn(move || Client::connect(address));
    thread::sleep(Duration::from_millis(100));
    // Nobody has said where to listen: there, and not at 9000.
    let arguments = ["--cores", two_cores(), "--data-dir", &data_dir];
    assert_eq!(manager.start(&arguments), address);
    assert!(early.join().unwrap().unwrap().is_ok());
    let spread = spread(address, 100);
    assert!(spread.len() == 2 && spread.values().all(|count| *count >= 20), "{spread:?}");
    assert!(!manager.log().contains(":9000"), "{}", manager.log());
    manager.stop();
}

#[test]
fn an_address_that_is_not_listened_on_any_more_is_given_up() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    let old = manager.start(&arguments(&data_dir));
    manager.stop();
    let listen = "127.0.0.2:0";
    let mut arguments = arguments(&data_dir);
    arguments[1] = listen;
    let new = manager.start(&arguments);
    assert_ne!(old, new);
    assert_eq!(manager.count_kept(), 2, "those of {new} alone: {:?}", manager.lines());
    assert!(TcpStream::connect(old).is_err() && TcpStream::connect(new).is_ok());
    assert!(manager.log().contains(&format!("names {old} any more")), "{}", manager.log());
    manager.stop();
}

#[test]
fn what_is_no_listener_is_refused_by_name() {
    let mut manager = Manager::new();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    manager.keep("annulus.socket", OwnedFd::from(socket));
    manager.spawn(&["--storage", "memory"]);
    assert_eq!(manager.exit_code(), Some(2));
    let log = manager.log();
    assert!(log.contains("descriptor 3, annulus.socket, is no listening socket"), "{log}");
}

#[test]
fn a_socket_unit_opens_no_server_to_all_that_nobody_meant_to_open() {
    let mut manager = Manager::new();
    let unit = TcpListener::bind("0.0.0.0:0").unwrap();
    manager.keep("annulus.socket", OwnedFd::from(unit));
    manager.spawn(&["--storage", "memory"]);
    assert_eq!(manager.exit_code(), Some(2));
    assert!(manager.log().contains("--allow-anonymous"), "{}", manager.log());
}

#[test]
fn connections_are_sent_away_in_batches() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    let batches = ["--drain-batch", "4", "--drain-interval-ms", "400"];
    let address = manager.start(&[&arguments(&data_dir)[..], &batches].concat());
    let mut clients: Vec<Client> = (0..16).map(|_| Client::connect(address).unwrap().unwrap()).collect();
    let began = std::time::Instant::now();
    manager.signal(Signal::TERM);
    let threads: Vec<_> = clients
        .drain(..)
        .map(|mut client| {
            thread::spawn(move || {
                let Err(Over::ComeBack { code: 1001, after }) = client.receive() else { panic!("sent away") };
                (began.elapsed(), after, client.shard())
            })
        })
        .collect();
    let mut told: Vec<(Duration, Duration, String)> =
        threads.into_iter().map(|one| one.join().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(manager.exit_code(), Some(0));
    // Two of each of two shards at once, as far as the kernel has spread them evenly.
    let at_first = told.iter().filter(|(at, ..)| *at < Duration::from_millis(350)).count();
    assert!((2..=4).contains(&at_first), "{told:?}");
    let last = told.last().unwrap().0;
    assert!(last >= Duration::from_millis(1100), "{told:?}");
    // Nobody comes back before the last of the same shard has been told.
    for (at, after, shard) in &told {
        let last = told.iter().filter(|(.., other)| other == shard).map(|(at, ..)| *at).max().unwrap();
        assert!(*at + *after + Duration::from_millis(200) >= last, "{told:?}");
    }
}
