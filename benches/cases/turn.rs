//! A whole turn of a shard around one `write` of ten operations: frame, message, merge, ack and what ends the turn. The ring
//! and the kernel are left out.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use annulus::config::{Config, DialectPath};
use annulus::crdt::Time;
use annulus::handover::Progress;
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::mesh::{self, ConnectionId};
use annulus::shard::{Command, Now, Shard, Transport};

use super::{Meter, many};
use eager_storage::EagerStorage;
use shards::{BEGIN, shared, upgrade};

#[path = "../../tests/eager_storage/mod.rs"]
mod eager_storage;
#[path = "../../tests/shards/mod.rs"]
mod shards;

const OPS: usize = 10;
/// Messages that take turns; each writes keys of its own.
const MESSAGES: usize = 100;
const TURN_US: u64 = 100;

pub fn measure(meter: &mut impl Meter) {
    write(meter, "write of 10 sets", Host::new(None), plain_set);
    let progress = Arc::new(Progress::new(1, Time::ZERO));
    write(meter, "write of 10 sets, stored", Host::new(Some(progress)), plain_set);
    write(meter, "write of 10 sets with stamps", Host::new(None), stamped_set);
    write(meter, "write of 10 sets, names unsorted", Host::new(None), unsorted_set);
    write(meter, "write of 10, of all kinds", Host::new(None), any_kind);
}

/// As the load generator has it: a text of 100 bytes.
fn plain_set(number: usize) -> String {
    let value = format!("{number:06x}.{number:010x}.{}", "abcdefghijklmnopqrst".repeat(4));
    format!(r#"{{"map":"todos","key":"item-{number:04}","op":"set","value":"{value}"}}"#)
}

fn stamped_set(number: usize) -> String {
    let at = format!("1700000000000:{number}:phone-7");
    format!(
        r#"{{"map":"todos","key":"item-{number:04}","op":"set","value":{{"done":false,"text":"milk"}},"at":"{at}"}}"#
    )
}

/// As `JSON.stringify` has an object that was made in the order of its fields.
fn unsorted_set(number: usize) -> String {
    format!(
        r#"{{"map":"todos","key":"item-{number:04}","op":"set","value":{{"title":"feed the cat","done":false,"count":{number}}}}}"#
    )
}

fn any_kind(number: usize) -> String {
    match number % OPS {
        0 | 1 => plain_set(number),
        2 => stamped_set(number),
        3 => unsorted_set(number),
        4 => format!(r#"{{"map":"todos","key":"item-{number:04}","op":"delete"}}"#),
        5 => format!(r#"{{"map":"tags","key":"item-{number:04}","op":"add","value":"urgent","tag":"t"}}"#),
        6 => format!(r#"{{"map":"tags","key":"item-{number:04}","op":"remove","tags":["u"]}}"#),
        7 => format!(r#"{{"map":"tags","key":"item-{number:04}","op":"remove","value":"blue"}}"#),
        8 => format!(
            r#"{{"map":"views","key":"item-{number:04}","op":"increment","replica":"phone","added":12,"subtracted":3}}"#
        ),
        _ => format!(r#"{{"map":"views","key":"item-{number:04}","op":"increment","by":1}}"#),
    }
}

fn write(meter: &mut impl Meter, name: &'static str, mut host: Host, op: fn(usize) -> String) {
    let client = host.open();
    let message = |message: usize| {
        let ops: Vec<String> = (message * OPS..(message + 1) * OPS).map(op).collect();
        Frame::new(&format!(r#"{{"type":"write","id":{message},"ops":[{}]}}"#, ops.join(",")))
    };
    let mut frames: Vec<Frame> = (0..MESSAGES).map(message).collect();
    // The maps are loaded, and every key is there.
    for frame in &mut frames {
        host.turn(client, &mut frame.padded, frame.len);
    }
    let mut next = 0;
    meter.steady(many("turn", name, OPS as u64), || {
        let frame = &mut frames[next];
        next = (next + 1) % MESSAGES;
        let sent = host.turn(client, &mut frame.padded, frame.len);
        assert!(sent > 60, "no ack but {sent} bytes");
    });
    assert_eq!(host.shard.metrics_now().requests_rejected, 0);
}

/// A masked frame as it lies in a receive buffer. The mask is zero, which is a mask like any other, so that the frame stays as it
/// is; and it has no escapes.
struct Frame {
    padded: Vec<u8>,
    len: usize,
}

impl Frame {
    fn new(text: &str) -> Self {
        let len = u16::try_from(text.len()).expect("a small message");
        assert!(len >= 126, "a length of 16 bits");
        let mut padded = vec![0x81, 0x80 | 126];
        padded.extend_from_slice(&len.to_be_bytes());
        padded.extend_from_slice(&[0; 4]);
        padded.extend_from_slice(text.as_bytes());
        let len = padded.len();
        padded.resize(len + PARSE_PADDING_BYTES, 0);
        Self { padded, len }
    }
}

/// What `io/` is to a shard, without a ring: each send is taken whole and completes in the next turn.
struct Host {
    shard: Shard,
    now: Now,
    commands: Vec<Command>,
    sent: Vec<(ConnectionId, usize)>,
    storage: Option<EagerStorage>,
}

impl Host {
    /// With a disk, which takes everything at once and gives every buffer back, if there is a `progress`.
    fn new(progress: Option<Arc<Progress>>) -> Self {
        let config =
            Config { heartbeat_ms: 3_600_000, dialects: vec![DialectPath::NATIVE], ..Config::default() };
        let (storage, port) = progress.map(EagerStorage::new).unzip();
        let shared = shared(config, storage.as_ref().map(EagerStorage::shared));
        let ports = mesh::connect(1).pop().expect("one shard");
        let shard = Shard::new(shared, 0, ports, port, BEGIN, 1);
        Self { shard, now: BEGIN, commands: Vec::new(), sent: Vec::new(), storage }
    }

    /// An open WebSocket whose `hello` has been sent.
    fn open(&mut self) -> ConnectionId {
        let id =
            self.shard.accepted(IpAddr::V4(Ipv4Addr::LOCALHOST), Transport::Plain).expect("there is room");
        let request = upgrade("/v1");
        let mut padded = [request.as_bytes(), &[0; PARSE_PADDING_BYTES]].concat();
        self.turn(id, &mut padded, request.len());
        self.turn(id, &mut padded, 0);
        id
    }

    /// A turn in which the client sends that; how many bytes go out in it.
    fn turn(&mut self, id: ConnectionId, padded: &mut [u8], len: usize) -> usize {
        self.now.monotonic_us += TURN_US;
        self.now.unix_ms = BEGIN.unix_ms + self.now.monotonic_us / 1000;
        self.shard.start_turn(self.now);
        while let Some((id, bytes)) = self.sent.pop() {
            self.shard.sent(id, bytes);
        }
        if len > 0 {
            self.shard.received(id, black_box(padded), len);
        }
        self.shard.drain_mesh();
        self.shard.end_turn();
        self.shard.take_commands(&mut self.commands);
        for command in self.commands.drain(..) {
            if let Command::Send(id) = command {
                self.sent.push((id, self.shard.in_flight(id).map(<[u8]>::len).sum()));
            }
        }
        if let Some(storage) = &mut self.storage {
            storage.work();
        }
        self.sent.iter().map(|(_, bytes)| bytes).sum()
    }
}
