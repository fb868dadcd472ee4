//! Histories of chance: clients ask, write, read slowly, come and go, and in the end every list is right.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use annulus::config::QueryIndex;

use crate::lists::{Lists, connect, held};
use crate::random::Random;
use crate::world::{Client, World};

const KEYS: usize = 60;
const SEEDS: u64 = 12;

fn of<'a, T>(random: &mut Random, choices: &'a [T]) -> &'a T {
    &choices[random.below(choices.len())]
}

pub fn value(random: &mut Random) -> Value {
    if random.below(20) == 0 {
        return of(random, &[json!(1), json!("text"), json!(null), json!([{"n": 1}])]).clone();
    }
    let mut value = serde_json::Map::new();
    value.insert("done".into(), of(random, &[json!(true), json!(false), json!(null)]).clone());
    if random.below(10) > 0 {
        value.insert("n".into(), json!(random.below(12)));
    }
    if random.below(3) == 0 {
        value.insert("owner".into(), json!({"name": of(random, &["a", "b", "ab"])}));
    }
    if random.below(4) == 0 {
        value.insert("note".into(), json!("x".repeat(random.below(400))));
    }
    Value::Object(value)
}

pub fn query(random: &mut Random) -> Value {
    let owner = of(random, &["a", "b", "ab", "c"]);
    let (n, less) = (random.below(12), random.below(12));
    let conditions = [
        // Most are found by a value that they need.
        json!({"n": n}),
        json!({"n": n, "done": {"ne": true}}),
        json!({"n": {"in": [n, less, 100]}, "done": of(random, &[json!(false), json!(null)])}),
        json!({"and": [{"and": [{"owner.name": owner}]}, {"n": {"ge": less}}]}),
        json!({"owner": {"eq": {"name": owner}}}),
        json!({"done": true, "owner.name": {"in": [owner, "b"]}}),
        json!({"n": {"in": []}}),
        json!({}),
        json!({"done": false}),
        json!({"done": {"ne": true}, "n": {"ge": 3}}),
        json!({"n": {"in": [1, 2, 3, 5, 8]}}),
        json!({"or": [{"owner.name": "a"}, {"n": {"lt": 4}}]}),
        json!({"not": {"owner": {"exists": true}}}),
        json!({"owner.name": {"prefix": "a"}}),
        json!({"n": 100}),
        json!({"n": {"ge": n, "lt": less}, "owner.name": {"prefix": "a"}}),
        json!({"n": {"gt": n, "le": less}}),
    ];
    let sorts = [json!([]), json!(["n"]), json!(["-n", "done"]), json!(["owner.name", "-n"])];
    let mut query = json!({"where": of(random, &conditions), "sort": of(random, &sorts)});
    if random.below(4) > 0 {
        query["limit"] = json!(1 + random.below(8));
        if random.below(3) == 0 {
            query["offset"] = json!(random.below(6));
        }
    }
    query
}

fn write(random: &mut Random, map: &str) -> String {
    let ops: Vec<String> = (0..1 + random.below(4))
        .map(|_| {
            let key = format!("{}{}", of(random, &["p", "q"]), random.below(KEYS));
            match random.below(5) {
                0 => format!(r#"{{"map":"{map}","key":"{key}","op":"delete"}}"#),
                1 => {
                    let ttl = 1 + random.below(300);
                    format!(
                        r#"{{"map":"{map}","key":"{key}","op":"set","value":{},"ttl_ms":{ttl}}}"#,
                        value(random)
                    )
                }
                _ => format!(r#"{{"map":"{map}","key":"{key}","op":"set","value":{}}}"#, value(random)),
            }
        })
        .collect();
    format!(r#"{{"type":"write","ack":"none","ops":[{}]}}"#, ops.join(","))
}

/// One client, and whether it takes nothing for a while.
pub struct Asker {
    pub client: Client,
    pub lists: Lists,
    pub stalled: bool,
    pub next: u64,
}

impl Asker {
    pub fn new(world: &mut World, shard: usize) -> Self {
        Self { client: connect(world, shard), lists: Lists::default(), stalled: false, next: 1 }
    }

    /// Asks for one more query, or ends one.
    pub fn ask(&mut self, world: &mut World, random: &mut Random, queries: &[Value]) {
        if world.is_paused(self.client) {
            return;
        }
        let place = random.below(6);
        let known: Vec<u64> = self.lists.lists.keys().copied().collect();
        if let Some(&id) = known.get(place) {
            let text = format!(r#"{{"type":"unsubscribe","id":"end","map":"m","query":{id}}}"#);
            world.send(self.client, &text);
            self.lists.lists.remove(&id);
            return;
        }
        let query = of(random, queries).clone();
        self.next += 1;
        let text = match random.below(4) {
            0 => self.lists.subscribe_prefix(self.next, "m", "p", &query),
            _ => self.lists.subscribe(self.next, "m", &query),
        };
        world.send(self.client, &text);
    }
}

fn run(seed: u64, shards: usize, soft_bytes: usize) -> (usize, usize, usize) {
    let mut random = Random::new(seed);
    let mut world = World::in_memory_with(shards, |config| {
        (config.outbox_soft_bytes, config.outbox_hard_bytes) = (soft_bytes, 1 << 20);
        config.message_bytes_max = 60_000;
        config.value_bytes_max = 10_000;
        // Of every other history, so that what is kept of an index is right whichever way a list is found.
        if seed % 2 == 1 {
            let indexes = ["m:n", "*:owner.name", "m:done", "other:n"];
            config.query_indexes = indexes.iter().map(|index| QueryIndex::parse(index).unwrap()).collect();
        }
    });
    let all = connect(&mut world, 0);
    let mut askers: Vec<Asker> = (0..4).map(|n| Asker::new(&mut world, n % shards)).collect();
    let queries: Vec<Value> = (0..8).map(|_| query(&mut random)).collect();
    let mut entries: BTreeMap<String, Value> = BTreeMap::new();
    for round in 0..12 {
        for _ in 0..40 {
            let asker = &mut askers[random.below(4)];
            match random.below(12) {
                0 | 1 => asker.ask(&mut world, &mut random, &queries),
                2 if !asker.stalled => {
                    asker.stalled = true;
                    world.stall(asker.client);
                }
                3 if asker.stalled => {
                    asker.stalled = false;
                    world.nodes[asker.client.shard].driven.resume(asker.client.id);
                }
                4 => world.pass_ms(random.below(40) as u64),
                5 => world.turn(),
                _ if !world.is_paused(asker.client) => world.send(asker.client, &write(&mut random, "m")),
                _ => {}
            }
        }
        if round % 5 == 4 {
            let cleared = world.clear(0);
            world.settle();
            assert!(world.has_succeeded(cleared));
        }
        for asker in &mut askers {
            if std::mem::take(&mut asker.stalled) {
                world.nodes[asker.client.shard].driven.resume(asker.client.id);
            }
        }
        // What ends by time has ended: the map does not change while it is looked at.
        world.pass_ms(400);
        (0..30).for_each(|_| world.turn());
        world.settle();
        entries = held(&mut world, all, "m", false);
        for (place, asker) in askers.iter_mut().enumerate() {
            asker.lists.take(&mut world, asker.client);
            asker
                .lists
                .check(&entries, &format!("seed {seed}, {shards} shards, round {round}, client {place}"));
        }
        if round % 4 == 3 {
            let place = random.below(4);
            let gone = std::mem::replace(&mut askers[place], Asker::new(&mut world, place % shards));
            world.close(gone.client);
            world.settle();
            // It comes back, after a while in which something may have changed.
            for _ in 0..random.below(8) {
                let text = write(&mut random, "m");
                let client = askers[(place + 1) % 4].client;
                if !world.is_paused(client) {
                    world.send(client, &text);
                    world.turn();
                }
            }
            let (client, next) = (askers[place].client, gone.next);
            askers[place].lists = gone.lists;
            askers[place].next = next;
            for text in askers[place].lists.come_back("m") {
                world.send(client, &text);
            }
        }
    }
    drop(entries);
    let lists = askers.iter().flat_map(|asker| asker.lists.lists.values());
    lists.fold((0, 0, 0), |(snapshots, changes, resumed), list| {
        (snapshots + list.snapshots, changes + list.changes, resumed + list.resumed)
    })
}

#[test]
fn every_list_is_what_its_query_says_of_the_map() {
    let (mut snapshots, mut changes, mut resumed) = (0, 0, 0);
    for seed in 0..SEEDS {
        for shards in 1..=3 {
            let more = run(seed, shards, 256 << 10);
            (snapshots, changes, resumed) = (snapshots + more.0, changes + more.1, resumed + more.2);
        }
    }
    assert!(changes > 2_000 && resumed > 20, "{snapshots} snapshots, {changes} changes, {resumed} resumed");
}

#[test]
fn whoever_falls_behind_is_sent_the_present_list() {
    let mut behind = 0;
    for seed in 100..100 + SEEDS * 3 / 2 {
        let (snapshots, ..) = run(seed, 1 + seed as usize % 3, 2 << 10);
        behind += snapshots;
    }
    assert!(behind > 300, "{behind} snapshots");
}
