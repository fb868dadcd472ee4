//! Rooms of the stand-in: who is in them, told by name or, of more than [`NAMED_MAX`], counted, once a tick.

use std::collections::{BTreeMap, BTreeSet};

use super::messaging::Sent;

/// Members of a room past which they are counted.
const NAMED_MAX: usize = 20;

#[derive(Default)]
pub struct Room {
    name: String,
    /// By connection: its state as JSON text.
    members: BTreeMap<u64, String>,
    watchers: BTreeSet<u64>,
    /// Connections and requests that are answered with the next tick, and whether these have joined.
    to_answer: Vec<(u64, u64)>,
    joined: BTreeSet<u64>,
    updated: BTreeSet<u64>,
    left: BTreeSet<u64>,
    is_large: bool,
}

impl Room {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub fn watch(&mut self, connection: u64, id: u64) {
        self.to_answer.push((connection, id));
    }

    pub fn join(&mut self, connection: u64, id: u64, state: String) {
        self.members.insert(connection, state);
        self.joined.insert(connection);
        self.watch(connection, id);
    }

    pub fn update(&mut self, connection: u64, state: String) {
        self.members.insert(connection, state);
        if !self.joined.contains(&connection) {
            self.updated.insert(connection);
        }
    }

    pub fn leave(&mut self, connection: u64) {
        self.watchers.remove(&connection);
        self.to_answer.retain(|(waiting, _)| *waiting != connection);
        if self.members.remove(&connection).is_some() && !self.joined.remove(&connection) {
            self.updated.remove(&connection);
            self.left.insert(connection);
        }
    }

    fn told(&self, connection: u64) -> String {
        let state = &self.members[&connection];
        format!(
            r#"{{"member":"anon:{connection}","user":null,"connections":1,"state":{state},"since":1,"away":false}}"#
        )
    }

    fn list(&self, connections: impl Iterator<Item = u64>) -> String {
        connections.map(|connection| self.told(connection)).collect::<Vec<_>>().join(",")
    }

    /// What all are told, and then the answers to those who have come.
    pub fn tick(&mut self) -> Vec<Sent> {
        let (name, count) = (self.name.clone(), self.members.len());
        let was_large = std::mem::replace(&mut self.is_large, count > NAMED_MAX);
        let joined = std::mem::take(&mut self.joined);
        let updated = std::mem::take(&mut self.updated);
        let left = std::mem::take(&mut self.left);
        let everybody = || {
            let members = self.list(self.members.keys().copied());
            if self.is_large { String::new() } else { format!(r#","members":[{members}]"#) }
        };
        let news = if self.is_large {
            let has_changed = !was_large || joined.len() + left.len() > 0;
            has_changed.then(|| format!(r#"{{"type":"presence.count","room":"{name}","count":{count}}}"#))
        } else if was_large {
            Some(format!(r#"{{"type":"presence.state","room":"{name}"{},"count":{count}}}"#, everybody()))
        } else if joined.is_empty() && updated.is_empty() && left.is_empty() {
            None
        } else {
            let left: Vec<String> = left.iter().map(|gone| format!(r#""anon:{gone}""#)).collect();
            Some(format!(
                r#"{{"type":"presence.diff","room":"{name}","joined":[{}],"updated":[{}],"left":[{}],"count":{count}}}"#,
                self.list(joined.into_iter()),
                self.list(updated.into_iter()),
                left.join(",")
            ))
        };
        let mut sent: Vec<Sent> = Vec::new();
        if let Some(text) = news {
            sent.extend(self.watchers.iter().map(|&to| Sent { to, text: text.clone(), is_delivery: true }));
        }
        let everybody = everybody();
        for (to, id) in std::mem::take(&mut self.to_answer) {
            let text = format!(
                r#"{{"type":"presence.state","id":{id},"room":"{name}"{everybody},"count":{count}}}"#
            );
            sent.push(Sent { to, text, is_delivery: false });
            self.watchers.insert(to);
        }
        sent
    }
}
