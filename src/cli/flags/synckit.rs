//! What the clients of SyncKit are served, and where.

use std::borrow::Cow;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::Serialize;

use crate::cli::values::parse_dialect_path;
use crate::config::Bytes;
use crate::config::{Config, DialectPath};
use crate::dialect::synckit;

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "SyncKit")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct SyncKit {
    /// Path of the WebSocket that speaks the protocol of SyncKit's clients
    ///
    /// They look for it at /ws, on the same port as everything else.
    #[arg(long, env = "ANNULUS_SYNCKIT_PATH", value_name = "PATH")]
    #[arg(value_parser = parse_dialect_path, default_value_t = synckit::PATH.path)]
    pub synckit_path: Cow<'static, str>,

    /// Bytes of one value that a client of SyncKit writes, as compact JSON
    ///
    /// Their servers take a message of 2 000 000 bytes, whatever is in it. Clients of /v1 are sent such a value, too, and may
    /// write none over --max-value-bytes themselves.
    #[arg(long, env = "ANNULUS_SYNCKIT_MAX_VALUE_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().synckit_value_bytes_max))]
    pub synckit_max_value_bytes: Bytes,

    /// Bytes that the documents may take that one SyncKit connection has subscribed to or watches, their states aside
    ///
    /// Each counts as 1 280 bytes and four times its name, which is what it takes where nobody else has it. Past this a document is
    /// refused before anything of it is kept, as past --max-subscriptions.
    #[arg(long, env = "ANNULUS_SYNCKIT_MAX_SUBSCRIPTION_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().synckit_subscription_bytes_max))]
    pub synckit_max_subscription_bytes: Bytes,

    /// Bytes of what one SyncKit connection shows of its clients in all documents: states, names, 256 bytes for each
    ///
    /// A client has one state in a document, of 65 536 bytes at most and mostly of some hundred. An update past this is refused;
    /// what is shown elsewhere must end first.
    #[arg(long, env = "ANNULUS_SYNCKIT_MAX_AWARENESS_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().synckit_awareness_bytes_max))]
    pub synckit_max_awareness_bytes: Bytes,

    /// Do not serve SyncKit's clients
    ///
    /// Its path is then not found, and its variables are not read.
    #[arg(long, env = "ANNULUS_NO_SYNCKIT", value_parser = BoolishValueParser::new())]
    pub no_synckit: bool,
}

impl SyncKit {
    /// Where it is spoken, if it is.
    pub fn dialect(&self) -> Option<DialectPath> {
        let path = self.synckit_path.clone();
        (!self.no_synckit).then_some(DialectPath { path, ..synckit::PATH })
    }
}
