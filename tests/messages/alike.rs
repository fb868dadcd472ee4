//! Reads a message in both ways: without the parser, and with it.

use std::fmt::Write;

use annulus::dialect::native::Operations;
use annulus::dialect::native::message::{Message, Request};
use annulus::dialect::native::plain::{PlainRoom, PlainWrite};
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::shard::{AckLevel, Ops};
use annulus::wire::json::Parser;
use annulus::wire::{Payload, Ticket};

/// Of a canonical value.
pub const VALUE_BYTES_MAX: usize = 4096;

/// Checks that a message which is plain is what the parser makes of it; whether it is plain.
pub fn assert_alike(json: &str) -> bool {
    let mut room = PlainRoom::default();
    let plain = PlainWrite::read(json, VALUE_BYTES_MAX, &mut room);
    let plain = plain.map(|write| described(write.ticket.as_ref(), write.ack, write.ops()));
    if plain.is_some() {
        assert_eq!(plain, parsed(json), "{json}");
    }
    plain.is_some()
}

/// What the parser makes of a write.
fn parsed(json: &str) -> Option<String> {
    let mut padded = [json.as_bytes(), &[0; PARSE_PADDING_BYTES]].concat();
    let object = Parser::new().parse(Payload::new(&mut padded, json.len())).ok()?;
    let message = Message::new(&object);
    let ticket = message.id().map(|id| id.to_ticket());
    let Ok(Request::Write { ack, ops }) = message.request() else { return None };
    Some(described(ticket.as_ref(), ack, Operations::new(ops, VALUE_BYTES_MAX)))
}

fn described(ticket: Option<&Ticket>, ack: AckLevel, ops: impl Ops) -> String {
    let mut text = format!("{ticket:?} {ack:?} {:?}", ops.targets().collect::<Vec<_>>());
    ops.for_each(&mut Vec::new(), |op| write!(text, " {op:?}").unwrap());
    text
}
