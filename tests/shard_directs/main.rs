//! Direct messages: each comes to each connection of its user once and in order, whatever comes and goes meanwhile.
//!
//! Method: shards with a desk that believes whatever a token claims, and a disk, all in the hands of the test, with queues between shards
//! that are soon full. Clients may stop to read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../believing_desk/mod.rs"]
mod believing_desk;
mod blocking;
#[path = "../client_frames/mod.rs"]
#[allow(dead_code, reason = "others take texts alone")]
mod client_frames;
mod crashes;
mod delivery;
#[path = "../shard_storage/disk.rs"]
#[allow(dead_code, reason = "others look at more of it")]
mod disk;
#[path = "../driven_shard/mod.rs"]
mod driven_shard;
mod histories;
mod many;
#[path = "../simulator/random.rs"]
#[allow(dead_code, reason = "the simulator asks it for more")]
mod random;
mod refusals;
#[path = "../shards/mod.rs"]
mod shards;
mod stored;
mod work;
mod world;
