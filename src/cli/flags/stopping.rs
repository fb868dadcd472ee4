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

    /// Connections that are closed at once when the server is told to stop, and the next as many an interval later; 0: all
    ///
    /// Over all shards, and one of each at least. Who has not been told yet is served on, and nobody else is let in. Each is told
    /// Over all shards, and one of each at least. Who has not been told yet is served on, and nobody else is let in. Each is told
    /// to come back once the last of its shard has been told, spread over --drain-ms. With 0 everybody is away for the shortest
    /// time; batches are for clients that come back at once whatever they are told, or all to one other server.
    #[arg(long, env = "ANNULUS_DRAIN_BATCH", value_name = "COUNT", default_value_t = Config::default().drain_batch)]
    pub drain_batch: usize,

    /// Milliseconds between two batches of --drain-batch
    ///
    /// A stop takes as many of them as there are batches, and then --drain-ms at most; a service manager has to wait for that long.
    #[arg(long, env = "ANNULUS_DRAIN_INTERVAL_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(1..=HOUR_MS), default_value_t = Config::default().drain_interval_ms)]
    pub drain_interval_ms: u64,
}
