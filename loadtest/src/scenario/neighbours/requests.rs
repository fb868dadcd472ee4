//! What the behaviours say: whole frames, made before they are needed.

use super::peer::Bytes;
use crate::dialect::synckit;
use crate::frame::{self, Kind};

/// Codes of SyncKit's messages.
pub const SUBSCRIBE: u8 = 0x10;
pub const SYNC_REQUEST: u8 = 0x12;
pub const DELTA_BATCH_CHUNK: u8 = 0x23;
pub const AWARENESS_UPDATE: u8 = 0x40;
pub const AWARENESS_SUBSCRIBE: u8 = 0x41;
pub const DELTA_BATCH: u8 = 0x50;

/// Operations of one `write`, and bytes of them, that stay within the server's limits.
pub const OPS_MAX: usize = 1000;
const OPS_BYTES_MAX: usize = 900 << 10;

/// A frame of `/v1`. The mask of zeros is as good as any, and leaves the bytes as they are.
pub fn text(message: &str) -> Bytes {
    framed(Kind::Text, message.as_bytes())
}

/// A frame of SyncKit around a message of that code.
pub fn synckit(code: u8, fields: &str) -> Bytes {
    framed(Kind::Binary, &synckit::message(code, &format!("{{{fields}}}")))
}

pub fn framed(kind: Kind, payload: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, kind, [0; 4], payload);
    Bytes::from(bytes)
}

/// A JSON string of `bytes`, quotes included.
pub fn value(bytes: usize) -> String {
    format!("\"{}\"", "v".repeat(bytes.saturating_sub(2)))
}

pub fn subscribe(map: &str) -> Bytes {
    text(&format!(r#"{{"type":"subscribe","id":1,"map":"{map}"}}"#))
}

/// One read of these keys.
pub fn read(map: &str, keys: impl Iterator<Item = String>) -> Bytes {
    let keys: Vec<String> = keys.map(|key| format!("\"{key}\"")).collect();
    text(&format!(r#"{{"type":"read","id":1,"map":"{map}","keys":[{}]}}"#, keys.join(",")))
}

pub fn set(map: &str, key: &str, value: &str) -> String {
    format!(r#"{{"map":"{map}","key":"{key}","op":"set","value":{value}}}"#)
}

pub fn add(map: &str, key: &str, value: &str) -> String {
    format!(r#"{{"map":"{map}","key":"{key}","op":"add","value":{value}}}"#)
}

/// As few writes of these operations as the server takes, each of at most `ops_max` operations.
pub fn writes(ops: impl Iterator<Item = String>, ops_max: usize) -> Vec<Bytes> {
    let mut requests = Vec::new();
    let mut list = String::new();
    let mut count = 0;
    for op in ops {
        if count == ops_max || (count > 0 && list.len() + op.len() > OPS_BYTES_MAX) {
            requests.push(write_of(&list));
            list.clear();
            count = 0;
        }
        if count > 0 {
            list.push(',');
        }
        list.push_str(&op);
        count += 1;
    }
    if count > 0 {
        requests.push(write_of(&list));
    }
    requests
}

/// `keys` keys of a map, `k0` and on, with values of `value_bytes`, as many in a request as it takes.
pub fn fill(map: &str, keys: usize, value_bytes: usize) -> Vec<Bytes> {
    fill_by(map, keys, value_bytes, OPS_MAX)
}

/// The same, `ops_max` in a request.
pub fn fill_by(map: &str, keys: usize, value_bytes: usize, ops_max: usize) -> Vec<Bytes> {
    let value = value(value_bytes);
    writes((0..keys).map(|key| set(map, &format!("k{key}"), &value)), ops_max)
}

/// A document of SyncKit, `fields` fields of `value_bytes`, a batch for ten of them.
pub fn document(name: &str, fields: usize, value_bytes: usize) -> Vec<Bytes> {
    let value = value(value_bytes);
    let delta = |field: usize| {
        format!(
            r#"{{"type":"set","documentId":"{name}","field":"f{field}","value":{value},"clock":{{"c":1}},"clientId":"c","timestamp":1}}"#
        )
    };
    let batch = |first: usize| {
        let deltas: Vec<String> = (first..(first + 10).min(fields)).map(delta).collect();
        let deltas = deltas.join(",");
        synckit(
            DELTA_BATCH,
            &format!(r#""id":"1","messageId":"1","documentId":"{name}","deltas":[{deltas}]"#),
        )
    };
    (0..fields).step_by(10).map(batch).collect()
}

fn write_of(ops: &str) -> Bytes {
    text(&format!(r#"{{"type":"write","id":1,"ops":[{ops}]}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_spread_over_requests_by_count_and_by_bytes() {
        assert_eq!(fill("m", 2001, 2).len(), 3);
        assert_eq!(fill("m", 10, 250 << 10).len(), 4);
        assert!(fill("m", 10, 250 << 10).iter().all(|request| request.len() < 1 << 20));
        assert!(writes(std::iter::empty(), 10).is_empty());
    }
}
