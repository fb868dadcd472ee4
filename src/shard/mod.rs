//! The shard: one core's connections, maps and subscriptions, and every decision about them.
//!
//! It does no I/O and reads no clock. Events come in through the methods of `events.rs` and `turn.rs`;
//! [`Command`]s and, through the mesh, envelopes come out. Whoever drives it, the ring of `io/` or the
//! simulator of the tests, sees the same server.
//!
//! Its parts each own what they hold, and a function takes the parts that it touches. Only the files directly in this
//! folder, and those in `commands/`, are `impl Shard`: they put things in order.
//!
//! order: { commands, facade, cycle, events, arrival, frames, handshake, identity, entry, asking, proposals, life, disconnect, dismissal, exchange, exchange_directs, configure, inspection, client_errors, parked, clear } → checking →
//! pages → gauges → presence → { rooms, queries, channels, directs } → feeds → divided → requests → log → maps → clients → dialect → told →
//! { lists, outbox, outcomes, direct } → { allows, caller, questions } →
//! { access, directory, budgets } → { commons, interest, turn } →
//! { account, slots, work, happenings, slow_turns }

#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        reason = "a length that does not fit is an error, or a limit elsewhere makes it impossible and `expect` names it"
    )
)]

mod access;
mod account;
mod allows;
mod arrival;
mod asking;
mod budgets;
mod caller;
mod channels;
mod checking;
mod clear;
mod client_errors;
mod clients;
mod commands;
mod commons;
mod configure;
mod cycle;
mod dialect;
mod direct;
mod directory;
mod directs;
mod disconnect;
mod dismissal;
mod divided;
mod entry;
mod events;
mod exchange;
mod exchange_directs;
mod facade;
mod feeds;
mod frames;
mod gauges;
mod handshake;
mod happenings;
mod identity;
mod inspection;
mod interest;
mod life;
mod lists;
mod log;
mod maps;
mod outbox;
mod outcomes;
mod pages;
mod parked;
mod presence;
mod proposals;
mod queries;
mod questions;
mod requests;
mod rooms;
mod slots;
mod slow_turns;
mod told;
mod turn;
pub mod work;

pub use caller::Caller;
pub use channels::Publish;
pub use clients::{Clients, Connection, Phase};
pub use commons::{Commons, DialectIndex};
pub use dialect::{About, Answered, Dialect, Health, MessageKind, Session};
pub use direct::{DirectAudience, DirectEvent, DirectMessage};
pub use directs::{SendDirect, To};
pub use feeds::{From, Subscribe};
pub use lists::{ListStep, ListSteps};
pub use outbox::{BufferPool, Frames, Hole, Outbox, Parts, Personal, SharedFrames};
pub use pages::INDEX_TITLE;
pub use presence::JoinRoom;
pub use queries::SubscribeQuery;
pub use requests::{Op, Ops};
pub use rooms::SetPresence;
pub use told::{Ack, AckLevel, Change, ChannelMessage, Event, MemberChange, Published, SnapshotEnd};

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::config::Config;
use crate::crdt::Time;
use crate::handover::{Progress, StoragePort};
use crate::mesh::{ConnectionId, KeyHasher, Outgoing, Ports, Receiver, ShardIndex};
use crate::metrics::ProcessMetrics;
use crate::tls::Current;
use crate::wire::json::Parser;

use access::Access;
use channels::Channels;
use clear::Clearing;
use client_errors::ClientErrors;
use directory::Directory;
use directs::Directs;
use exchange::{Deferred, Opened};
use feeds::Feeds;
use inspection::Inspection;
use life::Life;
use maps::Maps;
use presence::Presence;
use queries::Queries;
use questions::Questions;
use requests::Requests;
use rooms::Rooms;
use turn::Turn;

/// The time of a turn, read once by whoever drives the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Wake the desk: the queue to it has something.
    WakeDesk,
    /// Wake the thread of the hooks: a queue to it has something.
    WakeHooks,
    /// Wake the admin thread: the queue to it has something.
    WakeAdmin,
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
    /// What is offered where TLS is spoken; `None`: it is spoken nowhere.
    pub tls: Option<Current>,
}

/// What is spoken where a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
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

/// See the module. Each part owns what is in it; here they are only put in order.
pub struct Shard {
    turn: Turn,
    clients: Clients,
    maps: Maps,
    feeds: Feeds,
    queries: Queries,
    rooms: Rooms,
    presence: Presence,
    channels: Channels,
    directs: Directs,
    requests: Requests,
    access: Access,
    directory: Directory,
    questions: Questions,
    inspection: Inspection,
    client_errors: ClientErrors,
    parser: Parser,

    life: Life,
    is_accepting: bool,
    exited: bool,
    clearing: Clearing,
    /// When this shard began, in microseconds of the monotonic clock.
    began_us: u64,
    process: fn() -> ProcessMetrics,

    incoming: Vec<Option<Receiver>>,
    /// The last turn left envelopes in a queue, for the next one.
    mesh_left: bool,
    /// An envelope that the last turn has not gone through to its end.
    opened: Option<Opened>,
    /// Requests of other shards that wait because this one is congested.
    deferred: VecDeque<Deferred>,
    /// When other shards last heard this shard's clock though nothing had changed.
    clock_shared_at_ms: u64,
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
        let shards = ports.incoming.len();
        assert_eq!(shared.storage.is_some(), storage.is_some(), "a shard has both or none");
        let turn = Turn::new(&shared, (index, shards), Outgoing::new(ports.outgoing), now, seed);
        Self {
            clients: Clients::new(&shared, shards, now),
            maps: Maps::new(&shared, &turn, storage),
            feeds: Feeds::default(),
            queries: Queries::default(),
            rooms: Rooms::default(),
            presence: Presence::default(),
            channels: Channels::default(),
            directs: Directs::default(),
            requests: Requests::new(shards),
            access: Access::new(shared.config.auth, Arc::default(), None),
            directory: Directory::new(&shared.config),
            questions: Questions::default(),
            inspection: Inspection::default(),
            client_errors: ClientErrors::default(),
            parser: Parser::new(),
            life: Life::Serving,
            is_accepting: true,
            exited: false,
            clearing: Clearing::new(shards),
            began_us: now.monotonic_us,
            process: shared.process,
            incoming: ports.incoming,
            mesh_left: false,
            opened: None,
            deferred: VecDeque::new(),
            clock_shared_at_ms: 0,
            turn,
        }
    }
}
