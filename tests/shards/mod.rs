//! What tests that drive shards without sockets begin with, whatever else they are: shards, and clients at their door.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use annulus::config::Config;
use annulus::dialect;
use annulus::mesh::KeyHasher;
use annulus::shard::{Now, Shared, SharedStorage};

/// When they begin.
pub const BEGIN: Now = Now { unix_ms: 1_700_000_000_000, monotonic_us: 1_000_000 };

/// What all shards of one process share, with the dialects there are.
pub fn shared(config: Config, storage: Option<SharedStorage>) -> Shared {
    Shared {
        config: Arc::new(config),
        dialects: dialect::ALL,
        epoch: 1,
        hasher: KeyHasher::new(7),
        connections: Arc::new(AtomicUsize::new(0)),
        process: Default::default,
        storage,
        tls: None,
    }
}

/// The request for a WebSocket at `target`.
pub fn upgrade(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}
