//! What channels keep, where no rule says otherwise.

use clap::{Args, value_parser};
use serde::Serialize;

use crate::config::{Bytes, ChannelBounds, Span};
use crate::limits::CHANNEL_HISTORY_MAX;

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Channels")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Channels {
    /// Messages that a channel keeps for who was away; 0: none
    ///
    /// For channels of which no [[channel]] of the rules file says otherwise, as for the next two.
    #[arg(long, env = "ANNULUS_CHANNEL_HISTORY", value_name = "COUNT")]
    #[arg(value_parser = value_parser!(u32).range(0..=i64::from(CHANNEL_HISTORY_MAX)))]
    #[arg(default_value_t = CHANNEL_HISTORY_DEFAULT)]
    pub channel_history: u32,

    /// Bytes of memory that those take at most
    ///
    /// What is larger alone is delivered and not kept.
    #[arg(long, env = "ANNULUS_CHANNEL_HISTORY_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(ChannelBounds::default().bytes))]
    pub channel_history_bytes: Bytes,

    /// How long they are kept
    ///
    /// Longer than clients are away whose link breaks. What must stay belongs in a map.
    #[arg(long, env = "ANNULUS_CHANNEL_HISTORY_TTL", value_name = "SPAN")]
    #[arg(default_value_t = Span { ms: ChannelBounds::default().ttl_ms })]
    pub channel_history_ttl: Span,
}

const CHANNEL_HISTORY_DEFAULT: u32 = 100;

impl Channels {
    pub fn bounds(&self) -> ChannelBounds {
        ChannelBounds {
            messages: self.channel_history as usize,
            bytes: self.channel_history_bytes.0,
            ttl_ms: self.channel_history_ttl.ms,
            is_durable: false,
        }
    }
}
