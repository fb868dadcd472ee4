//! Clients that write and follow a map, come back when they are sent away, and count.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;
use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

use crate::manager::PATIENCE;

/// One connection that has heard `hello`.
pub struct Client {
    socket: WebSocket<TcpStream>,
    pub hello: Value,
}

/// Why a connection is over: told to come back after so long, or not told anything.
#[derive(Debug, PartialEq, Eq)]
pub enum Over {
    ComeBack { code: u16, after: Duration },
    Cut,
}

impl Client {
    pub fn connect(address: SocketAddr) -> std::io::Result<Result<Self, Over>> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let Ok((socket, _)) = tungstenite::client("ws://test/v1", stream) else { return Ok(Err(Over::Cut)) };
        let mut client = Self { socket, hello: Value::null() };
        Ok(match client.receive() {
            Ok(hello) => Ok(Self { hello, ..client }),
            Err(over) => Err(over),
        })
    }

    /// The shard that holds it.
    pub fn shard(&self) -> String {
        self.hello["connection"].as_str().unwrap().split('-').next().unwrap().to_owned()
    }

    pub fn send(&mut self, text: String) -> Result<(), Over> {
        self.socket.send(Message::text(text)).map_err(|error| match error {
            Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_) | Error::Io(_) => Over::Cut,
            other => panic!("{other}"),
        })
    }

    pub fn receive(&mut self) -> Result<Value, Over> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let mut json = text.as_bytes().to_vec();
                    return Ok(simd_json::to_owned_value(&mut json).unwrap());
                }
                Ok(Message::Close(Some(frame))) => {
                    let after = frame.reason.strip_prefix("retry_after_ms=").and_then(|ms| ms.parse().ok());
                    let code = frame.code.into();
                    while self.socket.read().is_ok() {}
                    return Err(Over::ComeBack { code, after: Duration::from_millis(after.unwrap_or(0)) });
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came for {PATIENCE:?}")
                }
                Err(_) => return Err(Over::Cut),
            }
        }
    }
}

/// Clients that follow the same map.
const FOLLOWERS: usize = 20;
/// Between two writes of all clients.
const WRITES_EVERY: Duration = Duration::from_micros(1500);

/// What is counted over all clients.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connects that failed.
    pub refused: AtomicUsize,
    /// Connections that ended without a word.
    pub cut: AtomicUsize,
    /// Connections that were told to come back.
    pub sent_away: AtomicUsize,
    pub resumed: AtomicUsize,
    pub reset: AtomicUsize,
    pub acked: AtomicUsize,
}

/// What one of them knows at its end.
pub struct Known {
    /// The map that it follows and writes to.
    pub map: usize,
    /// Key to value, as this client sees the map.
    pub state: BTreeMap<String, i64>,
    /// What the server has acknowledged as durable.
    pub acked: Vec<(String, i64)>,
}

/// Clients at work.
pub struct Fleet {
    pub counts: Arc<Counts>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Known>>,
}

impl Fleet {
    /// So many, each of which follows a map with some others and writes keys of its own to it, one after the other.
    pub fn start(address: SocketAddr, clients: usize) -> Self {
        let (counts, is_over): (Arc<Counts>, Arc<AtomicBool>) = Default::default();
        let threads = (0..clients)
            .map(|number| {
                let (counts, is_over) = (Arc::clone(&counts), Arc::clone(&is_over));
                let pause = WRITES_EVERY * u32::try_from(clients).unwrap();
                let body = move || Worker::new(number, address, counts, pause).run(&is_over);
                thread::Builder::new().stack_size(512 << 10).spawn(body).unwrap()
            })
            .collect();
        Self { counts, is_over, threads }
    }

    /// Has all of them end once each has had an ack for what it has written last, and has seen everything.
    pub fn end(self) -> Vec<Known> {
        self.is_over.store(true, Ordering::Release);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

struct Worker {
    number: usize,
    pause: Duration,
    address: SocketAddr,
    counts: Arc<Counts>,
    known: Known,
    cursor: Option<String>,
    next: i64,
}

impl Worker {
    fn new(number: usize, address: SocketAddr, counts: Arc<Counts>, pause: Duration) -> Self {
        let known = Known { map: number / FOLLOWERS, state: BTreeMap::new(), acked: Vec::new() };
        Self { number, pause, address, counts, known, cursor: None, next: 0 }
    }

    fn run(mut self, is_over: &AtomicBool) -> Known {
        loop {
            let over = match Client::connect(self.address) {
                Err(_) => {
                    self.counts.refused.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
                Ok(Err(over)) => over,
                Ok(Ok(mut client)) => match self.serve(&mut client, is_over) {
                    Ok(()) => return self.known,
                    Err(over) => over,
                },
            };
            match over {
                Over::ComeBack { code, after } => {
                    assert!(code == 1001, "{code}");
                    self.counts.sent_away.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(after);
                }
                Over::Cut => _ = self.counts.cut.fetch_add(1, Ordering::Relaxed),
            }
        }
    }

    /// Follows and writes until the end of the connection, or of all.
    fn serve(&mut self, client: &mut Client, is_over: &AtomicBool) -> Result<(), Over> {
        let since = self.cursor.as_ref().map_or(String::new(), |cursor| format!(r#","since":"{cursor}""#));
        let map = self.known.map;
        client.send(format!(r#"{{"type":"subscribe","id":1,"map":"m{map}"{since}}}"#))?;
        loop {
            let message = client.receive()?;
            self.take_in(&message);
            if message["type"] == "snapshot" && message["more"] == false {
                let count = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::Relaxed);
                if message["resumed"] == true {
                    count(&self.counts.resumed);
                }
                if message["reset"] == true {
                    count(&self.counts.reset);
                }
                break;
            }
        }
        while !is_over.load(Ordering::Acquire) {
            // The same again where no ack came: a write is whole or not at all, and merges with itself.
            let key = format!("{}-{}", self.number, self.next % 8);
            let op = format!(r#"{{"map":"m{map}","key":"{key}","op":"set","value":{}}}"#, self.next);
            client.send(format!(r#"{{"type":"write","id":2,"ack":"durable","ops":[{op}]}}"#))?;
            loop {
                let message = client.receive()?;
                self.take_in(&message);
                if message.get("id").is_some_and(|id| *id == 2) {
                    assert!(message["type"] == "ack" && message["level"] == "durable", "{message}");
                    // What it has written itself it is not told of.
                    self.known.state.insert(key.clone(), self.next);
                    self.known.acked.push((key, self.next));
                    self.counts.acked.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
            self.next += 1;
            thread::sleep(self.pause);
        }
        self.catch_up(client)
    }

    /// Reads on for as long as anything comes.
    fn catch_up(&mut self, client: &mut Client) -> Result<(), Over> {
        // Others may still write: until nothing has come for a while.
        client.socket.get_mut().set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        loop {
            match client.socket.read() {
                Ok(Message::Text(text)) => {
                    let mut json = text.as_bytes().to_vec();
                    self.take_in(&simd_json::to_owned_value(&mut json).unwrap());
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Over::Cut),
            }
        }
    }

    fn take_in(&mut self, message: &Value) {
        if message["type"] != "snapshot" && message["type"] != "change" {
            assert!(message["type"] == "ack", "{message}");
            return;
        }
        if message.get("reset").is_some_and(|reset| *reset == true) {
            self.known.state.clear();
        }
        for entry in message["entries"].as_array().unwrap() {
            let value = entry["value"].as_i64().unwrap();
            self.known.state.insert(entry["key"].as_str().unwrap().to_owned(), value);
        }
        if let Some(cursor) = message.get("cursor").and_then(|cursor| cursor.as_str()) {
            self.cursor = Some(cursor.to_owned());
        }
    }
}

/// Checks that all clients of a map have seen the same, and that nothing is missing of what was acknowledged.
pub fn check(known: &[Known]) {
    known.chunk_by(|left, right| left.map == right.map).for_each(check_map);
}

fn check_map(known: &[Known]) {
    let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
    for (key, value) in known.iter().flat_map(|one| &one.acked) {
        let latest = expected.entry(key).or_insert(*value);
        *latest = (*latest).max(*value);
    }
    assert!(!expected.is_empty());
    for (number, one) in known.iter().enumerate() {
        for (key, value) in &expected {
            let seen = one.state.get(*key);
            // A write that was sent and not acknowledged may be there as well.
            assert!(
                seen.is_some_and(|seen| seen >= value),
                "client {number} has {seen:?} of {key}, not {value}"
            );
        }
        assert_eq!(one.state, known[0].state, "client {number} has another state than client 0");
    }
}
