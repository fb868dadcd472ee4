//! The hub of the stand-in: maps, subscriptions, answers, and the one fault.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use simd_json::OwnedValue;
use simd_json::prelude::*;
use tungstenite::Message;

use super::messaging::{Messaging, Sent};
use super::{Event, Fault, Peer, Speech, socketio, synckit};

/// Entries of one snapshot chunk: few, so that chunks are exercised.
const CHUNK_ENTRIES: usize = 100;
/// Between two times that rooms are told of.
const TICK: Duration = Duration::from_millis(50);

/// What says whose, or which, a delivery is, and that of another.
const MISPLACED: [(&str, &str); 5] = [
    (r#""key":""#, r#""key":"9"#),
    (r#""member":""#, r#""member":"9"#),
    (r#""k":"k"#, r#""k":"k9"#),
    (r#""from":""#, r#""from":"9"#),
    (r#""count":"#, r#""count":9"#),
];

pub struct Hub {
    fault: Fault,
    connections: HashMap<u64, Box<Peer>>,
    /// Key to JSON text of its value and the tick of its last change.
    maps: HashMap<String, BTreeMap<String, (String, u64)>>,
    /// Who is sent the changes of a map, and whether their own, too.
    subscribers: HashMap<String, BTreeMap<u64, bool>>,
    tick: u64,
    deliveries: u64,
    acks: u64,
    writes: u64,
    pongs: u64,
    said: u64,
    messaging: Messaging,
    /// A delivery that is held back, and for whom.
    held: Option<(u64, String)>,
    /// Writes that were stored before it started.
    found: usize,
    /// Where every write goes, one line each, when it is durable.
    log: Option<File>,
}

impl Hub {
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            connections: HashMap::new(),
            maps: HashMap::new(),
            subscribers: HashMap::new(),
            tick: 0,
            deliveries: 0,
            acks: 0,
            writes: 0,
            pongs: 0,
            said: 0,
            messaging: Messaging::new(fault),
            held: None,
            found: 0,
            log: None,
        }
    }

    /// Stores its writes in this file, and begins with those that are there.
    pub fn stored_in(mut self, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines: Vec<&str> = text.lines().collect();
        if self.fault == Fault::ForgetOnStart {
            lines.pop();
        }
        self.found = lines.len();
        for line in lines {
            let request = simd_json::to_owned_value(&mut line.as_bytes().to_vec()).expect("we wrote it");
            self.merge(&request);
        }
        self.log = Some(File::options().append(true).create(true).open(path).expect("the folder is ours"));
        self
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the rule protects the server; rooms here are told of by the clock, too"
    )]
    pub fn run(mut self, inbox: &Receiver<Event>) {
        let mut told = Instant::now();
        loop {
            if told.elapsed() >= TICK {
                told = Instant::now();
                let sent = self.messaging.tick();
                self.send_all(sent);
            }
            match inbox.recv_timeout(TICK.saturating_sub(told.elapsed())) {
                Ok(Event::Joined(connection, peer)) => self.come(connection, peer),
                Ok(Event::Said(connection, text)) => self.answer(connection, text),
                Ok(Event::Gone(connection)) => self.leave(connection),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn come(&mut self, connection: u64, peer: Box<Peer>) {
        let (is_greeted, user) = (peer.speech != Speech::SyncKit, peer.user.clone());
        self.connections.insert(connection, peer);
        if is_greeted {
            let hello = r#"{"type":"hello","protocol":1,"connection":"c","node":"standin","auth":"none"}"#;
            self.send(connection, hello.to_owned());
        }
        if let Some(user) = user {
            self.send(connection, format!(r#"{{"type":"authenticated","user":"{user}"}}"#));
            let sent = self.messaging.user_comes(connection, &user);
            self.send_all(sent);
        }
    }

    fn leave(&mut self, connection: u64) {
        self.connections.remove(&connection);
        for subscribers in self.subscribers.values_mut() {
            subscribers.remove(&connection);
        }
        self.messaging.leave(connection);
    }

    fn send_all(&mut self, sent: Vec<Sent>) {
        for Sent { to, text, is_delivery } in sent {
            if is_delivery { self.send_delivery(to, text) } else { self.send(to, text) }
        }
    }

    fn answer(&mut self, connection: u64, text: String) {
        let said = count(&mut self.said);
        if self.fault == Fault::CloseConnection(said) {
            return self.leave_with_close(connection);
        }
        let request = simd_json::to_owned_value(&mut text.clone().into_bytes()).expect("the load sends JSON");
        let user = self.connections.get(&connection).and_then(|peer| peer.user.clone());
        if let Some(sent) = self.messaging.answer(connection, user.as_deref(), &request) {
            return self.send_all(sent);
        }
        let id = request["id"].as_u64().expect("every request of the load has an id");
        let map = request.get_str("map").unwrap_or_default().to_owned();
        match request.get_str("type") {
            Some("ping") => self.ping(connection, id),
            Some("write") => {
                if let Some(log) = &mut self.log {
                    writeln!(log, "{text}").expect("the disk has room");
                }
                self.write(connection, id, &request);
            }
            Some("read") => self.read(connection, id, &map, &request),
            Some("digest") => {
                let entries = self.maps.get(&map).map_or(0, BTreeMap::len);
                let hash = if self.fault == Fault::DamageOnStart { self.found } else { 0 };
                let text = format!(
                    r#"{{"type":"digest","id":{id},"map":"{map}","entries":{entries},"hash":"{hash:016x}"}}"#
                );
                self.send(connection, text);
            }
            Some("subscribe") => {
                self.subscribe(connection, id, &map, request.get_str("since"));
                let echo = request.get_bool("echo").unwrap_or(false);
                self.subscribers.entry(map).or_default().insert(connection, echo);
            }
            Some("unsubscribe") => {
                self.subscribers.entry(map.clone()).or_default().remove(&connection);
                self.send(connection, format!(r#"{{"type":"unsubscribed","id":{id},"map":"{map}"}}"#));
            }
            _ => self.send(connection, format!(r#"{{"type":"error","id":{id},"code":"unknown_type"}}"#)),
        }
    }

    fn leave_with_close(&mut self, connection: u64) {
        if let Some(mut peer) = self.connections.remove(&connection) {
            let _ = peer.outgoing.close(None);
            let _ = peer.outgoing.flush();
        }
    }

    fn ping(&mut self, connection: u64, id: u64) {
        let pong = count(&mut self.pongs);
        let id = if self.fault == Fault::WrongPong(pong) { id + 1 } else { id };
        if self.fault != Fault::LosePong(pong) {
            self.send(connection, format!(r#"{{"type":"pong","id":{id},"time":"1:0:standin"}}"#));
        }
    }

    fn write(&mut self, connection: u64, id: u64, request: &OwnedValue) {
        let number = count(&mut self.writes);
        if self.fault == Fault::Overload(number) {
            let rejected = r#"[{"index":0,"code":"overloaded","message":"x","retry_after_ms":1}]"#;
            let text =
                format!(r#"{{"type":"ack","id":{id},"level":"memory","applied":0,"rejected":{rejected}}}"#);
            return self.send(connection, text);
        }
        let speaks_synckit =
            self.connections.get(&connection).is_some_and(|peer| peer.speech == Speech::SyncKit);
        for (map, entries) in self.merge_as(number, request) {
            if speaks_synckit {
                self.subscribers.entry(map.clone()).or_default().insert(connection, true);
            }
            self.deliver(connection, &map, &entries);
        }
        // An ack of SyncKit has no room for what was rejected.
        if speaks_synckit && self.fault == Fault::RejectWrite(number) {
            return self.send(connection, format!(r#"{{"type":"error","id":{id}}}"#));
        }
        let ops = request["ops"].as_array().map_or(0, Vec::len);
        let applied = if self.fault == Fault::RejectWrite(number) { ops - 1 } else { ops };
        let level = request.get_str("ack").unwrap_or("memory");
        let level = if self.fault == Fault::WeakenAck(number) { "memory" } else { level };
        if level != "none" {
            self.ack(connection, id, level, applied);
        }
    }

    fn merge(&mut self, request: &OwnedValue) {
        let number = count(&mut self.writes);
        self.merge_as(number, request);
    }

    /// Returns the entries of the changes of each map, as JSON text.
    fn merge_as(&mut self, number: u64, request: &OwnedValue) -> Vec<(String, String)> {
        let mut changes: Vec<(String, String)> = Vec::new();
        for op in request["ops"].as_array().expect("a write has ops") {
            let field = |name: &str| op.get_str(name).expect("an op has its fields").to_owned();
            let (map, key, value) = (field("map"), field("key"), op["value"].encode());
            self.tick += 1;
            let entry = format!(r#"{{"key":"{key}","value":{value},"at":"1:{}:standin"}}"#, self.tick);
            if self.fault != Fault::ForgetWrite(number) {
                self.maps.entry(map.clone()).or_default().insert(key, (value, self.tick));
            }
            match changes.last_mut().filter(|(last, _)| *last == map) {
                Some((_, entries)) => *entries += &(",".to_owned() + &entry),
                None => changes.push((map, entry)),
            }
        }
        changes
    }

    fn ack(&mut self, connection: u64, id: u64, level: &str, applied: usize) {
        let text =
            format!(r#"{{"type":"ack","id":{id},"level":"{level}","applied":{applied},"rejected":[]}}"#);
        let number = count(&mut self.acks);
        if self.fault == Fault::RepeatAck(number) {
            self.send(connection, text.clone());
        }
        if self.fault != Fault::LoseAck(number) {
            self.send(connection, text);
        }
    }

    fn deliver(&mut self, writer: u64, map: &str, entries: &str) {
        let cursor = self.tick;
        let right =
            format!(r#"{{"type":"change","map":"{map}","entries":[{entries}],"cursor":"e.{cursor}"}}"#);
        for (subscriber, echo) in self.subscribers.get(map).cloned().unwrap_or_default() {
            if subscriber == writer && !echo {
                continue;
            }
            self.send_delivery(subscriber, right.clone());
        }
    }

    /// Sends something that a fault may be about.
    fn send_delivery(&mut self, subscriber: u64, mut text: String) {
        let number = count(&mut self.deliveries);
        match self.fault {
            Fault::LoseDelivery(at) if at == number => return,
            Fault::RepeatDelivery(at) if at == number => self.send(subscriber, text.clone()),
            Fault::DamageDelivery(at) if at == number => text = text.replacen("abc", "abd", 1),
            Fault::MisplaceDelivery(at) if at == number => {
                for (right, wrong) in MISPLACED {
                    text = text.replacen(right, wrong, 1);
                }
            }
            Fault::SwapDelivery(at) if at == number => {
                self.held = Some((subscriber, text));
                return;
            }
            _ => {}
        }
        self.send(subscriber, text);
        if let Some((_, held)) = self.held.take_if(|(held_for, _)| *held_for == subscriber) {
            self.send(subscriber, held);
        }
    }

    fn read(&mut self, connection: u64, id: u64, map: &str, request: &OwnedValue) {
        let keys = request["keys"].as_array().expect("a read has keys").iter().filter_map(|key| key.as_str());
        let cells = self.maps.entry(map.to_owned()).or_default();
        let found: Vec<String> =
            keys.filter_map(|key| cells.get(key).map(|(value, _)| entry_text(key, value))).collect();
        let entries = found.join(",");
        self.send(
            connection,
            format!(r#"{{"type":"entries","id":{id},"map":"{map}","entries":[{entries}]}}"#),
        );
    }

    fn subscribe(&mut self, connection: u64, id: u64, map: &str, since: Option<&str>) {
        let tick: u64 = since.and_then(|cursor| cursor.strip_prefix("e.")?.parse().ok()).unwrap_or(0);
        let cells = self.maps.entry(map.to_owned()).or_default();
        let mut entries: Vec<String> = cells
            .iter()
            .filter(|(_, (_, applied))| *applied > tick)
            .map(|(key, (value, _))| entry_text(key, value))
            .collect();
        match self.fault {
            Fault::ThinSnapshot if entries.len() > 1 => drop(entries.pop()),
            Fault::RepeatSnapshotEntry if entries.len() > 1 => entries.push(entries[0].clone()),
            Fault::EmptyResume if since.is_some() => entries.clear(),
            _ => {}
        }
        let mut chunks = entries.chunks(CHUNK_ENTRIES).peekable();
        while let Some(chunk) = chunks.next_if(|chunk| chunk.len() == CHUNK_ENTRIES) {
            let entries = chunk.join(",");
            let text =
                format!(r#"{{"type":"snapshot","id":{id},"map":"{map}","entries":[{entries}],"more":true}}"#);
            self.send(connection, text);
        }
        let (rest, cursor, resumed) =
            (chunks.next().unwrap_or_default().join(","), self.tick, since.is_some());
        let end = format!(r#""more":false,"cursor":"e.{cursor}","resumed":{resumed},"reset":false"#);
        self.send(
            connection,
            format!(r#"{{"type":"snapshot","id":{id},"map":"{map}","entries":[{rest}],{end}}}"#),
        );
    }

    fn send(&mut self, connection: u64, text: String) {
        let Some(peer) = self.connections.get_mut(&connection) else { return };
        let Peer { outgoing, speech, .. } = peer.as_mut();
        // A client that is gone is told of by its reader.
        match speech {
            Speech::SyncKit => {
                for message in synckit::answers(&text) {
                    let _ = outgoing.write(Message::binary(message));
                }
                let _ = outgoing.flush();
            }
            Speech::SocketIo => drop(outgoing.send(Message::text(socketio::answer(&text)))),
            Speech::Native => drop(outgoing.send(Message::text(text))),
        }
    }
}

fn entry_text(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{value},"at":"1:0:standin"}}"#)
}

fn count(counter: &mut u64) -> u64 {
    *counter += 1;
    *counter - 1
}
