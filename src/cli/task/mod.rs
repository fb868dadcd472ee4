//! What is done beside serving: backup, export, import and verify of a data directory, API keys, revocations, rules, hooks.

mod asking;
mod backup;
mod clock;
mod hooks;
mod keys;
mod maps;
mod output;
mod revoking;
mod rules;
mod running;
mod upgrading;

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};

use super::action::{Action, HooksAction, KeyAction, Question, RevokeAction, RulesAction};
use super::asked::Asked;
use super::flags::Flags;
use crate::config::{DataMode, HooksConfig};
use crate::io::{Clock, log};
use crate::storage::StorageError;

/// One of them, with everything it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Of the running server of a data directory.
    Ask {
        data_dir: PathBuf,
        asked: Box<Asked>,
    },
    Backup {
        data_dir: PathBuf,
        target: PathBuf,
        mode: DataMode,
    },
    Upgrade {
        data_dir: PathBuf,
        binary: Option<PathBuf>,
    },
    Export {
        data_dir: PathBuf,
        maps: Vec<String>,
        output: Option<PathBuf>,
        mode: DataMode,
    },
    /// `node`: the name of the node in a directory that is not there yet; `ahead_ms_max`: how far stamps may be ahead.
    Import {
        data_dir: PathBuf,
        input: Option<PathBuf>,
        node: Option<String>,
        ahead_ms_max: u64,
        mode: DataMode,
    },
    Clock {
        data_dir: PathBuf,
        set_back: Option<PathBuf>,
        drift_max_ms: u64,
        mode: DataMode,
    },
    Verify {
        data_dir: PathBuf,
    },
    CreateKey {
        file: PathBuf,
        name: String,
        roles: Vec<String>,
        mode: DataMode,
    },
    ListKeys {
        file: PathBuf,
    },
    RevokeKey {
        file: PathBuf,
        name: String,
        mode: DataMode,
    },
    RevokeToken {
        file: PathBuf,
        token: String,
        mode: DataMode,
    },
    /// `issued_before`: as it was written; `None`: now.
    RevokeUser {
        file: PathBuf,
        user: String,
        issued_before: Option<String>,
        mode: DataMode,
    },
    ListRevoked {
        file: PathBuf,
    },
    CheckRules {
        file: PathBuf,
        has_nats: bool,
    },
    ReplayHooks {
        config: HooksConfig,
        rules: Option<PathBuf>,
    },
    ExplainRules {
        file: Option<PathBuf>,
        question: Box<Question>,
    },
}

/// Why it was not done; printed behind `annulus: `, exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the server says: {0}")]
    Server(String),
    #[error("{} is not there; name the data directory with --data-dir", .0.display())]
    NoData(PathBuf),
    /// What a server has open, and what does the same beside it.
    #[error("{directory} is in use by {holder}; {instead}")]
    InUse { directory: String, holder: String, instead: &'static str },
    #[error("{directory} is in use by {holder}, which cannot be asked at {}: {error}; {advice}", socket.display())]
    Unreached { directory: String, holder: String, socket: PathBuf, error: io::Error, advice: &'static str },
    #[error("{}: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("{}: {problem}", file.display())]
    Content { file: PathBuf, problem: String },
    /// What was asked for makes no sense; one sentence that says what to write.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Rules(#[from] crate::service::desk::DeskError),
    #[error("{0}")]
    Replay(String),
    #[error("stdout: {0}")]
    Stdout(#[source] io::Error),
    /// Whoever read stdout has seen enough: nothing is left to do, and nothing to say.
    #[error("nobody reads stdout any more")]
    ReaderGone,
    #[error("the clock is too far ahead; `annulus clock --set-back DIR` makes a copy whose clock is right")]
    ClockAhead,
    #[error("no random numbers from the kernel: {0}")]
    Random(getrandom::Error),
    /// Nobody listens there, or may not be asked.
    #[error("no server can be asked at {}: {error}; name its --data-dir, and run this as its user or as root", socket.display())]
    NoServer { socket: PathBuf, error: String },
    #[error("{0} things are not as they must be; please report this with the log of the server")]
    Violations(u64),
    #[error("what is listed above is damaged; restore a backup, or start once with --salvage")]
    Damaged,
}

impl TaskError {
    fn file(file: &Path, source: io::Error) -> Self {
        Self::File { file: file.to_owned(), source }
    }

    /// For `map_err`: what to do instead where a server is in the way.
    fn in_use(instead: &'static str) -> impl FnOnce(StorageError) -> Self {
        move |error| match error {
            StorageError::InUse { directory, holder } => Self::InUse { directory, holder, instead },
            error => Self::Storage(error),
        }
    }
}

/// Checks that there is something at `data_dir` before it is read.
fn check_there(data_dir: &Path) -> Result<(), TaskError> {
    let problem = match fs::metadata(data_dir) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => ErrorKind::NotADirectory.into(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(TaskError::NoData(data_dir.to_owned()));
        }
        Err(error) => error,
    };
    Err(TaskError::file(data_dir, problem))
}

impl Action {
    /// The task this is; itself if it is none.
    pub(super) fn into_task(self, flags: &Flags) -> Result<Task, Self> {
        let (data_dir, mode) = (flags.data.data_dir.clone(), flags.data.data_mode);
        let (api_keys, revoked) =
            (flags.identity.api_keys_in(&data_dir), flags.identity.revoked_in(&data_dir));
        Ok(match self {
            Self::Asked(asked) => Task::Ask { data_dir, asked },
            Self::Backup { dir } => Task::Backup { data_dir, target: dir, mode },
            Self::Upgrade { binary } => Task::Upgrade { data_dir, binary },
            Self::Export { maps, output } => Task::Export { data_dir, maps, output, mode },
            Self::Import { file, allow_future } => {
                let ahead_ms_max = if allow_future { u64::MAX } else { flags.data.max_clock_drift_ms };
                let node = flags.listening.node.clone();
                Task::Import { data_dir, input: file, node, ahead_ms_max, mode }
            }
            Self::Clock { set_back } => {
                Task::Clock { data_dir, set_back, drift_max_ms: flags.data.max_clock_drift_ms, mode }
            }
            Self::Verify { dir } => Task::Verify { data_dir: dir.unwrap_or(data_dir) },
            Self::Key { action: KeyAction::Create { name, roles } } => {
                Task::CreateKey { file: api_keys, name, roles, mode }
            }
            Self::Key { action: KeyAction::List } => Task::ListKeys { file: api_keys },
            Self::Key { action: KeyAction::Revoke { name } } => {
                Task::RevokeKey { file: api_keys, name, mode }
            }
            Self::Revoke { action: Some(RevokeAction::List), .. } => Task::ListRevoked { file: revoked },
            Self::Revoke { what, .. } => match what.token {
                Some(token) => Task::RevokeToken { file: revoked, token, mode },
                None => Task::RevokeUser {
                    file: revoked,
                    user: what.user.unwrap_or_default(),
                    issued_before: what.issued_before,
                    mode,
                },
            },
            Self::Rules { action: RulesAction::Check { file } } => {
                Task::CheckRules { file, has_nats: flags.hooks.nats_url.is_some() }
            }
            Self::Hooks { action: HooksAction::Replay } => {
                Task::ReplayHooks { config: flags.hooks.config(), rules: flags.identity.rules.clone() }
            }
            Self::Rules { action: RulesAction::Explain(question) } => {
                Task::ExplainRules { file: flags.identity.rules.clone(), question }
            }
            Self::Serve | Self::Doctor | Self::Config(_) | Self::Man | Self::Completions { .. } => {
                return Err(self);
            }
        })
    }
}

impl Task {
    /// Does it. How far it is goes to stderr, and so does the report, but for the digests of `verify`.
    ///
    /// # Errors
    /// [`TaskError`] in one line.
    pub fn run(&self) -> Result<(), TaskError> {
        match self {
            Self::Ask { data_dir, asked } => asking::run(data_dir, asked)?,
            Self::Backup { data_dir, target, mode } => say(&backup::run(data_dir, target, *mode)?),
            Self::Upgrade { data_dir, binary } => say(&upgrading::run(data_dir, binary.as_deref())?),
            Self::Export { data_dir, maps, output, mode } => {
                say(&maps::export(data_dir, maps, output.as_deref(), *mode)?);
            }
            Self::Import { data_dir, input, node, ahead_ms_max, mode } => {
                say(&maps::import(data_dir, input.as_deref(), node.as_deref(), *ahead_ms_max, *mode)?);
            }
            Self::Clock { data_dir, set_back, drift_max_ms, mode } => {
                clock::run(data_dir, set_back.as_deref(), *drift_max_ms, *mode)?;
            }
            Self::Verify { data_dir } => maps::verify(data_dir)?,
            Self::CreateKey { file, name, roles, mode } => keys::create(file, name, roles, *mode)?,
            Self::ListKeys { file } => keys::list(file)?,
            Self::RevokeKey { file, name, mode } => keys::revoke(file, name, *mode)?,
            Self::RevokeToken { file, token, mode } => revoking::token(file, token, *mode)?,
            Self::RevokeUser { file, user, issued_before, mode } => {
                revoking::user(file, user, issued_before.as_deref(), *mode)?;
            }
            Self::ListRevoked { file } => revoking::list(file)?,
            Self::CheckRules { file, has_nats } => rules::check(file, *has_nats)?,
            Self::ReplayHooks { config, rules } => hooks::replay(config, rules.as_deref())?,
            Self::ExplainRules { file, question } => rules::explain(file.as_deref(), question)?,
        }
        Ok(())
    }
}

/// Between two lines that say how far something is.
const SAID_EVERY_NS: u64 = 1_000_000_000;

/// Says how far something is, but not all the time.
fn now_and_then<T: fmt::Display>() -> impl FnMut(&T) {
    let clock = Clock::start();
    let mut said_ns = 0;
    move |so_far| {
        let now_ns = clock.elapsed_ns();
        if now_ns - said_ns >= SAID_EVERY_NS {
            said_ns = now_ns;
            say_progress(&format!("so far: {so_far}"));
        }
    }
}

/// A line for who watches; a log has no use for it.
fn say_progress(text: &str) {
    if io::stderr().is_terminal() {
        say(text);
    }
}

/// A line for people.
fn say(text: &str) {
    log::say(&format!("{text}\n"));
}
