//! How the server ends.

use clap::{Args, value_parser};
use serde::Serialize;

use super::HOUR_MS;
use crate::config::Config;

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Stopping")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Stopping {
    /// Milliseconds for which the server serves on when it is told to stop, while /healthz says 503
    ///
    /// So that load balancers notice before connections are refused: as long as their checks take to fail. Whoever comes
    /// meanwhile is served. Then follows --drain-ms; a second signal stops at once.
    #[arg(long, env = "ANNULUS_DRAIN_LEAD_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(0..=HOUR_MS), default_value_t = Config::default().drain_lead_ms)]
    pub drain_lead_ms: u64,

    /// Milliseconds over which connections are closed when the server is told to stop
    ///
    /// Spreads the clients' return over time; a second signal stops at once.
    #[arg(long, env = "ANNULUS_DRAIN_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(0..=HOUR_MS), default_value_t = Config::default().drain_ms)]
    pub drain_ms: u64,
}
