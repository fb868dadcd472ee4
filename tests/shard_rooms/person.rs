//! What a client knows of a room from what it is told, which has to be right at every step: whoever joins was not there, whoever is
//! updated or leaves was, and the count is how many there are.

use std::collections::BTreeMap;

use annulus::config::Config;
use serde_json::Value;

use crate::world::{Client, World};

/// Everybody in a room, as far as a client was told; `None`: only the count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub members: Option<BTreeMap<String, Value>>,
    pub count: u64,
}

impl View {
    /// Takes note of a message about the room.
    pub fn hear(&mut self, message: &Value) {
        let list = |name: &str| message[name].as_array().cloned().unwrap_or_default();
        let named = |entry: Value| (entry["member"].as_str().unwrap().to_owned(), entry);
        self.count = message["count"].as_u64().unwrap();
        match message["type"].as_str().unwrap() {
            "presence.state" => {
                self.members =
                    message["members"].as_array().map(|all| all.iter().cloned().map(named).collect());
            }
            "presence.count" => self.members = None,
            "presence.diff" => {
                let members = self.members.as_mut().expect("a change comes after all members");
                for (name, entry) in list("joined").into_iter().map(named) {
                    assert_eq!(members.insert(name, entry), None, "was there already: {message}");
                }
                for (name, entry) in list("updated").into_iter().map(named) {
                    let before = members.insert(name, entry.clone());
                    assert!(before.is_some_and(|before| before != entry), "nothing new: {message}");
                }
                for name in list("left") {
                    let gone = members.remove(name.as_str().unwrap());
                    assert!(gone.is_some(), "was not there: {message}");
                }
            }
            other => panic!("{other}"),
        }
        if let Some(members) = &self.members {
            assert_eq!(members.len() as u64, self.count, "{message}");
        }
    }
}

pub fn world(shards: usize) -> World {
    world_with(shards, |_| {})
}

pub fn world_with(shards: usize, change: impl FnOnce(&mut Config)) -> World {
    World::with(shards, "", |config| {
        config.dialects.push(annulus::dialect::synckit::PATH);
        change(config);
    })
}

/// A client of a user, or of nobody in particular, that has heard hello.
pub fn connect(world: &mut World, shard: usize, user: &str) -> Client {
    let token = format!("{{'sub':'{user}'}}");
    let token = Some(&*token).filter(|_| !user.is_empty());
    let client = world.connect(shard, token, "/v1", "127.0.0.1");
    world.settle();
    world.texts(client);
    client
}

/// What a client has been told since, as JSON.
pub fn told(world: &mut World, client: Client) -> Vec<Value> {
    world.texts(client).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// Sends one message, and what it has been told once the next tick is over.
pub fn ask(world: &mut World, client: Client, message: &str) -> Vec<Value> {
    world.send(client, &message.replace('\'', "\""));
    world.settle();
    world.pass_ms(50);
    told(world, client)
}

/// The members of a message, each as `name:connections:state` and `?` behind who is away.
pub fn members(message: &Value, field: &str) -> Vec<String> {
    let line = |entry: &Value| {
        let away = if entry["away"].as_bool().unwrap() { "?" } else { "" };
        format!("{} {} {}{away}", entry["member"].as_str().unwrap(), entry["connections"], entry["state"])
    };
    message[field].as_array().unwrap_or_else(|| panic!("{message}")).iter().map(line).collect()
}
