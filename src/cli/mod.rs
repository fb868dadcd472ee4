//! The command line: flags, variables and a file in, settings or one line of advice out.
//!
//! Invariant: whatever the user can get wrong is found here, before a thread starts or a port opens.

mod action;
mod asked;
pub mod banner;
mod checks;
mod config_file;
mod cores;
pub mod doctor;
mod error;
mod explain;
mod flags;
mod front_page;
mod inherited;
mod listen;
pub mod logging;
mod networks;
mod resolve;
mod serve;
mod sources;
pub mod stdout;
mod synonyms;
mod task;
mod values;
pub mod variables;

use std::ffi::OsString;
use std::io;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

pub use error::ConfigError;
pub use flags::LogFormat;
pub use inherited::Environment;
pub use serve::{LogSettings, Serve};
pub use task::{Task, TaskError};

use crate::io::host;
use crate::service::signals::{MEANINGS, Meaning};
use crate::service::{certificates, desk};
use action::{Action, ConfigForm};
use config_file::ConfigFile;
use explain::Origins;
use flags::{Cli, Flags};
use inherited::Inherited;

/// What the user asked for.
#[derive(Debug)]
pub enum Command {
    /// Run the server.
    Serve(Serve),
    /// Check the host for these settings.
    Doctor(Serve),
    /// Print this text, such as the effective configuration.
    Config { text: String, remarks: Vec<String> },
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
    let given: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut arguments = given.clone();
    let mut command = variables::without_empty(command(), environment);
    let file = ConfigFile::fill(&mut arguments, &command)?;
    let parsed = command.try_get_matches_from_mut(&arguments);
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (Cli { action, mut flags }, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(page) if is_page(page.kind()) => {
            // Its variables are named there whether or not they are empty here.
            let page = self::command().try_get_matches_from(arguments).err().unwrap_or(page);
            return Ok(Command::Page(Box::new(page)));
        }
        Err(error) => return Err(file.refusal(&error, ConfigError::from_usage(&error, &command))),
    };
    if let Some(text) = action.as_ref().and_then(page) {
        return Ok(Command::Config { text, remarks: Vec::new() });
    }
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
        .map_err(|error| file.blame(inherited::blame(error, &inherited.used)))?;
    serve.from_flags = Some(sources::from_flags(&flags, (&matches, &file), &given, &inherited.used));
    (serve.inherited, serve.remarks) = (inherited.used, inherited.ignored);
    let is_default =
        matches.value_source("listen").is_none_or(|source| source == clap::parser::ValueSource::DefaultValue);
    serve.listen_is_chosen = !is_default || serve.origin_of_listen().is_some();
    let check = |serve: &Serve| {
        let check = |identity| desk::check(identity, serve.hooks.nats.is_some());
        serve.identity.as_ref().map_or(Ok(()), check)?;
        serve.tls.as_ref().map_or(Ok(()), certificates::check)?;
        Ok::<(), ConfigError>(())
    };
    Ok(match action {
        Action::Doctor => Command::Doctor(serve),
        Action::Config(form) => {
            if form.check {
                check(&serve)?;
            }
            let origins = Origins {
                matches: &matches,
                file: &file,
                inherited: &serve.inherited,
                preset: flags.delivery.preset.name(),
            };
            Command::Config { text: configuration(form, &flags, &command, &origins), remarks: serve.remarks }
        }
        _ => {
            check(&serve)?;
            Command::Serve(serve)
        }
    })
}

/// What an action prints that needs no settings.
fn page(action: &Action) -> Option<String> {
    let mut bytes = Vec::new();
    match action {
        Action::Man => manual(&mut bytes).ok()?,
        Action::Completions { shell } => {
            clap_complete::generate(*shell, &mut command(), "annulus", &mut bytes);
        }
        _ => return None,
    }
    String::from_utf8(bytes).ok()
}

/// The manual page. Its synopsis is ours, as clap's has every flag.
fn manual(page: &mut Vec<u8>) -> io::Result<()> {
    let manual = clap_mangen::Man::new(command());
    manual.render_title(page)?;
    manual.render_name_section(page)?;
    page.extend_from_slice(b".SH SYNOPSIS\n\\fBannulus\\fR [\\fIFLAGS\\fR] [\\fICOMMAND\\fR]\n");
    manual.render_description_section(page)?;
    manual.render_options_section(page)?;
    manual.render_subcommands_section(page)?;
    manual.render_extra_section(page)?;
    manual.render_version_section(page)
}

/// The arguments of a server without the name of the action, which may be left out: others may be put behind them.
///
/// A flag that takes a value without `=` takes the word behind it, whatever that is.
pub fn without_action(arguments: &[OsString]) -> Vec<OsString> {
    let command = command();
    let takes_next = |word: &OsString| {
        let Some(long) = word.to_str().and_then(|word| word.strip_prefix("--")) else { return false };
        let is_it = |arg: &&clap::Arg| arg.get_long() == Some(long);
        command.get_arguments().find(is_it).is_some_and(|arg| arg.get_action().takes_values())
    };
    let mut is_value = false;
    let mut kept = Vec::new();
    for word in arguments {
        let is_action = !is_value && word == "serve";
        is_value = !is_value && takes_next(word);
        if !is_action {
            kept.push(word.clone());
        }
    }
    kept
}

/// What `annulus config` prints.
fn configuration(form: ConfigForm, flags: &Flags, command: &clap::Command, origins: &Origins<'_>) -> String {
    if form.check {
        return "these settings can be served\n".to_owned();
    }
    if form.sample {
        return sample();
    }
    let values = by_flag(flags);
    if form.explain {
        return explain::explain(command, &values, origins);
    }
    format!("{:#}\n", serde_json::Value::Object(values))
}

/// A file of settings with every key commented out; the same on every host.
fn sample() -> String {
    let command = command().mut_args(|arg| arg.env(Resettable::<clap::builder::OsStr>::Reset));
    let matches = command.clone().try_get_matches_from(["annulus"]);
    let cli = matches
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .expect("every flag has a default or is none");
    explain::sample(&command, &by_flag(&cli.flags))
}

/// The flags as JSON, by their names.
fn by_flag(flags: &Flags) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(flags).expect("a struct of numbers and text has a JSON form") {
        serde_json::Value::Object(values) => values,
        _ => unreachable!("a struct becomes an object"),
    }
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
mod config_page;
#[cfg(test)]
mod flags_page;
#[cfg(test)]
mod tests;
