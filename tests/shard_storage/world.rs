//! Shards, clients and a storage, all in the hands of the test: nothing happens that it does not ask for.

use std::net::IpAddr;
use std::sync::Arc;

use annulus::config::Config;
use annulus::crdt::Time;
use annulus::handover::{self, Chunk, Found, FromStorage, LookUp, Progress, ShardPort, ToStorage};
use annulus::mesh::{self, ConnectionId, KeyHasher, KeyList, ShardIndex, owner};
use annulus::metrics::Metrics;
use annulus::shard::{Command, Now, Shard, SharedStorage};
use simd_json::OwnedValue as Value;

use crate::client_frames::{frame, take_frame, take_text};
use crate::disk::Disk;
pub use crate::driven_shard::Client;
use crate::driven_shard::{Driven, LOCALHOST, TURN_US, next_turn};
use crate::shards::{BEGIN, shared, upgrade};

/// When every test begins, and the last tick of the data set then.
pub const UNIX_START_MS: u64 = BEGIN.unix_ms;
pub const CLOCK_FLOOR: Time = Time::new(UNIX_START_MS - 1_000, 0);
/// Turns in a row that a shard may ask for without waiting.
const BUSY_TURNS_MAX: usize = 10_000;

/// See the module.
pub struct World {
    pub nodes: Vec<Node>,
    pub progress: Arc<Progress>,
    pub disk: Disk,
    /// Maps that were handed over to be dropped.
    pub dropped: u64,
    /// How far the wall clock of each shard is from where it should be.
    pub skews_ms: Vec<i64>,
    /// A shard that has no turns for the time being.
    pub stopped: Option<usize>,
    hasher: KeyHasher,
    now: Now,
}

/// One shard with what is beside it.
pub struct Node {
    pub driven: Driven,
    pub port: ShardPort,
    /// Times the shard asked for the storage to be woken.
    pub storage_wakes: u32,
    pub has_exited: bool,
    /// Whether it has woken another shard in its last turn.
    has_woken: bool,
    paused: Vec<ConnectionId>,
}

impl World {
    pub fn new(shards: usize) -> Self {
        Self::with(shards, |_| {})
    }

    pub fn with(shards: usize, change: impl FnOnce(&mut Config)) -> Self {
        Self::over(Disk::default(), shards, change)
    }

    /// A server whose data set has been at this tick before.
    pub fn stored_at(floor: Time, shards: usize) -> Self {
        Self::over(Disk::at(floor), shards, |_| {})
    }

    /// The wall clock.
    pub fn unix_ms(&self) -> u64 {
        self.now.unix_ms
    }

    /// A server that keeps maps in memory only.
    pub fn in_memory(shards: usize) -> Self {
        Self::in_memory_with(shards, |_| {})
    }

    /// The same, with other settings.
    pub fn in_memory_with(shards: usize, change: impl FnOnce(&mut Config)) -> Self {
        Self::start(None, shards, change)
    }

    /// A server that starts over what an earlier one has left.
    pub fn over(disk: Disk, shards: usize, change: impl FnOnce(&mut Config)) -> Self {
        Self::start(Some(disk), shards, change)
    }

    fn start(disk: Option<Disk>, shards: usize, change: impl FnOnce(&mut Config)) -> Self {
        let is_stored = disk.is_some();
        let disk = disk.unwrap_or_default();
        let mut config = Config { heartbeat_ms: 3_600_000, offers_durable: true, ..Config::default() };
        change(&mut config);
        let floor = CLOCK_FLOOR.max(disk.clock());
        let progress = Arc::new(Progress::new(shards, floor));
        let storage = is_stored.then(|| SharedStorage {
            progress: Arc::clone(&progress),
            clock_floor: floor,
            cleared_through: disk.cleared_through(),
        });
        let shared = shared(config, storage);
        let (hasher, now) = (shared.hasher, BEGIN);
        let parts = mesh::connect(shards).into_iter().zip(handover::connect(shards)).enumerate();
        let node = |(index, (mesh, (storage, port)))| Node {
            driven: Driven::new(Shard::new(
                shared.clone(),
                index as ShardIndex,
                mesh,
                is_stored.then_some(storage),
                now,
                1,
            )),
            port,
            storage_wakes: 0,
            has_exited: false,
            has_woken: false,
            paused: Vec::new(),
        };
        Self {
            nodes: parts.map(node).collect(),
            progress,
            disk,
            dropped: 0,
            skews_ms: vec![0; shards],
            stopped: None,
            hasher,
            now,
        }
    }

    /// A client of the given shard whose `hello` is its first message.
    pub fn connect(&mut self, shard: usize) -> Client {
        self.connect_at(shard, "/v1")
    }

    /// A client of the given shard that speaks what is spoken at `path`.
    pub fn connect_at(&mut self, shard: usize, path: &str) -> Client {
        let client = self.accept(shard, LOCALHOST);
        self.upgrade(client, path);
        self.settle();
        self.nodes[shard].driven.read_head(client.id);
        client
    }

    /// A client of the given shard that has said nothing yet.
    pub fn accept(&mut self, shard: usize, address: IpAddr) -> Client {
        self.try_accept(shard, address).unwrap()
    }

    /// The same, if there is room for one more.
    pub fn try_accept(&mut self, shard: usize, address: IpAddr) -> Option<Client> {
        let id = self.nodes[shard].driven.accept(address)?;
        Some(Client { shard, id })
    }

    /// Asks for a WebSocket, which the shard reads in its next turn.
    pub fn upgrade(&mut self, client: Client, path: &str) {
        self.nodes[client.shard].driven.receive(client.id, upgrade(path).into_bytes());
    }

    /// Whether the answer to [`Self::upgrade`] has come, and is that it is open.
    pub fn is_open(&mut self, client: Client) -> bool {
        self.nodes[client.shard].driven.inbox(client.id).starts_with(b"HTTP/1.1 101 ")
    }

    /// Asks the given shard to drop all maps, as an HTTP client does.
    pub fn clear(&mut self, shard: usize) -> Client {
        let client = self.accept(shard, LOCALHOST);
        self.nodes[shard].driven.shard.clear_maps(client.id);
        client
    }

    /// Whether an HTTP client has been told of its success.
    pub fn has_succeeded(&mut self, client: Client) -> bool {
        let response = String::from_utf8(self.nodes[client.shard].driven.inbox(client.id).clone()).unwrap();
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        response.ends_with("\r\n\r\n{\"success\":true}")
    }

    /// Sends one message, which the shard reads in its next turn.
    pub fn send(&mut self, client: Client, text: &str) {
        assert!(!self.is_paused(client), "nothing is read from a client that is paused");
        self.send_at_once(client, text);
    }

    /// Sends one message, whether the client is read or not, as what has arrived before it was paused is reported all the
    /// same.
    pub fn send_at_once(&mut self, client: Client, text: &str) {
        self.nodes[client.shard].driven.send(client.id, text);
    }

    /// Sends one message and returns what the client has been sent when nothing happens any more.
    pub fn ask(&mut self, client: Client, text: &str) -> Vec<Value> {
        self.send(client, text);
        self.settle();
        self.received(client)
    }

    /// Sends one message whose answer waits for nothing.
    pub fn answer(&mut self, client: Client, text: &str) -> Value {
        let mut answers = self.ask(client, text);
        assert_eq!(answers.len(), 1, "{text} was answered with {answers:?}");
        answers.remove(0)
    }

    /// As [`Self::answer`], byte by byte.
    pub fn answer_text(&mut self, client: Client, text: &str) -> String {
        self.send(client, text);
        self.settle();
        let answer = take_text(self.nodes[client.shard].driven.inbox(client.id)).unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// The client goes without a word.
    pub fn close(&mut self, client: Client) {
        self.nodes[client.shard].driven.shard.failed(client.id);
    }

    /// The messages a client has been sent since the last call.
    pub fn received(&mut self, client: Client) -> Vec<Value> {
        let inbox = self.nodes[client.shard].driven.inbox(client.id);
        let mut messages = Vec::new();
        while let Some(mut text) = take_text(inbox) {
            messages.push(simd_json::to_owned_value(&mut text).unwrap());
        }
        messages
    }

    pub fn is_paused(&self, client: Client) -> bool {
        self.nodes[client.shard].paused.contains(&client.id)
    }

    /// One turn of each shard.
    pub fn turn(&mut self) {
        next_turn(&mut self.now);
        for (index, (node, &skew_ms)) in self.nodes.iter_mut().zip(&self.skews_ms).enumerate() {
            if self.stopped == Some(index) {
                continue;
            }
            let unix_ms = self.now.unix_ms.saturating_add_signed(skew_ms);
            if !node.driven.is_stopped {
                node.turn(Now { unix_ms, ..self.now });
            }
        }
    }

    /// Turns until no shard has anything to do at once.
    pub fn settle(&mut self) {
        for _ in 0..BUSY_TURNS_MAX {
            // A clock that moves so little reaches no timer; who has been woken has something in a queue.
            let mut is_quiet = true;
            for _ in 0..4 {
                self.turn();
                is_quiet &= self.nodes.iter().all(Node::is_idle);
            }
            if is_quiet {
                self.check_gauges();
                return;
            }
        }
        panic!("a shard spins");
    }

    /// Lets time pass, in which each shard has its turns when it wants them.
    pub fn pass_ms(&mut self, ms: u64) {
        let end_us = self.now.monotonic_us + ms * 1000;
        while self.now.monotonic_us < end_us {
            let running = self.nodes.iter().map(|node| &node.driven).filter(|driven| !driven.is_stopped);
            let waits = running.filter_map(|driven| driven.shard.wait_us());
            let left_us = end_us - self.now.monotonic_us;
            self.now.monotonic_us += waits.min().unwrap_or(left_us).clamp(TURN_US, left_us.max(TURN_US));
            self.settle();
        }
    }

    /// Lets time pass in which no shard has a turn, as when the process is stopped.
    pub fn stand_still_ms(&mut self, ms: u64) {
        self.now.monotonic_us += ms * 1000;
        self.settle();
    }

    /// From now on the client takes nothing that it is sent.
    pub fn stall(&mut self, client: Client) {
        self.nodes[client.shard].driven.stall(client.id);
    }

    /// The client takes this much of what it is sent, and what is left waits.
    pub fn take_bytes(&mut self, client: Client, bytes: usize) {
        self.nodes[client.shard].driven.take(client.id, bytes);
    }

    /// Takes the pings that a client has been sent since the last call, and all else.
    pub fn pings(&mut self, client: Client) -> usize {
        let mut inbox = std::mem::take(self.nodes[client.shard].driven.inbox(client.id));
        std::iter::from_fn(|| take_frame(&mut inbox)).filter(|(first, _)| *first == 0x89).count()
    }

    /// Answers a ping, as a client does that is well.
    pub fn pong(&mut self, client: Client) {
        self.nodes[client.shard].driven.receive(client.id, frame(0x8A, &[]));
    }

    pub fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        self.nodes.iter().for_each(|node| sum.add(&node.driven.shard.metrics_now()));
        sum
    }

    /// The gauges that are kept as they change are what they are from scratch.
    pub fn check_gauges(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let (kept, counted) = (node.driven.shard.metrics_now(), node.driven.shard.recounted());
            let gauges = |of: &Metrics| {
                [of.maps, of.map_names, of.cells, of.resident_bytes, of.outbox_bytes, of.presence_members]
            };
            assert_eq!(gauges(&kept), gauges(&counted), "of shard {index}");
        }
    }

    /// A key of `map` that `shard` owns; another one for each `n`.
    pub fn key_of(&self, shard: usize, map: &str, n: usize) -> String {
        let hash = self.hasher.map(map);
        let keys = (0..).map(|count| format!("k{count}"));
        let owned = |key: &String| usize::from(owner(self.hasher.key(hash, key), self.nodes.len())) == shard;
        keys.filter(owned).nth(n).unwrap()
    }

    /// A name of a map whose home is `shard`.
    pub fn map_of(&self, shard: usize, prefix: &str) -> String {
        let names = (0..).map(|count| format!("{prefix}{count}"));
        let is_home = |name: &String| usize::from(owner(self.hasher.map(name), self.nodes.len())) == shard;
        names.into_iter().find(is_home).unwrap()
    }
}

// The storage, by hand.
impl World {
    /// Takes everything `shard` has handed over.
    pub fn take(&mut self, shard: usize) -> Vec<ToStorage> {
        std::iter::from_fn(|| self.nodes[shard].port.from_shard.pop().ok()).collect()
    }

    /// The maps `shard` has asked for; everything else it has handed over must be nothing but records.
    pub fn loads(&mut self, shard: usize) -> Vec<String> {
        let name = |item| match item {
            ToStorage::Load { map } => Some(map.to_string()),
            _ => None,
        };
        self.take(shard).into_iter().filter_map(name).collect()
    }

    pub fn push(&mut self, shard: usize, item: FromStorage) {
        self.nodes[shard].port.to_shard.push(item).unwrap();
    }

    /// Answers every load with what the disk has, and takes everything else in, until nothing is asked any more.
    pub fn serve(&mut self) {
        self.serve_but_loads_of(usize::MAX);
    }

    /// Answers every load, and makes nothing durable: what else was handed over is taken back into no hand.
    pub fn serve_loads(&mut self) {
        loop {
            self.settle();
            let mut served = false;
            for shard in 0..self.nodes.len() {
                for map in self.loads(shard) {
                    served |= self.serve_item(shard, ToStorage::Load { map: map.into() });
                }
            }
            if !served {
                return;
            }
        }
    }

    /// The same, but what this shard wants to be loaded fails.
    pub fn serve_but_loads_of(&mut self, failing: usize) {
        loop {
            self.settle();
            let mut served = false;
            for shard in 0..self.nodes.len() {
                for item in self.take(shard) {
                    match item {
                        ToStorage::Load { map } if shard == failing => {
                            self.push(shard, FromStorage::LoadFailed { map });
                            served = true;
                        }
                        item => served |= self.serve_item(shard, item),
                    }
                }
            }
            if !served {
                return;
            }
        }
    }

    /// Whether the shard has something to do now.
    fn serve_item(&mut self, shard: usize, item: ToStorage) -> bool {
        match item {
            ToStorage::Load { map } => {
                for chunk in self.chunks(shard, &map) {
                    while self.nodes[shard].port.to_shard.is_full() {
                        self.turn();
                    }
                    self.push(shard, FromStorage::Chunk(chunk));
                }
            }
            ToStorage::LookUp(look_up) => {
                let found = self.found(look_up);
                self.push(shard, FromStorage::Found(found));
            }
            ToStorage::Records(batch) => {
                self.disk.take(&batch);
                self.make_durable(shard, batch.number, batch.bytes.len() as u64, batch.last_applied);
            }
            ToStorage::Typed { map, map_type } => self.disk.set_type(&map, map_type),
            ToStorage::Checkpoint => return false,
            ToStorage::Evicted(_) => {
                self.dropped += 1;
                return false;
            }
        }
        true
    }

    /// What a load of the map by `shard` comes to.
    pub fn chunks(&self, shard: usize, map: &str) -> Vec<Chunk> {
        let (hash, shards) = (self.hasher.map(map), self.nodes.len());
        let is_owned = |key: &[u8]| usize::from(owner(self.hasher.key_bytes(hash, key), shards)) == shard;
        self.disk.chunks(map, is_owned)
    }

    /// What looking up comes to.
    pub fn found(&self, look_up: LookUp) -> Found {
        let keys: Vec<&[u8]> = KeyList(&look_up.keys).iter().map(|(key, _)| key.as_bytes()).collect();
        let chunks = self.disk.chunks(&look_up.map, |key| keys.contains(&key));
        let joined = chunks.into_iter().reduce(|mut all, chunk| {
            all.cells.extend(chunk.cells);
            all
        });
        look_up.answer(joined)
    }

    /// `bytes` more of `shard` are durable, which ends its batch `number`.
    pub fn make_durable(&self, shard: usize, number: u64, bytes: u64, clock: Time) {
        let progress = self.progress.shard(shard);
        progress.set_durable(number, progress.durable_bytes() + bytes);
        self.progress.advance_durable_clock(clock);
    }

    /// Everything that is durable is in the base, too.
    pub fn fold(&self) {
        self.fold_through(self.progress.durable_clock());
    }

    /// Everything up to this tick is in the base.
    pub fn fold_through(&self, tick: Time) {
        (0..self.nodes.len()).for_each(|shard| self.progress.shard(shard).set_folded(tick));
    }
}

impl Node {
    /// Whether it wants no turn at once, and nobody else wants one because of it.
    fn is_idle(&self) -> bool {
        self.driven.is_stopped || !self.has_woken && self.driven.shard.wait_us() != Some(0)
    }

    fn turn(&mut self, now: Now) {
        self.has_woken = false;
        for command in self.driven.turn(now) {
            match command {
                Command::PauseReading(id) => self.paused.push(id),
                Command::ResumeReading(id) => self.paused.retain(|&paused| paused != id),
                Command::WakeStorage => self.storage_wakes += 1,
                Command::Exit => self.has_exited = true,
                // Every shard has a turn anyway.
                Command::Wake(_) => self.has_woken = true,
                Command::StopAccepting => self.driven.shard.stopped_accepting(),
                Command::Send(_) | Command::Shutdown(_) | Command::Close(_) => unreachable!("they are done"),
                Command::WakeDesk | Command::WakeHooks | Command::WakeAdmin => {}
            }
        }
    }
}
