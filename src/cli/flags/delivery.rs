//! When frames are sent, and how many may wait.

use clap::{Args, ValueEnum, value_parser};
use serde::Serialize;

use super::at_least_one;
use crate::config::Bytes;
use crate::config::Config;

/// A named choice of the three coalescing flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum Preset {
    /// Every turn sends what it has
    LowLatency,
    /// A frame waits up to a millisecond for company
    Balanced,
    /// A frame waits up to ten milliseconds for company
    HighThroughput,
}

impl Preset {
    /// As it is written.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Delivery")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Delivery {
    /// What the three coalesce flags are set to; each of them overrides its part
    ///
    /// Fewer, larger sends cost less CPU per message and make each message wait.
    #[arg(long, env = "ANNULUS_PRESET", value_name = "NAME", value_enum, default_value = "low-latency")]
    pub preset: Preset,

    /// Microseconds a frame may wait for company; 0: the end of the turn [default: of the preset]
    ///
    /// Adds to the latency of every message, at most a second.
    #[arg(long, env = "ANNULUS_COALESCE_DELAY_US", value_name = "US")]
    #[arg(value_parser = value_parser!(u64).range(0..=1_000_000))]
    pub coalesce_delay_us: Option<u64>,

    /// Bytes at which a connection is sent to without further waiting [default: of the preset]
    ///
    /// Bounds what waiting costs in memory.
    #[arg(long, env = "ANNULUS_COALESCE_MAX_BYTES", value_name = "SIZE")]
    pub coalesce_max_bytes: Option<Bytes>,

    /// Frames at which a connection is sent to without further waiting [default: of the preset]
    ///
    /// Past some number, company saves nothing more.
    #[arg(long, env = "ANNULUS_COALESCE_MAX_FRAMES", value_name = "COUNT", value_parser = at_least_one())]
    pub coalesce_max_frames: Option<usize>,

    /// Bytes waiting for one connection past which it gets latest states instead of every change
    ///
    /// At least 128KiB, two chunks of a snapshot.
    #[arg(long, env = "ANNULUS_OUTBOX_SOFT_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().outbox_soft_bytes))]
    pub outbox_soft_bytes: Bytes,

    /// Bytes waiting for one connection past which it is closed with 4008
    ///
    /// Room for the soft limit and the largest message at least; 16 messages mean that one burst never closes
    /// a healthy peer.
    #[arg(long, env = "ANNULUS_OUTBOX_HARD_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().outbox_hard_bytes))]
    pub outbox_hard_bytes: Bytes,

    /// Bytes a peer must take each second while clients hold too much memory, or it is closed with 4008; 0: none
    ///
    /// Measured over five seconds, and only while what is held for clients is more than a quarter of --memory-limit. A
    /// phone at the edge of its network takes more.
    #[arg(long, env = "ANNULUS_MIN_DRAIN_BYTES_PER_SECOND", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().drain_bytes_per_second_min))]
    pub min_drain_bytes_per_second: Bytes,

    /// Bytes of names and states of the members that one connection has set in rooms
    ///
    /// Past it a further one is too_large. A client that stands for itself has one member of some hundred bytes.
    #[arg(long, env = "ANNULUS_MAX_PRESENCE_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().presence_bytes_max))]
    pub max_presence_bytes: Bytes,
}
