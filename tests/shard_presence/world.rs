//! Shards and clients, all in the hands of the test: nothing happens that it does not ask for.

use annulus::config::{Config, DialectPath};
use annulus::mesh::{self, KeyHasher, ShardIndex, owner};
use annulus::metrics::Metrics;
use annulus::shard::{Now, Shard, Shared};

use crate::client_frames::take_text;
pub use crate::driven_shard::Client;
use crate::driven_shard::{Driven, LOCALHOST, next_turn};
use crate::shards::{BEGIN, shared};
use crate::words::DIALECTS;

/// Turns in a row that a shard may ask for without waiting.
const BUSY_TURNS_MAX: usize = 10_000;
/// Envelopes each queue of the mesh holds: few, so that shards find them full.
const ENVELOPES: usize = 2;

/// See the module.
pub struct World {
    pub nodes: Vec<Driven>,
    hasher: KeyHasher,
    now: Now,
    /// Units of work of all turns.
    work: u64,
}

impl World {
    pub fn new(shards: usize) -> Self {
        Self::with(shards, |_| {})
    }

    pub fn with(shards: usize, change: impl FnOnce(&mut Config)) -> Self {
        let other = DialectPath { path: "/other".into(), dialect: 1, ..DialectPath::NATIVE };
        let dialects = vec![DialectPath::NATIVE, other];
        let mut config = Config { heartbeat_ms: 3_600_000, dialects, ..Config::default() };
        change(&mut config);
        let shared = Shared { dialects: DIALECTS, ..shared(config, None) };
        let hasher = shared.hasher;
        let node = |(index, ports)| {
            Driven::new(Shard::new(shared.clone(), index as ShardIndex, ports, None, BEGIN, 1))
        };
        let ports = mesh::connect_with_capacity(shards, ENVELOPES);
        Self { nodes: ports.into_iter().enumerate().map(node).collect(), hasher, now: BEGIN, work: 0 }
    }

    /// A client of the given shard.
    pub fn connect(&mut self, shard: usize) -> Client {
        self.connect_at(shard, "/v1")
    }

    /// A client of the given shard that speaks the other dialect.
    pub fn connect_other(&mut self, shard: usize) -> Client {
        self.connect_at(shard, "/other")
    }

    fn connect_at(&mut self, shard: usize, path: &str) -> Client {
        let id = self.nodes[shard].connect(LOCALHOST, path, None);
        self.settle();
        self.nodes[shard].read_head(id);
        Client { shard, id }
    }

    /// Sends one message, which the shard reads in its next turn.
    pub fn send(&mut self, client: Client, text: &str) {
        self.nodes[client.shard].send(client.id, text);
    }

    /// Sends one message and returns what the client has been sent when nothing happens any more.
    pub fn ask(&mut self, client: Client, text: &str) -> Vec<String> {
        self.send(client, text);
        self.settle();
        self.received(client)
    }

    /// The client goes without a word, after what it has sent has arrived.
    pub fn fail(&mut self, client: Client) {
        self.nodes[client.shard].fail(client.id);
    }

    /// The client sends nothing more, after what it has sent has arrived.
    pub fn end(&mut self, client: Client) {
        self.nodes[client.shard].end(client.id);
    }

    /// The client says good-bye, which is read after what it has sent before.
    pub fn close(&mut self, client: Client) {
        self.nodes[client.shard].close(client.id);
    }

    /// The client takes nothing any more.
    pub fn stall(&mut self, client: Client) {
        self.nodes[client.shard].stall(client.id);
    }

    /// A client that takes nothing else takes so many bytes of what is under way for it, or what there is.
    pub fn take(&mut self, client: Client, bytes: usize) {
        self.nodes[client.shard].take(client.id, bytes);
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self, client: Client) -> bool {
        self.nodes[client.shard].is_gone(client.id)
    }

    pub fn resume(&mut self, client: Client) {
        self.take_all(client);
        self.nodes[client.shard].resume(client.id);
    }

    /// A client that takes nothing takes what was to be sent to it so far, and nothing after that.
    pub fn take_all(&mut self, client: Client) {
        self.nodes[client.shard].take(client.id, usize::MAX);
    }

    /// The messages a client has been sent since the last call.
    pub fn received(&mut self, client: Client) -> Vec<String> {
        let node = &mut self.nodes[client.shard];
        node.look_ahead(client.id);
        let inbox = node.inbox(client.id);
        std::iter::from_fn(|| take_text(inbox)).map(|text| String::from_utf8(text).unwrap()).collect()
    }

    /// One turn of each shard.
    pub fn turn(&mut self) {
        next_turn(&mut self.now);
        for node in self.nodes.iter_mut().filter(|node| !node.is_stopped) {
            node.turn(self.now);
            self.work += node.shard.work();
        }
    }

    /// Turns until no shard has anything to do at once.
    pub fn settle(&mut self) {
        for _ in 0..BUSY_TURNS_MAX {
            self.turn();
            if self.nodes.iter().all(|node| node.is_stopped || node.is_idle()) {
                self.check_gauges();
                return;
            }
        }
        panic!("a shard spins");
    }

    /// Lets time pass, then all that is due happen.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now.monotonic_us += ms * 1000;
        self.settle();
    }

    pub fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        self.nodes.iter().for_each(|node| sum.add(&node.shard.metrics_now()));
        sum
    }

    /// Units of work done so far.
    #[allow(dead_code, reason = "views ask for it")]
    pub fn work(&self) -> u64 {
        self.work
    }

    /// The gauges that are kept as they change are what they are from scratch.
    pub fn check_gauges(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let (kept, counted) = (node.shard.metrics_now(), node.shard.recounted());
            let gauges = |of: &Metrics| {
                let channels = [of.channels, of.channel_messages, of.channel_bytes];
                ([of.presence_rooms, of.presence_members, of.outbox_bytes, of.maps], channels)
            };
            assert_eq!(gauges(&kept), gauges(&counted), "of shard {index}");
        }
    }

    /// A name whose home is `shard`; another one for each `prefix`.
    pub fn name_of(&self, shard: usize, prefix: &str) -> String {
        let is_home = |name: &String| usize::from(owner(self.hasher.map(name), self.nodes.len())) == shard;
        (0..).map(|count| format!("{prefix}{count}")).find(is_home).unwrap()
    }
}
