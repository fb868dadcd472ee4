//! The queues between one shard and the desk, which says who a token names and what is in force.
//!
//! Invariant: neither side ever waits for the other. What a shard finds no room for it keeps, and a connection has one token
//! under way at most; the desk takes a token only while it has room for the answer.

use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};

pub use crate::auth::Refused;
use crate::auth::{Principal, Standing};
use crate::mesh::ConnectionId;

/// A token or an API key, to be verified. Its text goes nowhere else.
pub struct Verify {
    pub connection: ConnectionId,
    pub credential: Box<str>,
}

// A credential is in no log.
impl std::fmt::Debug for Verify {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Verify").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// What the desk has for a shard.
#[derive(Debug)]
pub enum FromDesk {
    /// The answer to each [`Verify`].
    Verified(Verified),
    /// What is in force from now on: everybody is looked at again.
    Standing(Arc<Standing>),
}

#[derive(Debug)]
pub struct Verified {
    pub connection: ConnectionId,
    pub outcome: Result<Arc<Principal>, Refused>,
}

/// The shard's end.
#[derive(Debug)]
pub struct DeskPort {
    pub to_desk: Producer<Verify>,
    pub from_desk: Consumer<FromDesk>,
}

/// The desk's end.
#[derive(Debug)]
pub struct DeskEnd {
    pub from_shard: Consumer<Verify>,
    pub to_shard: Producer<FromDesk>,
}

/// Items one queue holds in each direction.
const DESK_ITEMS: usize = 256;

/// The queues for `shards` shards.
pub fn connect_desk(shards: usize) -> Vec<(DeskPort, DeskEnd)> {
    let pair = |_| {
        let (to_desk, from_shard) = RingBuffer::new(DESK_ITEMS);
        let (to_shard, from_desk) = RingBuffer::new(DESK_ITEMS);
        (DeskPort { to_desk, from_desk }, DeskEnd { from_shard, to_shard })
    };
    (0..shards).map(pair).collect()
}
