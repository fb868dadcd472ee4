//! The server as a whole: starts the shards and waits for their end.

use crate::config::Config;
use crate::io::probe::{ProbeError, probe};

/// What to serve, and where.
pub struct Settings {
    /// What every shard has a copy of.
    pub config: Config,
    /// Cores to run on, one shard each, ascending.
    pub cores: Vec<usize>,
}

/// Why the server ended other than by being told to; printed behind `annulus: `, exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Ring(#[from] ProbeError),
    /// The kernel has io_uring, but not all of what a shard uses.
    #[error("this kernel's io_uring lacks {0}; run Linux 6.1 or newer, and see `annulus doctor`")]
    RingFeatures(String),
    /// Until the shards are put together.
    #[error("serving is not built yet; try `annulus doctor` or `annulus config`")]
    NotYet,
}

/// Serves until told to stop.
///
/// # Errors
/// [`RunError`] with what to do about it.
pub fn run(_settings: Settings) -> Result<(), RunError> {
    let missing = probe()?.missing();
    if !missing.is_empty() {
        return Err(RunError::RingFeatures(missing.join(", ")));
    }
    Err(RunError::NotYet)
}
