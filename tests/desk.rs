//! The desk as its shards know it: the thread, its queues, and the files that change under it.
//!
//! Method: the test is the shards. It puts credentials into their queues and takes what comes back, and changes files as the
//! commands do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_types, reason = "a server of a test shares what it answers")]
#![allow(clippy::disallowed_methods, reason = "tests wait for a real thread in real time")]

#[path = "desk/fetching.rs"]
mod fetching;
#[path = "desk/files.rs"]
mod files;
#[path = "desk/shards.rs"]
mod shards;
#[path = "tokens/signer.rs"]
#[allow(dead_code, reason = "some algorithms are used elsewhere only")]
mod signer;
