//! Messages from payloads: the tape, the fields, and the canonical form of each value; and the same without the tape.

use std::hint::black_box;

use annulus::dialect::native::message::{Action, Message, Request};
use annulus::dialect::native::plain::{PlainRoom, PlainWrite};
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::shard::Ops;
use annulus::wire::Payload;
use annulus::wire::json::Parser;

use super::{Meter, one};

const PING: &str = r#"{"type":"ping","id":7}"#;
const OPS: usize = 10;
/// Of a canonical value.
const VALUE_BYTES_MAX: usize = 1000;

pub fn measure(meter: &mut impl Meter) {
    let mut ping = Sent::new(PING);
    meter.steady(one("message", "ping"), || assert_eq!(ping.read(), 0));
    // Canonical form must sort it, respace it and rewrite a number of it.
    let mut write = Sent::new(&write_of_ten(
        r#"{ "title": "water the plants and feed the cat", "done": false, "at": [1.50, 20, -3e2] }"#,
    ));
    meter.steady(one("message", "write of 10, canonicalised"), || assert_eq!(write.read(), OPS));
    for (name, value) in [
        (
            "write of 10, plain",
            r#""water the plants and feed the cat, then put the bread into the oven and wait for an hour""#,
        ),
        (
            "write of 10, plain, sorted",
            r#"{"title":"water the plants and feed the cat","done":false,"at":[1.5,20]}"#,
        ),
    ] {
        let json = write_of_ten(value);
        let (mut room, mut scratch) = (PlainRoom::default(), Vec::new());
        meter.steady(one("message", name), || {
            let write = PlainWrite::read(black_box(&json), VALUE_BYTES_MAX, &mut room);
            let write = write.expect("the message is plain");
            let mut good = 0;
            write.ops().for_each(&mut scratch, |op| {
                black_box(op).expect("it is plain");
                good += 1;
            });
            assert_eq!(good, OPS);
            room.keep(write);
        });
    }
}

/// Ten times the same value.
fn write_of_ten(value: &str) -> String {
    let op =
        |index: usize| format!(r#"{{"map":"todos","key":"item-{index:04}","op":"set","value":{value}}}"#);
    let ops: Vec<String> = (0..OPS).map(op).collect();
    format!(r#"{{"type":"write","id":7,"ops":[{}]}}"#, ops.join(","))
}

/// A message as it lies in a receive buffer, and who reads it. It has no escapes, so parsing in place leaves it as it is.
struct Sent {
    padded: Vec<u8>,
    len: usize,
    parser: Parser,
    canonical: Vec<u8>,
}

impl Sent {
    fn new(json: &str) -> Self {
        let padded = [json.as_bytes(), &[0; PARSE_PADDING_BYTES]].concat();
        Self { padded, len: json.len(), parser: Parser::new(), canonical: Vec::new() }
    }

    /// The number of operations that were good.
    fn read(&mut self) -> usize {
        let payload = Payload::new(black_box(&mut self.padded), self.len);
        let object = self.parser.parse(payload).expect("the message is JSON");
        let message = Message::new(&object);
        black_box(message.id().map(|id| id.to_ticket()));
        let mut good = 0;
        match message.request().expect("the request is known") {
            Request::Write { ops, .. } => {
                for op in ops.flatten() {
                    if let Action::Set { value, .. } = op.action {
                        self.canonical.clear();
                        value.write_canonical(&mut self.canonical);
                        black_box((op.map, op.key, &self.canonical));
                        good += 1;
                    }
                }
            }
            other => {
                black_box(other);
            }
        }
        self.parser.recycle(object);
        good
    }
}
