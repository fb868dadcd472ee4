//! Random histories of many clients, after which every watcher must know what a model knows.
//!
//! Method: each client has members that only it sets, so that their last state is known however the shards interleave;
//! a member called `any` is set by all, and of it watchers must agree with somebody who watches only at the end. Clients
//! stall, so that they fall behind, shards stand still, and a client is replaced by a new connection that sets its
//! members before the old one goes. `PRESENCE_SEED` runs one seed alone.

use std::collections::BTreeMap;

use crate::random::Random;
use crate::world::{Client, World};

const SEEDS: u64 = 150;
const STEPS: usize = 400;
const CLIENTS: usize = 6;
const ROOMS: usize = 3;

type Members = BTreeMap<String, String>;

/// One client, over all its connections.
struct Person {
    client: Client,
    /// Earlier connections that have not gone yet.
    old: Vec<Client>,
    is_stalled: bool,
    /// What it knows of each room it watches, and the ticket whose answer it waits for.
    views: BTreeMap<String, View>,
    /// Watches without their answers, by ticket: the room, and whether it has left it since. Each has exactly one.
    asked: BTreeMap<String, (String, bool)>,
}

#[derive(Default)]
struct View {
    ticket: String,
    /// Everything it was told, without ever forgetting who was not in an answer.
    members: Option<Members>,
}

struct History {
    seed: u64,
    random: Random,
    world: World,
    people: Vec<Person>,
    rooms: Vec<String>,
    /// What people have set for themselves, by room and member.
    model: BTreeMap<String, Members>,
    clock: u64,
}

#[test]
fn after_any_history_every_watcher_knows_every_member() {
    let alone = std::env::var("PRESENCE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = alone.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut conflations = 0;
    for seed in seeds {
        let mut history = History::new(seed);
        (0..STEPS).for_each(|_| history.step());
        history.check();
        conflations += history.world.metrics().presence_conflations;
    }
    assert!(alone.is_some() || conflations > SEEDS, "only {conflations} times was a watcher slow");
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shards = random.between(1, 3);
        let mut world = World::with(shards, |config| config.outbox_soft_bytes = 2_000);
        let people = (0..CLIENTS).map(|_| {
            let client = world.connect(random.below(shards));
            Person::new(client)
        });
        let people = people.collect();
        let rooms = (0..ROOMS).map(|n| format!("room{n}")).collect();
        Self { seed, random, world, people, rooms, model: BTreeMap::new(), clock: 0 }
    }

    fn step(&mut self) {
        let who = self.random.below(CLIENTS);
        let room = self.rooms[self.random.below(ROOMS)].clone();
        match self.random.below(100) {
            0..40 => self.set(who, &room),
            40..50 => self.remove(who, &room),
            50..65 => self.watch(who, room),
            65..70 => {
                let person = &mut self.people[who];
                person.views.remove(&room);
                person.asked.values_mut().filter(|asked| asked.0 == room).for_each(|asked| asked.1 = true);
                self.send(who, &format!("unwatch {room}"));
            }
            70..76 => self.stall_or_resume(who),
            76..80 => self.reconnect(who),
            80..86 => {
                if let Some(old) = self.people[who].old.pop() {
                    self.world.close(old);
                }
            }
            86..90 => {
                let shard = self.random.below(self.world.nodes.len());
                let node = &mut self.world.nodes[shard];
                node.is_stopped = !node.is_stopped;
            }
            _ => {
                let turns = self.random.between(1, 5);
                (0..turns).for_each(|_| self.world.turn());
            }
        }
        self.read();
    }

    fn send(&mut self, who: usize, text: &str) {
        self.world.send(self.people[who].client, text);
    }

    fn set(&mut self, who: usize, room: &str) {
        self.clock += 1;
        let state = "s".repeat(self.random.between(1, 300));
        let (member, clock) = (self.member(who), self.clock);
        self.send(who, &format!("set {room} {member} {clock} {state}"));
        if member != "any" {
            self.model.entry(room.to_owned()).or_default().insert(member, format!("{state}@{clock}"));
        }
    }

    fn remove(&mut self, who: usize, room: &str) {
        let member = self.member(who);
        self.send(who, &format!("remove {room} {member} {}", self.clock));
        self.model.entry(room.to_owned()).or_default().remove(&member);
    }

    /// One of the members that `who` sets.
    fn member(&mut self, who: usize) -> String {
        ["any".to_owned(), format!("{who}-a"), format!("{who}-b")][self.random.below(3)].clone()
    }

    fn watch(&mut self, who: usize, room: String) {
        self.clock += 1;
        let ticket = self.clock.to_string();
        self.send(who, &format!("watch {ticket} {room}"));
        self.people[who].asked.insert(ticket.clone(), (room.clone(), false));
        self.people[who].views.entry(room).or_default().ticket = ticket;
    }

    fn stall_or_resume(&mut self, who: usize) {
        let person = &mut self.people[who];
        person.is_stalled = !person.is_stalled;
        if person.is_stalled {
            self.world.stall(person.client);
        } else {
            self.world.resume(person.client);
        }
    }

    /// Replaces the connection by a new one, maybe on another shard, which sets every member of `who` again.
    fn reconnect(&mut self, who: usize) {
        self.resume_all();
        let shard = self.random.below(self.world.nodes.len());
        let client = self.world.connect(shard);
        self.read();
        let old = std::mem::replace(&mut self.people[who].client, client);
        self.people[who].old.push(old);
        self.people[who].views.clear();
        self.people[who].asked.clear();
        self.world.send(old, "unwatch room0");
        let own = format!("{who}-");
        for (room, members) in &self.model {
            for (member, state) in members.iter().filter(|(member, _)| member.starts_with(&own)) {
                let (state, clock) = state.split_once('@').unwrap();
                self.world.send(client, &format!("set {room} {member} {clock} {state}"));
            }
        }
    }

    fn resume_all(&mut self) {
        for who in 0..CLIENTS {
            if self.people[who].is_stalled {
                self.stall_or_resume(who);
            }
        }
        self.world.nodes.iter_mut().for_each(|node| node.is_stopped = false);
        self.world.settle();
    }

    /// Everybody takes note of what it was told.
    fn read(&mut self) {
        for person in &mut self.people {
            for text in self.world.received(person.client) {
                person.hear(&text, self.seed);
            }
        }
    }

    fn check(&mut self) {
        self.resume_all();
        for old in self.people.iter_mut().flat_map(|person| std::mem::take(&mut person.old)) {
            self.world.close(old);
        }
        self.world.settle();
        self.read();
        for person in &self.people {
            assert!(person.asked.is_empty(), "seed {}: never answered: {:?}", self.seed, person.asked);
        }
        let late = self.world.connect(0);
        let mut watcher = Person::new(late);
        for room in self.rooms.clone() {
            let answer = self.world.ask(late, &format!("watch late {room}"));
            watcher.asked.insert("late".to_owned(), (room.clone(), false));
            watcher.views.insert(room.clone(), View { ticket: "late".to_owned(), members: None });
            watcher.hear(&answer[0], self.seed);
            let mut truth: Members = members_of(&answer[0]).collect();
            for (who, person) in self.people.iter().enumerate() {
                let Some(view) = person.views.get(&room) else { continue };
                assert_eq!(view.members.as_ref(), Some(&truth), "seed {}, client {who}, {room}", self.seed);
            }
            truth.remove("any");
            let model = self.model.get(&room).cloned().unwrap_or_default();
            assert_eq!(truth, model, "seed {}, {room}", self.seed);
        }
        // However long nothing happens nobody goes whose connection lives; in the end nobody is left.
        let before = self.world.metrics().presence_members;
        self.world.pass_ms(1_000_000);
        assert_eq!(self.world.metrics().presence_members, before, "seed {}", self.seed);
        self.people.iter().for_each(|person| self.world.close(person.client));
        self.world.settle();
        self.world.received(late).iter().for_each(|text| watcher.hear(text, self.seed));
        assert_eq!(self.world.metrics().presence_members, 0, "seed {}", self.seed);
        for view in watcher.views.values() {
            assert_eq!(view.members, Some(Members::new()), "seed {}", self.seed);
        }
    }
}

impl Person {
    fn new(client: Client) -> Self {
        Self { client, old: Vec::new(), is_stalled: false, views: BTreeMap::new(), asked: BTreeMap::new() }
    }

    fn hear(&mut self, text: &str, seed: u64) {
        let words: Vec<&str> = text.splitn(4, ' ').collect();
        match words[..] {
            ["members", ticket, room, ..] => {
                let was_asked = self.asked.remove(ticket).is_some_and(|(of, _)| of == room);
                assert!(was_asked || ticket == "-", "seed {seed}: answered twice, or not asked: {text}");
                let Some(view) = self.views.get_mut(room) else { return };
                if ticket == view.ticket || ticket == "-" && view.members.is_some() {
                    view.members.get_or_insert_default().extend(members_of(text));
                }
            }
            ["member", room, change] => {
                let Some(members) = self.views.get_mut(room).and_then(|view| view.members.as_mut()) else {
                    return;
                };
                let (member, state) = change.split_once('=').unwrap();
                if state.starts_with("gone@") {
                    members.remove(member);
                } else {
                    members.insert(member.to_owned(), state.to_owned());
                }
            }
            ["rejected", ticket, "cancelled"] => {
                let was_left = self.asked.remove(ticket).is_some_and(|(_, is_left)| is_left);
                assert!(was_left, "seed {seed}: nothing has cancelled it: {text}");
            }
            _ => panic!("seed {seed}: {text}"),
        }
    }
}

/// The members in an answer, each with its state and clock.
fn members_of(answer: &str) -> impl Iterator<Item = (String, String)> {
    let members = answer.split(' ').skip(3).map(|member| member.split_once('=').unwrap());
    members.map(|(member, state)| (member.to_owned(), state.to_owned()))
}
