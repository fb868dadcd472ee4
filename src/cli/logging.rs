//! Starts the log: stderr, as text for people or as one JSON object an event.

use std::io::{self, IsTerminal};
use std::panic;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, fmt, reload};

use super::{LogFormat, LogSettings};
use crate::io::log;
use crate::io::recent::Recent;

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
    let (filter, reload) = reload::Layer::new(filter);
    log::set_reload(move |filter| {
        let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        reload.reload(filter).map_err(|error| error.to_string())
    });
    // A failure to write would be told by writing to stderr.
    let lines = fmt::layer().log_internal_errors(false).with_writer(|| log::Lines);
    let registry = tracing_subscriber::registry().with(filter).with(Recent);
    let installed = match settings.format {
        LogFormat::Human => {
            let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            tracing::subscriber::set_global_default(registry.with(lines.compact().with_ansi(ansi)))
        }
        LogFormat::Json => {
            tracing::subscriber::set_global_default(registry.with(lines.json().flatten_event(true)))
        }
    };
    debug_assert!(installed.is_ok(), "the log is started once");
    Ok(())
}
