//! Shards and their storage, each held against what the other is promised.
//!
//! Method: one or two shards without sockets, and a storage that is nothing but the far ends of their queues, in the
//! hands of the test: it decides what becomes durable or folded, what a load gives, and when.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod absorbing;
mod admission;
mod backpressure;
mod cancelling;
mod channels;
mod clearing;
mod clearing_stored;
#[path = "../client_frames/mod.rs"]
mod client_frames;
mod disk;
mod drift;
#[path = "../driven_shard/mod.rs"]
mod driven_shard;
mod durable;
mod emptied;
mod emptied_stored;
mod evicting;
mod loading;
mod look_ups;
mod rates;
mod records;
mod requests;
mod resuming;
#[path = "../shards/mod.rs"]
mod shards;
mod silence;
mod stamps;
mod ties;
mod vectors;
mod watched;
mod world;
