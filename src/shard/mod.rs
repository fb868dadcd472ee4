//! The shard: one core's connections, maps and subscriptions, and every decision about them.
//!
//! It does no I/O and reads no clock. Events come in through the methods of `events.rs` and `turn.rs`;
//! [`Command`]s and, through the mesh, envelopes come out. Whoever drives it, the ring of `io/` or the
//! simulator of the tests, sees the same server.

mod clear;
mod clients;
mod cycle;
mod dialect;
mod disconnect;
mod events;
mod exchange;
mod facade;
mod feeds;
mod frames;
mod handshake;
mod life;
mod maps;
mod pages;
mod requests;
mod rooms;

pub use clients::Clients;
pub use clients::buffer_pool::BufferPool;
pub use clients::connection::{Connection, Phase};
pub use clients::outbox::Outbox;
pub use clients::shared::{Frames, Hole, Personal, SharedFrames};
pub use dialect::{
    Ack, AckLevel, Change, Dialect, DialectIndex, Event, MemberChange, MessageKind, Published, Session,
    SnapshotEnd,
};
pub use feeds::{From, Subscribe};
pub use pages::{Health, INDEX_TITLE};
pub use requests::write::{Op, Ops};
pub use rooms::presence::SetPresence;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rtrb::Consumer;
use slab::Slab;

use crate::config::Config;
use crate::crdt::{Clock, Node, Reference, Time};
use crate::handover::{Progress, StoragePort};
use crate::mesh::{ConnectionId, Envelope, KeyHasher, Outgoing, Ports, ShardIndex};
use crate::metrics::{Metrics, ProcessMetrics};
use crate::wire::json::Parser;

use clear::Clearing;
use clients::admission::Admission;
use clients::log::Endings;
use clients::timers::Wheel;
use exchange::Deferred;
use feeds::Subscription;
use feeds::fanout::Batches;
use life::Life;
use maps::Maps;
use maps::journal::Journal;
use maps::load::Loads;
use maps::memory::Memory;
use maps::removal::Schedule;
use requests::PendingRequests;
use requests::durable::DurableWaits;
use requests::outcomes::Outcomes;
use rooms::Presence;

/// The time of a turn, read once by whoever drives the shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Milliseconds since the Unix epoch; may step.
    pub unix_ms: u64,
    /// Microseconds since any fixed moment; never runs back.
    pub monotonic_us: u64,
}

impl Now {
    /// Milliseconds of the monotonic clock, which timers run on.
    pub const fn timer_ms(self) -> u64 {
        self.monotonic_us / 1000
    }
}

/// What the driver must do for the shard, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send [`Shard::in_flight`] of this connection and report [`Shard::sent`].
    Send(ConnectionId),
    /// Receive no more until told; what has arrived is still reported.
    PauseReading(ConnectionId),
    ResumeReading(ConnectionId),
    /// End our side of the transport; the peer's end is still awaited.
    Shutdown(ConnectionId),
    /// Close the transport whatever is under way, then report [`Shard::released`] after the last completion.
    Close(ConnectionId),
    /// Wake this shard: its queue has something.
    Wake(ShardIndex),
    /// Wake the storage: the queue to it has something.
    WakeStorage,
    /// Accept no more connections, but whoever is about to connect, then report [`Shard::stopped_accepting`].
    StopAccepting,
    /// Everything has ended; leave the loop.
    Exit,
}

/// What all shards of a process share: constants, and one counter.
#[derive(Clone)]
pub struct Shared {
    pub config: Arc<Config>,
    /// What clients may speak; a connection names its own by its place in here.
    pub dialects: &'static [&'static dyn Dialect],
    /// Names this data set in cursors: new at each start where maps are kept in memory only.
    pub epoch: u64,
    pub hasher: KeyHasher,
    /// Connections open in the whole process.
    pub connections: Arc<AtomicUsize>,
    /// What the kernel knows of the process, which is asked once a scrape; some 50 µs.
    pub process: fn() -> ProcessMetrics,
    /// `None`: maps are kept in memory only.
    pub storage: Option<SharedStorage>,
}

/// What every shard knows of the storage, besides its own ends of the queues.
#[derive(Clone)]
pub struct SharedStorage {
    pub progress: Arc<Progress>,
    /// No tick above this was ever given in this data set: clocks start above it.
    pub clock_floor: Time,
    /// All maps were dropped at this tick; zero: never.
    pub cleared_through: Time,
}

/// See the module.
pub struct Shard {
    index: ShardIndex,
    shards: usize,
    config: Arc<Config>,
    epoch: u64,
    hasher: KeyHasher,
    node: Node,
    now: Now,
    /// When this shard began, in microseconds of the monotonic clock.
    began_us: u64,
    process: fn() -> ProcessMetrics,
    clock: Clock,
    /// What stamps of clients are held against, and where it is in this turn, in Unix milliseconds.
    reference: Reference,
    reference_ms: u64,
    random: Random,

    clients: Clients,
    /// Connections that are not read, oldest first.
    paused: VecDeque<ConnectionId>,
    /// Those of them that may go on at a moment, in milliseconds, and not before.
    rate_limited: BinaryHeap<Reverse<(u64, ConnectionId)>>,
    admission: Admission,
    timers: Wheel,
    life: Life,
    is_accepting: bool,
    exited: bool,
    endings: Endings,

    parser: Parser,
    maps: Maps,
    subscriptions: Slab<Subscription>,
    presence: Presence,
    next_serial: u32,
    pending: PendingRequests,
    /// Requests of this turn that no other shard had a part in.
    answered_at_once: u64,
    durable: DurableWaits,
    walks: VecDeque<crate::mesh::WalkRequest>,
    batches: Batches,
    schedule: Schedule,

    outgoing: Outgoing,
    incoming: Vec<Option<Consumer<Envelope>>>,
    /// The last turn left envelopes in a queue, for the next one.
    mesh_left: bool,
    /// Requests of other shards that wait because this one is congested.
    deferred: VecDeque<Deferred>,
    /// For each shard: every change of its own up to here has been handled.
    heard: Vec<Time>,
    /// Whether any other shard has ever watched a map here, and must hear this shard's clock.
    watchers_elsewhere: bool,
    clock_shared_at_ms: u64,
    clearing: Clearing,

    /// The way to the storage; `None`: maps are kept in memory only.
    journal: Option<Journal>,
    loads: Loads,
    memory: Memory,
    /// The last turn left something of the storage for the next one.
    storage_left: bool,
    /// No cursor names a later tick, as a later one may come again after a crash.
    cursor_limit: Time,

    metrics: Metrics,
    /// Scratch: canonical values and packed tags of the operation at hand; entries of the chunk at hand, and which of
    /// the changes at hand one subscriber wants; outcomes of the request at hand.
    value: Vec<u8>,
    entries: Vec<u8>,
    wanted: Vec<bool>,
    outcomes: Outcomes,
    spare_outcomes: Vec<Outcomes>,
    hashes: Vec<requests::write::OpHash>,
}

impl Shard {
    /// Shard `index` of as many as `ports` has places. `storage` is there exactly if `shared.storage` is.
    ///
    /// # Panics
    /// If `config.node` is not a valid node name, which the flags ensure.
    pub fn new(
        shared: Shared,
        index: ShardIndex,
        ports: Ports,
        storage: Option<StoragePort>,
        now: Now,
        seed: u64,
    ) -> Self {
        let node = Node::new(shared.config.node.as_bytes()).expect("the node name was checked");
        let shards = ports.incoming.len();
        assert_eq!(shared.storage.is_some(), storage.is_some(), "a shard has both or none");
        let mut clock = Clock::new(node);
        let mut cursor_limit = Time::MAX;
        let journal = shared.storage.as_ref().zip(storage).map(|(shared, port)| {
            clock.follow(shared.clock_floor);
            cursor_limit = shared.progress.durable_clock();
            Journal::new(port, Arc::clone(&shared.progress), usize::from(index))
        });
        let stored = shared.storage.as_ref().map_or(Time::ZERO, |storage| storage.clock_floor);
        let drift_max_ms = shared.config.clock_drift_max_ms;
        let mut reference = Reference::new(now.unix_ms, now.timer_ms(), stored, drift_max_ms);
        let cleared_through = shared.storage.as_ref().map_or(Time::ZERO, |storage| storage.cleared_through);
        let share_bytes = shared.config.memory_limit_bytes.div_ceil(shards);
        let memory = Memory::new(if journal.is_some() { share_bytes } else { 0 });
        Self {
            index,
            shards,
            epoch: shared.epoch,
            hasher: shared.hasher,
            node,
            now,
            began_us: now.monotonic_us,
            process: shared.process,
            clock,
            reference_ms: reference.now(now.unix_ms, now.timer_ms()),
            reference,
            random: Random(seed),
            clients: Clients::new(&shared.config, shared.dialects),
            paused: VecDeque::new(),
            rate_limited: BinaryHeap::new(),
            admission: Admission::new(&shared, shards, now),
            timers: Wheel::new(now.timer_ms()),
            life: Life::Serving,
            is_accepting: true,
            exited: false,
            endings: Endings::default(),
            parser: Parser::new(),
            maps: Maps::new(journal.is_some(), memory.is_limited()),
            subscriptions: Slab::new(),
            presence: Presence::default(),
            next_serial: 0,
            pending: PendingRequests::default(),
            answered_at_once: 0,
            durable: DurableWaits::new(shards),
            walks: VecDeque::new(),
            batches: Batches::default(),
            schedule: Schedule::default(),
            outgoing: Outgoing::new(ports.outgoing),
            incoming: ports.incoming,
            mesh_left: false,
            deferred: VecDeque::new(),
            heard: vec![Time::ZERO; shards],
            watchers_elsewhere: false,
            clock_shared_at_ms: 0,
            clearing: Clearing::new(shards, cleared_through),
            journal,
            loads: Loads::default(),
            memory,
            storage_left: false,
            cursor_limit,
            metrics: Metrics::default(),
            value: Vec::new(),
            entries: Vec::new(),
            wanted: Vec::new(),
            outcomes: Outcomes::default(),
            spare_outcomes: Vec::new(),
            hashes: Vec::new(),
            config: shared.config,
        }
    }

    /// The shard that owns what hashes to `hash`.
    fn owner(&self, hash: u64) -> ShardIndex {
        crate::mesh::owner(hash, self.shards)
    }

    fn next_serial(&mut self) -> u32 {
        self.next_serial = self.next_serial.wrapping_add(1);
        self.next_serial
    }
}

/// A small pseudo-random generator (SplitMix64, Steele et al. 2014) for jitter, where no secret depends on it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`, nearly uniform; 0 for an empty range.
    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }
}
