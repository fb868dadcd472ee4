//! `annulus backup`: asks the running server for a copy; without one copies the directory itself.

use std::io;
use std::path::Path;

use super::running::Server;
use super::{TaskError, check_there, now_and_then};
use crate::config::DataMode;
use crate::io::Clock;
use crate::service::Request;
use crate::storage::backup::{self, CopyOptions};

/// Copies and says what was copied.
pub(super) fn run(data_dir: &Path, target: &Path, mode: DataMode) -> Result<String, TaskError> {
    // The server has a current directory of its own.
    let target = std::path::absolute(target).map_err(|error| TaskError::file(target, error))?;
    check_there(data_dir)?;
    match Server::connect(data_dir) {
        Ok(server) => server.ask(&Request::Backup(target), &mut io::sink()),
        Err(unreached) => {
            let options = CopyOptions { now_ms: Clock::start().now().unix_ms, mode };
            let copied = backup::copy_stopped(data_dir, &target, options, &mut now_and_then());
            Ok(copied.map_err(unreached.explain())?.to_string())
        }
    }
}
