//! Who is in a room, over `/v1`, with users on several shards, and with clients of SyncKit.
//!
//! Method: shards without sockets, in the hands of the test, with the dialects that the server speaks; a token is believed as it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../simulator/random.rs"]
#[allow(dead_code, reason = "the simulator asks it for more")]
mod random;

#[path = "../believing_desk/mod.rs"]
mod believing_desk;
#[path = "../client_frames/mod.rs"]
#[allow(dead_code, reason = "others ask it for more")]
mod client_frames;
mod counting;
#[path = "../driven_shard/mod.rs"]
mod driven_shard;
mod histories;
mod person;
mod refusing;
#[path = "../shards/mod.rs"]
mod shards;
mod slow;
mod storm;
mod synckit;
mod ticking;
mod users;
#[path = "../shard_users/world.rs"]
mod world;
