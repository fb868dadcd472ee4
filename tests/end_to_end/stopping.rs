//! The built command from its start to its end: signals, exit codes, and the line that says what is wrong.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::raw::Raw;
use crate::server::{PATIENCE, TestServer, await_that, two_cores};

/// A running `annulus`, killed if the test fails.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let [one, other] = two_cores()[..] else { panic!("two cores") };
        let mut child = Command::new(env!("CARGO_BIN_EXE_annulus"))
            .args(["--listen", "127.0.0.1:0", "--cores", &format!("{one},{other}"), "--storage", "memory"])
            .args(arguments)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo has built the command");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .find_map(|line| {
                line.unwrap().trim().strip_prefix("listen    ws://")?.strip_suffix("/v1")?.parse().ok()
            })
            .expect("the banner names the address");
        // What follows must not fill the pipe and stall the server.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    fn exit_code(&mut self) -> Option<i32> {
        await_that("the end of the server", || self.ended().is_some());
        self.ended().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_signal_sends_every_client_away_with_a_time_to_come_back_and_exits_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Running::start(&["--drain-ms", "5000"]);
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
        let mut server = Running::start(&[]);
        let mut first = Raw::open(server.address);
        server.signal(Signal::TERM);
        assert_eq!(first.close_code(), Some(1001));
        drop(first);
        assert_eq!(server.exit_code(), Some(0));
    }
}

#[test]
fn a_client_that_does_not_leave_delays_the_end_by_the_drain_time_at_most() {
    let mut server = Running::start(&["--drain-ms", "600"]);
    let _stays = Raw::open(server.address);
    let began = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    let took = began.elapsed();
    assert!(took > Duration::from_millis(500) && took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut server = Running::start(&["--drain-ms", "60000"]);
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
    await_that("the end of accepting", || std::net::TcpStream::connect(address).is_err());
    server.join().unwrap();
}

#[test]
fn a_busy_port_is_exit_code_1_and_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, line) = failure(&["--listen", &address]);
    assert_eq!(code, Some(1));
    assert!(line.contains(&format!("{address} is in use")) && line.contains("--listen"), "{line}");

    // Another annulus is no exception, though both would share the port among their shards.
    let other = Running::start(&[]);
    let (code, line) = failure(&["--listen", &other.address.to_string()]);
    assert_eq!(code, Some(1));
    assert!(line.contains("is in use"), "{line}");
}

#[test]
fn a_core_that_does_not_exist_is_exit_code_2_and_one_line() {
    let (code, line) = failure(&["--cores", "60000"]);
    assert_eq!(code, Some(2));
    assert!(line.contains("core 60000 does not exist") && line.contains("--cores"), "{line}");
}

/// Exit code and the one line of a server that does not start.
fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_annulus"))
        .args(arguments)
        // So few that no limit of this machine is worth a warning.
        .args(["--max-connections", "100", "--storage", "memory"])
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo has built the command");
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it serves in spite of {arguments:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("annulus: ") && text.lines().count() == 1, "{text}");
    (output.status.code(), text)
}
