//! One shard and the desk beside it, both in the hands of a test: a token is what it claims, and nothing else.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use annulus::auth::{Revocations, Standing};
use annulus::config::{AuthMode, Config, DialectPath};
use annulus::handover::{DeskEnd, FromDesk, connect_desk};
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::mesh::{self, ConnectionId};
use annulus::shard::{Command, Now, Shard, Transport};

use crate::believing_desk::{answer, standing};
use crate::client_frames::{take_frame, text_frame};
use crate::shards::{BEGIN, shared, upgrade};

const TURN_US: u64 = 100;

/// See the module.
pub struct Host {
    shard: Shard,
    desk: DeskEnd,
    standing: Arc<Standing>,
    /// Whether the desk answers.
    pub desk_answers: bool,
    now: Now,
    arrived: Vec<(ConnectionId, Vec<u8>)>,
    in_flight: Vec<(ConnectionId, usize)>,
    inboxes: Vec<(ConnectionId, Vec<u8>)>,
    pub desk_wakes: usize,
}

impl Host {
    /// With those rules; empty: none.
    pub fn new(auth: AuthMode, rules: &str) -> Self {
        Self::with(rules, |config| config.auth = auth)
    }

    pub fn with(rules: &str, change: impl FnOnce(&mut Config)) -> Self {
        let dialects = vec![DialectPath::NATIVE, annulus::dialect::synckit::PATH];
        let mut config = Config { heartbeat_ms: 3_600_000, dialects, ..Config::default() };
        change(&mut config);
        let ports = mesh::connect(1).pop().unwrap();
        let mut shard = Shard::new(shared(config, None), 0, ports, None, BEGIN, 1);
        let (port, desk) = connect_desk(1, &Arc::default()).pop().unwrap();
        let standing = standing(rules, Revocations::default());
        shard.stand_under(Arc::clone(&standing), Some(port));
        Self {
            shard,
            desk,
            standing,
            desk_answers: true,
            now: BEGIN,
            arrived: Vec::new(),
            in_flight: Vec::new(),
            inboxes: Vec::new(),
            desk_wakes: 0,
        }
    }

    /// Connects, with a token or without, and says what the client is sent first.
    pub fn open(&mut self, token: Option<&str>) -> (ConnectionId, Vec<String>) {
        self.open_at("/v1", token)
    }

    /// The same at some path.
    pub fn open_at(&mut self, path: &str, token: Option<&str>) -> (ConnectionId, Vec<String>) {
        let id = self.shard.accepted(IpAddr::V4(Ipv4Addr::LOCALHOST), Transport::Plain).unwrap();
        self.inboxes.push((id, Vec::new()));
        let line = token.map(|token| format!("Authorization: Bearer {token}\r\n\r\n"));
        let mut request = upgrade(path);
        if let Some(line) = line {
            request.truncate(request.len() - 2);
            request.push_str(&line);
        }
        self.arrived.push((id, request.into_bytes()));
        self.settle();
        (id, self.texts(id))
    }

    pub fn send(&mut self, id: ConnectionId, text: &str) {
        self.arrived.push((id, text_frame(text.as_bytes())));
    }

    /// Sends one message and says what the client has been sent when nothing happens any more.
    pub fn ask(&mut self, id: ConnectionId, text: &str) -> Vec<String> {
        self.send(id, text);
        self.settle();
        self.texts(id)
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(64) {
            self.now.unix_ms += 64;
            self.now.monotonic_us += 64_000;
            self.settle();
        }
    }

    /// From now on other rules are in force, and those revocations.
    pub fn stand(&mut self, rules: &str, revoked: Revocations) {
        self.standing = standing(rules, revoked);
        self.desk.to_shard.push(FromDesk::Standing(Arc::clone(&self.standing))).unwrap();
        self.settle();
    }

    pub fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < 10_000, "the shard takes turns for ever");
            self.turn();
            let has_answered = self.desk_answers && answer(&mut self.desk, &self.standing);
            if self.shard.wait_us() != Some(0) && self.in_flight.is_empty() && !has_answered {
                return;
            }
        }
    }

    fn turn(&mut self) {
        self.now.monotonic_us += TURN_US;
        self.shard.start_turn(self.now);
        for (id, bytes) in std::mem::take(&mut self.in_flight) {
            self.shard.sent(id, bytes);
        }
        for (id, bytes) in std::mem::take(&mut self.arrived) {
            let mut padded = bytes.clone();
            padded.resize(bytes.len() + PARSE_PADDING_BYTES, 0);
            self.shard.received(id, &mut padded, bytes.len());
        }
        self.shard.end_turn();
        let mut commands = Vec::new();
        self.shard.take_commands(&mut commands);
        for command in commands {
            match command {
                Command::Send(id) => {
                    let bytes: Vec<u8> = self.shard.in_flight(id).flatten().copied().collect();
                    self.in_flight.push((id, bytes.len()));
                    self.inbox(id).extend_from_slice(&bytes);
                }
                Command::WakeDesk => self.desk_wakes += 1,
                _ => {}
            }
        }
    }

    fn inbox(&mut self, id: ConnectionId) -> &mut Vec<u8> {
        &mut self.inboxes.iter_mut().find(|(of, _)| *of == id).unwrap().1
    }

    /// Takes what a client was sent: its messages, and `close <code>`.
    pub fn texts(&mut self, id: ConnectionId) -> Vec<String> {
        let inbox = self.inbox(id);
        if inbox.starts_with(b"HTTP/") {
            let end = inbox.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            let head: Vec<u8> = inbox.drain(..end).collect();
            assert!(head.starts_with(b"HTTP/1.1 101 "), "{}{}", head.escape_ascii(), inbox.escape_ascii());
        }
        let text = |(opcode, payload): (u8, Vec<u8>)| match opcode {
            0x89 => "ping".to_owned(),
            0x88 => format!("close {}", u16::from_be_bytes([payload[0], payload[1]])),
            _ => String::from_utf8(payload).unwrap(),
        };
        std::iter::from_fn(|| take_frame(inbox)).map(text).collect()
    }
}
