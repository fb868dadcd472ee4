//! Which connections a user has on all shards, what one of them does to the others, what they may send together, and what the
//! application is told and asked about them.
//!
//! Method: shards with a desk that believes whatever a token claims, all in the hands of the test, with queues between shards
//! that are soon full.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod asked;
#[path = "../believing_desk/mod.rs"]
mod believing_desk;
#[path = "../client_frames/mod.rs"]
#[allow(dead_code, reason = "others take texts alone")]
mod client_frames;
#[path = "../driven_shard/mod.rs"]
mod driven_shard;
mod histories;
mod proposals;
#[path = "../simulator/random.rs"]
#[allow(dead_code, reason = "the simulator asks it for more")]
mod random;
mod rates;
mod sessions;
#[path = "../shards/mod.rs"]
mod shards;
mod world;
