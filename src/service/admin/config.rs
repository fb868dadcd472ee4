//! What the admin listener needs to know of the server.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::config::DataMode;

/// See the module.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where the shards listen.
    pub target: SocketAddr,
    /// Networks whose connections to there have to begin with a header of the PROXY protocol.
    pub headed: Vec<IpNet>,
    /// Whether requests must show an API key.
    pub asks_for_keys: bool,
    /// Where it is kept what is revoked, and who else may read that.
    pub revoked: Option<(PathBuf, DataMode)>,
    /// Bytes of one request.
    pub message_bytes_max: usize,
}
