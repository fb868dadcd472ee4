//! The client in TypeScript (`clients/js`) against the built server, and its package against what bundlers and
//! runtimes ask of one.
//!
//! Method: its tests are vitest's, in `clients/js/*/test`. They start the server, and end it, as often as they need.
//! Those of the page, of the examples and of what they use run in Chromium. `scripts/setup` installs it, node, and the packages that
//! `package-lock.json` names.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait for a real server in real time")]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a script may take. A test that waits in vain gives up sooner.
const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn the_client_passes_its_tests_on_this_server() {
    run("test");
}

#[test]
fn the_package_is_formatted_typed_and_complete() {
    run("build");
    run("check");
}

/// Runs a script of `clients/js/package.json`.
fn run(script: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js");
    assert!(directory.join("node_modules").is_dir(), "its packages are not installed: run scripts/setup");
    let mut npm = Command::new("npm")
        .args(["run", script])
        .current_dir(&directory)
        .env("ANNULUS_SERVER", env!("CARGO_BIN_EXE_annulus"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("npm is installed; run scripts/setup if it is not");
    let mut output = npm.stdout.take().unwrap();
    let report = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let began = Instant::now();
    while npm.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(20));
    }
    if npm.try_wait().unwrap().is_none() {
        // The servers that the tests have started, too.
        kill_process_group(Pid::from_child(&npm), Signal::KILL).unwrap();
    }
    let status = npm.wait().unwrap();
    let report = report.join().unwrap().unwrap();
    assert!(status.success(), "npm run {script} fails ({status}):\n{report}");
}
