//! A server of our own: built if need be, started on a free port and a core of its own, stopped at the end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{NANOS_PER_SECOND, now_ns};
use crate::failure::Failure;

/// How long the server may take to listen, and to end.
const START_NS_MAX: u64 = 15 * NANOS_PER_SECOND;
const STOP_NS_MAX: u64 = 10 * NANOS_PER_SECOND;
const POLL: Duration = Duration::from_millis(20);
/// Bytes of its output shown when it fails.
const OUTPUT_SHOWN_BYTES: u64 = 2000;

pub struct ServerProcess {
    child: Child,
    pub address: SocketAddr,
    output: File,
}

pub struct Launch<'a> {
    /// `None`: the `annulus` beside our own executable.
    pub binary: Option<&'a Path>,
    /// Further arguments, separated by spaces.
    pub arguments: &'a str,
    pub core: usize,
}

impl ServerProcess {
    /// Starts it and waits until it listens. This thread must not be pinned then: a child inherits the pin.
    ///
    /// # Errors
    /// [`Failure::Setup`] with the end of its output, when it cannot be built or does not come up.
    pub fn start(launch: &Launch<'_>) -> Result<Self, Failure> {
        let binary = match launch.binary {
            Some(path) => path.to_owned(),
            None => built_binary()?,
        };
        let address = free_address()?;
        let output = output_file()?;
        let mut command = Command::new(&binary);
        command.args(["serve", "--listen", &address.to_string()]);
        if !launch.arguments.contains("--cores") {
            command.args(["--cores", &launch.core.to_string()]);
        }
        command.args(launch.arguments.split_whitespace());
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        let child = command.spawn().map_err(|error| {
            Failure::Setup(format!(
                "cannot start {}: {error}; name another with --server-bin",
                binary.display()
            ))
        })?;
        let mut server = Self { child, address, output };
        server.wait_until_listening()?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said last, for a report of failure.
    pub fn last_output(&mut self) -> String {
        let mut text = Vec::new();
        let length = self.output.metadata().map_or(0, |metadata| metadata.len());
        let start = length.saturating_sub(OUTPUT_SHOWN_BYTES);
        let read = self.output.seek(SeekFrom::Start(start)).and_then(|_| self.output.read_to_end(&mut text));
        if read.is_err() { String::new() } else { String::from_utf8_lossy(&text).into_owned() }
    }

    fn wait_until_listening(&mut self) -> Result<(), Failure> {
        let deadline = now_ns() + START_NS_MAX;
        loop {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(Failure::Setup(format!(
                    "the server ended with {status}:\n{}",
                    self.last_output()
                )));
            }
            if now_ns() > deadline {
                return Err(Failure::Setup(format!("the server does not listen:\n{}", self.last_output())));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = now_ns() + STOP_NS_MAX;
        while now_ns() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The release build of the server beside our executable; `cargo` makes it when it is missing.
fn built_binary() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("annulus");
    if beside.exists() {
        return Ok(beside);
    }
    eprintln!("building the server: cargo build --release --bin annulus");
    let status = Command::new("cargo").args(["build", "--release", "--bin", "annulus"]).status();
    let built = status.is_ok_and(|status| status.success());
    // Our own executable may be a debug build; the server measured never is.
    let release = own.parent().and_then(Path::parent).map(|target| target.join("release/annulus"));
    [Some(beside), release]
        .into_iter()
        .flatten()
        .find(|path| built && path.exists())
        .ok_or_else(|| Failure::Setup("there is no annulus to start; name one with --server-bin".to_owned()))
}

fn free_address() -> Result<SocketAddr, Failure> {
    // The port is free again when this listener is dropped, and nobody else is given it so soon.
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A file without a name: gone with the process.
fn output_file() -> Result<File, Failure> {
    let path = std::env::temp_dir().join(format!("annulus-loadtest-{}-{}.log", std::process::id(), now_ns()));
    let file = File::options().read(true).append(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
