//! What the admin thread needs to know of the server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::settings::FromFlags;
use super::storage::OnDisk;
use crate::config::{Config, DataMode};
use crate::io::Clock;
use crate::mesh::KeyHasher;
use crate::metrics::{AdminMetrics, DeskMetrics, HookMetrics};
use crate::tls::Current;

/// See the module.
#[derive(Clone)]
pub struct AdminConfig {
    /// Where the shards listen.
    pub target: SocketAddr,
    /// Networks whose connections to there have to begin with a header of the PROXY protocol.
    pub headed: Vec<IpNet>,
    /// Whether requests must show an API key.
    pub asks_for_keys: bool,
    /// Where it is kept what is revoked, and who else may read that.
    pub revoked: Option<(PathBuf, DataMode)>,
    /// The file of rules.
    pub rules: Option<PathBuf>,
    /// Bytes of one request.
    pub message_bytes_max: usize,
    /// What every shard has a copy of at the start.
    pub config: Arc<Config>,
    /// What the command line has said; `None`: there was none.
    pub from_flags: Option<FromFlags>,
    pub on_disk: Option<OnDisk>,
    pub hasher: KeyHasher,
    /// Names of the dialects, each in its place.
    pub dialects: &'static [&'static str],
    pub metrics: Arc<AdminMetrics>,
    /// What is offered where TLS is spoken.
    pub tls: Option<Current>,
    pub desk: Option<Arc<DeskMetrics>>,
    pub hooks: Option<Arc<HookMetrics>>,
    pub clock: Clock,
}
