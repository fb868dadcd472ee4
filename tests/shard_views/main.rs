//! Views: what those who may not see or change everything are told and may do, by rules that look at keys and at values.
//!
//! Method: one to three shards without sockets, in the hands of the test, and a dialect of words in which each message says by
//! whose grant it is meant. What is asserted beside what is told is work, such as changes encoded, never time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../simulator/random.rs"]
#[allow(dead_code, reason = "the simulator asks it for more")]
mod random;

#[path = "../client_frames/mod.rs"]
#[allow(dead_code, reason = "nobody says good-bye here")]
mod client_frames;
#[path = "../shards/mod.rs"]
mod shards;
#[path = "../shard_presence/world.rs"]
#[allow(dead_code, reason = "rooms ask it for more")]
mod world;

mod changing;
mod feeds;
mod grants;
mod naive;
mod owner;
mod property;
mod replica;
mod walks;
mod words;
