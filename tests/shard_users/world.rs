//! Shards, their desk and their clients: nothing happens that the test does not ask for.

#![allow(dead_code, reason = "not every test asks for all of it")]

use std::net::IpAddr;
use std::sync::Arc;

use annulus::auth::{Revocations, Standing};
use annulus::config::{AuthMode, Config, DialectPath};
use annulus::handover::{Answered, Ask, DeskEnd, FromDesk, HooksEnd, Verified, connect_desk, connect_hooks};
use annulus::hooks::{Happened, Verdict};
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::mesh::{self, ConnectionId, ShardIndex};
use annulus::metrics::Metrics;
use annulus::shard::{Command, Now, Shard};

use crate::believing_desk::{believe, standing};
use crate::client_frames::{frame, take_frame, text_frame};
use crate::shards::{BEGIN, shared, upgrade};

const TURN_US: u64 = 100;
/// Turns in a row that a shard may ask for without waiting.
const BUSY_TURNS_MAX: usize = 10_000;
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
    pub nodes: Vec<Node>,
    standing: Arc<Standing>,
    now: Now,
}

pub struct Node {
    pub shard: Shard,
    desk: DeskEnd,
    hooks: HooksEnd,
    is_stopped: bool,
    arrived: Vec<(ConnectionId, Vec<u8>)>,
    failed: Vec<ConnectionId>,
    sent: Vec<(ConnectionId, usize)>,
    /// Clients that take nothing, and what was to be sent to them.
    stalled: Vec<ConnectionId>,
    held_back: Vec<(ConnectionId, usize)>,
    shut_down: Vec<ConnectionId>,
    closed: Vec<ConnectionId>,
    inbox: Vec<(ConnectionId, Vec<u8>)>,
    quiet_turns: u32,
}

impl World {
    pub fn with(shards: usize, rules: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            heartbeat_ms: 3_600_000,
            dialects: vec![DialectPath::NATIVE],
            auth: AuthMode::Optional,
            accepts_per_second_max: 0,
            ..Config::default()
        };
        change(&mut config);
        let shared = shared(config, None);
        let standing = standing(rules, Revocations::default());
        let ports = mesh::connect_with_capacity(shards, ENVELOPES).into_iter();
        let beside =
            connect_desk(shards, &Arc::default()).into_iter().zip(connect_hooks(shards, &Arc::default()));
        let nodes =
            ports.zip(beside).enumerate().map(|(index, (ports, ((port, desk), (hooks_port, hooks))))| {
                let mut shard = Shard::new(shared.clone(), index as ShardIndex, ports, None, BEGIN, 1);
                shard.stand_under(Arc::clone(&standing), Some(port));
                shard.hook_up(hooks_port);
                Node {
                    shard,
                    desk,
                    hooks,
                    is_stopped: false,
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
        Self { nodes: nodes.collect(), standing, now: BEGIN }
    }

    /// A client asks for a WebSocket, with a token or without.
    pub fn connect(&mut self, shard: usize, token: Option<&str>, target: &str, address: &str) -> Client {
        let address: IpAddr = address.parse().unwrap();
        let node = &mut self.nodes[shard];
        let id = node.shard.accepted(address).unwrap();
        node.inbox.push((id, Vec::new()));
        let mut request = upgrade(target);
        if let Some(token) = token {
            request.truncate(request.len() - 2);
            request.push_str(&format!("Authorization: Bearer {token}\r\n\r\n"));
        }
        node.arrived.push((id, request.into_bytes()));
        Client { shard, id }
    }

    /// The same, and what it has been sent when nothing happens any more.
    pub fn open(&mut self, shard: usize, token: &str) -> (Client, Vec<String>) {
        let client = self.connect(shard, Some(token), "/v1", "127.0.0.1");
        self.settle();
        (client, self.texts(client))
    }

    pub fn send(&mut self, client: Client, text: &str) {
        self.nodes[client.shard].arrived.push((client.id, text_frame(text.as_bytes())));
    }

    /// Sends one message and says what the client has been sent when nothing happens any more.
    pub fn ask(&mut self, client: Client, text: &str) -> Vec<String> {
        self.send(client, text);
        self.settle();
        self.texts(client)
    }

    /// Sends one message and says what the client has been sent after one turn.
    pub fn ask_once(&mut self, client: Client, text: &str) -> Vec<String> {
        self.send(client, text);
        self.turn();
        self.texts(client)
    }

    /// The client goes without a word.
    pub fn fail(&mut self, client: Client) {
        self.nodes[client.shard].failed.push(client.id);
    }

    /// The client says good-bye.
    pub fn close(&mut self, client: Client) {
        self.nodes[client.shard].arrived.push((client.id, frame(0x88, &1000_u16.to_be_bytes())));
    }

    /// The client takes nothing any more, or everything again.
    pub fn stall(&mut self, client: Client, is_stalled: bool) {
        let node = &mut self.nodes[client.shard];
        if is_stalled {
            return node.stalled.push(client.id);
        }
        node.stalled.retain(|&id| id != client.id);
        let (taken, held_back) =
            std::mem::take(&mut node.held_back).into_iter().partition(|&(id, _)| id == client.id);
        (node.sent, node.held_back) = ([std::mem::take(&mut node.sent), taken].concat(), held_back);
    }

    /// The shard takes no turns, or some again.
    pub fn stop(&mut self, shard: usize, is_stopped: bool) {
        self.nodes[shard].is_stopped = is_stopped;
    }

    /// From now on other rules are in force.
    pub fn stand(&mut self, rules: &str) {
        self.standing = standing(rules, Revocations::default());
        for node in &mut self.nodes {
            node.desk.to_shard.push(FromDesk::Standing(Arc::clone(&self.standing))).unwrap();
        }
        self.settle();
    }

    /// One turn of each shard.
    pub fn turn(&mut self) {
        self.now.monotonic_us += TURN_US;
        self.now.unix_ms = BEGIN.unix_ms + (self.now.monotonic_us - BEGIN.monotonic_us) / 1000;
        for node in self.nodes.iter_mut().filter(|node| !node.is_stopped) {
            node.turn(self.now);
            node.answer(&self.standing);
        }
    }

    /// Turns until no shard has anything to do at once.
    pub fn settle(&mut self) {
        for _ in 0..BUSY_TURNS_MAX {
            self.turn();
            if self.nodes.iter().all(|node| node.is_stopped || node.is_idle()) {
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

    pub fn now_ms(&self) -> u64 {
        self.now.timer_ms()
    }

    pub fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        self.nodes.iter().for_each(|node| sum.add(&node.shard.metrics_now()));
        sum
    }

    /// The shard that knows the connections of a user.
    pub fn home_of(&self, user: &str) -> usize {
        self.nodes[0].shard.home_of_user(user).into()
    }

    /// A user whose home is that shard; another one for each `prefix`.
    pub fn user_of(&self, shard: usize, prefix: &str) -> String {
        let names = (0..).map(|count| format!("{prefix}{count}"));
        names.into_iter().find(|name| self.home_of(name) == shard).unwrap()
    }

    /// What the directory has of a user, in order.
    pub fn listed(&self, user: &str) -> Vec<(Client, Option<String>)> {
        let home = &self.nodes[self.home_of(user)].shard;
        let listed = home.connections_of_user(user).map(|(of, session)| {
            (Client { shard: of.shard.into(), id: of.connection }, session.map(str::to_owned))
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort();
        listed
    }

    /// Takes what the application was told, shard by shard.
    pub fn told(&mut self) -> Vec<Happened> {
        let of_node =
            |node: &mut Node| std::iter::from_fn(|| node.hooks.pop_event().map(|event| event.what)).collect();
        self.nodes.iter_mut().flat_map(|node| -> Vec<Happened> { of_node(node) }).collect()
    }

    /// Takes the questions of a shard, in their order.
    pub fn asked(&mut self, shard: usize) -> Vec<Ask> {
        let questions = &mut self.nodes[shard].hooks.questions;
        std::iter::from_fn(|| questions.pop().ok()).collect()
    }

    /// The application says this to one.
    pub fn say(&mut self, shard: usize, ask: &Ask, verdict: Verdict) {
        let answered = Answered { connection: ask.connection, serial: ask.serial, verdict };
        self.nodes[shard].hooks.answers.push(answered).expect("there is room for each answer");
        self.nodes[shard].quiet_turns = 0;
    }

    /// Takes what a client was sent: its messages, and `close <code> <reason>`.
    pub fn texts(&mut self, client: Client) -> Vec<String> {
        let inbox = self.nodes[client.shard].inbox(client.id);
        if inbox.starts_with(b"HTTP/") {
            let end = inbox.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            inbox.drain(..end);
        }
        let text = |(opcode, payload): (u8, Vec<u8>)| match opcode {
            0x88 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                format!("close {code} {}", str::from_utf8(&payload[2..]).unwrap()).trim_end().to_owned()
            }
            _ => String::from_utf8(payload).unwrap(),
        };
        std::iter::from_fn(|| take_frame(inbox)).map(text).collect()
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
                    let is_stalled = self.stalled.contains(&id);
                    let sent = if is_stalled { &mut self.held_back } else { &mut self.sent };
                    sent.push((id, bytes.len()));
                    self.inbox(id).extend(bytes);
                }
                Command::Shutdown(id) => self.shut_down.push(id),
                Command::Close(id) => self.closed.push(id),
                _ => {}
            }
        }
    }
}
