//! Shards and clients, all in the hands of the test: nothing happens that it does not ask for.

use std::net::{IpAddr, Ipv4Addr};

use annulus::config::{Config, DialectPath};
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::mesh::{self, ConnectionId, KeyHasher, ShardIndex, owner};
use annulus::metrics::Metrics;
use annulus::shard::{Command, Now, Shard, Shared};

use crate::client_frames::{frame, take_text, text_frame};
use crate::shards::{BEGIN, shared, upgrade};
use crate::words::DIALECTS;

const TURN_US: u64 = 100;
/// Turns in a row that a shard may ask for without waiting.
const BUSY_TURNS_MAX: usize = 10_000;
/// Envelopes each queue of the mesh holds: few, so that shards find them full.
const ENVELOPES: usize = 2;

/// One client, and the shard it is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub shard: usize,
    id: ConnectionId,
}

/// See the module.
pub struct World {
    pub nodes: Vec<Node>,
    hasher: KeyHasher,
    now: Now,
}

/// One shard with its driver.
pub struct Node {
    pub shard: Shard,
    /// It takes no turns.
    pub is_stopped: bool,
    arrived: Vec<(ConnectionId, Vec<u8>)>,
    failed: Vec<ConnectionId>,
    sent: Vec<(ConnectionId, usize)>,
    /// Clients that take nothing, and what was to be sent to them.
    stalled: Vec<ConnectionId>,
    held_back: Vec<(ConnectionId, usize)>,
    shut_down: Vec<ConnectionId>,
    closed: Vec<ConnectionId>,
    gone: Vec<ConnectionId>,
    inbox: Vec<(ConnectionId, Vec<u8>)>,
    /// Turns since it last had anything for anybody.
    quiet_turns: u32,
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
        let node = |(index, ports)| Node {
            shard: Shard::new(shared.clone(), index as ShardIndex, ports, None, BEGIN, 1),
            is_stopped: false,
            arrived: Vec::new(),
            failed: Vec::new(),
            sent: Vec::new(),
            stalled: Vec::new(),
            held_back: Vec::new(),
            shut_down: Vec::new(),
            closed: Vec::new(),
            gone: Vec::new(),
            inbox: Vec::new(),
            quiet_turns: 0,
            work: 0,
        };
        let ports = mesh::connect_with_capacity(shards, ENVELOPES);
        Self { nodes: ports.into_iter().enumerate().map(node).collect(), hasher, now: BEGIN }
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
        let node = &mut self.nodes[shard];
        let id = node.shard.accepted(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        node.inbox.push((id, Vec::new()));
        node.arrived.push((id, upgrade(path).into_bytes()));
        self.settle();
        let response = self.nodes[shard].inbox(id);
        let end = response.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        response.drain(..end);
        Client { shard, id }
    }

    /// Sends one message, which the shard reads in its next turn.
    pub fn send(&mut self, client: Client, text: &str) {
        self.nodes[client.shard].arrived.push((client.id, text_frame(text.as_bytes())));
    }

    /// Sends one message and returns what the client has been sent when nothing happens any more.
    pub fn ask(&mut self, client: Client, text: &str) -> Vec<String> {
        self.send(client, text);
        self.settle();
        self.received(client)
    }

    /// The client goes without a word, after what it has sent has arrived.
    pub fn fail(&mut self, client: Client) {
        self.nodes[client.shard].failed.push(client.id);
    }

    /// The client sends nothing more, after what it has sent has arrived.
    pub fn end(&mut self, client: Client) {
        self.nodes[client.shard].shut_down.push(client.id);
    }

    /// The client says good-bye, which is read after what it has sent before.
    pub fn close(&mut self, client: Client) {
        self.nodes[client.shard].arrived.push((client.id, frame(0x88, &1000_u16.to_be_bytes())));
    }

    /// The client takes nothing any more.
    pub fn stall(&mut self, client: Client) {
        self.nodes[client.shard].stalled.push(client.id);
    }

    /// A client that takes nothing else takes so many bytes of what is under way for it, or what there is.
    pub fn take(&mut self, client: Client, bytes: usize) {
        let node = &mut self.nodes[client.shard];
        let Some(place) = node.held_back.iter().position(|&(id, _)| id == client.id) else { return };
        // What is left is to be sent again.
        let (_, held_back) = node.held_back.swap_remove(place);
        node.sent.push((client.id, bytes.min(held_back)));
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self, client: Client) -> bool {
        self.nodes[client.shard].gone.contains(&client.id)
    }

    pub fn resume(&mut self, client: Client) {
        let node = &mut self.nodes[client.shard];
        node.stalled.retain(|&id| id != client.id);
        self.take_all(client);
    }

    /// A client that takes nothing takes what was to be sent to it so far, and nothing after that.
    pub fn take_all(&mut self, client: Client) {
        let node = &mut self.nodes[client.shard];
        let (taken, held_back) =
            std::mem::take(&mut node.held_back).into_iter().partition(|&(id, _)| id == client.id);
        (node.sent, node.held_back) = ([std::mem::take(&mut node.sent), taken].concat(), held_back);
    }

    /// The messages a client has been sent since the last call.
    pub fn received(&mut self, client: Client) -> Vec<String> {
        let inbox = self.nodes[client.shard].inbox(client.id);
        std::iter::from_fn(|| take_text(inbox)).map(|text| String::from_utf8(text).unwrap()).collect()
    }

    /// One turn of each shard.
    pub fn turn(&mut self) {
        self.now.monotonic_us += TURN_US;
        self.now.unix_ms = BEGIN.unix_ms + (self.now.monotonic_us - BEGIN.monotonic_us) / 1000;
        self.nodes.iter_mut().filter(|node| !node.is_stopped).for_each(|node| node.turn(self.now));
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
        self.nodes.iter().map(|node| node.work).sum()
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

impl Node {
    fn inbox(&mut self, id: ConnectionId) -> &mut Vec<u8> {
        &mut self.inbox.iter_mut().find(|(of, _)| *of == id).unwrap().1
    }

    /// Whether nothing but time makes it do anything: what waits for room in the mesh has been offered again.
    fn is_idle(&self) -> bool {
        let has_input = !(self.arrived.is_empty() && self.sent.is_empty() && self.failed.is_empty());
        self.quiet_turns > 2 && self.shard.wait_us() != Some(0) && !has_input
    }

    fn turn(&mut self, now: Now) {
        self.shard.start_turn(now);
        for (id, bytes) in std::mem::take(&mut self.sent) {
            self.shard.sent(id, bytes);
        }
        for (id, mut octets) in std::mem::take(&mut self.arrived) {
            let len = octets.len();
            octets.resize(len + PARSE_PADDING_BYTES, 0);
            self.shard.received(id, &mut octets, len);
        }
        std::mem::take(&mut self.failed).into_iter().for_each(|id| self.shard.failed(id));
        std::mem::take(&mut self.shut_down).into_iter().for_each(|id| self.shard.received_end(id));
        for id in std::mem::take(&mut self.closed) {
            // Its sends have ended with it.
            self.held_back.retain(|&(of, _)| of != id);
            self.sent.retain(|&(of, _)| of != id);
            self.gone.push(id);
            self.shard.released(id);
        }
        self.shard.drain_mesh();
        self.shard.end_turn();
        self.work += self.shard.work();
        let mut commands = Vec::new();
        self.shard.take_commands(&mut commands);
        self.quiet_turns = if commands.is_empty() { self.quiet_turns + 1 } else { 0 };
        for command in commands {
            match command {
                Command::Send(id) => {
                    let bytes = self.shard.in_flight(id).collect::<Vec<_>>().concat();
                    let is_stalled = self.stalled.contains(&id);
                    let sent = if is_stalled { &mut self.held_back } else { &mut self.sent };
                    sent.push((id, bytes.len()));
                    self.inbox(id).extend(bytes);
                }
                Command::Shutdown(id) => self.shut_down.push(id),
                Command::Close(id) => self.closed.push(id),
                // What is not read is kept by the shard, every shard has a turn anyway, and none stops.
                _ => {}
            }
        }
    }
}
