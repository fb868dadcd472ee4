//! One shard, its clients and its disk, in the hands of a test.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use annulus::config::{Config, DialectPath};
use annulus::crdt::Time;
use annulus::dialect;
use annulus::handover::Progress;
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::mesh::{self, ConnectionId};
use annulus::metrics::Metrics;
use annulus::shard::{Command, Now, Shard, Transport};

use crate::client_frames::text_frame;
use crate::counting_allocator::allocations;
use crate::eager_storage::EagerStorage;
use crate::shards::{BEGIN, shared, upgrade};

pub const TURNS: u64 = 1_000;
/// Turns in which every buffer grows to its size; the applied order of a map is swept now and then.
const WARM_UP_TURNS: u64 = 1_000;
const TURN_US: u64 = 100;

/// What `io/` is to a shard: each send is taken whole and completes in the next turn.
pub struct Host {
    pub shard: Shard,
    pub now: Now,
    commands: Vec<Command>,
    sent: Vec<(ConnectionId, usize)>,
    buffer: Vec<u8>,
    storage: Option<EagerStorage>,
    /// Pieces of a send, at most.
    pub pieces_max: usize,
    /// Clients send more than a turn handles.
    pub may_pause: bool,
}

impl Host {
    pub fn new() -> Self {
        Self::with(None)
    }

    pub fn stored() -> Self {
        Self::with(Some(Arc::new(Progress::new(1, Time::ZERO))))
    }

    fn with(progress: Option<Arc<Progress>>) -> Self {
        Self::with_config(progress, |_| {})
    }

    pub fn with_config(progress: Option<Arc<Progress>>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            heartbeat_ms: 3_600_000,
            offers_durable: true,
            dialects: vec![DialectPath::NATIVE, dialect::synckit::PATH],
            ..Config::default()
        };
        change(&mut config);
        let (storage, port) = progress.map(EagerStorage::new).unzip();
        let shared = shared(config, storage.as_ref().map(EagerStorage::shared));
        let shard = Shard::new(shared, 0, mesh::connect(1).pop().unwrap(), port, BEGIN, 1);
        Self {
            shard,
            now: BEGIN,
            commands: Vec::new(),
            sent: Vec::new(),
            buffer: Vec::new(),
            storage,
            pieces_max: 0,
            may_pause: false,
        }
    }

    /// An open WebSocket of the native dialect whose `hello` has been sent.
    pub fn open(&mut self) -> ConnectionId {
        self.open_at("/v1")
    }

    pub fn open_at(&mut self, path: &str) -> ConnectionId {
        let id = self.shard.accepted(IpAddr::V4(Ipv4Addr::LOCALHOST), Transport::Plain).unwrap();
        self.turn_with(|host| host.receive(id, upgrade(path).as_bytes()));
        self.turn_with(|_| {});
        id
    }

    pub fn subscribe(&mut self, id: ConnectionId) {
        self.turn_with(|host| host.receive(id, &text_frame(br#"{"type":"subscribe","map":"board"}"#)));
        self.turn_with(|_| {});
    }

    /// A turn in which connections are pinged, or end.
    pub fn quiet_turn(&mut self) {
        self.now.monotonic_us += TURN_US;
        self.shard.start_turn(self.now);
        while let Some((id, bytes)) = self.sent.pop() {
            self.shard.sent(id, bytes);
        }
        self.shard.drain_mesh();
        self.shard.end_turn();
        self.shard.take_commands(&mut self.commands);
        for command in &self.commands {
            if let Command::Send(id) = *command {
                self.sent.push((id, self.shard.in_flight(id).map(<[u8]>::len).sum()));
            }
        }
        self.commands.clear();
    }

    pub fn receive(&mut self, id: ConnectionId, octets: &[u8]) {
        self.buffer.clear();
        self.buffer.extend_from_slice(octets);
        self.buffer.resize(octets.len() + PARSE_PADDING_BYTES, 0);
        self.shard.received(id, &mut self.buffer, octets.len());
    }

    pub fn turn_with(&mut self, receive: impl FnOnce(&mut Self)) {
        self.now.monotonic_us += TURN_US;
        self.now.unix_ms = 1_700_000_000_000 + self.now.monotonic_us / 1000;
        self.shard.start_turn(self.now);
        while let Some((id, bytes)) = self.sent.pop() {
            self.shard.sent(id, bytes);
        }
        receive(self);
        self.shard.drain_mesh();
        self.shard.end_turn();
        self.shard.take_commands(&mut self.commands);
        for command in &self.commands {
            match *command {
                Command::Send(id) => {
                    self.pieces_max = self.pieces_max.max(self.shard.in_flight(id).count());
                    self.sent.push((id, self.shard.in_flight(id).map(<[u8]>::len).sum()));
                }
                Command::PauseReading(_) | Command::ResumeReading(_) if self.may_pause => {}
                other => panic!("{other:?} in a steady turn"),
            }
        }
        self.commands.clear();
        self.shard.turn_took_ns(1_000);
        self.storage.iter_mut().for_each(EagerStorage::work);
    }

    /// Allocations of the turns after the warm-up, and what the shard counted in them.
    pub fn steady(&mut self, mut receive: impl FnMut(&mut Self, u64)) -> (u64, Metrics) {
        (0..WARM_UP_TURNS).for_each(|turn| self.turn_with(|host| receive(host, turn)));
        let before = self.shard.metrics_now();
        let allocated = allocations();
        (0..TURNS).for_each(|turn| self.turn_with(|host| receive(host, turn)));
        let allocations = allocations() - allocated;
        let mut done = self.shard.metrics_now();
        done.messages_received -= before.messages_received;
        done.messages_sent -= before.messages_sent;
        done.changes -= before.changes;
        done.deliveries -= before.deliveries;
        done.durable_acks -= before.durable_acks;
        done.channel_deliveries -= before.channel_deliveries;
        (allocations, done)
    }
}
