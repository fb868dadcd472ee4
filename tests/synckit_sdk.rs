//! SyncKit's own SDK, as the npm registry has it, against the built server.
//!
//! Method: `tests/synckit_sdk/` holds the cases, for node's own test runner. They start the server, and end it, as
//! often as they need. `scripts/setup` installs node and the packages that `package-lock.json` names; `react` is
//! among them because the SDK imports it even where it is not used.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait for a real server in real time")]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long all cases of a file may take together. One that waits in vain gives up sooner.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn documents_are_edited_by_many() {
    run("documents.test.mjs");
}

#[test]
fn broken_connections_and_restarts_lose_nothing() {
    run("reconnecting.test.mjs");
}

#[test]
fn clients_show_tokens() {
    run("tokens.test.mjs");
}

#[test]
fn both_generations_of_the_sdk_share_a_document() {
    run("newer_sdk.test.mjs");
}

/// Runs the cases of one file.
fn run(file: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/synckit_sdk");
    assert!(directory.join("node_modules").is_dir(), "the SDK is not installed: run scripts/setup");
    let mut node = Command::new("node")
        .args(["--test", "--test-reporter=spec", file])
        .current_dir(&directory)
        .env("ANNULUS_SERVER", env!("CARGO_BIN_EXE_annulus"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("node is installed; run scripts/setup if it is not");
    let mut output = node.stdout.take().unwrap();
    let report = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let began = Instant::now();
    while node.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(20));
    }
    if node.try_wait().unwrap().is_none() {
        // The servers that the cases have started, too.
        kill_process_group(Pid::from_child(&node), Signal::KILL).unwrap();
    }
    let status = node.wait().unwrap();
    let report = report.join().unwrap().unwrap();
    assert!(status.success(), "{file} fails ({status}):\n{report}");
}
