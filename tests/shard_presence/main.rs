//! Rooms of members, and messages that nobody keeps, as an engine for any dialect.
//!
//! Method: one, two or three shards without sockets, in the hands of the test, and a dialect of words that puts into
//! text what the shard says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../simulator/random.rs"]
#[allow(dead_code, reason = "the simulator asks it for more")]
mod random;

#[path = "../client_frames/mod.rs"]
mod client_frames;
mod dividing;
#[path = "../driven_shard/mod.rs"]
mod driven_shard;
mod histories;
mod leaving;
mod limits;
mod memory;
mod publishing;
#[path = "../shards/mod.rs"]
mod shards;
mod slow;
mod watching;
mod words;
mod world;
