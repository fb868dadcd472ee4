//! Who is in rooms over `/v1`, and how often that is told.

use clap::{Args, value_parser};
use serde::Serialize;

use crate::config;
use crate::config::Bytes;
use crate::limits::{PRESENCE_FULL_MAX_CEILING, PRESENCE_GRACE_MS_MAX};

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Presence")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Presence {
    /// Milliseconds between two times that a room of /v1 is told of
    ///
    /// What changes in between is told as one. The first change after a while is told at once. At most a second, as who joins is
    /// answered behind it.
    #[arg(long, env = "ANNULUS_PRESENCE_TICK_MS", value_name = "MS")]
    #[arg(default_value_t = config::Presence::default().tick_ms, value_parser = value_parser!(u64).range(1..=1_000))]
    pub presence_tick_ms: u64,

    /// Milliseconds a user stays in a room, away, once the last connection is gone without a word
    ///
    /// What a presence.join says of itself comes first. At most five minutes; who leaves or closes with 1000 is gone at once.
    #[arg(long, env = "ANNULUS_PRESENCE_GRACE_MS", value_name = "MS")]
    #[arg(default_value_t = config::Presence::default().grace_ms, value_parser = value_parser!(u64).range(0..=PRESENCE_GRACE_MS_MAX))]
    pub presence_grace_ms: u64,

    /// Members of a room of /v1 past which only their count is told
    ///
    /// Each of them is sent all of them when it joins, and every change.
    #[arg(long, env = "ANNULUS_PRESENCE_FULL_MAX", value_name = "COUNT")]
    #[arg(default_value_t = config::Presence::default().full_max, value_parser = full_max())]
    pub presence_full_max: usize,

    /// Bytes of one member's state over /v1, as compact JSON
    ///
    /// A cursor and a name, not a document. All that a connection sets is bounded by --max-presence-bytes.
    #[arg(long, env = "ANNULUS_MAX_PRESENCE_STATE_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(config::Presence::default().state_bytes_max))]
    pub max_presence_state_bytes: Bytes,
}

fn full_max() -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(0..=PRESENCE_FULL_MAX_CEILING as u64)
}

impl Presence {
    pub fn config(&self) -> config::Presence {
        config::Presence {
            tick_ms: self.presence_tick_ms,
            grace_ms: self.presence_grace_ms,
            full_max: self.presence_full_max,
            state_bytes_max: self.max_presence_state_bytes.0,
        }
    }
}
