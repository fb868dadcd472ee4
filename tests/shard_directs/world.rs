//! Shards, their desk, their disk and their clients: nothing happens that the test does not ask for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use annulus::auth::{Revocations, Standing};
use annulus::config::{AuthMode, Config, DialectPath};
use annulus::crdt::Time;
use annulus::handover::{
    self, DeskEnd, FromDesk, FromStorage, Progress, ShardPort, ToStorage, Verified, connect_desk,
};
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::mesh::{self, ConnectionId, KeyHasher, ShardIndex, owner};
use annulus::metrics::Metrics;
use annulus::shard::{Command, Now, Shard, SharedStorage};
use serde_json::Value;

use crate::believing_desk::{believe, standing};
use crate::client_frames::{take_frame, text_frame};
use crate::disk::Disk;
use crate::shards::{BEGIN, shared, upgrade};

const TURN_US: u64 = 100;
/// Turns in a row that a shard may ask for without waiting.
const BUSY_TURNS_MAX: usize = 20_000;
/// Envelopes each queue of the mesh holds.
const ENVELOPES: usize = 2;

/// One client, and the shard it is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    pub shard: usize,
    pub id: ConnectionId,
}

/// See the module.
pub struct World {
    nodes: Vec<Node>,
    standing: Arc<Standing>,
    progress: Arc<Progress>,
    hasher: KeyHasher,
    /// What has been stored; `None`: maps are kept in memory only.
    disk: Option<Disk>,
    /// Whether the disk takes what it is handed.
    pub disk_takes: bool,
    /// The most that one turn of a shard did, in units of work, since a test has set it to zero.
    pub work_max: u64,
    pub now: Now,
}

struct Node {
    shard: Shard,
    desk: DeskEnd,
    port: ShardPort,
    arrived: Vec<(ConnectionId, Vec<u8>)>,
    failed: Vec<ConnectionId>,
    sent: Vec<(ConnectionId, usize)>,
    /// Clients that take nothing, and what was to be sent to them.
    stalled: Vec<ConnectionId>,
    held_back: Vec<(ConnectionId, Vec<u8>)>,
    shut_down: Vec<ConnectionId>,
    closed: Vec<ConnectionId>,
    inbox: Vec<(ConnectionId, Vec<u8>)>,
    quiet_turns: u32,
}

impl World {
    /// With those rules (empty: none), in memory only.
    pub fn new(shards: usize, rules: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::start(shards, rules, None, BEGIN, change)
    }

    /// Over what an earlier one has left.
    pub fn over(disk: Disk, now: Now, shards: usize, change: impl FnOnce(&mut Config)) -> Self {
        Self::start(shards, "", Some(disk), now, change)
    }

    fn start(
        shards: usize,
        rules: &str,
        disk: Option<Disk>,
        now: Now,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config {
            heartbeat_ms: 3_600_000,
            dialects: vec![DialectPath::NATIVE, annulus::dialect::synckit::PATH],
            auth: AuthMode::Optional,
            accepts_per_second_max: 0,
            offers_durable: true,
            ..Config::default()
        };
        change(&mut config);
        let floor = disk.as_ref().map_or(Time::ZERO, Disk::clock);
        let progress = Arc::new(Progress::new(shards, floor));
        let storage = disk.is_some().then(|| SharedStorage {
            progress: Arc::clone(&progress),
            clock_floor: floor,
            cleared_through: Time::ZERO,
        });
        let shared = shared(config, storage);
        let standing = standing(rules, Revocations::default());
        let parts = mesh::connect_with_capacity(shards, ENVELOPES)
            .into_iter()
            .zip(connect_desk(shards, &Arc::default()))
            .zip(handover::connect(shards));
        let nodes = parts.enumerate().map(|(index, ((ports, (desk_port, desk)), (storage, port)))| {
            let storage = disk.is_some().then_some(storage);
            // Each life has chances of its own.
            let seed = now.monotonic_us + index as u64;
            let mut shard = Shard::new(shared.clone(), index as ShardIndex, ports, storage, now, seed);
            shard.stand_under(Arc::clone(&standing), Some(desk_port));
            Node {
                shard,
                desk,
                port,
                arrived: Vec::new(),
                failed: Vec::new(),
                sent: Vec::new(),
                stalled: Vec::new(),
                held_back: Vec::new(),
                shut_down: Vec::new(),
                closed: Vec::new(),
                inbox: Vec::new(),
                quiet_turns: 0,
            }
        });
        let nodes = nodes.collect();
        Self { nodes, standing, progress, hasher: shared.hasher, disk, disk_takes: true, work_max: 0, now }
    }

    /// Ends without a word; what the disk has.
    pub fn kill(self) -> (Disk, Now) {
        (self.disk.unwrap(), self.now)
    }

    /// Connects as a user.
    pub fn connect(&mut self, shard: usize, user: &str) -> Client {
        self.connect_with(shard, Some(&format!("{{'sub':'{user}'}}")), "/v1")
    }

    /// Connects with a token or without, at some path.
    pub fn connect_with(&mut self, shard: usize, token: Option<&str>, path: &str) -> Client {
        let node = &mut self.nodes[shard];
        let id = node.shard.accepted(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        node.inbox.push((id, Vec::new()));
        let mut request = upgrade(path);
        if let Some(token) = token {
            request.truncate(request.len() - 2);
            request.push_str(&format!("Authorization: Bearer {token}\r\n\r\n"));
        }
        node.arrived.push((id, request.into_bytes()));
        Client { shard, id }
    }

    /// The same as a user, and what it has been sent when nothing happens any more, after its greeting.
    pub fn open(&mut self, shard: usize, user: &str) -> (Client, Vec<Value>) {
        let client = self.connect(shard, user);
        self.settle();
        let mut messages = self.take(client);
        let greeting: Vec<Value> = messages.drain(..2).collect();
        assert!(greeting[0]["type"] == "hello" && greeting[1]["type"] == "authenticated", "{greeting:?}");
        (client, messages)
    }

    pub fn send(&mut self, client: Client, text: &str) {
        self.nodes[client.shard].arrived.push((client.id, text_frame(text.as_bytes())));
    }

    /// Sends one message and says what the client has been sent when nothing happens any more.
    pub fn ask(&mut self, client: Client, text: &str) -> Vec<Value> {
        self.send(client, text);
        self.settle();
        self.take(client)
    }

    /// Sends a direct message of a number; the answer.
    pub fn say(&mut self, client: Client, to: &str, number: usize) -> Value {
        let answers = self.ask(client, &say(to, number));
        answers.into_iter().find(|answer| answer["type"] != "direct").unwrap()
    }

    /// The client goes without a word.
    pub fn fail(&mut self, client: Client) {
        self.nodes[client.shard].failed.push(client.id);
    }

    /// From now on the client takes nothing that it is sent.
    pub fn stall(&mut self, client: Client) {
        self.nodes[client.shard].stalled.push(client.id);
    }

    /// It takes what it is sent again.
    pub fn go_on(&mut self, client: Client) {
        let node = &mut self.nodes[client.shard];
        node.stalled.retain(|&stalled| stalled != client.id);
        if let Some(place) = node.held_back.iter().position(|(id, _)| *id == client.id) {
            let (id, bytes) = node.held_back.remove(place);
            node.sent.push((id, bytes.len()));
            node.inbox(id).extend(bytes);
        }
    }

    /// Asks the given shard to drop all maps, as an HTTP client does.
    pub fn clear(&mut self, shard: usize) {
        let node = &mut self.nodes[shard];
        let id = node.shard.accepted(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        node.inbox.push((id, Vec::new()));
        node.shard.clear_maps(id);
        self.settle();
    }

    /// One turn of each shard.
    pub fn turn(&mut self) {
        self.now.monotonic_us += TURN_US;
        self.now.unix_ms = BEGIN.unix_ms + (self.now.monotonic_us - BEGIN.monotonic_us) / 1000;
        for node in &mut self.nodes {
            node.turn(self.now);
            node.answer(&self.standing);
            self.work_max = self.work_max.max(node.shard.work());
        }
        if self.disk_takes {
            self.serve();
        }
    }

    /// Turns until no shard has anything to do at once.
    pub fn settle(&mut self) {
        for _ in 0..BUSY_TURNS_MAX {
            self.turn();
            if self.nodes.iter().all(Node::is_idle) {
                return self.check_gauges();
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

    fn check_gauges(&self) {
        for node in &self.nodes {
            let gauges = |of: Metrics| (of.directs_queued, of.direct_bytes, of.map_names);
            assert_eq!(gauges(node.shard.metrics_now()), gauges(node.shard.recounted()));
        }
    }

    /// A user whose home is that shard; another one for each `prefix`.
    pub fn user_of(&self, shard: usize, prefix: &str) -> String {
        let is_home = |name: &String| usize::from(self.nodes[0].shard.home_of_user(name)) == shard;
        (0..).map(|count| format!("{prefix}{count}")).find(is_home).unwrap()
    }

    /// Takes the messages that a client has been sent, and `close <code>`.
    pub fn take(&mut self, client: Client) -> Vec<Value> {
        let inbox = self.nodes[client.shard].inbox(client.id);
        if inbox.starts_with(b"HTTP/") {
            let end = inbox.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            inbox.drain(..end);
        }
        let text = |(opcode, payload): (u8, Vec<u8>)| match opcode {
            0x88 => Value::String(format!("close {}", u16::from_be_bytes([payload[0], payload[1]]))),
            0x82 => Value::String("binary".to_owned()),
            _ => serde_json::from_slice(&payload).unwrap(),
        };
        std::iter::from_fn(|| take_frame(inbox)).map(text).collect()
    }

    /// The disk takes what it is handed, and gives what it is asked for.
    fn serve(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        let shards = self.nodes.len();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            while !node.port.to_shard.is_full()
                && let Ok(item) = node.port.from_shard.pop()
            {
                node.quiet_turns = 0;
                match item {
                    ToStorage::Load { map } => {
                        let hash = self.hasher.map(&map);
                        let is_owned = |key: &[u8]| {
                            usize::from(owner(self.hasher.key_bytes(hash, key), shards)) == index
                        };
                        for chunk in disk.chunks(&map, is_owned) {
                            node.port.to_shard.push(FromStorage::Chunk(chunk)).unwrap();
                        }
                    }
                    ToStorage::Records(batch) => {
                        disk.take(&batch);
                        let progress = self.progress.shard(index);
                        let bytes = progress.durable_bytes() + batch.bytes.len() as u64;
                        progress.set_durable(batch.number, bytes);
                        self.progress.advance_durable_clock(batch.last_applied);
                    }
                    ToStorage::Typed { map, map_type } => disk.set_type(&map, map_type),
                    _ => {}
                }
            }
        }
    }
}

impl Node {
    fn inbox(&mut self, id: ConnectionId) -> &mut Vec<u8> {
        &mut self.inbox.iter_mut().find(|(of, _)| *of == id).unwrap().1
    }

    /// Whether nothing but time makes it do anything.
    fn is_idle(&self) -> bool {
        let has_input = !(self.arrived.is_empty() && self.sent.is_empty() && self.failed.is_empty());
        self.quiet_turns > 2 && self.shard.wait_us() != Some(0) && !has_input
    }

    /// The desk answers what it was asked, as much as there is room for.
    fn answer(&mut self, standing: &Standing) {
        while !self.desk.to_shard.is_full()
            && let Ok(verify) = self.desk.from_shard.pop()
        {
            let outcome = believe(standing, &verify.credential);
            let verified = Verified { connection: verify.connection, outcome };
            self.desk.to_shard.push(FromDesk::Verified(verified)).unwrap();
            self.quiet_turns = 0;
        }
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
            self.sent.retain(|&(of, _)| of != id);
            self.held_back.retain(|&(of, _)| of != id);
            self.shard.released(id);
        }
        self.shard.drain_mesh();
        self.shard.end_turn();
        let mut commands = Vec::new();
        self.shard.take_commands(&mut commands);
        self.quiet_turns = if commands.is_empty() { self.quiet_turns + 1 } else { 0 };
        for command in commands {
            match command {
                Command::Send(id) => {
                    let bytes = self.shard.in_flight(id).collect::<Vec<_>>().concat();
                    if self.stalled.contains(&id) {
                        self.held_back.push((id, bytes));
                        continue;
                    }
                    self.sent.push((id, bytes.len()));
                    self.inbox(id).extend(bytes);
                }
                Command::Shutdown(id) => self.shut_down.push(id),
                Command::Close(id) => self.closed.push(id),
                _ => {}
            }
        }
    }
}

/// A direct message of a number.
pub fn say(to: &str, number: usize) -> String {
    format!(r#"{{"type":"send","id":{number},"to":"{to}","data":{number}}}"#)
}

/// The numbers of the direct messages among others.
pub fn numbers(messages: &[Value]) -> Vec<u64> {
    let direct = messages.iter().filter(|message| message["type"] == "direct");
    direct
        .map(|message| message["data"].as_u64().or_else(|| message["data"]["n"].as_u64()).unwrap())
        .collect()
}
