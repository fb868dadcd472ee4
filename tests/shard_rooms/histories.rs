//! Random histories of users with several tabs, after which everybody knows who is there, and nobody is who is not.
//!
//! Method: what each client is told is applied to its view, which must be consistent at every step (`person.rs`). Clients stall, so that
//! they fall behind, shards stand still, connections drop with and without a word, and come back within their grace and after it.
//! `ROOMS_SEED` runs one seed alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::person::{View, ask, connect, told, world_with};
use crate::random::Random;
use crate::world::{Client, World};

const SEEDS: u64 = 200;
const STEPS: usize = 300;
const USERS: [&str; 5] = ["ada", "bob", "cleo", "dan", ""];
const ROOMS: [&str; 3] = ["r0", "r1", "r2"];
const GRACE_MS: u64 = 500;

/// One connection.
struct Tab {
    client: Client,
    user: &'static str,
    is_stalled: bool,
    /// Rooms that it is in, and those that it hears of, with what it was told; `None`: its answer has yet to come.
    joined: BTreeSet<&'static str>,
    views: BTreeMap<&'static str, Option<View>>,
    /// Requests without their answers: ids of those that begin a view.
    asked: BTreeMap<u64, &'static str>,
}

struct History {
    seed: u64,
    random: Random,
    world: World,
    shards: usize,
    tabs: Vec<Tab>,
    next_id: u64,
}

#[test]
fn after_any_history_everybody_knows_who_is_there() {
    let alone = std::env::var("ROOMS_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = alone.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut conflations = 0;
    for seed in seeds {
        let mut history = History::new(seed);
        (0..STEPS).for_each(|_| history.step());
        history.check();
        conflations += history.world.metrics().presence_conflations;
    }
    assert!(alone.is_some() || conflations > SEEDS / 2, "only {conflations} times was anybody slow");
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (shards, full_max) = (random.between(1, 3), random.pick(&[2, 4, 200]));
        let world = world_with(shards, |config| {
            config.outbox_soft_bytes = 2_000;
            config.presence.full_max = full_max;
        });
        Self { seed, random, world, shards, tabs: Vec::new(), next_id: 1 }
    }

    fn step(&mut self) {
        if self.tabs.len() < 3 || self.tabs.len() < 10 && self.random.per_mille(100) {
            return self.open();
        }
        let which = self.random.below(self.tabs.len());
        let room = self.random.pick(&ROOMS);
        match self.random.below(100) {
            0..25 => self.enter(which, room, true),
            25..32 => self.enter(which, room, false),
            32..55 if self.tabs[which].joined.contains(room) => {
                let state = "s".repeat(self.random.between(1, 300));
                let message = format!(r#"{{"type":"presence.update","room":"{room}","state":"{state}"}}"#);
                self.world.send(self.tabs[which].client, &message);
            }
            55..65 => {
                let tab = &mut self.tabs[which];
                tab.joined.remove(room);
                tab.views.remove(room);
                self.world.send(tab.client, &format!(r#"{{"type":"presence.leave","room":"{room}"}}"#));
            }
            65..72 => {
                let tab = &mut self.tabs[which];
                tab.is_stalled = !tab.is_stalled;
                self.world.stall(tab.client, tab.is_stalled);
            }
            72..78 => {
                let tab = self.tabs.swap_remove(which);
                if self.random.per_mille(500) {
                    self.world.fail(tab.client);
                } else {
                    // Else its good-bye may not be read.
                    self.world.stall(tab.client, false);
                    self.world.close(tab.client);
                }
            }
            78..82 => {
                let shard = self.random.below(self.shards);
                self.world.stop(shard, self.random.per_mille(500));
            }
            82..86 => self.world.pass_ms(self.random.between(1, 200) as u64),
            _ => (0..self.random.between(1, 5)).for_each(|_| self.world.turn()),
        }
        self.read();
    }

    fn open(&mut self) {
        self.go_on();
        let user = self.random.pick(&USERS);
        let shard = self.random.below(self.shards);
        let client = connect(&mut self.world, shard, user);
        self.read();
        let (joined, views, asked) = Default::default();
        self.tabs.push(Tab { client, user, is_stalled: false, joined, views, asked });
    }

    fn enter(&mut self, which: usize, room: &'static str, joins: bool) {
        let (id, tab) = (self.next_id, &mut self.tabs[which]);
        self.next_id += 1;
        let message = if joins {
            tab.joined.insert(room);
            let grace_ms = if self.random.per_mille(500) { GRACE_MS } else { 0 };
            let state = if self.random.per_mille(700) { format!(r#","state":{id}"#) } else { String::new() };
            format!(r#"{{"type":"presence.join","id":{id},"room":"{room}","grace_ms":{grace_ms}{state}}}"#)
        } else {
            format!(r#"{{"type":"presence.watch","id":{id},"room":"{room}"}}"#)
        };
        tab.asked.insert(id, room);
        tab.views.entry(room).or_default();
        self.world.send(tab.client, &message);
    }

    /// Everybody takes note of what it was told.
    fn read(&mut self) {
        for tab in &mut self.tabs {
            for message in told(&mut self.world, tab.client) {
                tab.hear(&message, self.seed);
            }
        }
    }

    /// Nobody stands still any more.
    fn go_on(&mut self) {
        for tab in self.tabs.iter_mut().filter(|tab| tab.is_stalled) {
            tab.is_stalled = false;
            self.world.stall(tab.client, false);
        }
        (0..self.shards).for_each(|shard| self.world.stop(shard, false));
        self.world.settle();
        self.read();
    }

    fn check(&mut self) {
        self.go_on();
        for _ in 0..5 {
            self.world.pass_ms(GRACE_MS);
        }
        self.read();
        let seed = self.seed;
        let late = connect(&mut self.world, 0, "");
        for room in ROOMS {
            let answer =
                ask(&mut self.world, late, &format!("{{'type':'presence.watch','id':1,'room':'{room}'}}"));
            let mut truth = View::default();
            truth.hear(&answer[0]);
            let list =
                ask(&mut self.world, late, &format!("{{'type':'presence.list','id':1,'room':'{room}'}}"));
            let list = list[0]["members"].as_array().unwrap().clone();
            let mut model: BTreeMap<String, u64> = BTreeMap::new();
            for tab in self.tabs.iter().filter(|tab| tab.joined.contains(room)) {
                let name = match tab.user {
                    "" => format!(
                        "anon:{}-{}-{}",
                        tab.client.shard, tab.client.id.index, tab.client.id.generation
                    ),
                    user => format!("user:{user}"),
                };
                *model.entry(name).or_default() += 1;
            }
            let listed: BTreeMap<String, u64> = list
                .iter()
                .map(|entry| {
                    (entry["member"].as_str().unwrap().to_owned(), entry["connections"].as_u64().unwrap())
                })
                .collect();
            assert_eq!(listed, model, "seed {seed}, {room}");
            assert!(list.iter().all(|entry| entry["away"] == false), "seed {seed}, {room}: {list:?}");
            assert_eq!(truth.count, model.len() as u64, "seed {seed}, {room}");
            for tab in &self.tabs {
                assert!(tab.asked.is_empty(), "seed {seed}: never answered: {:?}", tab.asked);
                let Some(view) = tab.views.get(room) else { continue };
                let view = view.as_ref().unwrap_or_else(|| panic!("seed {seed}: {room} was never told"));
                assert_eq!(view, &truth, "seed {seed}, {room}, {:?}", tab.client);
            }
        }
        for shard in self.world.nodes.iter().map(|node| &node.driven.shard) {
            let gauges = |of: annulus::metrics::Metrics| {
                [of.presence_user_rooms, of.presence_user_members, of.presence_bytes, of.presence_members]
            };
            assert_eq!(gauges(shard.metrics_now()), gauges(shard.recounted()), "seed {seed}");
        }
        self.tabs.iter().for_each(|tab| self.world.close(tab.client));
        self.world.close(late);
        self.world.pass_ms(100);
        self.world.pass_ms(2 * GRACE_MS);
        let metrics = self.world.metrics();
        assert_eq!(
            (metrics.presence_user_members, metrics.presence_watches, metrics.presence_bytes),
            (0, 0, 0),
            "seed {seed}: something is left"
        );
        assert_eq!(metrics.presence_joined, metrics.presence_left, "seed {seed}");
    }
}

impl Tab {
    fn hear(&mut self, message: &Value, seed: u64) {
        let kind = message["type"].as_str().unwrap();
        let id = message["id"].as_u64();
        if let Some(id) = id {
            assert!(self.asked.remove(&id).is_some(), "seed {seed}: answered twice: {message}");
        }
        if kind == "presence.left" || kind == "error" && message["code"] == "cancelled" {
            return;
        }
        let room = message["room"].as_str().unwrap_or_else(|| panic!("seed {seed}: {message}"));
        let Some(view) = self.views.get_mut(room) else { return };
        match view {
            Some(view) => view.hear(message),
            None if id.is_some() => view.insert(View::default()).hear(message),
            // Of before it left, which the server had yet to read.
            None => {}
        }
    }
}
