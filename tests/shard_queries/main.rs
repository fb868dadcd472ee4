//! Live queries: what every client shows is what its query says of the whole map.
//!
//! Method: one to three shards without sockets, in the hands of the test, with clients that take every step of a list as
//! `docs/protocol.md` says, strictly: a step that does not fit what they have is a fault. Whenever nothing happens any more each list is
//! compared with the naive reading of the query (`tests/naive_query`) on all that the map holds. What is asserted beside is work
//! and bytes, never time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../simulator/random.rs"]
#[allow(dead_code, reason = "the simulator asks it for more")]
mod random;

#[path = "../believing_desk/mod.rs"]
mod believing_desk;
#[path = "../client_frames/mod.rs"]
#[allow(dead_code, reason = "nobody says good-bye here")]
mod client_frames;
#[path = "../shard_storage/disk.rs"]
#[allow(dead_code, reason = "the tests of the storage ask it for more")]
mod disk;
#[path = "../driven_shard/mod.rs"]
mod driven_shard;
#[path = "../naive_query/mod.rs"]
mod naive;
#[path = "../shards/mod.rs"]
mod shards;
#[path = "../shard_storage/world.rs"]
#[allow(dead_code, reason = "the tests of the storage ask it for more")]
mod world;

mod histories;
mod limits;
mod lists;
mod messages;
mod stored;
mod views;
