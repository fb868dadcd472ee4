//! Starts the log: stderr, as text for people or as one JSON object an event.

use std::io::{self, IsTerminal};
use std::panic;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

use super::{LogFormat, LogSettings};
use crate::io::log;

/// Installs the log for the whole process. Called once, before the first event.
///
/// # Errors
/// If there is no thread to be had, which the log has of its own.
pub fn start(settings: &LogSettings) -> io::Result<()> {
    log::start()?;
    // What was said before is what explains a panic, and the process ends with it.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        log::flush();
        report(panic);
    }));
    // The filter was checked when the flag was read; the default takes its place rather than no log at all.
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // A failure to write would be told by writing to stderr.
    let builder = Subscriber::builder().with_env_filter(filter).log_internal_errors(false);
    let builder = builder.with_writer(|| log::Lines);
    let installed = match settings.format {
        LogFormat::Human => {
            let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            tracing::subscriber::set_global_default(builder.compact().with_ansi(ansi).finish())
        }
        LogFormat::Json => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
        }
    };
    debug_assert!(installed.is_ok(), "the log is started once");
    Ok(())
}
