//! Goal: no bytes make the message layer panic, and what it calls canonical stays as it is when read again.
//! Method: arbitrary bytes as a message, with arbitrary bytes behind it; every part of it is asked for, and
//! each value is stored, read back, and stored again.

#![no_main]

use annulus::limits::PARSE_PADDING_BYTES;
use annulus::wire::Payload;
use annulus::dialect::native::message::{Action, Message, Request};
use annulus::wire::json::{Parser, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parser = Parser::new();
    // The first byte is what the padding is full of.
    let (filler, json) = bytes.split_first().unwrap_or((&0, &[]));
    let mut padded = [json, &[*filler; PARSE_PADDING_BYTES]].concat();
    let Ok(object) = parser.parse(Payload::new(&mut padded, json.len())) else { return };
    let message = Message::new(&object);
    if let Some(id) = message.id() {
        id.to_ticket();
    }
    if let Ok(Request::Write { ops, .. }) = message.request() {
        for op in ops.flatten() {
            match op.action {
                Action::Set { value, .. } | Action::Add { value, .. } | Action::RemoveValue(value) => {
                    check_value(&value);
                }
                Action::RemoveTags(tags) => assert!(tags.len() == tags.count()),
                _ => {}
            }
        }
    }
    parser.recycle(object);
});

fn check_value(value: &Value<'_>) {
    let mut once = Vec::new();
    value.write_canonical(&mut once);

    let mut padded = br#"{"type":"write","ops":[{"map":"m","key":"k","op":"set","value":"#.to_vec();
    padded.extend_from_slice(&once);
    padded.extend_from_slice(b"}]}");
    let len = padded.len();
    padded.resize(len + PARSE_PADDING_BYTES, 0);

    let object = Parser::new().parse(Payload::new(&mut padded, len)).expect("canonical text is JSON");
    let Ok(Request::Write { mut ops, .. }) = Message::new(&object).request() else { panic!("a write stays a write") };
    let Some(Ok(op)) = ops.next() else { panic!("its operation stays good") };
    let Action::Set { value, .. } = op.action else { panic!("a set stays a set") };
    let mut twice = Vec::new();
    value.write_canonical(&mut twice);
    assert_eq!(once, twice, "{}", String::from_utf8_lossy(&once));
}
