//! A client of the native protocol: blocking, JSON in, JSON out.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;
use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

use crate::server::PATIENCE;

/// One open connection that has heard `hello`.
pub struct Client<S = TcpStream> {
    socket: WebSocket<S>,
    pub hello: Value,
    /// Messages that came while an answer was awaited.
    events: VecDeque<Value>,
    next_id: u64,
}

/// The code and the reason a connection was closed with.
pub type Closed = (u16, String);

/// A whole answer to `subscribe`.
#[derive(Debug)]
pub struct Snapshot {
    pub entries: Vec<Value>,
    pub chunks: usize,
    /// The last chunk, without its entries.
    pub end: Value,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the server takes the connection")
    }

    /// The close, where the server opens the connection only to turn it away.
    pub fn try_connect(address: SocketAddr) -> Result<Self, Closed> {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Opens another URL than `/v1`.
    pub fn connect_to(address: SocketAddr, target: &str) -> Self {
        Self::open(TcpStream::connect(address).unwrap(), target).expect("the server takes the connection")
    }

    /// The same over a stream, or the close.
    pub fn try_open(stream: TcpStream, target: &str) -> Result<Self, Closed> {
        Self::open(stream, target)
    }

    /// Events to be heard again, before all others.
    pub fn put_back(&mut self, events: Vec<Value>) {
        events.into_iter().rev().for_each(|event| self.events.push_front(event));
    }

    /// Speaks over a connected stream.
    pub fn over(stream: TcpStream) -> Result<Self, Closed> {
        Self::open(stream, "/v1")
    }

    fn open(stream: TcpStream, target: &str) -> Result<Self, Closed> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::open_over(stream, target)
    }

    /// Clients on every shard, at least `count`.
    pub fn on_every_shard(address: SocketAddr, count: usize) -> Vec<Self> {
        let mut clients: Vec<Self> = Vec::new();
        while clients.len() < count || !(0..2).all(|shard| clients.iter().any(|c| c.shard() == shard)) {
            assert!(clients.len() < 200, "the kernel gives all connections to one shard");
            clients.push(Self::connect(address));
        }
        clients
    }

    /// One client on each of the two shards.
    pub fn pair(address: SocketAddr) -> [Self; 2] {
        let mut clients = Self::on_every_shard(address, 2);
        [0, 1].map(|shard| {
            let place = clients.iter().position(|client| client.shard() == shard).unwrap();
            clients.swap_remove(place)
        })
    }

    /// Only listens, for so long, or until a text comes, which is put into `text`.
    pub fn answer_pings_until_text(&mut self, time: Duration, text: &mut Value) {
        if let Some(event) = self.events.pop_front() {
            *text = event;
            return;
        }
        self.socket.get_ref().set_read_timeout(Some(time)).unwrap();
        match self.socket.read() {
            Ok(Message::Text(said)) => {
                *text = simd_json::to_owned_value(&mut said.as_bytes().to_vec()).unwrap()
            }
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("expected pings, got {other:?}"),
        }
        self.socket.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Only listens, for so long; nothing but pings may come.
    pub fn answer_pings(&mut self, time: Duration) {
        let began = Instant::now();
        self.socket.get_ref().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        while began.elapsed() < time {
            match self.socket.read() {
                Ok(Message::Ping(_)) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                other => panic!("expected silence, got {other:?}"),
            }
        }
        self.socket.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

impl<S: Read + Write> Client<S> {
    /// Speaks over a stream whose reads come to an end, or the close.
    pub fn open_over(stream: S, target: &str) -> Result<Self, Closed> {
        let (socket, _) =
            tungstenite::client(format!("ws://test{target}"), stream).expect("the handshake succeeds");
        let mut client = Self { socket, hello: Value::null(), events: VecDeque::new(), next_id: 1 };
        client.hello = client.try_receive()?;
        assert_eq!(client.hello["type"], "hello");
        Ok(client)
    }

    /// What it speaks over.
    pub fn stream(&mut self) -> &mut S {
        self.socket.get_mut()
    }

    /// The shard that holds this connection, which its name begins with.
    pub fn shard(&self) -> usize {
        self.hello["connection"].as_str().unwrap().split('-').next().unwrap().parse().unwrap()
    }

    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the connection is open");
    }

    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).expect("the connection is open");
    }

    /// The next message, whatever it is.
    pub fn receive(&mut self) -> Value {
        self.try_receive().expect("the connection stays open")
    }

    fn try_receive(&mut self) -> Result<Value, Closed> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let mut json = text.as_bytes().to_vec();
                    return Ok(simd_json::to_owned_value(&mut json).expect("the server sends JSON"));
                }
                Ok(Message::Close(Some(frame))) => {
                    let closed = (frame.code.into(), frame.reason.to_string());
                    // Reads on to the end, which sends our own close frame.
                    while self.socket.read().is_ok() {}
                    return Err(closed);
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("expected text, got {other:?}"),
            }
        }
    }

    /// Sends a request, which gets an `id`, and returns its answer. Other messages that come first are kept.
    pub fn ask(&mut self, request: &str) -> Value {
        let id = self.send_with_id(request);
        loop {
            let message = self.receive();
            if message.get("id") == Some(&Value::from(id)) {
                return message;
            }
            self.events.push_back(message);
        }
    }

    /// Sends several messages in one segment, so that the server reads all of them before it answers any.
    pub fn send_at_once(&mut self, texts: &[&str]) {
        texts
            .iter()
            .for_each(|text| self.socket.write(Message::text(*text)).expect("the connection is open"));
        self.socket.flush().expect("the connection is open");
    }

    fn send_with_id(&mut self, request: &str) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let fields = request.strip_prefix('{').expect("a request is an object");
        self.send(&format!("{{\"id\":{id},{fields}"));
        id
    }

    /// The next message that is no answer.
    pub fn event(&mut self) -> Value {
        self.events.pop_front().unwrap_or_else(|| self.receive())
    }

    /// The messages that were kept while answers were awaited.
    pub fn take_events(&mut self) -> Vec<Value> {
        self.events.drain(..).collect()
    }

    /// The entries of the next `change`, whose map must be `map`.
    pub fn change(&mut self, map: &str) -> Vec<Value> {
        let event = self.event();
        assert_eq!(event["type"], "change", "{event}");
        assert_eq!(event["map"], map);
        event["entries"].as_array().unwrap().clone()
    }

    /// Sends one `write` of these operations; they all must be applied. Returns the stamps.
    pub fn write(&mut self, ops: &str) -> Vec<Value> {
        let ack = self.ask(&format!("{{\"type\":\"write\",\"ops\":[{ops}]}}"));
        assert_eq!(ack["type"], "ack", "{ack}");
        assert!(ack.get("rejected").is_none(), "{ack}");
        ack["stamps"].as_array().unwrap().clone()
    }

    /// The code with which one operation is rejected.
    pub fn rejected(&mut self, op: &str) -> String {
        let ack = self.ask(&format!("{{\"type\":\"write\",\"ops\":[{op}]}}"));
        assert_eq!(ack["applied"], 0, "{ack}");
        assert_eq!(ack["rejected"][0]["index"], 0);
        assert!(!ack["rejected"][0]["message"].as_str().unwrap().is_empty());
        ack["rejected"][0]["code"].as_str().unwrap().to_owned()
    }

    /// The code of the `error` that answers a request.
    pub fn error(&mut self, request: &str) -> String {
        let error = self.ask(request);
        assert_eq!(error["type"], "error", "{error}");
        error["code"].as_str().unwrap().to_owned()
    }

    /// The entry of one key; `None` if the server has none.
    pub fn read(&mut self, map: &str, key: &str) -> Option<Value> {
        let answer = self.ask(&format!(r#"{{"type":"read","map":"{map}","keys":["{key}"]}}"#));
        assert_eq!(answer["type"], "entries", "{answer}");
        assert_eq!(answer["map"], map);
        answer["entries"].as_array().unwrap().first().cloned()
    }

    /// Entries and hash of a map.
    pub fn digest(&mut self, map: &str) -> (u64, String) {
        let answer = self.ask(&format!(r#"{{"type":"digest","map":"{map}"}}"#));
        assert_eq!(answer["type"], "digest", "{answer}");
        (answer["entries"].as_u64().unwrap(), answer["hash"].as_str().unwrap().to_owned())
    }

    /// Subscribes with `fields` (such as `"map":"m"`) and gathers the snapshot.
    pub fn subscribe(&mut self, fields: &str) -> Snapshot {
        let id = self.send_with_id(&format!("{{\"type\":\"subscribe\",{fields}}}"));
        let mut snapshot = Snapshot { entries: Vec::new(), chunks: 0, end: Value::null() };
        loop {
            let mut message = self.receive();
            if message.get("id") != Some(&Value::from(id)) {
                self.events.push_back(message);
                continue;
            }
            assert_eq!(message["type"], "snapshot", "{message}");
            snapshot.chunks += 1;
            let Some(Value::Array(entries)) = message.remove("entries").unwrap() else {
                panic!("no entries")
            };
            snapshot.entries.extend(*entries);
            if message["more"] == false {
                snapshot.end = message;
                return snapshot;
            }
        }
    }

    /// Waits for the server to close, and reads past what it sends before.
    pub fn closed(mut self) -> Closed {
        loop {
            if let Err(closed) = self.try_receive() {
                return closed;
            }
        }
    }

    /// Whether the next thing it hears is the end of the connection.
    pub fn is_cut_off(&mut self) -> bool {
        self.socket.read().is_err()
    }

    /// Leaves with a close frame and waits until the server has taken note.
    pub fn leave(mut self) {
        self.socket.close(None).unwrap();
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends a close frame with this code and reads what comes until the end.
    pub fn close_with(mut self, code: u16) {
        let frame = tungstenite::protocol::CloseFrame { code: code.into(), reason: "".into() };
        self.socket.close(Some(frame)).unwrap();
        while self.socket.read().is_ok() {}
    }
}

impl Snapshot {
    /// The entries by key.
    pub fn by_key(&self) -> BTreeMap<String, Value> {
        by_key(&self.entries)
    }

    pub fn keys(&self) -> Vec<String> {
        self.by_key().into_keys().collect()
    }

    pub fn cursor(&self) -> &str {
        self.end["cursor"].as_str().unwrap()
    }
}

/// Entries by their keys, the last of each.
pub fn by_key(entries: &[Value]) -> BTreeMap<String, Value> {
    entries.iter().map(|entry| (entry["key"].as_str().unwrap().to_owned(), entry.clone())).collect()
}

/// One `set`, as the operation of a `write`.
pub fn set(map: &str, key: &str, value: impl std::fmt::Display) -> String {
    format!(r#"{{"map":"{map}","key":"{key}","op":"set","value":{value}}}"#)
}
