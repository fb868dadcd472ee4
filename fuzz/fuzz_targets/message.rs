//! Goal: no bytes make the message layer panic; what it calls canonical stays as it is when read again; what is read without the
//! parser is what the parser makes of it; and what the parser refuses is answered, whole or mended, and is no end of the
//! connection.
//! Method: arbitrary bytes as a message, with arbitrary bytes behind it; every part of it is asked for, and each value is
//! stored, read back, and stored again. A message that is refused is diagnosed, read again where it was mended, and sent to
//! a shard as it was.

#![no_main]

use annulus::config::DialectPath;
use annulus::dialect::native::message::{Action, Message, Request};
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::wire::Payload;
use annulus::wire::json::{Diagnosis, Fault, Object, Parser, Refused, Value, What, find_id};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/messages/alike.rs"]
mod alike;
#[allow(dead_code, reason = "the target of the other dialect uses more of it")]
#[path = "../../tests/synckit_frames/host.rs"]
mod host;

use host::{CLOSE, Host, TEXT};

const NAMES: &[&str] = &["id", "ops", "map", "key", "keys", "prefix"];

fuzz_target!(|bytes: &[u8]| {
    let mut parser = Parser::new();
    // The first byte is what the padding is full of.
    let (filler, json) = bytes.split_first().unwrap_or((&0, &[]));
    if let Ok(text) = str::from_utf8(json) {
        alike::assert_alike(text);
    }
    let mut padded = [json, &[*filler; PARSE_PADDING_BYTES]].concat();
    let mut payload = Payload::new(&mut padded, json.len());
    if let Some(place) = find_id(json) {
        assert!(place.end <= json.len());
    }
    match parser.parse(payload.reborrow()) {
        Ok(object) => {
            check_object(&object);
            parser.recycle(object);
        }
        Err(refused) => {
            let is_mended = check_refused(&mut parser, refused, payload);
            assert_eq!(padded[json.len()..], [*filler; PARSE_PADDING_BYTES]);
            check_answers(json, is_mended, "/v1");
            check_answers(json, is_mended, "/v1?strict=1");
        }
    }
});

fn check_object(object: &Object<'_>) {
    let message = Message::new(object);
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
}

fn check_value(value: &Value<'_>) {
    let mut once = Vec::new();
    value.write_canonical(&mut once);

    let mut padded = br#"{"type":"write","ops":[{"map":"m","key":"k","op":"set","value":"#.to_vec();
    padded.extend_from_slice(&once);
    padded.extend_from_slice(b"}]}");
    let len = padded.len();
    padded.resize(len + PARSE_PADDING_BYTES, 0);

    let object = Parser::new().parse(Payload::new(&mut padded, len)).expect("canonical text is JSON");
    let Ok(Request::Write { mut ops, .. }) = Message::new(&object).request() else {
        panic!("a write stays a write")
    };
    let Some(Ok(op)) = ops.next() else { panic!("its operation stays good") };
    let Action::Set { value, .. } = op.action else { panic!("a set stays a set") };
    let mut twice = Vec::new();
    value.write_canonical(&mut twice);
    assert_eq!(once, twice, "{}", String::from_utf8_lossy(&once));
}

/// Whether the message was mended. The parser and the diagnosis must agree on what is wrong.
fn check_refused(parser: &mut Parser, refused: Refused, mut payload: Payload<'_>) -> bool {
    let len = payload.bytes().len();
    let is_told = |fault: Fault| fault.what != What::Unclear && fault.byte as usize <= len;
    match refused.diagnose(&mut payload, NAMES) {
        Diagnosis::Mended(faults) => {
            assert!(!faults.found.is_empty() && faults.found.iter().all(|found| is_told(found.fault)));
            let object = parser.parse(payload).expect("what was mended is taken");
            check_object(&object);
            // What stands for a value at fault is found again.
            assert!(faults.in_value(object.nodes()).is_some());
            parser.recycle(object);
            true
        }
        Diagnosis::Broken { fault, id } => {
            assert!(is_told(fault));
            if let Some(place) = id {
                assert!(!payload.bytes()[place].is_empty());
            }
            false
        }
    }
}

/// What a client is told that sends this to `target`, and that it can go on.
fn check_answers(json: &[u8], is_mended: bool, target: &'static str) {
    let mut host = Host::at(DialectPath::NATIVE, target);
    let peer = host.open();
    assert_eq!(host.take_frames(peer).len(), 1, "hello");
    let answers = host.send(peer, TEXT, json);
    if str::from_utf8(json).is_err() {
        assert!(matches!(&answers[..], [(CLOSE, payload)] if payload[..2] == 1007_u16.to_be_bytes()));
        return;
    }
    for (opcode, payload) in &answers {
        assert_eq!(*opcode, TEXT);
        let mut padded = [payload, &[0; PARSE_PADDING_BYTES][..]].concat();
        let parsed = Parser::new().parse(Payload::new(&mut padded, payload.len()));
        assert!(parsed.is_ok(), "{}", String::from_utf8_lossy(payload));
    }
    let text = answers.iter().map(|(_, payload)| String::from_utf8_lossy(payload)).collect::<String>();
    assert_eq!(text.contains(r#""code":"bad_json""#), !is_mended, "{text}");
    assert!(is_mended && !answers.is_empty() || answers.len() == 1, "{text}");
    let after = host.send(peer, TEXT, br#"{"type":"ping","id":"after"}"#);
    assert!(matches!(&after[..], [(TEXT, pong)] if pong.starts_with(br#"{"type":"pong","id":"after""#)));
}
