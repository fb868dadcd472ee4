//! Streams that take nothing: the log and the tools where stderr or stdout is full, closed, or not read.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::process::annulus;
use crate::server::{Directory, await_that, get};

/// A device on which every write fails with "no space left".
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe that nobody reads, and its end to read.
fn pipe() -> (Stdio, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (writer.into(), File::from(std::os::fd::OwnedFd::from(reader)))
}

/// A server in memory whose log goes to `stderr`, on a port that was free a moment ago.
struct Silent {
    child: Child,
    address: SocketAddr,
}

impl Silent {
    fn start(stderr: Stdio, arguments: &[&str]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = annulus(&["--storage", "memory", "--listen", &address.to_string()])
            .args(arguments)
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut server = Self { child, address };
        await_that("the server", || {
            assert_eq!(server.child.try_wait().unwrap(), None, "it ends instead of serving");
            TcpStream::connect(address).is_ok()
        });
        server
    }

    fn drains(mut self) {
        let client = Client::connect(self.address);
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(client.closed().0, 1001);
        await_that("the end of the server", || self.child.try_wait().unwrap().is_some());
        assert_eq!(self.child.try_wait().unwrap().unwrap().code(), Some(0));
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_cannot_be_written_is_no_reason_to_end() {
    for format in ["human", "json"] {
        Silent::start(full().into(), &["--log-format", format]).drains();
        let (stderr, reader) = pipe();
        let server = Silent::start(stderr, &["--log-format", format]);
        drop(reader);
        server.drains();
    }
}

// The pipe holds 64 KiB, and each connection says more than a hundred bytes when it opens and when it ends.
#[test]
fn a_reader_of_the_log_that_has_stopped_stops_nobody_else() {
    let (stderr, mut reader) = pipe();
    let server = Silent::start(stderr, &["--log-level", "trace"]);
    for _ in 0..1_000 {
        assert!(get(server.address, "/healthz").contains("ok"));
    }
    server.drains();
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.contains("listen"), "{log}");
}

#[test]
fn a_backup_is_taken_whether_or_not_anybody_hears_of_it() {
    let (data, copy) = (Directory::new(), Directory::new());
    let path = |directory: &Directory| directory.path().to_str().unwrap().to_owned();
    let mut import = annulus(&["import", "--data-dir", &path(&data)]);
    assert!(import.stdin(Stdio::null()).stderr(full()).status().unwrap().success());
    let mut backup = annulus(&["backup", "--data-dir", &path(&data), &path(&copy)]);
    assert!(backup.stderr(full()).status().unwrap().success());
    assert!(copy.path().join("FORMAT").exists());
}

#[test]
fn what_cannot_be_printed_is_exit_code_1_and_a_word_but_a_reader_that_is_gone_is_fine() {
    let data = Directory::new();
    let path = data.path().to_str().unwrap();
    let line = r#"{"map":"m","type":"lww","key":"k","applied":"1700000000200:0","value":1,"at":"1700000000200:0:n"}"#;
    let lines = std::env::temp_dir().join(format!("annulus-streams-{}.jsonl", std::process::id()));
    std::fs::write(&lines, format!("{line}\n")).unwrap();
    let mut import = annulus(&["import", "--data-dir", path]);
    assert!(import.stdin(File::open(&lines).unwrap()).stderr(Stdio::null()).status().unwrap().success());
    std::fs::remove_file(&lines).unwrap();
    for command in [
        &["config"][..],
        &["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"],
        &["verify", path],
        &["export", "--data-dir", path],
        &["--help"],
        &["--version"],
    ] {
        let output = annulus(command).stdout(full()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.starts_with("annulus: ") && said.contains("No space left on device"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");

        let (stdout, reader) = pipe();
        drop(reader);
        let output = annulus(command).stdout(stdout).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{command:?}");
    }
}
