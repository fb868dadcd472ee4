//! Channels: one order, each message once to who was there, gaps told exactly, and recovered said truthfully.
//!
//! Method: one, two or three shards without sockets, in the hands of the test, whose clients speak protocol v1.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../simulator/random.rs"]
#[allow(dead_code, reason = "the simulator asks it for more")]
mod random;

#[path = "../client_frames/mod.rs"]
mod client_frames;
mod delivering;
#[path = "../driven_shard/mod.rs"]
mod driven_shard;
mod histories;
mod joining;
mod keeping;
mod limits;
mod oracle;
mod said;
#[path = "../shards/mod.rs"]
mod shards;
mod words;
#[path = "../shard_presence/world.rs"]
#[allow(dead_code, reason = "rooms ask for more")]
mod world;
