//! One shard in the hands of a test, which hands it what has arrived and looks at the work of each turn.

use std::net::{IpAddr, Ipv4Addr};

use annulus::config::{Config, DialectPath};
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::mesh::{self, ConnectionId};
use annulus::shard::{Command, Now, Shard, Transport};

use crate::client_frames::take_text;
use crate::shards::{BEGIN, shared, upgrade};

const TURN_US: u64 = 100;

/// One shard and its driver.
pub struct Host {
    shard: Shard,
    now: Now,
    arrived: Vec<(ConnectionId, Vec<u8>)>,
    in_flight: Vec<(ConnectionId, usize)>,
    inboxes: Vec<(ConnectionId, Vec<u8>)>,
    ended: Vec<ConnectionId>,
    /// Whether peers take what they are sent.
    pub takes_bytes: bool,
    work: u64,
}

impl Host {
    pub fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config =
            Config { heartbeat_ms: 3_600_000, dialects: vec![DialectPath::NATIVE], ..Config::default() };
        change(&mut config);
        let ports = mesh::connect(1).pop().unwrap();
        Self {
            shard: Shard::new(shared(config, None), 0, ports, None, BEGIN, 1),
            now: BEGIN,
            arrived: Vec::new(),
            in_flight: Vec::new(),
            inboxes: Vec::new(),
            ended: Vec::new(),
            takes_bytes: true,
            work: 0,
        }
    }

    pub fn open(&mut self) -> ConnectionId {
        let id = self.shard.accepted(IpAddr::V4(Ipv4Addr::LOCALHOST), Transport::Plain).unwrap();
        self.inboxes.push((id, Vec::new()));
        self.receive(id, upgrade("/v1").as_bytes());
        self.turn();
        self.turn();
        let inbox = self.inbox(id);
        let end = inbox.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        inbox.drain(..end);
        self.texts(id);
        id
    }

    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.arrived.push((id, bytes.to_vec()));
    }

    /// The client has sent all that it has to say.
    pub fn end(&mut self, id: ConnectionId) {
        self.shard.received_end(id);
    }

    /// The client's transport has failed.
    pub fn reset(&mut self, id: ConnectionId) {
        self.shard.failed(id);
    }

    pub fn turn(&mut self) {
        self.now.monotonic_us += TURN_US;
        self.shard.start_turn(self.now);
        if self.takes_bytes {
            for (id, bytes) in std::mem::take(&mut self.in_flight) {
                self.shard.sent(id, bytes);
            }
        }
        for (id, bytes) in std::mem::take(&mut self.arrived) {
            let mut padded = bytes.clone();
            padded.resize(bytes.len() + PARSE_PADDING_BYTES, 0);
            self.shard.received(id, &mut padded, bytes.len());
        }
        self.shard.end_turn();
        self.work = self.shard.work();
        let mut commands = Vec::new();
        self.shard.take_commands(&mut commands);
        for command in commands {
            match command {
                Command::Send(id) => {
                    let bytes: Vec<u8> = self.shard.in_flight(id).flatten().copied().collect();
                    self.in_flight.push((id, bytes.len()));
                    self.inbox(id).extend_from_slice(&bytes);
                }
                Command::Shutdown(id) | Command::Close(id) => self.ended.push(id),
                _ => {}
            }
        }
    }

    /// Whether our side of the client's transport has ended.
    pub fn has_ended(&self, id: ConnectionId) -> bool {
        self.ended.contains(&id)
    }

    pub const fn shard(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// Bytes of requests that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.shard.metrics_now().waiting_request_bytes as usize
    }

    /// Whether the shard wants its next turn at once.
    pub fn has_more(&self) -> bool {
        self.shard.wait_us() == Some(0)
    }

    /// Takes turns for as long as the shard wants them at once; the most units of one of them, and how many there were.
    pub fn settle(&mut self) -> (u64, usize) {
        let (mut most, mut turns) = (0, 0);
        loop {
            self.turn();
            (most, turns) = (most.max(self.work), turns + 1);
            if !self.has_more() && self.in_flight.is_empty() {
                return (most, turns);
            }
            assert!(turns < 10_000, "the shard takes turns for ever");
        }
    }

    /// Units of the last turn.
    pub fn work(&self) -> u64 {
        self.work
    }

    fn inbox(&mut self, id: ConnectionId) -> &mut Vec<u8> {
        &mut self.inboxes.iter_mut().find(|(of, _)| *of == id).unwrap().1
    }

    /// Takes the messages that a client was sent.
    pub fn texts(&mut self, id: ConnectionId) -> Vec<String> {
        let inbox = self.inbox(id);
        std::iter::from_fn(|| take_text(inbox)).map(|text| String::from_utf8(text).unwrap()).collect()
    }

    pub fn acks(&mut self, id: ConnectionId) -> usize {
        self.texts(id).iter().filter(|text| text.contains(r#""type":"ack""#)).count()
    }
}
