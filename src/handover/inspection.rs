//! The queues between one shard and the admin thread, which asks what is there for whoever runs the server.
//!
//! ```text
//!  admin thread ──Ask──► shard: as many answers a turn as it has work for, one at least
//!               ◄─Told──
//! ```
//! Invariant: neither side ever waits for the other. The thread asks a shard no more at a time than there is room for answers, each
//! question has one, and none costs more than `INSPECTED_SLOTS_MAX` looks or `INSPECTED_BYTES_MAX`: what takes longer is asked in parts.

use std::sync::Arc;

use ipnet::IpNet;
use rtrb::{Consumer, Producer, RingBuffer};
use serde::Serialize;

use crate::config::Config;
use crate::crdt::{MapType, Time};
use crate::limits::INSPECTIONS_MAX;
use crate::mesh::ConnectionId;
use crate::metrics::{AdminMetrics, Metrics};

/// A question, and what tells it from others.
#[derive(Debug)]
pub struct Ask {
    pub number: u64,
    pub inquiry: Inquiry,
}

/// The answer to each [`Ask`].
#[derive(Debug)]
pub struct Told {
    pub number: u64,
    /// When the turn began that answers, in microseconds of the monotonic clock: what the event loop lags behind is since it was asked.
    pub at_us: u64,
    pub finding: Finding,
}

/// What is asked.
#[derive(Debug)]
pub enum Inquiry {
    /// All numbers.
    Metrics,
    Clients {
        walk: Walk,
        wanted: WantedClients,
    },
    /// One connection, and its subscriptions from a place on.
    Client {
        connection: ConnectionId,
        walk: Walk,
    },
    /// End a connection, as somebody who may has said so.
    Kick {
        connection: ConnectionId,
    },
    /// The same of all connections of a user, whose home this shard must be.
    KickUser {
        user: Box<str>,
    },
    /// Maps whose names this shard owns.
    Maps {
        walk: Walk,
        prefix: Box<str>,
        map_type: Option<MapType>,
    },
    /// What there is here of each of these maps.
    MapParts {
        maps: Arc<[Box<str>]>,
    },
    /// Keys that this shard owns.
    Keys {
        map: Box<str>,
        prefix: Box<str>,
        walk: Walk,
    },
    /// A key that this shard owns.
    Key {
        map: Box<str>,
        key: Box<str>,
    },
    Rooms {
        walk: Walk,
        prefix: Box<str>,
    },
    /// Channels whose home is here.
    Channels {
        walk: Walk,
        prefix: Box<str>,
    },
    /// How many members each of these channels has here.
    ChannelMembers {
        channels: Arc<[Box<str>]>,
    },
    Users {
        walk: Walk,
        prefix: Box<str>,
    },
    /// Go on with this configuration, of which only what is hot may differ from the one before.
    Configure(Arc<Config>),
    /// Look at everything, over turns.
    Check,
}

/// Which slots of a table are looked at: from one on, until there are enough rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    pub from: u32,
    pub rows_max: u32,
}

/// Which clients are meant; what is left out means all.
#[derive(Clone, Debug, Default)]
pub struct WantedClients {
    pub user: Option<Box<str>>,
    pub address: Option<IpNet>,
    pub dialect: Option<u8>,
}

/// What is answered.
#[derive(Debug)]
pub enum Finding {
    Metrics(Box<Metrics>),
    Clients(Share<ClientRow>),
    Client(Option<Box<ClientDetail>>),
    Kicked(u32),
    Maps(Share<MapRow>),
    MapParts(Vec<MapPart>),
    Keys(KeysOf),
    Key {
        detail: Option<Box<KeyDetail>>,
        /// Its map is not in memory, so that there may be something on disk.
        may_be_stored: bool,
    },
    Rooms(Share<RoomRow>),
    Channels(Share<ChannelRow>),
    ChannelMembers(Vec<u32>),
    Users(Share<UserRow>),
    Configured,
    Checked(Checked),
}

/// What a look at some slots has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share<T> {
    pub rows: Vec<T>,
    /// Slots that were looked at, vacant ones too.
    pub looked_at: u32,
    /// Where to go on; `None`: that was all.
    pub next: Option<u32>,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRow {
    pub connection: ConnectionId,
    pub phase: &'static str,
    pub user: Option<Box<str>>,
    pub session: Option<Box<str>>,
    pub roles: Vec<Box<str>>,
    pub address: std::net::IpAddr,
    /// Its place among the dialects.
    pub dialect: u8,
    pub connected_ms: u64,
    pub idle_ms: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub outbox_bytes: usize,
    pub subscriptions: usize,
    pub queries: usize,
    pub channels: usize,
    pub rooms: usize,
}

/// The same and more of one.
#[derive(Debug)]
pub struct ClientDetail {
    pub row: ClientRow,
    /// What keeps its next message from being handled.
    pub waits: &'static str,
    pub is_paused: bool,
    pub is_sending: bool,
    /// Subscriptions that lack something.
    pub behind: usize,
    pub unread_bytes: usize,
    pub subscriptions: Share<SubscriptionRow>,
    pub channels: Vec<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubscriptionRow {
    pub map: Box<str>,
    /// `prefix …` or `… keys`; `None`: all of it.
    pub filter: Option<String>,
    /// It is told changes as they come, and lacks nothing.
    pub is_live: bool,
}

/// A map as its home knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRow {
    pub map: Box<str>,
    pub map_type: MapType,
}

/// What one shard has of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MapPart {
    pub state: &'static str,
    #[serde(rename = "type")]
    pub map_type: Option<&'static str>,
    /// With a value.
    pub keys: u64,
    /// These and tombstones.
    pub cells: u64,
    pub bytes: u64,
    pub subscribers: u64,
    pub feeds: u64,
}

/// Keys of a map on one shard.
#[derive(Debug)]
pub enum KeysOf {
    /// There is nothing of it here.
    Nothing,
    /// It is on disk.
    Unloaded,
    Loaded(Share<KeyRow>),
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    pub key: Box<str>,
    pub is_live: bool,
    pub bytes: usize,
    pub applied: Time,
    /// As JSON; `None`: there is none, or it is cut.
    pub value: Option<Box<str>>,
    pub is_cut: bool,
}

/// A key with its stamps.
#[derive(Debug)]
pub struct KeyDetail {
    pub row: KeyRow,
    pub map_type: MapType,
    /// What there is under it, as JSON.
    pub state: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoomRow {
    pub room: Box<str>,
    pub dialect: &'static str,
    pub members: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelRow {
    pub channel: Box<str>,
    pub messages: u64,
    pub bytes: u64,
    pub first_offset: Option<u64>,
    pub last_offset: u64,
    /// In hexadecimal.
    pub epoch: String,
    pub is_durable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserRow {
    pub user: Box<str>,
    pub connections: u64,
}

/// What a look at everything has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub looked_at: u64,
    pub violations: u64,
    /// The first of them, a sentence each.
    pub problems: Vec<String>,
}

impl<T> Share<T> {
    /// Nothing, where there is no more.
    pub const fn empty() -> Self {
        Self { rows: Vec::new(), looked_at: 0, next: None }
    }
}

/// The shard's end.
#[derive(Debug)]
pub struct InspectionPort {
    pub asked: Consumer<Ask>,
    pub told: Producer<Told>,
    /// What the thread counts, for who is asked for it.
    pub metrics: Arc<AdminMetrics>,
}

/// The thread's end.
#[derive(Debug)]
pub struct InspectionEnd {
    pub ask: Producer<Ask>,
    pub told: Consumer<Told>,
}

/// The queues for `shards` shards of a thread that counts in `metrics`.
pub fn connect_inspection(
    shards: usize,
    metrics: &Arc<AdminMetrics>,
) -> Vec<(InspectionPort, InspectionEnd)> {
    let pair = |_| {
        let (ask, asked) = RingBuffer::new(INSPECTIONS_MAX);
        let (told_in, told) = RingBuffer::new(INSPECTIONS_MAX);
        let metrics = Arc::clone(metrics);
        (InspectionPort { asked, told: told_in, metrics }, InspectionEnd { ask, told })
    };
    (0..shards).map(pair).collect()
}
