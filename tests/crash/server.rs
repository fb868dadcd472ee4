//! The built command on a data directory: started, asked how it is, killed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a start, which includes recovery, or an orderly end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; killed when it goes out of scope.
pub struct Server {
    child: Child,
    log: std::path::PathBuf,
}

/// How to start it.
pub struct Flags {
    pub cores: String,
    pub storage: Vec<String>,
}

impl Server {
    /// Starts it, with everything it says in `log`.
    pub fn start(flags: &Flags, log: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_annulus"))
            .args(["--listen", "127.0.0.1:0", "--drain-ms", "100", "--cores", &flags.cores])
            .args(&flags.storage)
            .env_clear()
            .stdin(Stdio::null())
            .stderr(File::create(log).unwrap())
            .spawn()
            .expect("cargo has built the command");
        Self { child, log: log.to_owned() }
    }

    /// Waits until the banner names the address.
    pub fn address(&mut self) -> SocketAddr {
        let began = Instant::now();
        loop {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            let complete = said.rsplit_once('\n').map_or("", |(lines, _)| lines);
            let address = |line: &str| {
                line.trim()
                    .strip_prefix("listen")?
                    .trim()
                    .strip_prefix("ws://")?
                    .strip_suffix("/v1")?
                    .parse()
                    .ok()
            };
            if let Some(address) = complete.lines().find_map(address) {
                return address;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server does not start ({ended:?}):\n{said}");
            assert!(began.elapsed() < PATIENCE, "the server does not start:\n{said}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn kill(mut self) {
        let ended = self.child.try_wait().unwrap();
        let said = || fs::read_to_string(&self.log).unwrap_or_default();
        assert!(ended.is_none(), "the server ended by itself ({ended:?}):\n{}", said());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end and waits until it has, well.
    pub fn terminate(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                assert!(status.success(), "an orderly end with {status}:\n{said}");
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("SIGTERM does not end the server");
    }

    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The page of metrics; empty if the server is gone.
pub fn metrics(address: SocketAddr) -> String {
    let mut page = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: crash\r\n\r\n");
        let _ = stream.read_to_string(&mut page);
    }
    page
}

/// The sum of all series of one name on a page of metrics.
pub fn metric(page: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    };
    page.lines().filter_map(value).sum::<f64>() as u64
}
