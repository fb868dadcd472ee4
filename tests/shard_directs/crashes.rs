//! The server dies again and again, with a disk that is behind: what it has promised to keep is there afterwards, in order, and no name is
//! given to another message.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::disk::Disk;
use crate::random::Random;
use crate::shards::BEGIN;
use crate::world::{Client, World, offset};

const USERS: [&str; 3] = ["ada", "bob", "cleo"];

#[derive(Default)]
struct Model {
    sent: BTreeMap<u64, &'static str>,
    durable: BTreeMap<u64, bool>,
    /// Of each name that was ever told: the number of its message.
    names: BTreeMap<(&'static str, String), u64>,
    /// For each user: numbers of the messages that must be kept, by their place.
    promised: BTreeMap<&'static str, BTreeMap<u64, u64>>,
    /// For each user: the last place that anybody has acknowledged, whether that has arrived or not.
    acked: BTreeMap<&'static str, u64>,
}

/// Names and numbers of direct messages, as they came.
type Got = Vec<(String, u64)>;

impl Model {
    fn name(&mut self, seed: u64, user: &'static str, id: &str, number: u64) {
        let earlier = self.names.insert((user, id.to_owned()), number);
        assert!(earlier.is_none_or(|earlier| earlier == number), "seed {seed}: {id} of {user} names two");
    }

    /// Reads what a client has been sent; names and numbers of the direct messages.
    fn read(&mut self, seed: u64, user: &'static str, messages: Vec<Value>) -> Got {
        let mut got = Vec::new();
        for message in messages {
            let id = message["message"].as_str().unwrap_or_default().to_owned();
            match message["type"].as_str() {
                Some("direct") => {
                    let number = message["data"].as_u64().unwrap();
                    assert_eq!(self.sent[&number], user, "seed {seed}: it is for another");
                    self.name(seed, user, &id, number);
                    got.push((id, number));
                }
                Some("sent") => {
                    let number = message["id"].as_u64().unwrap();
                    let to = self.sent[&number];
                    self.name(seed, to, &id, number);
                    if self.durable[&number] && message["timeout"].is_null() {
                        self.promised.entry(to).or_default().insert(offset(&id), number);
                    }
                }
                Some("hello" | "authenticated" | "direct.acked") => {}
                _ => panic!("{message}"),
            }
        }
        assert!(got.is_sorted_by_key(|(id, _)| offset(id)), "seed {seed}: in order: {got:?}");
        got
    }

    /// A new connection has been sent all that was promised and that nobody has acknowledged.
    fn check(&self, seed: u64, user: &'static str, got: &[(String, u64)]) {
        let acked = self.acked.get(user).copied().unwrap_or_default();
        for (place, number) in
            self.promised.get(user).into_iter().flatten().filter(|(place, _)| **place > acked)
        {
            let is_there = got.iter().any(|(id, found)| found == number && offset(id) == *place);
            assert!(is_there, "seed {seed}: {user} lacks {number} at {place} of {got:?}");
        }
    }
}

/// How many messages were promised.
fn run(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let (mut disk, mut now, mut model, mut number) = (Disk::default(), BEGIN, Model::default(), 0);
    for _ in 0..random.between(2, 5) {
        let shards = random.between(1, 3);
        let mut world = World::over(disk, now, shards, |config| config.outbox_soft_bytes = 4 << 10);
        let mut known: Vec<(Client, &'static str, Got)> = Vec::new();
        for user in USERS {
            let (_, told) = world.open(random.below(shards), user);
            let got = model.read(seed, user, told);
            model.check(seed, user, &got);
        }
        for _ in 0..random.between(30, 150) {
            let at = random.below(known.len());
            match random.below(12) {
                0..2 => {
                    let user = random.pick(&USERS);
                    known.push((world.connect(random.below(shards), user), user, Vec::new()));
                }
                2 if !known.is_empty() => {
                    let (client, ..) = known.swap_remove(at);
                    world.fail(client);
                }
                3..8 if !known.is_empty() => {
                    number += 1;
                    let (to, is_durable) = (random.pick(&USERS), random.per_mille(700));
                    model.sent.insert(number, to);
                    model.durable.insert(number, is_durable);
                    let ack = if is_durable { "durable" } else { "memory" };
                    let send = json!({"type": "send", "id": number, "to": format!("user:{to}"), "data": number, "ack": ack});
                    world.send(known[at].0, &send.to_string());
                }
                8 if !known.is_empty() => {
                    let (client, user, got) = &known[at];
                    if let Some((id, _)) = (!got.is_empty()).then(|| &got[random.below(got.len())]) {
                        world.send(*client, &json!({"type": "direct.ack", "through": id}).to_string());
                        let acked = model.acked.entry(user).or_default();
                        *acked = offset(id).max(*acked);
                    }
                }
                9 => world.disk_takes = random.per_mille(600),
                10 => (0..random.below(6)).for_each(|_| world.turn()),
                _ => {
                    for (client, user, got) in &mut known {
                        let told = world.take(*client);
                        got.extend(model.read(seed, user, told));
                    }
                }
            }
            (0..random.below(3)).for_each(|_| world.turn());
        }
        for (client, user, _) in &known {
            let told = world.take(*client);
            model.read(seed, user, told);
        }
        (disk, now) = world.kill();
    }
    let mut world = World::over(disk, now, 2, |_| {});
    for user in USERS {
        let (_, told) = world.open(0, user);
        let got = model.read(seed, user, told);
        model.check(seed, user, &got);
    }
    model.promised.values().map(BTreeMap::len).sum()
}

#[test]
fn what_was_promised_is_there_after_each_crash() {
    let chosen = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let promised: usize = chosen.map_or(0..150, |seed| seed..seed + 1).map(run).sum();
    assert!(chosen.is_some() || promised > 3_000, "only {promised} were promised");
}
