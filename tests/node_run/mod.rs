//! Runs a program of Node that tests this server, to its end or until it has had its time.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Runs it in `folder` of the repository, whose packages are installed; its report is told where it fails.
pub fn run(program: &str, arguments: &[&str], folder: &str, patience: Duration) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let is_installed = directory.join("node_modules").is_dir();
    assert!(is_installed, "the packages of {folder} are not installed: run scripts/setup");
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(&directory)
        .env("ANNULUS_SERVER", env!("CARGO_BIN_EXE_annulus"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("node and npm are installed; run scripts/setup if they are not");
    let mut output = child.stdout.take().unwrap();
    let report = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() && began.elapsed() < patience {
        thread::sleep(Duration::from_millis(20));
    }
    if child.try_wait().unwrap().is_none() {
        // The servers that it has started, too.
        kill_process_group(Pid::from_child(&child), Signal::KILL).unwrap();
    }
    let status = child.wait().unwrap();
    let report = report.join().unwrap().unwrap();
    assert!(status.success(), "{program} {arguments:?} fails ({status}):\n{report}");
}
