//! How the server under test is started; it is built if need be.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{ServerProcess, free_address};
use crate::failure::Failure;
use crate::streams;

pub struct Launch<'a> {
    /// `None`: the `annulus` beside our own executable.
    pub binary: Option<&'a Path>,
    /// `None`: it keeps its maps in memory.
    pub data: Option<&'a Path>,
    pub further: &'a [String],
    /// What the user wants, separated by spaces; it wins over everything else.
    pub arguments: &'a str,
    pub core: usize,
}

impl Launch<'_> {
    /// # Errors
    /// [`Failure::Setup`] when it cannot be built or does not come up.
    pub fn start(&self) -> Result<ServerProcess, Failure> {
        let binary = match self.binary {
            Some(path) => path.to_owned(),
            None => built_binary()?,
        };
        let address = free_address()?;
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", &address.to_string()]);
        if !self.arguments.contains("--cores") {
            command.args(["--cores", &self.core.to_string()]);
        }
        match self.data {
            _ if names_storage(self.arguments) => {}
            Some(folder) => {
                command.args(["--storage", "disk", "--data-dir"]).arg(folder);
            }
            None => {
                command.args(["--storage", "memory"]);
            }
        }
        command.args(self.further).args(self.arguments.split_whitespace());
        ServerProcess::start(command, address, "--server-bin")
    }
}

/// Whether the user has said where the server keeps its maps.
pub fn names_storage(arguments: &str) -> bool {
    ["--storage", "--data-dir"].into_iter().any(|flag| arguments.contains(flag))
}

/// The release build of the server beside our executable; `cargo` makes it when it is missing.
fn built_binary() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("annulus");
    if beside.exists() {
        return Ok(beside);
    }
    streams::say("building the server: cargo build --release --bin annulus\n");
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
