//! Users come and go, in several tabs, stop to read, acknowledge and forget to: what each tab is sent is once and in order, and a new one
//! is sent all that is not acknowledged.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::random::Random;
use crate::world::{Client, World, offset, say};

const USERS: [&str; 4] = ["ada", "bob", "cleo", "dan"];

/// What the test knows of a client.
struct Known {
    client: Client,
    user: &'static str,
    is_stalled: bool,
    is_gone: bool,
    /// Messages by number, as they came.
    got: Vec<u64>,
    ids: Vec<String>,
    dropped: u64,
}

#[derive(Default)]
struct Model {
    /// For each user: numbers of the messages that were taken for it, by their place.
    taken: BTreeMap<&'static str, BTreeMap<u64, u64>>,
    /// The last that a client has acknowledged, and the last of which it was told so: it may have gone before that arrived.
    acked: BTreeMap<&'static str, u64>,
    surely_acked: BTreeMap<&'static str, u64>,
    /// Whom each number was for.
    sent: BTreeMap<u64, &'static str>,
}

impl Model {
    /// Reads what a client has been sent.
    fn read(&mut self, who: &mut Known, messages: Vec<Value>) {
        for message in messages {
            match message["type"].as_str() {
                Some("direct") => {
                    who.got.push(message["data"].as_u64().unwrap());
                    who.ids.push(message["message"].as_str().unwrap().to_owned());
                }
                Some("queue.dropped") => who.dropped += message["count"].as_u64().unwrap(),
                Some("sent") => {
                    assert!(
                        ["delivered", "queued"].contains(&message["status"].as_str().unwrap()),
                        "{message}"
                    );
                    let number = message["id"].as_u64().unwrap();
                    let place = offset(message["message"].as_str().unwrap());
                    self.taken.entry(self.sent[&number]).or_default().insert(place, number);
                }
                Some("direct.acked") => {
                    let acked = self.surely_acked.entry(who.user).or_default();
                    *acked = offset(message["through"].as_str().unwrap()).max(*acked);
                }
                Some("hello" | "authenticated") => {}
                _ => panic!("{message}"),
            }
        }
    }
}

fn run(seed: u64, messages_max: usize, acks: bool) {
    let mut random = Random::new(seed);
    let shards = random.between(1, 4);
    let mut world = World::new(shards, "", |config| {
        config.direct.messages_max = messages_max;
        config.outbox_soft_bytes = 512;
    });
    let (mut known, mut model, mut number): (Vec<Known>, Model, u64) = (Vec::new(), Model::default(), 0);
    for _ in 0..random.between(100, 400) {
        let at = random.below(known.len());
        match random.below(12) {
            0..2 => {
                let user = random.pick(&USERS);
                let client = world.connect(random.below(shards), user);
                let (got, ids) = (Vec::new(), Vec::new());
                known.push(Known { client, user, is_stalled: false, is_gone: false, got, ids, dropped: 0 });
            }
            2 if !known.is_empty() && !known[at].is_gone => {
                known[at].is_gone = true;
                world.fail(known[at].client);
            }
            3 if !known.is_empty() && !known[at].is_gone => {
                let who = &mut known[at];
                who.is_stalled = !who.is_stalled;
                if who.is_stalled { world.stall(who.client) } else { world.go_on(who.client) }
            }
            4 if acks && !known.is_empty() && !known[at].is_gone => {
                let who = &known[at];
                if let Some(id) = (!who.ids.is_empty()).then(|| &who.ids[random.below(who.ids.len())]) {
                    world
                        .send(who.client, &json!({"type": "direct.ack", "id": 0, "through": id}).to_string());
                    let acked = model.acked.entry(who.user).or_default();
                    *acked = offset(id).max(*acked);
                }
            }
            5..10 if !known.is_empty() && !known[at].is_gone => {
                let to = random.pick(&USERS);
                number += 1;
                model.sent.insert(number, to);
                world.send(known[at].client, &say(&format!("user:{to}"), number as usize));
            }
            10 => (0..random.below(4)).for_each(|_| world.turn()),
            _ => {
                for who in &mut known {
                    let messages = world.take(who.client);
                    model.read(who, messages);
                }
            }
        }
    }
    for who in known.iter_mut().filter(|who| !who.is_gone && who.is_stalled) {
        world.go_on(who.client);
    }
    world.settle();
    for who in &mut known {
        let messages = world.take(who.client);
        model.read(who, messages);
        let places: Vec<u64> = who.ids.iter().map(|id| offset(id)).collect();
        assert!(places.is_sorted_by(|one, next| one < next), "seed {seed}: once and in order: {places:?}");
    }
    for user in USERS {
        let (client, told) = world.open(random.below(shards), user);
        let (got, ids) = (Vec::new(), Vec::new());
        let mut new = Known { client, user, is_stalled: false, is_gone: false, got, ids, dropped: 0 };
        model.read(&mut new, told);
        // Whoever has sent them may have gone before it was told of it: then a message is one that nobody else knows of.
        for (id, &number) in new.ids.iter().zip(&new.got) {
            assert_eq!(model.sent[&number], user, "seed {seed}: it is for another");
            model.taken.entry(user).or_default().insert(offset(id), number);
        }
        let taken = model.taken.remove(user).unwrap_or_default();
        let acked = model.acked.get(user).copied().unwrap_or_default();
        let surely_acked = model.surely_acked.get(user).copied().unwrap_or_default();
        // Of what is acknowledged the sender may not have been told.
        let end = taken.last_key_value().map_or(0, |(&last, _)| last).max(acked) + 1;
        let first = new.ids.first().map_or(end, |id| offset(id));
        let left: Vec<u64> = taken.range(first..).map(|(_, &number)| number).collect();
        assert_eq!(new.got, left, "seed {seed}: {user} is sent all from the first");
        if acks {
            let is_missed = |place: &u64| (acked + 1..first).contains(place);
            let is_all = first > surely_acked && !taken.keys().any(is_missed);
            assert!(is_all && new.dropped == 0, "seed {seed}: {user} is sent what is not acknowledged");
        } else {
            assert_eq!(new.got.len(), taken.len().min(messages_max), "seed {seed}: {user}");
        }
        for who in known.iter().filter(|who| who.user == user && !who.is_gone) {
            let first = who.ids.first().map_or(0, |id| offset(id));
            if acks {
                // What another tab has acknowledged meanwhile it need not have been sent.
                let owed = taken.range(acked.max(first)..).filter(|(place, _)| **place > acked);
                let got: Vec<u64> = owed.map(|(_, &number)| number).collect();
                assert!(
                    who.got.ends_with(&got),
                    "seed {seed}: {user} has a tab that lacks some: {got:?} {:?}",
                    who.got
                );
            } else {
                assert_eq!(who.got.last(), left.last(), "seed {seed}: {user} has a tab that lacks the last");
            }
        }
        if !acks && new.dropped > 0 {
            let all = new.dropped + new.got.len() as u64;
            let last = new.ids.last().map_or(0, |id| offset(id));
            assert_eq!(all, last, "seed {seed}: {user} is told of each that is lost");
            for who in known.iter().filter(|who| who.user == user && !who.is_gone) {
                assert_eq!(
                    who.dropped + who.got.len() as u64,
                    last,
                    "seed {seed}: {user} is told so in each tab"
                );
            }
        }
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    let chosen = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    chosen.map_or(0..150, |seed| seed..seed + 1)
}

#[test]
fn each_comes_once_and_in_order_until_it_is_acknowledged() {
    seeds().for_each(|seed| run(seed, 1_000, true));
}

#[test]
fn what_is_dropped_is_told_to_each_that_lacks_it() {
    seeds().for_each(|seed| run(seed, 4, false));
}
