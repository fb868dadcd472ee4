//! Views: what those who may not see or change everything are told and may do, by rules that look at keys and at values.
//!
//! Method: one or two shards without sockets and a desk that believes whatever a token claims, in the hands of the test, and a
//! dialect of words. Clients show tokens, rules are in force as files have them, and a view changes with another token or other
//! rules. What is asserted beside what is told is work, such as changes encoded, never time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../simulator/random.rs"]
#[allow(dead_code, reason = "the simulator asks it for more")]
mod random;

#[path = "../believing_desk/mod.rs"]
mod believing_desk;
#[path = "../client_frames/mod.rs"]
#[allow(dead_code, reason = "nobody says good-bye here")]
mod client_frames;
#[path = "../driven_shard/mod.rs"]
mod driven_shard;
#[path = "../shards/mod.rs"]
mod shards;
#[path = "../shard_presence/world.rs"]
#[allow(dead_code, reason = "rooms ask it for more")]
mod world;

mod changing;
mod feeds;
mod guarded;
mod history;
mod host;
mod naive;
mod owner;
mod property;
mod readers;
mod replica;
mod walks;
mod words;
