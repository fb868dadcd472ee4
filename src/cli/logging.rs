//! Starts the log: stderr, as text for people or as one JSON object an event.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

use super::{LogFormat, LogSettings};

/// Installs the log for the whole process. Called once, before the first event.
pub fn start(settings: &LogSettings) {
    // The filter was checked when the flag was read; the default takes its place rather than no log at all.
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = Subscriber::builder().with_env_filter(filter).with_writer(io::stderr);
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
}
