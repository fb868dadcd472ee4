//! The whole server over real sockets, two shards at least, with `tungstenite` as the client.
//!
//! Most tests start a server of their own inside the test process, on a free port, so that each may set its own
//! limits. Those about signals and exit codes run the built command.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait for a real server in real time")]
#![allow(clippy::disallowed_types, reason = "what shards must not use, a test may")]

#[path = "end_to_end/admin.rs"]
mod admin;
#[path = "end_to_end/administering.rs"]
mod administering;
#[path = "end_to_end/channels.rs"]
mod channels;
#[path = "end_to_end/clearing.rs"]
mod clearing;
#[path = "end_to_end/client.rs"]
mod client;
#[path = "end_to_end/connections.rs"]
mod connections;
#[path = "end_to_end/data_dirs.rs"]
mod data_dirs;
#[path = "end_to_end/delivery.rs"]
mod delivery;
#[path = "end_to_end/directs.rs"]
mod directs;
#[path = "end_to_end/faults.rs"]
mod faults;
#[path = "end_to_end/frozen_disk.rs"]
mod frozen_disk;
#[path = "end_to_end/full_disk.rs"]
mod full_disk;
#[path = "end_to_end/hooks.rs"]
mod hooks;
#[path = "end_to_end/http.rs"]
mod http;
#[path = "end_to_end/identity.rs"]
mod identity;
#[path = "end_to_end/locked_memory.rs"]
mod locked_memory;
#[path = "end_to_end/logging.rs"]
mod logging;
#[path = "end_to_end/memory.rs"]
mod memory;
#[path = "end_to_end/messages.rs"]
mod messages;
#[path = "end_to_end/metrics.rs"]
mod metrics;
#[path = "end_to_end/metrics_page.rs"]
mod metrics_page;
#[path = "end_to_end/nats.rs"]
mod nats;
#[path = "end_to_end/opening.rs"]
mod opening;
#[path = "end_to_end/presence.rs"]
mod presence;
#[path = "end_to_end/process.rs"]
mod process;
#[path = "end_to_end/protocol_page.rs"]
mod protocol_page;
#[path = "end_to_end/proxies.rs"]
mod proxies;
#[path = "end_to_end/queries.rs"]
mod queries;
#[path = "end_to_end/questions.rs"]
mod questions;
#[path = "end_to_end/raw.rs"]
mod raw;
#[path = "end_to_end/receiver.rs"]
mod receiver;
#[path = "end_to_end/resuming.rs"]
mod resuming;
#[path = "end_to_end/rights.rs"]
mod rights;
#[path = "end_to_end/server.rs"]
mod server;
#[path = "end_to_end/server_api.rs"]
mod server_api;
#[path = "end_to_end/signals.rs"]
mod signals;
#[path = "end_to_end/small_disk.rs"]
mod small_disk;
#[path = "end_to_end/stopping.rs"]
mod stopping;
#[path = "end_to_end/storage.rs"]
mod storage;
#[path = "end_to_end/streams.rs"]
mod streams;
#[path = "end_to_end/strict.rs"]
mod strict;
#[path = "end_to_end/subscribing.rs"]
mod subscribing;
#[path = "end_to_end/tls.rs"]
mod tls;
#[path = "end_to_end/tls_files.rs"]
mod tls_files;
#[path = "end_to_end/tls_openssl.rs"]
mod tls_openssl;
#[path = "end_to_end/tools.rs"]
mod tools;
#[path = "end_to_end/writing.rs"]
mod writing;
