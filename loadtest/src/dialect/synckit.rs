//! SyncKit's messages as bytes: binary WebSocket messages of a header and one JSON object.
//!
//! ```text
//! 0    1 byte    type code
//! 1    8 bytes   unix milliseconds, big-endian
//! 9    4 bytes   bytes of the object, big-endian
//! 13             the object, UTF-8
//! ```

use crate::clock::unix_ms;
use crate::failure::{Failure, excerpt};
use crate::json::{self, Malformed};
use crate::message::{Entry, Message, Set};
use crate::value::{Values, write_number};

/// Path of the upgrade.
pub const PATH: &str = "/ws";

const SUBSCRIBE: u8 = 0x10;
const SYNC_RESPONSE: u8 = 0x13;
/// One changed field, either way.
pub const DELTA: u8 = 0x20;
const ACK: u8 = 0x21;
const PING: u8 = 0x30;
const PONG: u8 = 0x31;
const DELTA_BATCH: u8 = 0x50;
const ERROR: u8 = 0xff;

const TIME_AT: usize = 1;
const LENGTH_AT: usize = 9;
const HEADER_BYTES: usize = 13;

/// Reads a message of the server.
///
/// # Errors
/// [`Failure::Wrong`] for what is none, [`Failure::Refused`] for an error message.
pub fn read(message: &[u8]) -> Result<Message<'_>, Failure> {
    let no_message = || Failure::Wrong(format!("no message of SyncKit: {}", excerpt(message)));
    let (code, object) = split(message).ok_or_else(no_message)?;
    let read = match code {
        SYNC_RESPONSE => sync_response(object),
        DELTA => delta(object),
        ACK => ack(object),
        PONG => Ok(Message { kind: b"pong", ..Message::default() }),
        ERROR => return Err(Failure::Refused(format!("the server answered {}", excerpt(object)))),
        _ => Err(Malformed),
    };
    read.map_err(|Malformed| no_message())
}

/// The type code and the object; `None` when the header does not fit what follows it.
fn split(message: &[u8]) -> Option<(u8, &[u8])> {
    let (header, object) = message.split_at_checked(HEADER_BYTES)?;
    let length = u32::from_be_bytes(*header[LENGTH_AT..].first_chunk()?);
    (length as usize == object.len()).then_some((header[0], object))
}

/// The fields of a document, as a snapshot of a map.
fn sync_response(object: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut message = Message { kind: b"snapshot", ..Message::default() };
    json::each_field(object, |name, raw| {
        match name {
            b"requestId" => message.id = json::plain_string(raw).and_then(json::number),
            b"documentId" => message.map = json::plain_string(raw).ok_or(Malformed)?,
            b"state" => message.entries = raw,
            _ => {}
        }
        Ok::<(), Malformed>(())
    })?;
    if message.entries.starts_with(b"{") { Ok(message) } else { Err(Malformed) }
}

fn delta(object: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut message = Message { kind: b"change", ..Message::default() };
    let mut entry = Entry::default();
    let mut is_timed = false;
    json::each_field(object, |name, raw| {
        match name {
            b"documentId" => message.map = json::plain_string(raw).ok_or(Malformed)?,
            b"field" => entry.key = json::plain_string(raw).ok_or(Malformed)?,
            b"value" => entry.value = raw,
            b"clock" => is_timed = is_clock(raw),
            _ => {}
        }
        Ok::<(), Malformed>(())
    })?;
    message.entry = Some(entry);
    if is_timed && !entry.key.is_empty() && !entry.value.is_empty() { Ok(message) } else { Err(Malformed) }
}

/// Whether it is what the SDK can take the latest time of: an object of whole numbers, and not an empty one.
fn is_clock(raw: &[u8]) -> bool {
    let mut entries = 0;
    let walked = json::each_field(raw, |_, number| {
        entries += 1;
        json::number(number).map(drop).ok_or(Malformed)
    });
    walked.is_ok() && entries > 0
}

fn ack(object: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut message = Message { kind: b"ack", ..Message::default() };
    json::each_field(object, |name, raw| {
        if name == b"messageId" {
            message.id = json::plain_string(raw).and_then(json::number);
        }
        Ok::<(), Malformed>(())
    })?;
    Ok(message)
}

/// Builds requests, as the SDK sends them, in one buffer that is used again and again.
#[derive(Default)]
pub struct Request {
    bytes: Vec<u8>,
    now_ms: u64,
}

impl Request {
    pub fn ping(&mut self) -> &[u8] {
        self.open(PING);
        self.close()
    }

    pub fn subscribe(&mut self, id: u64, document: &str) -> &[u8] {
        self.open(SUBSCRIBE);
        self.text(r#""id":""#);
        self.number(id);
        self.text(r#"","documentId":""#);
        self.text(document);
        // A client that has said its name is found in the clock of every delta: what that costs is to be measured.
        self.text(r#"","clientId":"c"#);
        self.number(id);
        self.text("\"");
        self.close()
    }

    /// One operation leaves as a delta, several of one document as a batch.
    pub fn write<'a>(&mut self, id: u64, values: &Values, sets: impl Iterator<Item = Set<'a>>) -> &[u8] {
        let mut sets = sets.peekable();
        let Some(first) = sets.next() else { return b"" };
        if sets.peek().is_none() {
            self.open(DELTA);
            self.operation(values, &first);
            self.text(r#","messageId":""#);
            self.number(id);
            self.text("\"");
            return self.close();
        }
        self.open(DELTA_BATCH);
        self.text(r#""documentId":""#);
        self.text(first.map);
        self.text(r#"","messageId":""#);
        self.number(id);
        self.text(r#"","deltas":[{"#);
        self.operation(values, &first);
        for set in sets {
            self.text("},{");
            self.operation(values, &set);
        }
        self.text("}]");
        self.close()
    }

    /// The fields of one operation. Who writes counts its operations, and is called `c<writer>`.
    fn operation(&mut self, values: &Values, set: &Set<'_>) {
        self.text(r#""type":"set","documentId":""#);
        self.text(set.map);
        self.text(r#"","field":""#);
        self.text(set.prefix);
        self.number(set.key);
        self.text(r#"","value":"#);
        values.write(&mut self.bytes, set.stamp);
        self.text(r#","clock":{"c"#);
        self.number(set.stamp.writer.into());
        self.text(r#"":"#);
        self.number(set.stamp.sequence + 1);
        self.text(r#"},"clientId":"c"#);
        self.number(set.stamp.writer.into());
        self.text(r#"","timestamp":"#);
        self.number(self.now_ms);
    }

    fn open(&mut self, code: u8) {
        self.now_ms = unix_ms();
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
        self.bytes[0] = code;
        self.bytes[TIME_AT..LENGTH_AT].copy_from_slice(&self.now_ms.to_be_bytes());
        self.text("{");
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        write_number(&mut self.bytes, number);
    }

    fn close(&mut self) -> &[u8] {
        self.text("}");
        let length = (self.bytes.len() - HEADER_BYTES) as u32;
        self.bytes[LENGTH_AT..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
        &self.bytes
    }
}

/// A message of any code around `object`.
pub fn message(code: u8, object: &str) -> Vec<u8> {
    let mut bytes = vec![code, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend((object.len() as u32).to_be_bytes());
    bytes.extend_from_slice(object.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Stamp;

    fn written(ops: u64) -> (u8, String) {
        let values = Values::new(20);
        let sets = (0..ops).map(|n| Set {
            map: "room:m",
            prefix: "k",
            key: n,
            stamp: Stamp { writer: 3, sequence: n },
        });
        let mut request = Request::default();
        request.write(9, &values, sets);
        let now_ms = request.now_ms.to_string();
        assert_eq!(request.bytes[TIME_AT..LENGTH_AT], request.now_ms.to_be_bytes());
        let (code, object) = split(&request.bytes).expect("the length is right");
        (code, String::from_utf8_lossy(object).replace(&now_ms, "NOW"))
    }

    fn operation(n: u64) -> String {
        format!(
            concat!(
                r#""type":"set","documentId":"room:m","field":"k{}","value":"000003.{:010x}.","#,
                r#""clock":{{"c3":{}}},"clientId":"c3","timestamp":NOW"#
            ),
            n,
            n,
            n + 1
        )
    }

    #[test]
    fn one_operation_is_a_delta_and_several_are_a_batch() {
        assert_eq!(written(1), (DELTA, format!(r#"{{{},"messageId":"9"}}"#, operation(0))));
        let deltas = format!("{{{}}},{{{}}}", operation(0), operation(1));
        let batch = format!(r#"{{"documentId":"room:m","messageId":"9","deltas":[{deltas}]}}"#);
        assert_eq!(written(2), (DELTA_BATCH, batch));
    }

    #[test]
    fn answers_are_read_in_the_names_of_the_native_dialect() {
        let text = message(ACK, r#"{"id":"1-a","messageId":"7"}"#);
        let ack = read(&text).unwrap();
        assert_eq!((ack.kind, ack.id), (&b"ack"[..], Some(7)));
        let text = message(
            DELTA,
            r#"{"id":"1-a","documentId":"d","field":"f","value":{"a":[1]},"clock":{"server":12},"clientId":"server"}"#,
        );
        let change = read(&text).unwrap();
        assert_eq!((change.kind, change.map), (&b"change"[..], &b"d"[..]));
        assert_eq!(change.entry, Some(Entry { key: b"f", value: br#"{"a":[1]}"# }));
        let text =
            message(SYNC_RESPONSE, r#"{"id":"1","requestId":"5","documentId":"d","state":{"a":1,"b":2}}"#);
        let snapshot = read(&text).unwrap();
        assert_eq!((snapshot.kind, snapshot.id, snapshot.map), (&b"snapshot"[..], Some(5), &b"d"[..]));
        let mut keys = Vec::new();
        snapshot
            .each_entry(|entry| {
                keys.push(entry.key);
                Ok(())
            })
            .unwrap();
        assert_eq!(keys, [b"a", b"b"]);
        assert_eq!(read(&message(PONG, "{}")).unwrap().kind, b"pong");
    }

    #[test]
    fn error_is_a_refusal() {
        let text = message(ERROR, r#"{"id":"1","error":"Permission denied"}"#);
        assert!(matches!(read(&text), Err(Failure::Refused(why)) if why.contains("Permission denied")));
    }

    #[test]
    fn what_the_sdk_could_not_use_is_wrong() {
        let delta = |clock: &str| message(DELTA, &format!(r#"{{"field":"f","value":1,"clock":{clock}}}"#));
        assert!(read(&delta(r#"{"server":1}"#)).is_ok());
        let wrong = [
            delta("{}"),
            delta("1"),
            delta(r#"{"server":1.5}"#),
            message(DELTA, r#"{"field":"f","clock":{"server":1}}"#),
            message(DELTA, r#"{"value":1,"clock":{"server":1}}"#),
            message(SYNC_RESPONSE, r#"{"requestId":"1","documentId":"d"}"#),
            message(0x77, "{}"),
            b"\x21\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            message(PONG, "{}")[..14].to_vec(),
            [message(PONG, "{}"), b"x".to_vec()].concat(),
        ];
        for bytes in wrong {
            assert!(matches!(read(&bytes), Err(Failure::Wrong(_))), "{}", excerpt(&bytes));
        }
    }
}
