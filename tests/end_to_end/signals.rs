//! The built command and the signals that do not end it in order; those that do are in `stopping.rs`.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use annulus::storage::Lock;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::process::{Running, annulus};
use crate::server::{Directory, await_that};

#[test]
fn signals_that_mean_nothing_end_nothing() {
    let server = Running::in_memory(&[]);
    let mut client = Client::connect(server.address);
    client.write(r#"{"map":"m","key":"k","op":"set","value":1}"#);
    for (signal, name) in [
        (Signal::HUP, "SIGHUP: there is nothing yet"),
        (Signal::USR1, "SIGUSR1 means nothing here"),
        (Signal::USR2, "SIGUSR2 means nothing here"),
        (Signal::ALARM, "SIGALRM means nothing here"),
    ] {
        server.signal(signal);
        await_that(name, || server.said(&[name]));
    }
    server.signal(Signal::PIPE);
    server.signal(Signal::XFSZ);
    let snapshot = Client::connect(server.address).subscribe(r#""map":"m""#);
    assert_eq!(snapshot.entries.len(), 1);
    server.stop();
}

#[test]
fn a_hangup_that_was_ignored_at_the_start_stays_ignored() {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    let server = Running::by(shell);
    server.signal(Signal::HUP);
    server.signal(Signal::USR1);
    await_that("the later signal", || server.said(&["SIGUSR1"]));
    assert!(!server.said(&["SIGHUP"]));
    server.stop();
}

#[test]
fn sigquit_ends_it_at_once_as_the_kernel_does() {
    let mut server = Running::in_memory(&["--drain-ms", "60000"]);
    let _stays = Client::connect(server.address);
    server.signal(Signal::QUIT);
    assert_eq!(server.signal_that_ended_it(), Some(Signal::QUIT.as_raw()));
}

// The data directory is in use, for which a start waits a second.
#[test]
fn a_start_is_ended_by_the_first_signal_and_not_by_a_hangup() {
    let data = Directory::new();
    let lock = Lock::take(data.path(), "this test").unwrap();
    let directory = data.path().to_str().unwrap();
    let mut command = annulus(&["--listen", "127.0.0.1:0", "--data-dir", directory]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let threads = format!("/proc/{}/task", child.id());
    await_that("the threads of a start", || {
        std::fs::read_dir(&threads).is_ok_and(|found| found.count() >= 3)
    });
    thread::sleep(Duration::from_millis(100));
    let signal = |signal| kill_process(Pid::from_child(&child), signal).unwrap();
    signal(Signal::HUP);
    signal(Signal::TERM);
    let output = {
        await_that("the end", || child.try_wait().unwrap().is_some());
        child.wait_with_output().unwrap()
    };
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("before anything was served"), "{said}");
    drop(lock);
}
