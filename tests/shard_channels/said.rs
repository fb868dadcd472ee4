//! What clients say and are told, as short texts: `message 3 "x"`, `joined 3 true`, `gap 2-5`.

use annulus::limits::OWN_PREFIX;
use serde_json::{Value, json};

use crate::world::{Client, World};

/// A channel whose home is `shard`.
pub fn channel_of(world: &World, shard: usize, prefix: &str) -> String {
    let own = format!("{OWN_PREFIX}channel:");
    world.name_of(shard, &format!("{own}{prefix}")).split_off(own.len())
}

pub fn join(channel: &str) -> Value {
    json!({"type": "join", "id": 1, "channel": channel})
}

pub fn join_since(channel: &str, epoch: &str, offset: u64) -> Value {
    json!({"type": "join", "id": 1, "channel": channel, "since": {"epoch": epoch, "offset": offset}})
}

pub fn leave(channel: &str) -> Value {
    json!({"type": "leave", "id": 1, "channel": channel})
}

pub fn publish(channel: &str, data: &Value) -> Value {
    json!({"type": "publish", "id": 1, "channel": channel, "data": data})
}

pub fn history(channel: &str, before: Option<u64>, limit: u64) -> Value {
    json!({"type": "history", "id": 1, "channel": channel, "before": before, "limit": limit})
}

/// What the server said, but for its hello.
pub fn told(world: &mut World, client: Client) -> Vec<Value> {
    let texts = world.received(client);
    let parsed = texts.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    parsed.filter(|message| message["type"] != "hello").collect()
}

/// Says something and returns what the client is told when nothing happens any more.
pub fn ask(world: &mut World, client: Client, message: &Value) -> Vec<Value> {
    world.send(client, &message.to_string());
    world.settle();
    told(world, client)
}

/// The same in short.
pub fn short(messages: &[Value]) -> Vec<String> {
    messages.iter().map(short_of).collect()
}

fn short_of(message: &Value) -> String {
    let kind = message["type"].as_str().unwrap();
    match kind {
        "message" => format!("message {} {}", message["offset"], message["data"]),
        "joined" => {
            let reason = message["reason"].as_str().map(|reason| format!(" {reason}"));
            let recovered = message.get("recovered").map(|recovered| format!(" {recovered}"));
            format!(
                "joined {}{}{}",
                message["offset"],
                recovered.unwrap_or_default(),
                reason.unwrap_or_default()
            )
        }
        "published" => format!("published {}", message["offset"]),
        "gap" => format!("gap {}-{}", message["from"], message["to"]),
        "history" => {
            let offsets = message["messages"].as_array().unwrap().iter();
            let offsets: Vec<_> = offsets.map(|message| message["offset"].to_string()).collect();
            format!("history {}{}", offsets.join(","), if message["more"] == true { " more" } else { "" })
        }
        "error" => format!("error {}", message["code"].as_str().unwrap()),
        other => other.to_owned(),
    }
}

/// The epoch that a `joined` tells.
pub fn epoch_of(messages: &[Value]) -> String {
    let joined = messages.iter().find(|message| message["type"] == "joined").unwrap();
    joined["epoch"].as_str().unwrap().to_owned()
}
