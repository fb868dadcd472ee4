//! One shard without sockets, with connections that speak SyncKit's protocol: what `io/` is to a shard, each send taken
//! whole. The fuzz targets of the dialects drive it, too.

#[path = "../shards/mod.rs"]
mod shards;

use std::net::{IpAddr, Ipv4Addr};

use annulus::config::{Config, DialectPath};
use annulus::dialect;
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::mesh::{self, ConnectionId};
use annulus::metrics::Metrics;
use annulus::shard::{Command, Now, Shard, Transport};

use shards::{BEGIN, shared, upgrade};

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;

const TURN_US: u64 = 100;

/// See the module.
pub struct Host {
    shard: Shard,
    /// Where connections open.
    target: &'static str,
    now: Now,
    commands: Vec<Command>,
    sent: Vec<(ConnectionId, usize)>,
    /// What each connection was sent and nobody has taken.
    inboxes: Vec<(ConnectionId, Vec<u8>)>,
    /// Whether that is kept, and whether peers take what they are sent at all.
    pub keeps: bool,
    pub is_stalled: bool,
    stalled: Vec<ConnectionId>,
    /// Units of work of each turn, once somebody counts them.
    pub work: Option<Vec<u64>>,
}

impl Host {
    pub fn new() -> Self {
        Self::at(dialect::synckit::PATH, "/ws")
    }

    /// With connections that open at `target`, a path of `dialect` with its query.
    pub fn at(dialect: DialectPath, target: &'static str) -> Self {
        Self::with(dialect, target, |_| {})
    }

    /// With what `change` makes of the default configuration.
    pub fn with(dialect: DialectPath, target: &'static str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { heartbeat_ms: 3_600_000, dialects: vec![dialect], ..Config::default() };
        change(&mut config);
        let ports = mesh::connect(1).pop().expect("one shard");
        let shard = Shard::new(shared(config, None), 0, ports, None, BEGIN, 1);
        Self {
            shard,
            target,
            now: BEGIN,
            commands: Vec::new(),
            sent: Vec::new(),
            inboxes: Vec::new(),
            keeps: true,
            is_stalled: false,
            stalled: Vec::new(),
            work: None,
        }
    }

    /// An open WebSocket.
    pub fn open(&mut self) -> ConnectionId {
        let id =
            self.shard.accepted(IpAddr::V4(Ipv4Addr::LOCALHOST), Transport::Plain).expect("there is room");
        self.inboxes.push((id, Vec::new()));
        self.turn(Some((id, upgrade(self.target).as_bytes())));
        self.settle();
        let (_, inbox) = self.inboxes.last_mut().expect("it was put there");
        assert!(inbox.starts_with(b"HTTP/1.1 101 "));
        let end = inbox.windows(4).position(|octets| octets == b"\r\n\r\n").expect("a whole head");
        inbox.drain(..end + 4);
        id
    }

    /// Sends one message and lets the shard work until it has nothing more to do; the frames it has sent back.
    pub fn send(&mut self, id: ConnectionId, opcode: u8, payload: &[u8]) -> Vec<(u8, Vec<u8>)> {
        self.turn(Some((id, &masked(opcode, payload))));
        self.settle();
        self.take_frames(id)
    }

    /// One message comes, in a turn of its own.
    #[allow(dead_code, reason = "the fuzz target lets the shard finish")]
    pub fn receive(&mut self, id: ConnectionId, opcode: u8, payload: &[u8]) {
        self.turn(Some((id, &masked(opcode, payload))));
    }

    /// Lets the shard work until it has nothing more to do.
    #[allow(dead_code, reason = "the fuzz target lets the shard finish")]
    pub fn finish(&mut self) {
        self.settle();
    }

    /// The frames the connection was sent and that were not taken.
    pub fn take_frames(&mut self, id: ConnectionId) -> Vec<(u8, Vec<u8>)> {
        frames(&self.take(id))
    }

    fn take(&mut self, id: ConnectionId) -> Vec<u8> {
        let inbox = self.inboxes.iter_mut().find(|(found, _)| *found == id).expect("an open connection");
        std::mem::take(&mut inbox.1)
    }

    /// Ends a connection whatever is under way.
    #[allow(dead_code, reason = "the fuzz target ends none")]
    pub fn drop(&mut self, id: ConnectionId) {
        self.shard.failed(id);
        self.settle();
        self.shard.released(id);
        self.inboxes.retain(|(found, _)| *found != id);
    }

    /// Turns until there is nothing more to do at once.
    fn settle(&mut self) {
        loop {
            self.turn(None);
            if self.sent.is_empty() && self.shard.wait_us() != Some(0) {
                return;
            }
        }
    }

    fn turn(&mut self, received: Option<(ConnectionId, &[u8])>) {
        self.now.monotonic_us += TURN_US;
        self.now.unix_ms = 1_700_000_000_000 + self.now.monotonic_us / 1000;
        self.shard.start_turn(self.now);
        for (id, bytes) in std::mem::take(&mut self.sent) {
            self.shard.sent(id, bytes);
        }
        if let Some((id, octets)) = received {
            let mut padded = [octets, &[0xA5; PARSE_PADDING_BYTES]].concat();
            self.shard.received(id, &mut padded, octets.len());
        }
        self.shard.drain_mesh();
        self.shard.end_turn();
        if let Some(work) = &mut self.work {
            work.push(self.shard.work());
        }
        self.shard.take_commands(&mut self.commands);
        for command in std::mem::take(&mut self.commands) {
            if let Command::Send(id) = command {
                if self.is_stalled {
                    self.stalled.push(id);
                    continue;
                }
                self.carry_out_send(id);
            }
        }
        self.shard.turn_took_ns(1_000);
    }

    /// What the shard says of itself.
    #[allow(dead_code, reason = "the fuzz target asks for no numbers")]
    pub fn metrics(&self) -> Metrics {
        self.shard.metrics_now()
    }

    /// Peers take what they are sent again.
    #[allow(dead_code, reason = "the fuzz target stalls none")]
    pub fn go_on(&mut self) {
        self.is_stalled = false;
        for id in std::mem::take(&mut self.stalled) {
            self.carry_out_send(id);
        }
        self.settle();
    }

    /// Time passes in which nothing comes.
    #[allow(dead_code, reason = "the fuzz target has all the time")]
    pub fn pass(&mut self, ms: u64) {
        self.now.monotonic_us += ms * 1_000;
        self.settle();
    }

    fn carry_out_send(&mut self, id: ConnectionId) {
        let parts: Vec<&[u8]> = self.shard.in_flight(id).collect();
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        self.sent.push((id, bytes));
        if self.keeps
            && let Some((_, inbox)) = self.inboxes.iter_mut().find(|(found, _)| *found == id)
        {
            parts.iter().for_each(|part| inbox.extend_from_slice(part));
        }
    }
}

/// The frames of a server: opcode and payload.
fn frames(mut octets: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = octets {
        assert_eq!(first & 0xF0, 0x80, "whole frames without reserved bits");
        let (len, rest) = match second {
            126 => (u16::from_be_bytes(rest[..2].try_into().expect("two")).into(), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().expect("eight")) as usize, &rest[8..]),
            len => (usize::from(*len), rest),
        };
        frames.push((first & 0xF, rest[..len].to_vec()));
        octets = &rest[len..];
    }
    assert!(octets.is_empty(), "a frame is cut off");
    frames
}

/// A frame of a client with the mask zero, which is a mask like any other.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
