//! How a server on Node is started to be compared with: one process, alone on its port and core.

use std::path::Path;
use std::process::Command;

use super::process::{ServerProcess, free_address};
use crate::failure::Failure;

pub struct Launch<'a> {
    pub binary: &'a Path,
    /// Where the program is, beside what it imports.
    pub folder: &'a Path,
    /// Its file there; it is told its port.
    pub program: &'a str,
}

impl Launch<'_> {
    /// # Errors
    /// [`Failure::Setup`] when it is not there or does not come up.
    pub fn start(&self) -> Result<ServerProcess, Failure> {
        if !self.folder.join("node_modules").exists() {
            return Err(Failure::Setup(format!(
                "{} has no node_modules: scripts/compare-node installs them, or name another with --peers-dir",
                self.folder.display()
            )));
        }
        let address = free_address()?;
        let mut command = Command::new(self.binary);
        command.env("NODE_ENV", "production");
        command.arg(self.folder.join(self.program)).arg(address.port().to_string());
        ServerProcess::start(command, address, "--node-bin")
    }
}
