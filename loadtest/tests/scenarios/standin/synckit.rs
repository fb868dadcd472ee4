//! SyncKit for the stand-in, by translation: what a client says becomes a message of protocol v1, and what the hub
//! answers becomes messages of SyncKit.

use simd_json::OwnedValue;
use simd_json::prelude::*;

/// Path of the upgrade.
pub const PATH: &str = "/ws";

const HEADER_BYTES: usize = 13;

/// What the client said, as protocol v1 has it.
pub fn request(message: &[u8]) -> String {
    let (header, object) = message.split_at(HEADER_BYTES);
    let length = u32::from_be_bytes(*header.last_chunk().expect("a header has a length"));
    assert_eq!(length as usize, object.len(), "the length in the header is that of the object");
    let fields = simd_json::to_owned_value(&mut object.to_vec()).expect("the load sends JSON");
    let text = |name: &str| fields.get_str(name).expect("the field is there");
    match header[0] {
        0x10 => format!(
            r#"{{"type":"subscribe","id":{},"map":"{}","echo":true}}"#,
            text("id"),
            text("documentId")
        ),
        0x20 => format!(r#"{{"type":"write","id":{},"ops":[{}]}}"#, text("messageId"), op(&fields)),
        0x30 => r#"{"type":"ping","id":0}"#.to_owned(),
        0x50 => {
            let ops: Vec<String> =
                fields["deltas"].as_array().expect("a batch has deltas").iter().map(op).collect();
            format!(r#"{{"type":"write","id":{},"ops":[{}]}}"#, text("messageId"), ops.join(","))
        }
        code => panic!("the load sends no {code:#04x}"),
    }
}

fn op(delta: &OwnedValue) -> String {
    let text = |name: &str| delta.get_str(name).expect("the SDK sends the field");
    let clock = &delta["clock"][text("clientId")];
    assert!(text("type") == "set" && clock.as_u64() > Some(0) && delta["timestamp"].as_u64() > Some(0));
    let (map, key, value) = (text("documentId"), text("field"), delta["value"].encode());
    format!(r#"{{"map":"{map}","key":"{key}","op":"set","value":{value}}}"#)
}

/// What the hub answers, as messages of SyncKit.
pub fn answers(text: &str) -> Vec<Vec<u8>> {
    let answer = simd_json::to_owned_value(&mut text.as_bytes().to_vec()).expect("the hub sends JSON");
    let (id, map) = (answer.get_u64("id").unwrap_or(0), answer.get_str("map").unwrap_or_default());
    let entries = || answer["entries"].as_array().expect("it has entries").iter();
    let field =
        |entry: &OwnedValue| (entry["key"].as_str().unwrap_or_default().to_owned(), entry["value"].encode());
    match answer.get_str("type") {
        Some("ack") => vec![message(0x21, &format!(r#"{{"id":"1-a","messageId":"{id}"}}"#))],
        Some("pong") => vec![message(0x31, r#"{"id":"1-a"}"#)],
        Some("snapshot") => {
            let state: Vec<String> =
                entries().map(field).map(|(key, value)| format!(r#""{key}":{value}"#)).collect();
            let state = state.join(",");
            let object = format!(
                r#"{{"id":"1-a","requestId":"{id}","documentId":"{map}","state":{{{state}}},"deltas":[],"clock":{{}}}}"#
            );
            vec![message(0x13, &object)]
        }
        Some("change") => {
            let delta = |(key, value)| {
                let clock = r#"{"server":4096}"#;
                format!(
                    r#"{{"id":"1-a","documentId":"{map}","field":"{key}","value":{value},"clock":{clock},"clientId":"server"}}"#
                )
            };
            entries().map(field).map(|field| message(0x20, &delta(field))).collect()
        }
        _ => vec![message(0xff, r#"{"id":"1-a","error":"Permission denied"}"#)],
    }
}

fn message(code: u8, object: &str) -> Vec<u8> {
    let mut bytes = vec![code, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0];
    bytes.extend((object.len() as u32).to_be_bytes());
    bytes.extend_from_slice(object.as_bytes());
    bytes
}
