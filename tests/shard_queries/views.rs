//! Queries through rules: what may not be seen is neither matched nor sorted by, and other rights are another list.

use std::collections::BTreeMap;
use std::sync::Arc;

use annulus::auth::{Revocations, Standing};
use annulus::config::AuthMode;
use annulus::handover::{DeskEnd, FromDesk, connect_desk};
use serde_json::{Value, json};

use crate::believing_desk::{answer, standing};
use crate::lists::{Lists, parsed};
use crate::random::Random;
use crate::world::{Client, World};

const RULES: &str = r#"
    [[role]]
    name = "admin"
    [[rule]]
    allow = ["read"]
    maps = ["m"]
    keys = ["{claims.name}*"]
    [[rule]]
    allow = ["read"]
    maps = ["m"]
    fields = ["n", "team"]
    when = "value.team == claims.team"
"#;
const ALL: &str = r#"{'sub':'w','roles':['admin']}"#;

struct Host {
    world: World,
    desks: Vec<DeskEnd>,
    standing: Arc<Standing>,
}

impl Host {
    fn new(shards: usize, rules: &str) -> Self {
        let mut world = World::in_memory_with(shards, |config| config.auth = AuthMode::Required);
        let standing = standing(rules, Revocations::default());
        let (ports, desks): (Vec<_>, _) = connect_desk(shards, &Arc::default()).into_iter().unzip();
        for (node, port) in world.nodes.iter_mut().zip(ports) {
            node.driven.shard.stand_under(Arc::clone(&standing), Some(port));
        }
        Self { world, desks, standing }
    }

    fn settle(&mut self) {
        loop {
            self.world.settle();
            let mut has_answered = false;
            for desk in &mut self.desks {
                has_answered |= answer(desk, &self.standing);
            }
            if !has_answered {
                return;
            }
        }
    }

    fn ask(&mut self, client: Client, text: &str) -> Vec<Value> {
        self.world.send(client, text);
        self.settle();
        self.world.received(client).iter().map(parsed).collect()
    }

    fn connect(&mut self, shard: usize, token: &str) -> Client {
        let client = self.world.connect(shard);
        self.show(client, token);
        self.world.received(client);
        client
    }

    fn show(&mut self, client: Client, token: &str) {
        self.world.send(client, &format!(r#"{{"type":"auth","id":0,"token":"{token}"}}"#));
        self.settle();
    }

    fn stand(&mut self, rules: &str) {
        self.standing = standing(rules, Revocations::default());
        for desk in &mut self.desks {
            desk.to_shard.push(FromDesk::Standing(Arc::clone(&self.standing))).unwrap();
        }
        self.settle();
    }

    fn set(&mut self, client: Client, key: &str, value: &Value) {
        let op = format!(r#"{{"map":"m","key":"{key}","op":"set","value":{value}}}"#);
        self.world.send(client, &format!(r#"{{"type":"write","ack":"none","ops":[{op}]}}"#));
    }
}

/// What somebody of that name and team sees of an entry.
fn seen(name: &str, team: &str, key: &str, value: &Value) -> Option<Value> {
    if key.starts_with(name) {
        return Some(value.clone());
    }
    if value["team"] != team {
        return None;
    }
    let shown = value.as_object()?.iter().filter(|(field, _)| ["n", "team"].contains(&&***field));
    Some(Value::Object(shown.map(|(field, value)| (field.clone(), value.clone())).collect()))
}

#[test]
fn each_sees_the_list_of_what_it_may_see() {
    let people = [("u", "a"), ("v", "a"), ("w", "b"), ("x", "c")];
    for shards in 1..=3 {
        let mut random = Random::new(shards as u64);
        let mut host = Host::new(shards, RULES);
        let writer = host.connect(0, ALL);
        let mut readers: Vec<(Client, Lists)> = Vec::new();
        for (place, (name, team)) in people.iter().enumerate() {
            let token = format!("{{'sub':'{name}','name':'{name}','team':'{team}'}}");
            readers.push((host.connect(place % shards, &token), Lists::default()));
        }
        let queries = [
            json!({"where": {"n": {"ge": 3}}, "sort": ["n"], "limit": 4}),
            json!({"where": {"secret": {"exists": true}}}),
            json!({"where": {"secret": {"ne": 1}}, "sort": ["-secret", "n"], "limit": 5, "offset": 1}),
            json!({"where": {"not": {"team": "a"}}}),
        ];
        let mut entries: BTreeMap<String, Value> = BTreeMap::new();
        for round in 0..20_u64 {
            for _ in 0..12 {
                let key = format!("{}{}", ["u", "v", "w", "z"][random.below(4)], random.below(8));
                let value = json!({
                    "n": random.below(8), "team": random.pick(&["a", "b", "c"]), "secret": random.below(3)
                });
                host.set(writer, &key, &value);
                entries.insert(key, value);
                if random.below(3) == 0 {
                    host.world.turn();
                }
            }
            if round < 8 {
                let (client, lists) = &mut readers[round as usize % 4];
                let text = lists.subscribe(round, "m", &queries[round as usize % 3]);
                host.world.send(*client, &text);
                let text = lists.subscribe(100 + round, "m", &queries[3]);
                host.world.send(*client, &text);
            }
            host.settle();
            for ((client, lists), (name, team)) in readers.iter_mut().zip(people) {
                lists.take(&mut host.world, *client);
                let seen = entries
                    .iter()
                    .filter_map(|(key, value)| Some((key.clone(), seen(name, team, key, value)?)));
                lists.check(&seen.collect(), &format!("{shards} shards, round {round}, {name}"));
            }
        }
    }
}

#[test]
fn another_right_is_another_list_and_none_is_an_end() {
    for shards in 1..=2 {
        let mut host = Host::new(shards, RULES);
        let writer = host.connect(0, ALL);
        let mut entries = BTreeMap::new();
        for (key, n, team) in [("u1", 1, "a"), ("v1", 2, "b"), ("x1", 3, "a"), ("x2", 4, "b")] {
            let value = json!({"n": n, "team": team, "secret": 1});
            host.set(writer, key, &value);
            entries.insert(key.to_owned(), value);
        }
        host.settle();
        let reader = host.connect(shards - 1, "{'sub':'r','name':'u','team':'a'}");
        let mut lists = Lists::default();
        for (id, query) in [(1, json!({"sort": ["-n"]})), (2, json!({"where": {"secret": 1}, "limit": 2}))] {
            let text = lists.subscribe(id, "m", &query);
            host.world.send(reader, &text);
        }
        host.settle();
        let check = |host: &mut Host, lists: &mut Lists, name: &str, team: &str, snapshots: usize| {
            lists.take(&mut host.world, reader);
            let seen =
                entries.iter().filter_map(|(key, value)| Some((key.clone(), seen(name, team, key, value)?)));
            lists.check(&seen.collect(), name);
            assert_eq!(lists.lists[&1].snapshots, snapshots, "{name}");
        };
        check(&mut host, &mut lists, "u", "a", 1);
        host.show(reader, "{'sub':'r','name':'u','team':'a','new':1}");
        check(&mut host, &mut lists, "u", "a", 1);
        host.show(reader, "{'sub':'r','name':'v','team':'a'}");
        check(&mut host, &mut lists, "v", "a", 2);
        host.show(reader, "{'sub':'r','name':'x','team':'b'}");
        check(&mut host, &mut lists, "x", "b", 3);
        lists.others.clear();
        host.stand("[[rule]]\nallow = [\"read\"]\nmaps = [\"other\"]\n");
        lists.take(&mut host.world, reader);
        assert!(
            lists.others.iter().all(|told| told["code"] == "forbidden" && told["map"] == "m"),
            "{:?}",
            lists.others
        );
        assert!(!lists.others.is_empty());
        assert_eq!(host.world.metrics().subscriptions, 0);
        let told = host.ask(reader, r#"{"type":"subscribe","id":9,"map":"m","query":{}}"#);
        assert_eq!(told[0]["code"], "forbidden");
    }
}
