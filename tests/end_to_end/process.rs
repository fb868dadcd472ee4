//! The built command as a process of its own: what it says, how it is signalled, and with which code it ends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::server::{PATIENCE, await_that, two_cores};

/// A running `annulus` on two cores, killed if the test fails.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
    /// Every line it has written to stderr.
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// Without a file.
    pub fn in_memory(arguments: &[&str]) -> Self {
        Self::start(&[&["--storage", "memory"], arguments].concat())
    }

    /// With its data in `directory`.
    pub fn on_disk(directory: &Path, arguments: &[&str]) -> Self {
        let directory = directory.to_str().expect("a name of this test");
        Self::start(&[&["--data-dir", directory], arguments].concat())
    }

    /// With its data in `directory`, at an address of its own.
    pub fn at(directory: &Path, listen: &str) -> Self {
        let directory = directory.to_str().expect("a name of this test");
        Self::spawn_at(annulus(&[]), listen, &["--data-dir", directory])
    }

    fn start(arguments: &[&str]) -> Self {
        Self::spawn(annulus(&[]), arguments)
    }

    /// In memory, by `command`, which runs what its last arguments say.
    pub fn by(mut command: Command) -> Self {
        command.arg(env!("CARGO_BIN_EXE_annulus")).env_clear();
        Self::spawn(command, &["--storage", "memory"])
    }

    fn spawn(command: Command, arguments: &[&str]) -> Self {
        Self::spawn_at(command, "127.0.0.1:0", arguments)
    }

    fn spawn_at(mut command: Command, listen: &str, arguments: &[&str]) -> Self {
        let [one, other] = two_cores()[..] else { panic!("two cores") };
        let mut child = command
            .args(["--listen", listen, "--cores", &format!("{one},{other}")])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo has built the command");
        let mut incoming = BufReader::new(child.stderr.take().unwrap()).lines();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let address = incoming.by_ref().find_map(|line| {
            let line = line.unwrap();
            let address =
                line.trim().strip_prefix("listen    ws://").and_then(|rest| rest.strip_suffix("/v1"));
            let address = address.and_then(|address| address.parse().ok());
            lines.lock().unwrap().push(line);
            address
        });
        let Some(address) = address else {
            panic!("the banner names no address: {:?}", lines.lock().unwrap())
        };
        let all = Arc::clone(&lines);
        // What follows must not fill the pipe and stall the server.
        thread::spawn(move || incoming.for_each(|line| all.lock().unwrap().push(line.unwrap_or_default())));
        Self { child, address, lines }
    }

    /// Ends as [`Self::exit_code`] does, but by a signal of this number.
    pub fn signal_that_ended_it(&mut self) -> Option<i32> {
        self.exit_code();
        self.ended().and_then(|status| status.signal())
    }

    /// Bytes of the machine's memory that it holds.
    pub fn resident_bytes(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn exit_code(&mut self) -> Option<i32> {
        await_that("the end of the server", || self.ended().is_some());
        self.ended().unwrap().code()
    }

    /// Ends it as a power cut of the process would.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.exit_code();
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.exit_code(), Some(0));
    }

    /// Whether it has said a line with these words in it.
    /// What follows `prefix` on a line that it has written.
    pub fn line(&self, prefix: &str) -> String {
        let mut found = None;
        await_that(prefix, || {
            let lines = self.lines.lock().unwrap();
            found = lines.iter().find_map(|line| line.trim().strip_prefix(prefix).map(str::to_owned));
            found.is_some()
        });
        found.expect("it was awaited")
    }

    pub fn said(&self, words: &[&str]) -> bool {
        self.count_said(words) > 0
    }

    /// How many lines have these words in them.
    pub fn count_said(&self, words: &[&str]) -> usize {
        let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
        self.lines.lock().unwrap().iter().filter(has_all).count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command with nothing in its environment.
pub fn annulus(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annulus"));
    command.args(arguments).env_clear();
    command
}

/// Exit code and the one line of a server that does not start.
pub fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = annulus(arguments)
        // So few that no limit of this machine is worth a warning.
        .args(["--max-connections", "100"])
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
