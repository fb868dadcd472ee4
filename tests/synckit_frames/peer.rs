//! A client of SyncKit's protocol that says what it is told to, in any of the ways in which messages may come, and
//! reads what it is sent strictly.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;
use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

use crate::client::Closed;
use crate::raw::Raw;
use crate::server::PATIENCE;

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With a header, in binary frames.
    Binary,
    /// JSON in text frames.
    Text,
    /// JSON in binary frames.
    JsonInBinary,
}

pub const MODES: [Mode; 3] = [Mode::Binary, Mode::Text, Mode::JsonInBinary];

pub const HEADER_BYTES: usize = 13;

/// Every message there is.
pub const CODES: [(u8, &str); 19] = [
    (0x01, "auth"),
    (0x02, "auth_success"),
    (0x03, "auth_error"),
    (0x10, "subscribe"),
    (0x11, "unsubscribe"),
    (0x12, "sync_request"),
    (0x13, "sync_response"),
    (0x14, "sync_step1"),
    (0x15, "sync_step2"),
    (0x20, "delta"),
    (0x21, "ack"),
    (0x23, "delta_batch_chunk"),
    (0x30, "ping"),
    (0x31, "pong"),
    (0x40, "awareness_update"),
    (0x41, "awareness_subscribe"),
    (0x42, "awareness_state"),
    (0x50, "delta_batch"),
    (0xff, "error"),
];

/// One open connection.
pub struct Peer {
    socket: WebSocket<TcpStream>,
    mode: Mode,
    /// Messages that came while others were awaited.
    kept: VecDeque<Heard>,
    said: u64,
}

/// One message of the server.
#[derive(Clone, Debug)]
pub struct Heard {
    pub kind: &'static str,
    pub unix_ms: u64,
    pub is_text: bool,
    pub id: String,
    /// Its other fields.
    pub body: Value,
}

impl Peer {
    pub fn connect(address: SocketAddr) -> Self {
        Self::speaking(address, Mode::Binary)
    }

    pub fn speaking(address: SocketAddr, mode: Mode) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, _) = tungstenite::client("ws://test/ws", stream).expect("the handshake succeeds");
        Self { socket, mode, kept: VecDeque::new(), said: 0 }
    }

    /// Says a message with these fields, the inside of a JSON object. JSON messages get an `id`, which they must have,
    /// unless there is one among the fields.
    pub fn say(&mut self, kind: &str, fields: &str) {
        self.say_at_once(&[(kind, fields)]);
    }

    /// Says several messages in one segment, so that the server reads all of them before it answers any.
    pub fn say_at_once(&mut self, messages: &[(&str, &str)]) {
        for (kind, fields) in messages {
            self.said += 1;
            let message = match self.mode {
                Mode::Binary => Message::binary(frame(code_of(kind), &format!("{{{fields}}}"))),
                Mode::Text => Message::text(self.json(kind, fields)),
                Mode::JsonInBinary => Message::binary(self.json(kind, fields).into_bytes()),
            };
            self.socket.write(message).expect("the connection is open");
        }
        self.socket.flush().expect("the connection is open");
    }

    fn json(&self, kind: &str, fields: &str) -> String {
        let comma = if fields.is_empty() { "" } else { "," };
        format!(r#"{{"type":"{kind}","id":"said-{}","timestamp":1700000000000{comma}{fields}}}"#, self.said)
    }

    pub fn send(&mut self, message: Message) {
        self.socket.send(message).expect("the connection is open");
    }

    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.send(Message::binary(bytes.to_vec()));
    }

    /// The next message that the server sends, or why the connection was closed.
    pub fn try_receive(&mut self) -> Result<Heard, Closed> {
        let began = Instant::now();
        // Pings of the server count as something to read.
        while began.elapsed() < PATIENCE {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => return Ok(Heard::of_binary(&bytes)),
                Ok(Message::Text(text)) => return Ok(Heard::of_text(text.as_str())),
                Ok(Message::Close(Some(frame))) => {
                    let closed = (frame.code.into(), frame.reason.to_string());
                    while self.socket.read().is_ok() {}
                    return Err(closed);
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("expected a message, got {other:?}"),
            }
        }
        panic!("expected a message, got nothing but pings");
    }

    /// The oldest message of this kind that has not been looked at. Others that come first are kept.
    pub fn take(&mut self, kind: &str) -> Heard {
        if let Some(place) = self.kept.iter().position(|heard| heard.kind == kind) {
            return self.kept.remove(place).unwrap();
        }
        loop {
            let heard = self.try_receive().expect("the connection stays open");
            if heard.kind == kind {
                return heard;
            }
            assert!(
                heard.kind != "error" || kind == "pong",
                "instead of {kind} came {}: {}",
                heard.kind,
                heard.body
            );
            self.kept.push_back(heard);
        }
    }

    pub fn body(&mut self, kind: &str) -> Value {
        self.take(kind).body
    }

    /// Everything that has not been looked at, up to the answer to a ping.
    pub fn rest(&mut self) -> Vec<Heard> {
        self.say("ping", "");
        let pong = self.take("pong");
        assert_eq!(pong.body, json("{}"));
        self.kept.drain(..).collect()
    }

    /// Fails if anything came that was not looked at.
    pub fn is_silent(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// The text and the details of the next `error`.
    pub fn refused(&mut self) -> (String, Option<Value>) {
        let mut body = self.body("error");
        let error = body.remove("error").unwrap().unwrap();
        let details = body.remove("details").unwrap();
        assert_eq!(body, json("{}"), "an error has no other fields");
        (error.as_str().unwrap().to_owned(), details)
    }

    /// Subscribes; the answer.
    pub fn subscribe(&mut self, document: &str) -> Value {
        self.say("subscribe", &format!(r#""documentId":"{document}""#));
        self.answer(document)
    }

    /// Subscribes to a document that nobody has written to, and waits until no change of a shard is told as a latest state
    /// any more, as those are that come while the subscription begins. The document is empty afterwards.
    /// How many changes that took.
    pub fn watch(&mut self, document: &str) -> usize {
        const FIELDS: usize = 16;
        self.subscribe(document);
        // What others who watch it have deleted is told with the state.
        self.rest();
        for value in ["1", r#"{"__deleted":true}"#] {
            let fields: Vec<String> = (0..FIELDS).map(|n| format!(r#""warm{n}":{value}"#)).collect();
            self.write(document, &format!(r#""delta":{{{}}}"#, fields.join(",")));
            self.deltas(FIELDS);
        }
        2 * FIELDS
    }

    /// Has all watch a document, and hear of nothing that the others did for that.
    pub fn watch_all(document: &str, peers: &mut [&mut Self]) {
        for n in 0..peers.len() {
            let warmed = peers[n].watch(document);
            peers[..n].iter_mut().for_each(|peer| drop(peer.deltas(warmed)));
        }
    }

    /// Asks for the state by a request with an `id`; the answer.
    pub fn sync(&mut self, document: &str) -> Value {
        let id = format!("sync-{}", self.said);
        self.say("sync_request", &format!(r#""id":"{id}","documentId":"{document}""#));
        let answer = self.answer(document);
        assert_eq!(answer["requestId"], id.as_str());
        answer
    }

    fn answer(&mut self, document: &str) -> Value {
        let answer = self.body("sync_response");
        assert_eq!(answer["documentId"], document, "{answer}");
        assert_eq!(answer["deltas"], json("[]"));
        answer
    }

    /// Writes a `delta` with these fields and waits for its ack.
    pub fn write(&mut self, document: &str, fields: &str) {
        self.said += 1;
        let id = format!("write-{}", self.said);
        self.say("delta", &format!(r#""documentId":"{document}","messageId":"{id}",{fields}"#));
        assert_eq!(self.body("ack"), json(&format!(r#"{{"messageId":"{id}"}}"#)));
    }

    /// Writes one field and waits for the ack.
    pub fn set(&mut self, document: &str, field: &str, value: &str) {
        self.write(document, &format!(r#""delta":{{"{field}":{value}}}"#));
    }

    /// Writes a `delta_batch` of these operations and waits for its ack.
    pub fn batch(&mut self, document: &str, operations: &str) {
        self.said += 1;
        let id = format!("batch-{}", self.said);
        let fields = format!(r#""documentId":"{document}","messageId":"{id}","deltas":[{operations}]"#);
        self.say("delta_batch", &fields);
        assert_eq!(self.body("ack"), json(&format!(r#"{{"messageId":"{id}"}}"#)));
    }

    /// The next delta.
    pub fn delta(&mut self) -> Delta {
        Delta::of(self.body("delta"))
    }

    /// The next `count` deltas, by field, as `field=value`.
    pub fn deltas(&mut self, count: usize) -> Vec<String> {
        let mut deltas: Vec<String> = (0..count)
            .map(|_| self.delta())
            .map(|delta| format!("{}={}", delta.field, delta.value.encode()))
            .collect();
        deltas.sort();
        deltas
    }

    /// Reads on until the server closes.
    pub fn closed(mut self) -> Closed {
        loop {
            if let Err(closed) = self.try_receive() {
                return closed;
            }
        }
    }

    /// Leaves with a close frame and waits for the end.
    pub fn leave(mut self) {
        self.socket.close(None).unwrap();
        while !matches!(self.socket.read(), Err(Error::ConnectionClosed)) {}
    }

    /// The bare connection, which answers nothing by itself.
    pub fn into_raw(self) -> Raw {
        Raw::over(self.socket.get_ref().try_clone().unwrap())
    }
}

impl Heard {
    /// Of a binary message: a header whose length is that of the rest, and a JSON object.
    pub fn of_binary(bytes: &[u8]) -> Self {
        let (header, body) = bytes.split_at(HEADER_BYTES);
        let kind = CODES.iter().find(|(code, _)| *code == header[0]).expect("a known code").1;
        let unix_ms = u64::from_be_bytes(header[1..9].try_into().unwrap());
        assert_eq!(u32::from_be_bytes(header[9..].try_into().unwrap()) as usize, body.len());
        let mut body = json(std::str::from_utf8(body).expect("the server sends UTF-8"));
        assert!(!body.contains_key("type") && !body.contains_key("timestamp"));
        let id = take_id(&mut body, unix_ms);
        Self { kind, unix_ms, is_text: false, id, body }
    }

    /// Of a text message: a JSON object with its `type`.
    pub fn of_text(text: &str) -> Self {
        let mut body = json(text);
        let kind = body.remove("type").unwrap().expect("a type");
        let kind = CODES.iter().find(|(_, name)| kind == *name).expect("a known type").1;
        let unix_ms = body.remove("timestamp").unwrap().and_then(|time| time.as_u64()).expect("a timestamp");
        let id = take_id(&mut body, unix_ms);
        Self { kind, unix_ms, is_text: true, id, body }
    }
}

/// Ids are a time and nine base 36 digits.
fn take_id(body: &mut Value, unix_ms: u64) -> String {
    let id = body.remove("id").unwrap().expect("an id");
    let (millis, digits) = id.as_str().unwrap().split_once('-').expect("two parts");
    assert_eq!(millis.parse::<u64>(), Ok(unix_ms));
    assert!(digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()));
    id.as_str().unwrap().to_owned()
}

/// One `delta` of the server: one field.
#[derive(Debug)]
pub struct Delta {
    pub document: String,
    pub field: String,
    pub value: Value,
    /// The number under `server`.
    pub clock: u64,
    /// Who else has this number in the clock.
    pub also: Vec<String>,
}

impl Delta {
    fn of(body: Value) -> Self {
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        assert_eq!(body["clientId"], "server", "{body}");
        assert_eq!(body.as_object().unwrap().len(), 5, "{body}");
        let (clock, also) = clock_of(&body["clock"]);
        Self { document: text("documentId"), field: text("field"), value: body["value"].clone(), clock, also }
    }
}

/// The number under `server` in a clock, and who else is there, with the same number.
pub fn clock_of(clock: &Value) -> (u64, Vec<String>) {
    let number = clock["server"].as_u64().expect("a whole number");
    let others = clock.as_object().unwrap().iter().filter(|(name, _)| *name != "server");
    let also = others.map(|(name, value)| {
        assert_eq!(value.as_u64(), Some(number), "{clock}");
        name.clone()
    });
    (number, also.collect())
}

/// A message with a header.
pub fn frame(code: u8, body: &str) -> Vec<u8> {
    let mut frame = vec![code];
    frame.extend_from_slice(&1_700_000_000_000_u64.to_be_bytes());
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(body.as_bytes());
    frame
}

pub fn code_of(kind: &str) -> u8 {
    CODES.iter().find(|(_, name)| *name == kind).unwrap_or_else(|| panic!("{kind} has no code")).0
}

pub fn json(text: &str) -> Value {
    simd_json::to_owned_value(&mut text.as_bytes().to_vec()).unwrap_or_else(|error| panic!("{error}: {text}"))
}
