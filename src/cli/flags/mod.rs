//! Every flag, defined once: the definition feeds the parser, the environment variables, `--help`,
//! `annulus config` and `docs/flags.md`.
//!
//! Invariant: each flag has a variable `ANNULUS_<NAME>` and a topic; a test walks the command and holds that.
//! Defaults are those of [`crate::config::Config::default`], so that tests and the command start from the same server.

mod channels;
mod connections;
mod data;
mod delivery;
mod direct;
mod file;
mod hooks;
mod identity;
mod listening;
mod logs;
mod presence;
mod stopping;
mod synckit;
mod tls;

pub use logs::LogFormat;

pub(super) use connections::{ProxyHeaders, RateLimitPolicy, SessionsPolicy};
pub(super) use data::{Data, FsyncMode, Storage};
pub(super) use delivery::Preset;
pub(super) use hooks::Hooks;
pub(super) use identity::{Auth, Identity};

use std::ops::RangeInclusive;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser};
use serde::Serialize;

use super::action::Action;
use channels::Channels;
use connections::Connections;
use delivery::Delivery;
use direct::Direct;
use file::File;
use listening::Listening;
use logs::Logs;
use presence::Presence;
use stopping::Stopping;
use synckit::SyncKit;
use tls::Tls;

/// A real-time sync server: CRDT maps over WebSocket on pinned io_uring shards.
///
/// `annulus` alone serves on 127.0.0.1:9000. Every flag can be set by its environment variable as well, and in the file of
/// --config; the command line wins, then the variable.
#[derive(Debug, Parser)]
#[command(name = "annulus", version, max_term_width = 110)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub action: Option<Action>,
    #[command(flatten)]
    pub flags: Flags,
}

/// All settings, by topic. Serialized, the keys are the names of the flags.
#[derive(Debug, Args, Serialize)]
pub(super) struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    pub listening: Listening,
    #[command(flatten)]
    #[serde(flatten)]
    pub tls: Tls,
    #[command(flatten)]
    #[serde(flatten)]
    pub connections: Connections,
    #[command(flatten)]
    #[serde(flatten)]
    pub identity: Identity,
    #[command(flatten)]
    #[serde(flatten)]
    pub hooks: Hooks,
    #[command(flatten)]
    #[serde(flatten)]
    pub delivery: Delivery,
    #[command(flatten)]
    #[serde(flatten)]
    pub channels: Channels,
    #[command(flatten)]
    #[serde(flatten)]
    pub direct: Direct,
    #[command(flatten)]
    #[serde(flatten)]
    pub synckit: SyncKit,
    #[command(flatten)]
    #[serde(flatten)]
    pub presence: Presence,
    #[command(flatten)]
    #[serde(flatten)]
    pub data: Data,
    #[command(flatten)]
    #[serde(flatten)]
    pub stopping: Stopping,
    #[command(flatten)]
    #[serde(flatten)]
    pub logs: Logs,
    #[command(flatten)]
    #[serde(flatten)]
    pub file: File,
}

/// A whole number of at least one, for what makes no sense without any.
fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=u64::from(u32::MAX))
}

/// An hour in milliseconds: the longest any timeout may be, as a longer one is a slip of the unit.
pub(super) const HOUR_MS: u64 = 3_600_000;

/// What `--heartbeat-ms` may be.
pub(super) const HEARTBEAT_MS: RangeInclusive<u64> = 100..=HOUR_MS;
