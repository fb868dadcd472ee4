//! `annulus upgrade`: asks the running server to become another program, and waits until that one serves.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::running::Server;
use super::{TaskError, check_there};
use crate::io::Clock;
use crate::service::Request;

/// How long the next one has to serve: it reads what of the journal is not in the base.
const SERVES_WITHIN_MS: u64 = 600_000;
/// How long a service manager has to start it again, where its process has ended.
const AGAIN_WITHIN_MS: u64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const NS_PER_MS: u64 = 1_000_000;

/// Does it and says how long nobody was served.
pub(super) fn run(data_dir: &Path, binary: Option<&Path>) -> Result<String, TaskError> {
    check_there(data_dir)?;
    let binary = binary.map(|path| std::path::absolute(path).map_err(|error| TaskError::file(path, error)));
    let connect = || Server::connect(data_dir);
    let none = |_| {
        let directory = data_dir.display();
        TaskError::Usage(format!(
            "no server answers for {directory}; name that of a running one with --data-dir, and run this as its user or as \
             root (a server with --storage memory keeps nothing, so restart it)"
        ))
    };
    let server = connect().map_err(none)?;
    let process = server.process();
    let is_gone =
        || process.is_some_and(|process| rustix::process::test_kill_process(process) == Err(Errno::SRCH));
    server.ask_until_gone(&Request::Upgrade(binary.transpose()?))?;
    let clock = Clock::start();
    loop {
        let version = connect().ok().and_then(|server| server.ask(&Request::Version, &mut io::sink()).ok());
        let gap_ms = clock.elapsed_ns() / NS_PER_MS;
        if let Some(version) = version {
            return Ok(format!("{version}, serves; nobody was accepted for {gap_ms} ms after the drain"));
        }
        if gap_ms > SERVES_WITHIN_MS || gap_ms > AGAIN_WITHIN_MS && is_gone() {
            return Err(TaskError::Server(
                "nothing more, as the next one does not serve; its log says why".to_owned(),
            ));
        }
        thread::sleep(LOOK_EVERY);
    }
}
