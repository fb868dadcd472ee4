//! What is said, and how.

use clap::{Args, ValueEnum, value_parser};
use serde::Serialize;

use super::HOUR_MS;
use crate::cli::values::parse_log_level;
use crate::config::Config;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One line of text an event, and a banner at the start
    Human,
    /// One JSON object an event
    Json,
}

#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Logs")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Logs {
    /// Milliseconds of a turn of a shard past which the log says what it did, by kind of work; 0: never
    ///
    /// One line a second and shard at most. Everybody on a shard waits for its turn; annulus_slow_turns_total counts them.
    #[arg(long, env = "ANNULUS_SLOW_TURN_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(0..=HOUR_MS), default_value_t = Config::default().slow_turn_ms)]
    pub slow_turn_ms: u64,

    /// How log lines look; they go to stderr
    ///
    /// `json` is for collectors of logs.
    #[arg(long, env = "ANNULUS_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value = "human")]
    pub log_format: LogFormat,

    /// What is logged: off, error, warn, info, debug or trace, or by module as in info,annulus::io=debug
    ///
    /// `debug` has a line for each connection that opens and each that ends, with the name of it that its `hello` has, and
    /// why. Those that end as no healthy client does are told at `info`, ten of each shard a second and the number of the
    /// others. Lines that stderr does not take, or not fast enough, are lost, and their number is told. `trace` is for
    /// developers and slow.
    #[arg(long, env = "ANNULUS_LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    #[arg(value_parser = parse_log_level)]
    pub log_level: String,
}
