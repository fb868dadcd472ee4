//! What is kept of direct messages.

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use crate::config::{Bytes, Config, DirectConfig, Span};
use crate::limits::DIRECT_QUEUE_MAX;

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Direct messages")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Direct {
    /// Direct messages that are kept for one user until it acknowledges them
    ///
    /// Past it the oldest are dropped, and the user is told how many. At most 10000.
    #[arg(long, env = "ANNULUS_DIRECT_QUEUE", value_name = "COUNT", value_parser = up_to_the_largest())]
    #[arg(default_value_t = Config::default().direct.messages_max)]
    pub direct_queue: usize,

    /// Bytes of the direct messages that are kept for one user
    ///
    /// Past it the oldest are dropped, and the user is told how many. What is larger alone is refused.
    #[arg(long, env = "ANNULUS_DIRECT_QUEUE_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().direct.bytes_max))]
    pub direct_queue_bytes: Bytes,

    /// How long a direct message is kept, such as 1h, 10m or 7d
    ///
    /// A sender may ask for less. Past it the message is dropped, and the user is told how many.
    #[arg(long, env = "ANNULUS_DIRECT_QUEUE_TTL", value_name = "SPAN")]
    #[arg(default_value_t = Span { ms: Config::default().direct.ttl_ms })]
    pub direct_queue_ttl: Span,
}

impl Direct {
    pub(in crate::cli) const fn config(&self) -> DirectConfig {
        DirectConfig {
            messages_max: self.direct_queue,
            bytes_max: self.direct_queue_bytes.0,
            ttl_ms: self.direct_queue_ttl.ms,
        }
    }
}

/// What each turn can go through.
fn up_to_the_largest() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=DIRECT_QUEUE_MAX as u64)
}
