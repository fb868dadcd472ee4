//! A client as `docs/protocol.md` has it: lists of queries, each step taken on what is there.

use std::collections::BTreeMap;

use serde_json::Value;
use simd_json::OwnedValue;
use simd_json::prelude::Writable;

use crate::naive;
use crate::world::{Client, World};

pub const RESULTS_MAX: usize = 10_000;

/// What a client has of its queries, by their `id`.
#[derive(Default)]
pub struct Lists {
    pub lists: BTreeMap<u64, List>,
    /// Errors, and other answers, in order.
    pub others: Vec<Value>,
}

/// One list.
#[derive(Default, Clone, Debug)]
pub struct List {
    pub query: Value,
    pub prefix: String,
    pub rows: Vec<(String, Value)>,
    /// Parts of a snapshot that is not complete.
    coming: Option<Vec<(String, Value)>>,
    pub cursor: String,
    pub has_answer: bool,
    pub snapshots: usize,
    pub changes: usize,
    pub resumed: usize,
    /// Why it is over.
    pub ended: Option<String>,
}

pub fn parsed(message: &OwnedValue) -> Value {
    serde_json::from_str(&message.encode()).unwrap()
}

impl Lists {
    /// The message that asks for a query.
    pub fn subscribe(&mut self, id: u64, map: &str, query: &Value) -> String {
        self.lists.insert(id, List { query: query.clone(), ..List::default() });
        format!(r#"{{"type":"subscribe","id":{id},"map":"{map}","query":{query}}}"#)
    }

    /// The same, for keys that begin so.
    pub fn subscribe_prefix(&mut self, id: u64, map: &str, prefix: &str, query: &Value) -> String {
        self.lists.insert(id, List { query: query.clone(), prefix: prefix.to_owned(), ..List::default() });
        format!(r#"{{"type":"subscribe","id":{id},"map":"{map}","prefix":"{prefix}","query":{query}}}"#)
    }

    /// The messages with which a client comes back that has what it was told before.
    pub fn come_back(&mut self, map: &str) -> Vec<String> {
        self.lists.retain(|_, list| list.has_answer);
        let again = |(id, list): (&u64, &mut List)| {
            (list.has_answer, list.coming) = (false, None);
            let (since, query, prefix) = (&list.cursor, &list.query, &list.prefix);
            let prefix = if prefix.is_empty() { String::new() } else { format!(r#","prefix":"{prefix}""#) };
            format!(
                r#"{{"type":"subscribe","id":{id},"map":"{map}","since":"{since}"{prefix},"query":{query}}}"#
            )
        };
        self.lists.iter_mut().map(again).collect()
    }

    pub fn take(&mut self, world: &mut World, client: Client) {
        for message in world.received(client) {
            self.take_one(&parsed(&message));
        }
    }

    pub fn take_one(&mut self, message: &Value) {
        let Some(list) = message.get("query").and_then(Value::as_u64).and_then(|id| self.lists.get_mut(&id))
        else {
            return self.others.push(message.clone());
        };
        match message["type"].as_str().unwrap() {
            "snapshot" => list.snapshot(message),
            "change" => list.change(message),
            "error" => list.ended = Some(message["code"].as_str().unwrap().to_owned()),
            other => panic!("{other}"),
        }
    }

    /// That each list is what its query shows of these entries.
    pub fn check(&self, entries: &BTreeMap<String, Value>, context: &str) {
        for (id, list) in &self.lists {
            assert!(list.has_answer && list.coming.is_none(), "{context}: {id} has no answer");
            let entries = entries.iter().filter(|(key, _)| key.starts_with(&list.prefix));
            let entries: Vec<(&str, &Value)> = entries.map(|(key, value)| (&**key, value)).collect();
            let shown = naive::shown(&list.query, entries.iter().copied(), RESULTS_MAX);
            let keys: Vec<&str> = list.rows.iter().map(|(key, _)| &**key).collect();
            assert_eq!(keys, shown, "{context}: {id}, {}", list.query);
            for (key, value) in &list.rows {
                let held = entries.iter().find(|(other, _)| other == key).unwrap().1;
                assert_eq!(value, held, "{context}: {id}, {key}");
            }
        }
    }
}

impl List {
    fn snapshot(&mut self, message: &Value) {
        assert_eq!(message["map_type"], "lww");
        assert_eq!(message.get("id").is_some(), !self.has_answer, "one answer, and then none: {message}");
        let entries = message["entries"].as_array().unwrap();
        if message.get("resumed") == Some(&Value::Bool(true)) {
            assert!(self.coming.is_none());
            self.resume(message);
        } else {
            let coming = self.coming.get_or_insert_default();
            for entry in entries {
                assert_eq!(entry["rank"], coming.len(), "{message}");
                coming.push((entry["key"].as_str().unwrap().to_owned(), entry["value"].clone()));
            }
            if message["more"] == true {
                return;
            }
            assert!(message["reset"] == true || !self.has_answer, "{message}");
            self.rows = self.coming.take().unwrap_or_default();
        }
        self.snapshots += 1;
        self.has_answer = true;
        self.cursor = message["cursor"].as_str().unwrap().to_owned();
    }

    /// Takes the difference to what it had.
    fn resume(&mut self, message: &Value) {
        self.resumed += 1;
        let key_of = |entry: &Value| entry["key"].as_str().unwrap().to_owned();
        let gone: Vec<&str> =
            message["gone"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
        let entries = message["entries"].as_array().unwrap();
        let is_stale = |key: &str| gone.contains(&key) || entries.iter().any(|entry| entry["key"] == key);
        self.rows.retain(|(key, _)| !is_stale(key));
        for entry in entries {
            self.rows
                .insert(entry["rank"].as_u64().unwrap() as usize, (key_of(entry), entry["value"].clone()));
        }
        self.rows.truncate(message["count"].as_u64().unwrap() as usize);
        assert_eq!(self.rows.len() as u64, message["count"].as_u64().unwrap(), "{message}");
    }

    fn change(&mut self, message: &Value) {
        assert!(self.has_answer && self.coming.is_none() && message.get("id").is_none());
        self.changes += 1;
        for step in message["entries"].as_array().unwrap() {
            let (key, rank) = (step["key"].as_str().unwrap(), step["rank"].as_u64().unwrap() as usize);
            let at = self.rows.iter().position(|(other, _)| other == key);
            match step["event"].as_str().unwrap() {
                "leave" => {
                    assert_eq!(at, Some(rank), "{key} leaves: {message}");
                    assert!(step.get("value").is_none());
                    self.rows.remove(rank);
                }
                "enter" => {
                    assert_eq!(at, None, "{key} enters: {message}");
                    self.rows.insert(rank, (key.to_owned(), step["value"].clone()));
                }
                "update" => {
                    self.rows.remove(at.unwrap_or_else(|| panic!("{key} is updated: {message}")));
                    self.rows.insert(rank, (key.to_owned(), step["value"].clone()));
                }
                other => panic!("{other}"),
            }
        }
        self.cursor = message["cursor"].as_str().unwrap().to_owned();
    }
}

/// A client of a shard that has been greeted.
pub fn connect(world: &mut World, shard: usize) -> Client {
    let client = world.connect(shard);
    world.received(client);
    client
}

/// All that a map holds, as one who subscribes to it is told.
pub fn held(world: &mut World, client: Client, map: &str, serve: bool) -> BTreeMap<String, Value> {
    world.send(client, &format!(r#"{{"type":"subscribe","id":"all","map":"{map}"}}"#));
    let (mut entries, mut is_whole) = (BTreeMap::new(), false);
    // Where there is little room at a time, each part of it comes in a turn of its own.
    while !is_whole {
        if serve {
            world.serve();
        }
        world.settle();
        for message in world.received(client) {
            let message = parsed(&message);
            assert!(message["type"] == "snapshot" || message["type"] == "change", "{message}");
            is_whole |= message["more"] == false;
            for entry in message["entries"].as_array().unwrap() {
                let key = entry["key"].as_str().unwrap().to_owned();
                match entry.get("deleted") {
                    None => drop(entries.insert(key, entry["value"].clone())),
                    Some(_) => drop(entries.remove(&key)),
                }
            }
        }
    }
    world.send(client, &format!(r#"{{"type":"unsubscribe","id":"none","map":"{map}"}}"#));
    world.settle();
    world.received(client);
    entries
}
