//! How Redis is started to be compared with: alone on its port and core, and as durable as it can be.

use std::path::Path;
use std::process::Command;

use super::process::{ServerProcess, free_address};
use crate::failure::Failure;

pub struct Launch<'a> {
    pub binary: &'a Path,
    /// Where its files go.
    pub data: &'a Path,
    /// What the user wants, separated by spaces; it wins over what is here.
    pub arguments: &'a str,
}

/// Everything else is what Redis does by itself; it reads no file of settings.
const DURABLE: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];

impl Launch<'_> {
    /// # Errors
    /// [`Failure::Setup`] when it is not there or does not come up.
    pub fn start(&self) -> Result<ServerProcess, Failure> {
        let address = free_address()?;
        let mut command = Command::new(self.binary);
        command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.arg("--dir").arg(self.data).args(DURABLE);
        command.args(self.arguments.split_whitespace());
        ServerProcess::start(command, address, "--redis-bin (Debian: apt-get install redis-server)")
    }
}
