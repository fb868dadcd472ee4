//! Shards, their desk and their clients: nothing happens that the test does not ask for.

#![allow(dead_code, reason = "not every test asks for all of it")]

use std::net::IpAddr;
use std::sync::Arc;

use annulus::auth::{Revocations, Standing};
use annulus::config::{AuthMode, Config, DialectPath};
use annulus::handover::{Answered, Ask, DeskEnd, FromDesk, HooksEnd, connect_desk, connect_hooks};
use annulus::hooks::{Happened, Verdict};
use annulus::mesh::{self, ShardIndex};
use annulus::metrics::Metrics;
use annulus::shard::{Now, Shard};

use crate::believing_desk::{answer, standing};
pub use crate::driven_shard::Client;
use crate::driven_shard::{Driven, next_turn};
use crate::shards::{BEGIN, shared};

/// Turns in a row that a shard may ask for without waiting.
const BUSY_TURNS_MAX: usize = 10_000;
/// Envelopes each queue of the mesh holds.
const ENVELOPES: usize = 2;

/// See the module.
pub struct World {
    pub nodes: Vec<Node>,
    standing: Arc<Standing>,
    now: Now,
    /// Questions that the test keeps for later.
    pub held: Vec<Ask>,
}

pub struct Node {
    pub driven: Driven,
    desk: DeskEnd,
    hooks: HooksEnd,
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
                Node { driven: Driven::new(shard), desk, hooks }
            });
        Self { nodes: nodes.collect(), standing, now: BEGIN, held: Vec::new() }
    }

    /// A client asks for a WebSocket, with a token or without.
    pub fn connect(&mut self, shard: usize, token: Option<&str>, target: &str, address: &str) -> Client {
        let address: IpAddr = address.parse().unwrap();
        let id = self.nodes[shard].driven.connect(address, target, token);
        Client { shard, id }
    }

    /// The same, and what it has been sent when nothing happens any more.
    pub fn open(&mut self, shard: usize, token: &str) -> (Client, Vec<String>) {
        let client = self.connect(shard, Some(token), "/v1", "127.0.0.1");
        self.settle();
        (client, self.texts(client))
    }

    pub fn send(&mut self, client: Client, text: &str) {
        self.nodes[client.shard].driven.send(client.id, text);
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
        self.nodes[client.shard].driven.fail(client.id);
    }

    /// The client says good-bye.
    pub fn close(&mut self, client: Client) {
        self.nodes[client.shard].driven.close(client.id);
    }

    /// The client takes nothing any more, or everything again.
    pub fn stall(&mut self, client: Client, is_stalled: bool) {
        let driven = &mut self.nodes[client.shard].driven;
        if is_stalled { driven.stall(client.id) } else { driven.resume(client.id) }
    }

    /// The shard takes no turns, or some again.
    pub fn stop(&mut self, shard: usize, is_stopped: bool) {
        self.nodes[shard].driven.is_stopped = is_stopped;
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
        next_turn(&mut self.now);
        for Node { driven, desk, .. } in self.nodes.iter_mut().filter(|node| !node.driven.is_stopped) {
            driven.turn(self.now);
            if answer(desk, &self.standing) {
                driven.stir();
            }
        }
    }

    /// Turns until no shard has anything to do at once.
    pub fn settle(&mut self) {
        for _ in 0..BUSY_TURNS_MAX {
            self.turn();
            if self.nodes.iter().all(|node| node.driven.is_stopped || node.driven.is_idle()) {
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

    /// Lets time pass, and nothing happen.
    pub fn wait_ms(&mut self, ms: u64) {
        self.now.monotonic_us += ms * 1000;
    }

    pub fn now_ms(&self) -> u64 {
        self.now.timer_ms()
    }

    pub fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        self.nodes.iter().for_each(|node| sum.add(&node.driven.shard.metrics_now()));
        sum
    }

    /// The shard that knows the connections of a user.
    pub fn home_of(&self, user: &str) -> usize {
        self.nodes[0].driven.shard.home_of_user(user).into()
    }

    /// A user whose home is that shard; another one for each `prefix`.
    pub fn user_of(&self, shard: usize, prefix: &str) -> String {
        let names = (0..).map(|count| format!("{prefix}{count}"));
        names.into_iter().find(|name| self.home_of(name) == shard).unwrap()
    }

    /// What the directory has of a user, in order.
    pub fn listed(&self, user: &str) -> Vec<(Client, Option<String>)> {
        let home = &self.nodes[self.home_of(user)].driven.shard;
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
        self.nodes[shard].driven.stir();
    }

    /// Takes what a client was sent: its messages, and `close <code> <reason>`.
    pub fn texts(&mut self, client: Client) -> Vec<String> {
        let driven = &mut self.nodes[client.shard].driven;
        driven.look_ahead(client.id);
        let text = |(opcode, payload): (u8, Vec<u8>)| match opcode {
            0x88 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                format!("close {code} {}", str::from_utf8(&payload[2..]).unwrap()).trim_end().to_owned()
            }
            _ => String::from_utf8(payload).unwrap(),
        };
        driven.read_frames(client.id).into_iter().map(text).collect()
    }
}
