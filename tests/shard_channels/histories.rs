//! Random histories over one to three shards: clients join, leave, come back with what they know, publish, stop reading and read
//! on, and shards stand still. What has which offset is known from the answers to who has published it, and everybody is held against it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::oracle::{Membership, Memberships, Said, Truth};
use crate::random::Random;
use crate::said::{ask, channel_of, join, leave, told};
use crate::world::{Client, World};

const KEPT: usize = 20;
const CLIENTS: usize = 5;

struct Run {
    world: World,
    truths: BTreeMap<String, Truth>,
    /// What was sent and is yet to be answered, by number.
    sent: BTreeMap<u64, Said>,
    clients: Vec<(Client, Memberships)>,
    numbers: u64,
    seen: [u64; 4],
}

impl Run {
    fn new(random: &mut Random) -> Self {
        let shards = random.between(1, 3);
        let mut world = World::with(shards, |config| {
            config.outbox_soft_bytes = 2_000;
            config.channel_history.messages = KEPT;
            config.heartbeat_ms = 3_600_000;
        });
        // Who stays, so that neither channel is ever gone.
        let keeper = world.connect(0);
        let mut truths = BTreeMap::new();
        for home in 0..2 {
            let name = channel_of(&world, home % shards, &format!("chat{home}:"));
            let epoch = ask(&mut world, keeper, &join(&name))[0]["epoch"].as_str().unwrap().to_owned();
            truths.insert(name, Truth { epoch, said: BTreeMap::new() });
        }
        let clients =
            (0..CLIENTS).map(|_| (world.connect(random.below(shards)), Memberships::new())).collect();
        Self { world, truths, sent: BTreeMap::new(), clients, numbers: 0, seen: [0; 4] }
    }

    /// Reads what everybody was told, first the offsets, and holds it against what it may be.
    fn read(&mut self) {
        let mut all = Vec::new();
        for me in 0..self.clients.len() {
            let client = self.clients[me].0;
            all.extend(told(&mut self.world, client).into_iter().map(|message| (me, message)));
        }
        let (published, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, message)| message["type"] == "published");
        for (me, message) in published {
            let said = self.sent.remove(&message["id"].as_u64().unwrap()).unwrap();
            assert_eq!(said.by, me);
            let truth = self.truths.get_mut(message["channel"].as_str().unwrap()).unwrap();
            assert!(truth.said.insert(message["offset"].as_u64().unwrap(), said).is_none(), "given twice");
        }
        assert!(self.sent.is_empty(), "everybody is answered: {:?}", self.sent);
        for truth in self.truths.values() {
            assert!(truth.said.keys().copied().eq(1..=truth.said.len() as u64), "none is left out");
        }
        for (me, message) in others {
            self.told(me, &message);
        }
    }

    fn told(&mut self, me: usize, message: &Value) {
        let channel = message["channel"].as_str().unwrap_or_default();
        match message["type"].as_str().unwrap() {
            "left" => assert!(!self.clients[me].1.contains_key(channel)),
            kind => {
                let place = ["message", "gap", "joined", "error"].iter().position(|known| *known == kind);
                self.seen[place.unwrap()] += 1;
                if let Some(membership) = self.clients[me].1.get_mut(channel) {
                    membership.told(message, &self.truths[channel], KEPT as u64);
                } else {
                    panic!("{me} is told {message} of what it is not in");
                }
            }
        }
    }

    /// Everything is read and told, so that what clients know is what there is.
    fn settle(&mut self) {
        self.world.nodes.iter_mut().for_each(|node| node.is_stopped = false);
        for me in 0..self.clients.len() {
            let client = self.clients[me].0;
            self.world.resume(client);
        }
        self.world.settle();
        self.read();
    }

    fn step(&mut self, random: &mut Random) {
        let me = random.below(CLIENTS);
        let client = self.clients[me].0;
        let names: Vec<String> = self.truths.keys().cloned().collect();
        let channel = &names[random.below(names.len())];
        match random.below(20) {
            0..10 => {
                self.numbers += 1;
                let (echo, number) = (random.below(3) == 0, self.numbers);
                let filler = "f".repeat(random.below(400));
                self.sent.insert(number, Said { by: me, echo, number });
                let data = json!({"by": me, "echo": echo, "number": number, "filler": filler});
                let message =
                    json!({"type": "publish", "id": number, "channel": channel, "data": data, "echo": echo});
                self.world.send(client, &message.to_string());
            }
            10..12 => self.join(random, me, channel),
            12 => {
                // What is under way is told first, so that the test knows what is of before.
                self.settle();
                self.clients[me].1.remove(channel);
                self.world.send(client, &leave(channel).to_string());
                self.settle();
            }
            13 => self.world.stall(client),
            14 => self.world.resume(client),
            15 => {
                let shard = random.below(self.world.nodes.len());
                self.world.nodes[shard].is_stopped ^= true;
            }
            _ => self.world.turn(),
        }
    }

    fn join(&mut self, random: &mut Random, me: usize, channel: &str) {
        let client = self.clients[me].0;
        if self.clients[me].1.contains_key(channel) {
            return;
        }
        let said = self.truths[channel].said.len();
        let since = (random.below(3) > 0).then(|| random.below(said + 1) as u64);
        let since_json = since.map(|offset| json!({"epoch": self.truths[channel].epoch, "offset": offset}));
        let message = json!({"type": "join", "id": 1, "channel": channel, "since": since_json});
        self.clients[me].1.insert(channel.to_owned(), Membership::new(me, since));
        self.world.send(client, &message.to_string());
    }
}

#[test]
fn after_random_turns_everybody_was_told_what_it_should() {
    let seeds = std::env::var("SEEDS").map_or(200, |seeds| seeds.parse().unwrap());
    let mut seen = [0; 4];
    for seed in 0..seeds {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut run = Run::new(&mut random);
        for _ in 0..400 {
            run.step(&mut random);
        }
        run.settle();
        for (me, (_, memberships)) in run.clients.iter().enumerate() {
            for (channel, membership) in memberships {
                let truth = &run.truths[channel];
                assert!(membership.is_live, "{me} was answered");
                membership.own_until(truth.said.len() as u64 + 1, truth);
            }
        }
        assert_eq!(run.world.metrics().waiting_request_bytes, 0);
        seen.iter_mut().zip(run.seen).for_each(|(sum, of)| *sum += of);
    }
    assert!(seen[..3].iter().all(|&count| count > seeds), "all of it has happened: {seen:?}");
}
