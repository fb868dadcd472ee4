//! Shards, their desk, their disk and their clients: nothing happens that the test does not ask for.

use std::sync::Arc;

use annulus::auth::{Revocations, Standing};
use annulus::config::{AuthMode, Config, DialectPath};
use annulus::crdt::Time;
use annulus::handover::{self, DeskEnd, FromStorage, Progress, ShardPort, ToStorage, connect_desk};
use annulus::mesh::{self, KeyHasher, ShardIndex, owner};
use annulus::metrics::Metrics;
use annulus::shard::{Now, Shard, SharedStorage};
use serde_json::Value;

use crate::believing_desk::{answer, standing};
use crate::disk::Disk;
pub use crate::driven_shard::Client;
use crate::driven_shard::{Driven, LOCALHOST, next_turn};
use crate::shards::{BEGIN, shared};

/// Turns in a row that a shard may ask for without waiting.
const BUSY_TURNS_MAX: usize = 20_000;
/// Envelopes each queue of the mesh holds.
const ENVELOPES: usize = 2;

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
    /// Whether what is on it can be read.
    pub disk_gives: bool,
    /// The most that one turn of a shard did, in units of work, since a test has set it to zero.
    pub work_max: u64,
    pub now: Now,
}

struct Node {
    driven: Driven,
    desk: DeskEnd,
    port: ShardPort,
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
            Node { driven: Driven::new(shard), desk, port }
        });
        let nodes = nodes.collect();
        let hasher = shared.hasher;
        let (disk_takes, disk_gives, work_max) = (true, true, 0);
        Self { nodes, standing, progress, hasher, disk, disk_takes, disk_gives, work_max, now }
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
        let id = self.nodes[shard].driven.connect(LOCALHOST, path, token);
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
        self.nodes[client.shard].driven.send(client.id, text);
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
        self.nodes[client.shard].driven.fail(client.id);
    }

    /// From now on the client takes nothing that it is sent.
    pub fn stall(&mut self, client: Client) {
        self.nodes[client.shard].driven.stall(client.id);
    }

    /// It takes what it is sent again.
    pub fn go_on(&mut self, client: Client) {
        self.nodes[client.shard].driven.resume(client.id);
    }

    /// Asks the given shard to drop all maps, as an HTTP client does.
    pub fn clear(&mut self, shard: usize) {
        let driven = &mut self.nodes[shard].driven;
        let id = driven.accept(LOCALHOST).unwrap();
        driven.shard.clear_maps(id);
        self.settle();
    }

    /// One turn of each shard.
    pub fn turn(&mut self) {
        next_turn(&mut self.now);
        for Node { driven, desk, .. } in &mut self.nodes {
            driven.turn(self.now);
            if answer(desk, &self.standing) {
                driven.stir();
            }
            self.work_max = self.work_max.max(driven.shard.work());
        }
        if self.disk_takes {
            self.serve();
        }
    }

    /// Turns until no shard has anything to do at once.
    pub fn settle(&mut self) {
        for _ in 0..BUSY_TURNS_MAX {
            self.turn();
            if self.nodes.iter().all(|node| node.driven.is_idle()) {
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
        self.nodes.iter().for_each(|node| sum.add(&node.driven.shard.metrics_now()));
        sum
    }

    fn check_gauges(&self) {
        for Node { driven, .. } in &self.nodes {
            let gauges = |of: Metrics| (of.directs_queued, of.direct_bytes, of.map_names);
            assert_eq!(gauges(driven.shard.metrics_now()), gauges(driven.shard.recounted()));
        }
    }

    /// A user whose home is that shard; another one for each `prefix`.
    pub fn user_of(&self, shard: usize, prefix: &str) -> String {
        let is_home = |name: &String| usize::from(self.nodes[0].driven.shard.home_of_user(name)) == shard;
        (0..).map(|count| format!("{prefix}{count}")).find(is_home).unwrap()
    }

    /// Takes the messages that a client has been sent, and `close <code>`.
    pub fn take(&mut self, client: Client) -> Vec<Value> {
        let text = |(opcode, payload): (u8, Vec<u8>)| match opcode {
            0x88 => Value::String(format!("close {}", u16::from_be_bytes([payload[0], payload[1]]))),
            0x82 => Value::String("binary".to_owned()),
            _ => serde_json::from_slice(&payload).unwrap(),
        };
        self.nodes[client.shard].driven.read_frames(client.id).into_iter().map(text).collect()
    }

    /// The disk takes what it is handed, and gives what it is asked for.
    fn serve(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        let shards = self.nodes.len();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            while !node.port.to_shard.is_full()
                && let Ok(item) = node.port.from_shard.pop()
            {
                node.driven.stir();
                match item {
                    ToStorage::Load { map } if !self.disk_gives => {
                        node.port.to_shard.push(FromStorage::LoadFailed { map }).unwrap();
                    }
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

/// The place in the id of a message.
pub fn offset(id: &str) -> u64 {
    id.split_once('-').unwrap().1.parse().unwrap()
}
