//! Annulus: a real-time sync server. CRDT maps over WebSocket on pinned io_uring shards.
//!
//! Read `docs/architecture.md` first; the modules below follow its picture from the bottom up.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic where nothing can be written: io::log, cli::stdout"
)]

pub mod config;
pub mod limits;

pub mod crdt;
pub mod metrics;

pub mod handover;
pub mod mesh;
pub mod tls;
pub mod wire;

pub mod auth;
pub mod hooks;
pub mod query;

pub mod shard;
pub mod storage;

pub mod io;
pub mod service;

pub mod cli;
pub mod dialect;
pub mod server;
