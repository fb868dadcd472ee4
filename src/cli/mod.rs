//! The command line: flags and variables in, settings or one line of advice out.
//!
//! Invariant: whatever the user can get wrong is found here, before a thread starts or a port opens.

mod action;
mod asked;
pub mod banner;
mod cores;
pub mod doctor;
mod error;
mod flags;
mod front_page;
mod inherited;
mod listen;
pub mod logging;
mod networks;
mod resolve;
mod sources;
pub mod stdout;
mod synonyms;
mod task;
mod values;
pub mod variables;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

pub use error::ConfigError;
pub use flags::LogFormat;
pub use inherited::Environment;
pub use resolve::{LogSettings, Serve};
pub use task::{Task, TaskError};

use crate::io::host;
use crate::service::desk;
use crate::service::signals::{MEANINGS, Meaning};
use action::Action;
use flags::Cli;
use inherited::Inherited;

/// What the user asked for.
#[derive(Debug)]
pub enum Command {
    /// Run the server.
    Serve(Serve),
    /// Check the host for these settings.
    Doctor(Serve),
    /// Print this JSON: the effective configuration, keyed by flag.
    Config { json: String, remarks: Vec<String> },
    /// Do this to a data directory.
    Task(Task),
    /// Print this page: `--help` or `--version`.
    Page(Box<clap::Error>),
}

/// Reads the command line, whose first item is the program's name, and the environment: our own variables from the
/// process, as clap does, and those we inherit from `environment`.
///
/// # Errors
/// [`ConfigError`] for whatever cannot be served; its text is one line that says what to do.
pub fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    environment: Environment<'_>,
) -> Result<Command, ConfigError> {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut command = variables::without_empty(command(), environment);
    let parsed = command.try_get_matches_from_mut(&arguments);
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (Cli { action, mut flags }, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(page) if is_page(page.kind()) => {
            // Its variables are named there whether or not they are empty here.
            let page = self::command().try_get_matches_from(arguments).err().unwrap_or(page);
            return Ok(Command::Page(Box::new(page)));
        }
        Err(error) => return Err(ConfigError::from_usage(&error, &command)),
    };
    let action = match action.unwrap_or(Action::Serve).into_task(&flags) {
        Ok(task) => return Ok(Command::Task(task)),
        Err(action) => action,
    };
    let allowed_cores = host::allowed_cores();
    let node_is_chosen = flags.listening.node.is_some();
    let inherited = match flags.synckit.no_synckit {
        true => Inherited::default(),
        false => inherited::fill(&mut flags, &matches, environment)?,
    };
    resolve::fill(&mut flags, &allowed_cores)?;
    let mut serve = resolve::settings(&flags, node_is_chosen, &allowed_cores)
        .map_err(|error| inherited::blame(error, &inherited.used))?;
    serve.from_flags = Some(sources::from_flags(&flags, &matches, &arguments, &inherited.used));
    (serve.inherited, serve.remarks) = (inherited.used, inherited.ignored);
    Ok(match action {
        Action::Doctor => Command::Doctor(serve),
        Action::Config => Command::Config {
            json: simd_json::to_string_pretty(&flags).expect("a struct of numbers and text has a JSON form"),
            remarks: serve.remarks,
        },
        _ => {
            let check = |identity| desk::check(identity, serve.hooks.nats.is_some());
            serve.identity.as_ref().map_or(Ok(()), check)?;
            Command::Serve(serve)
        }
    })
}

/// The command with every flag valid before and after the name of the action, so that `annulus --listen …`
/// and `annulus serve --listen …` are the same.
fn command() -> clap::Command {
    // A setting that is changed while the server runs comes behind the flag of the start.
    Cli::command()
        .args_override_self(true)
        .mut_args(|arg| arg.global(true))
        .after_long_help(inherited::help() + &signals_help())
}

/// What `--help` says of signals.
fn signals_help() -> String {
    let mut text = "\nSignals of a running server:\n".to_owned();
    for Meaning { signals, meaning } in &MEANINGS {
        text += &format!("  {signals}\n          {meaning}\n");
    }
    text
}

fn is_page(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

#[cfg(test)]
mod flags_page;
#[cfg(test)]
mod tests;
