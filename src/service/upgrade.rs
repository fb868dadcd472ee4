//! Whether another program can take the place of this one, and what it would be started with: what this one was.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::io::Clock;

/// How long a program has to say whether it can serve, and how often it is asked whether it has.
const CHECK_TIMEOUT_NS: u64 = 10_000_000_000;
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(10);
/// What the version of a server begins with.
const OURS: &str = "annulus ";
/// Bytes of what it says that are shown.
const SAID_BYTES_MAX: u64 = 4 << 10;

/// How this process was started.
struct Start {
    program: Option<PathBuf>,
    arguments: Vec<OsString>,
    /// The same without the name of an action.
    settings: Vec<OsString>,
}

static START: OnceLock<Start> = OnceLock::new();

/// Takes note of how this process was started: of its `arguments`, whose first is its name, and of those that are settings.
/// Called at its start, as a package may put another program there later.
pub fn note_start(
    arguments: impl Iterator<Item = OsString>,
    settings: impl FnOnce(&[OsString]) -> Vec<OsString>,
) {
    let arguments: Vec<OsString> = arguments.skip(1).collect();
    let settings = settings(&arguments);
    let _ = START.set(Start { program: std::env::current_exe().ok().map(without_mark), arguments, settings });
}

/// The kernel marks the path of a program whose file was removed or replaced.
fn without_mark(program: PathBuf) -> PathBuf {
    let unmarked = program.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    unmarked.unwrap_or(program)
}

/// Where the program was that this process was started from.
pub fn started_from() -> Option<PathBuf> {
    START.get()?.program.clone()
}

/// What it was started with.
pub fn arguments() -> Vec<OsString> {
    START.get().map(|start| start.arguments.clone()).unwrap_or_default()
}

/// Which version this is, and as which process it runs.
pub fn this_version() -> String {
    format!("annulus {}, process {}", env!("CARGO_PKG_VERSION"), std::process::id())
}

/// Asks `program` whether it can serve the settings of this one; its version.
///
/// # Errors
/// A sentence with what it says, or why it cannot be asked.
pub fn check(program: &Path) -> Result<String, String> {
    let settings = START.get().map(|start| &start.settings[..]).unwrap_or_default();
    let version = ask(program, &["--version".into()])?;
    if !version.starts_with(OURS) {
        let program = program.display();
        return Err(format!("{program} is no annulus, as its version is {version:?}; this server serves on"));
    }
    let check = [settings, &["config".into(), "--check".into()]].concat();
    ask(program, &check)?;
    Ok(version)
}

/// Runs it and returns the line that it prints.
fn ask(program: &Path, arguments: &[OsString]) -> Result<String, String> {
    let name = program.display();
    let failed =
        |why: &dyn std::fmt::Display| format!("{name} cannot take over: {why}; this server serves on");
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let clock = Clock::start();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if clock.elapsed_ns() < CHECK_TIMEOUT_NS => std::thread::sleep(LOOK_EVERY),
            Ok(None) => {
                let _ = child.kill().and_then(|()| child.wait());
                return Err(failed(&"it does not say whether it can"));
            }
            Err(error) => return Err(failed(&error)),
        }
    };
    let (mut said, mut told) = (String::new(), String::new());
    let _ = child.stdout.take().map(|out| out.take(SAID_BYTES_MAX).read_to_string(&mut said));
    let _ = child.stderr.take().map(|out| out.take(SAID_BYTES_MAX).read_to_string(&mut told));
    match status.success() {
        true => Ok(said.trim().to_owned()),
        false => Err(failed(&format!("it says: {}", told.trim()))),
    }
}
