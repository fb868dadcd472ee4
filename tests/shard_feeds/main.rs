//! Who hears of a map: feeds that subscribers share, walks that share the room of a connection and the turns of a shard, and
//! sets in pieces.
//!
//! Method: one to three shards without sockets, in the hands of the test, and a dialect of words that puts into text what the
//! shard says and counts what it encodes. What is asserted is work, such as chunks made or changes encoded, never time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../simulator/random.rs"]
#[allow(dead_code, reason = "the simulator asks it for more")]
mod random;

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

mod fairness;
mod pieces;
mod sharing;
mod slow;
mod words;
