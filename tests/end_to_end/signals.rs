//! The built command and the signals that do not end it in order; those that do are in `stopping.rs`.

use std::path::Path;
use std::process::{Command, Stdio};

use annulus::storage::Lock;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::process::Running;
use crate::server::{Directory, await_that};

/// Runs a command as a terminal does. Shells have what they run in the background ignore SIGQUIT, and `nohup` SIGHUP, and
/// tests that run there would hand that on.
fn with_default_signals() -> Command {
    let mut env = Command::new("/usr/bin/env");
    env.arg("--default-signal=HUP,QUIT");
    env
}

#[test]
fn signals_that_mean_nothing_end_nothing() {
    let server = Running::by(with_default_signals());
    let mut client = Client::connect(server.address);
    client.write(r#"{"map":"m","key":"k","op":"set","value":1}"#);
    for (signal, name) in [
        (Signal::HUP, "SIGHUP: there is nothing that could be read again"),
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
    let mut server = Running::by(with_default_signals());
    let _stays = Client::connect(server.address);
    server.signal(Signal::QUIT);
    assert_eq!(server.signal_that_ended_it(), Some(Signal::QUIT.as_raw()));
}

// The data directory is in use, for which a start waits a second: on a busy machine the signal may come too late.
#[test]
fn a_start_is_ended_by_the_first_signal_and_not_by_a_hangup() {
    let data = Directory::new();
    let lock = Lock::take(data.path(), "this test").unwrap();
    await_that("a start that is still one when it is signalled", || {
        let (code, said) = started_and_signalled(data.path());
        let is_over = code == Some(1) && said.contains("in use");
        assert!(is_over || code == Some(0), "{code:?}: {said}");
        assert!(is_over || said.contains("before anything was served"), "{said}");
        !is_over
    });
    drop(lock);
}

/// Exit code and words of a start that is sent a hangup, and then told to end.
fn started_and_signalled(data: &Path) -> (Option<i32>, String) {
    let mut command = with_default_signals();
    command.arg(env!("CARGO_BIN_EXE_annulus")).env_clear();
    command.args(["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    await_that("its handlers", || catches(&status, &[Signal::HUP, Signal::TERM]));
    let signal = |signal| kill_process(Pid::from_child(&child), signal).unwrap();
    signal(Signal::HUP);
    signal(Signal::TERM);
    await_that("the end", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Whether the process with this page of `/proc` handles these signals, or is over.
fn catches(status: &str, signals: &[Signal]) -> bool {
    let page = std::fs::read_to_string(status).unwrap_or_default();
    let mask = page.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let Some(mask) = mask else { return true };
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    signals.iter().all(|signal| mask >> (signal.as_raw() - 1) & 1 == 1)
}
