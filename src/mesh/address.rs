//! Who is who across shards: names that stay unique after what they named is gone.

/// Position of a shard among its peers, from 0.
pub type ShardIndex = u16;

/// A connection of one shard: its slot, and a generation that the slot's next tenant does not share, so that a
/// late completion or answer misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub index: u32,
    pub generation: u32,
}

/// A connection of any shard, such as the one that made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer {
    pub shard: ShardIndex,
    pub connection: ConnectionId,
}

/// Where an answer goes: a waiting request of the shard that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub shard: ShardIndex,
    /// Slot of the waiting request, and the serial number that tells its tenants apart.
    pub slot: u32,
    pub serial: u32,
    /// Which operation or key of the request.
    pub index: u32,
    /// Who asked, so that writers do not hear their own changes.
    pub connection: ConnectionId,
}

impl ReplyTo {
    pub fn writer(&self) -> Writer {
        Writer { shard: self.shard, connection: self.connection }
    }
}

/// A subscription of the shard that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionRef {
    pub slot: u32,
    pub serial: u32,
}
