//! The messages of SyncKit as its clients make and read them, sharing no code with the server.

use simd_json::OwnedValue;
use simd_json::prelude::*;

/// Type codes, each with the name it has in text.
const NAMES: [(u8, &str); 11] = [
    (SUBSCRIBE, "subscribe"),
    (UNSUBSCRIBE, "unsubscribe"),
    (SYNC_REQUEST, "sync_request"),
    (SYNC_RESPONSE, "sync_response"),
    (DELTA, "delta"),
    (ACK, "ack"),
    (PING, "ping"),
    (PONG, "pong"),
    (DELTA_BATCH, "delta_batch"),
    (ERROR, "error"),
    (AUTH_SUCCESS, "auth_success"),
];

pub const AUTH_SUCCESS: u8 = 0x02;
pub const SUBSCRIBE: u8 = 0x10;
pub const UNSUBSCRIBE: u8 = 0x11;
pub const SYNC_REQUEST: u8 = 0x12;
pub const SYNC_RESPONSE: u8 = 0x13;
pub const DELTA: u8 = 0x20;
pub const ACK: u8 = 0x21;
pub const PING: u8 = 0x30;
pub const PONG: u8 = 0x31;
pub const DELTA_BATCH: u8 = 0x50;
pub const ERROR: u8 = 0xff;

/// Bytes before the JSON of a binary message: the code, the time and the length.
const HEADER_BYTES: usize = 13;

/// A message with these fields, which are JSON without its braces.
pub fn encode(is_text: bool, code: u8, fields: &str, unix_ms: u64) -> Vec<u8> {
    if is_text {
        let (_, name) = NAMES.iter().find(|(known, _)| *known == code).expect("a code with a name");
        return format!(r#"{{"type":"{name}","timestamp":{unix_ms},{fields}}}"#).into_bytes();
    }
    let json = format!("{{{fields}}}");
    let mut bytes = vec![code];
    bytes.extend_from_slice(&(unix_ms as i64).to_be_bytes());
    bytes.extend_from_slice(&(json.len() as u32).to_be_bytes());
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

/// The code of a message and its object.
pub fn decode(is_text: bool, mut payload: Vec<u8>) -> (u8, OwnedValue) {
    let start = if is_text { 0 } else { HEADER_BYTES };
    if !is_text {
        let length: [u8; 4] = payload[9..13].try_into().expect("four bytes");
        assert_eq!(payload.len(), HEADER_BYTES + u32::from_be_bytes(length) as usize, "a wrong length");
    }
    let mut json = payload.split_off(start);
    let message = simd_json::to_owned_value(&mut json)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&json)));
    let code = if is_text {
        let name = message.get_str("type").expect("a type");
        NAMES.iter().find(|(_, known)| *known == name).expect("a name of a message").0
    } else {
        payload[0]
    };
    assert!(message.get_str("id").is_some_and(|id| !id.is_empty()), "no id: {message}");
    (code, message)
}

/// The numbers of a clock, of which the largest counts.
pub fn clock_of(message: &OwnedValue) -> Vec<(String, u64)> {
    let clock = message.get_object("clock").expect("a clock");
    let entries = clock.iter().map(|(name, count)| {
        let count = count.as_u64().filter(|count| *count < 1 << 53).expect("a number JavaScript can count");
        (name.to_string(), count)
    });
    entries.collect()
}
