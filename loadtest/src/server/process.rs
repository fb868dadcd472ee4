//! A server of our own: started on a free port, told to stop or killed, and gone with the run in any case.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{NANOS_PER_SECOND, now_ns};
use crate::failure::Failure;
use crate::streams;

/// How long a server may take to listen, and to end: long enough to read a large journal, or write one.
const START_NS_MAX: u64 = 120 * NANOS_PER_SECOND;
const STOP_NS_MAX: u64 = 30 * NANOS_PER_SECOND;
/// How late it is noticed that a server listens: that time is measured.
const START_POLL: Duration = Duration::from_millis(1);
const STOP_POLL: Duration = Duration::from_millis(20);
/// Bytes of its output shown when it fails.
const OUTPUT_SHOWN_BYTES: u64 = 2000;

pub struct ServerProcess {
    child: Child,
    pub address: SocketAddr,
    /// When it was started, and when it listened.
    pub started_ns: u64,
    pub listening_ns: u64,
    output: File,
}

impl ServerProcess {
    /// Starts it and waits until it listens on `address`. `flag` names another program in its place.
    ///
    /// # Errors
    /// [`Failure::Setup`] with the end of its output, when it does not come up.
    pub fn start(mut command: Command, address: SocketAddr, flag: &str) -> Result<Self, Failure> {
        let output = output_file()?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        let started_ns = now_ns();
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy();
            Failure::Setup(format!("cannot start {program}: {error}; name another with {flag}"))
        })?;
        let mut server = Self { child, address, started_ns, listening_ns: 0, output };
        server.wait_until_listening()?;
        server.listening_ns = now_ns();
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it said last, for a report of failure.
    pub fn last_output(&mut self) -> String {
        let mut text = Vec::new();
        let length = self.output.metadata().map_or(0, |metadata| metadata.len());
        let start = length.saturating_sub(OUTPUT_SHOWN_BYTES);
        let read = self.output.seek(SeekFrom::Start(start)).and_then(|_| self.output.read_to_end(&mut text));
        if read.is_err() { String::new() } else { String::from_utf8_lossy(&text).into_owned() }
    }

    /// Ends it as a crash would: it has no time for anything.
    ///
    /// # Errors
    /// [`Failure::Io`] when it cannot be waited for.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.kill_now()?;
        self.child.wait()?;
        Ok(())
    }

    /// The same, without waiting for it.
    ///
    /// # Errors
    /// [`Failure::Io`] when it is not ours to kill.
    pub fn kill_now(&mut self) -> Result<(), Failure> {
        Ok(self.child.kill()?)
    }

    /// Tells it to stop, as an operator does, and waits for that.
    ///
    /// # Errors
    /// [`Failure::Wrong`] when it does not end, or not well.
    pub fn stop(mut self) -> Result<(), Failure> {
        match self.terminate() {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                Err(Failure::Wrong(format!("told to stop, it ended with {status}:\n{}", self.last_output())))
            }
            None => Err(Failure::Wrong(format!("told to stop, it did not end:\n{}", self.last_output()))),
        }
    }

    fn terminate(&mut self) -> Option<ExitStatus> {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = now_ns() + STOP_NS_MAX;
        while now_ns() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(STOP_POLL),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
        None
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
            std::thread::sleep(START_POLL);
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.terminate().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A server of ours may have said why it failed.
pub fn with_server_output(failure: Failure, server: Option<&mut ServerProcess>) -> Failure {
    let output = server.map(ServerProcess::last_output).unwrap_or_default();
    if !output.is_empty() {
        streams::say(&format!("\nthe server's last words:\n{output}\n"));
    }
    failure
}

pub fn free_address() -> std::io::Result<SocketAddr> {
    // The port is free again when this listener is dropped, and nobody else is given it so soon.
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// A file without a name: gone with the process.
fn output_file() -> Result<File, Failure> {
    let path = std::env::temp_dir().join(format!("annulus-loadtest-{}-{}.log", std::process::id(), now_ns()));
    let file = File::options().read(true).append(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
