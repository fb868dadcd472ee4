//! SyncKit's protocol frame by frame, over real sockets: what `/ws` answers to every message, in every way in which it
//! may come, and to peers that break the rules.
//!
//! Each test starts servers of its own inside the test process, most of them one with one shard and one with two.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait for a real server in real time")]

#[allow(dead_code, reason = "shared with the end-to-end tests")]
#[path = "../end_to_end/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the end-to-end tests")]
#[path = "../end_to_end/raw.rs"]
mod raw;
#[allow(dead_code, reason = "shared with the end-to-end tests")]
#[path = "../end_to_end/server.rs"]
mod server;

mod awareness;
mod batches;
mod chunks;
mod clocks;
mod closing;
mod damage;
mod deltas;
mod faults;
mod framing;
mod host;
mod messages;
mod neighbours;
mod peer;
mod refusals;
mod relaying;
mod serving;
mod sets;
mod sizes;
mod subscribing;

use annulus::config::Config;
use server::TestServer;

/// Runs `test` against a server with one shard, then against one with two.
fn on_one_and_two(test: impl Fn(&TestServer)) {
    on_one_and_two_with(|_| {}, test);
}

/// The same with what `change` makes of the default configuration.
fn on_one_and_two_with(change: impl Fn(&mut Config), test: impl Fn(&TestServer)) {
    for shards in [1, 2] {
        test(&TestServer::on(server::two_cores()[..shards].to_vec(), &change));
    }
}
