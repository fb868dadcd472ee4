//! The frames of SyncKit: a type code, a time, a length and a JSON object in a binary message, or one JSON object with
//! its `type` in a text message.
//!
//! ```text
//! code u8 | unix ms i64 big-endian | length u32 big-endian | JSON object      bytes behind it are ignored
//! ```

use crate::crdt::{COUNTER_MAX, Time};
use crate::wire::json::{write_integer, write_string};
use crate::wire::websocket::{Opcode, begin_frame, end_frame, write_header};

/// Bytes before the JSON of a binary message.
pub const HEADER_BYTES: usize = 1 + 8 + 4;
const LENGTH_AT: usize = 1 + 8;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Auth = 0x01,
    AuthSuccess = 0x02,
    AuthError = 0x03,
    Subscribe = 0x10,
    Unsubscribe = 0x11,
    SyncRequest = 0x12,
    SyncResponse = 0x13,
    SyncStep1 = 0x14,
    SyncStep2 = 0x15,
    Delta = 0x20,
    Ack = 0x21,
    DeltaBatchChunk = 0x23,
    Ping = 0x30,
    Pong = 0x31,
    AwarenessUpdate = 0x40,
    AwarenessSubscribe = 0x41,
    AwarenessState = 0x42,
    DeltaBatch = 0x50,
    Error = 0xff,
}

const NAMES: [(Code, &str); 19] = [
    (Code::Auth, "auth"),
    (Code::AuthSuccess, "auth_success"),
    (Code::AuthError, "auth_error"),
    (Code::Subscribe, "subscribe"),
    (Code::Unsubscribe, "unsubscribe"),
    (Code::SyncRequest, "sync_request"),
    (Code::SyncResponse, "sync_response"),
    (Code::SyncStep1, "sync_step1"),
    (Code::SyncStep2, "sync_step2"),
    (Code::Delta, "delta"),
    (Code::Ack, "ack"),
    (Code::DeltaBatchChunk, "delta_batch_chunk"),
    (Code::Ping, "ping"),
    (Code::Pong, "pong"),
    (Code::AwarenessUpdate, "awareness_update"),
    (Code::AwarenessSubscribe, "awareness_subscribe"),
    (Code::AwarenessState, "awareness_state"),
    (Code::DeltaBatch, "delta_batch"),
    (Code::Error, "error"),
];

impl Code {
    pub fn from_byte(byte: u8) -> Option<Self> {
        NAMES.iter().map(|&(code, _)| code).find(|&code| code as u8 == byte)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|&&(_, known)| known == name).map(|&(code, _)| code)
    }

    pub fn name(self) -> &'static str {
        NAMES.iter().find(|&&(code, _)| code == self).map_or("", |&(_, name)| name)
    }
}

/// How a connection is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Binary,
    Text,
}

impl Framing {
    const fn opcode(self) -> Opcode {
        match self {
            Self::Binary => Opcode::Binary,
            Self::Text => Opcode::Text,
        }
    }

    /// Appends what is before the JSON object of a message that was written, if it had `more` bytes; `payload` is that
    /// message. The bytes of it that were not appended yet follow.
    pub fn write_start(self, out: &mut Vec<u8>, payload: &[u8], more: usize) -> usize {
        let payload_len = payload.len() + more;
        write_header(out, self.opcode(), payload_len);
        match self {
            Self::Binary => {
                out.extend_from_slice(&payload[..LENGTH_AT]);
                out.extend_from_slice(&length_field(payload_len - HEADER_BYTES));
                HEADER_BYTES
            }
            Self::Text => 0,
        }
    }
}

/// The id of a message, unique as far as anybody looks: a time and nine base 36 digits.
#[derive(Clone, Copy, Debug)]
pub struct MessageId {
    pub unix_ms: u64,
    pub serial: u64,
}

impl MessageId {
    fn write_to(self, out: &mut Vec<u8>) {
        const DIGITS: usize = 9;
        write_integer(out, self.unix_ms);
        out.push(b'-');
        // Serials in a row shall not look alike, nor those of two connections be the same.
        let mut rest = self.serial.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for _ in 0..DIGITS {
            out.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize]);
            rest /= 36;
        }
    }
}

/// Appends one message with the fields that `write` appends.
pub fn write_message(
    out: &mut Vec<u8>,
    framing: Framing,
    code: Code,
    id: MessageId,
    write: impl FnOnce(&mut Fields<'_>),
) {
    let frame = begin_frame(out);
    let object = begin_object(out, framing, code, id);
    write(&mut Fields(out));
    out.push(b'}');
    if framing == Framing::Binary {
        let length = length_field(out.len() - object);
        out[object - 4..object].copy_from_slice(&length);
    }
    end_frame(out, frame, framing.opcode());
}

/// Appends a message up to its fields, without the header of its frame; where its JSON object begins.
pub fn begin_object(out: &mut Vec<u8>, framing: Framing, code: Code, id: MessageId) -> usize {
    let object = match framing {
        Framing::Binary => {
            out.push(code as u8);
            out.extend_from_slice(&(id.unix_ms as i64).to_be_bytes());
            out.extend_from_slice(&[0; 4]);
            let object = out.len();
            out.extend_from_slice(b"{\"id\":\"");
            object
        }
        Framing::Text => {
            let object = out.len();
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(code.name().as_bytes());
            out.extend_from_slice(b"\",\"timestamp\":");
            write_integer(out, id.unix_ms);
            out.extend_from_slice(b",\"id\":\"");
            object
        }
    };
    id.write_to(out);
    out.push(b'"');
    object
}

/// Appends the header of a frame and `start`, the start of its message as [`begin_object`] began it, whose object begins at
/// `object`; the caller appends the `more` bytes that the message has.
pub fn write_started(out: &mut Vec<u8>, framing: Framing, start: &[u8], object: usize, more: usize) {
    let payload_len = start.len() + more;
    write_header(out, framing.opcode(), payload_len);
    let from = out.len();
    out.extend_from_slice(start);
    if framing == Framing::Binary {
        let length = length_field(payload_len - object);
        out[from + object - 4..from + object].copy_from_slice(&length);
    }
}

/// Bytes of a document of which a state is told, however much an outbox may hold: if all of it were escaped, the length of the
/// message would fit in 32 bits.
pub const STATE_BYTES_CEILING: usize = 1 << 29;
const _: () = assert!(7 * STATE_BYTES_CEILING < u32::MAX as usize);

/// How many bytes the object of a message takes.
///
/// # Panics
/// Past 4 GiB: the longest messages are states, which [`STATE_BYTES_CEILING`] bounds.
fn length_field(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("the longest is a state, below `STATE_BYTES_CEILING`").to_be_bytes()
}

/// The fields of a message after its `id`. Names are plain ASCII.
pub struct Fields<'a>(&'a mut Vec<u8>);

impl<'a> Fields<'a> {
    /// Of an object that was begun.
    pub fn of(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }
}

impl Fields<'_> {
    /// Begins a field whose value the caller appends.
    #[inline]
    pub fn begin(&mut self, name: &str) -> &mut Vec<u8> {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.0
    }

    #[inline]
    pub fn text(&mut self, name: &str, value: &str) {
        write_string(self.begin(name), value);
    }

    /// A value that is JSON already.
    #[inline]
    pub fn json(&mut self, name: &str, value: &[u8]) {
        self.begin(name).extend_from_slice(value);
    }

    /// The clock of a field: one number that grows with every change of it, and exceeds those the client has seen.
    #[inline]
    pub fn clock(&mut self, time: Time, client: Option<&ClockName>) {
        write_clock(self.begin("clock"), time, client);
    }

    /// Bytes that lie before what is appended next.
    pub fn position(&self) -> usize {
        self.0.len()
    }
}

/// A client's name as it stands in the clock it reads, in JSON: a comma, the name, a colon.
pub struct ClockName(Box<[u8]>);

impl ClockName {
    /// `None` for the name that the server's own number has.
    pub fn new(client: &str) -> Option<Self> {
        let mut json = b",".to_vec();
        write_string(&mut json, client);
        json.push(b':');
        (client != "server").then(|| Self(json.into()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Appends `{"server":n}`, and the same number for `client`, if that is who reads it: its own counter goes on from there, so
/// that what it writes next wins over this on its own screen at once.
#[inline]
pub fn write_clock(out: &mut Vec<u8>, time: Time, client: Option<&ClockName>) {
    let clock = clock_number(time);
    out.extend_from_slice(b"{\"server\":");
    write_integer(out, clock);
    if let Some(ClockName(name)) = client {
        out.extend_from_slice(name);
        write_integer(out, clock);
    }
    out.push(b'}');
}

const COUNTERS: u64 = COUNTER_MAX as u64 + 1;

/// A tick as one number that JavaScript counts exactly until 2039.
pub fn clock_number(time: Time) -> u64 {
    time.millis() * COUNTERS + u64::from(time.counter().min(COUNTER_MAX))
}

/// The tick that a client saw as `number`.
pub fn time_of_clock(number: u64) -> Time {
    Time::new(number / COUNTERS, (number % COUNTERS) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_one_to_one() {
        for (code, name) in NAMES {
            assert_eq!(Code::from_byte(code as u8), Some(code));
            assert_eq!(Code::from_name(name), Some(code));
            assert_eq!(code.name(), name);
        }
        assert_eq!((Code::from_byte(0x22), Code::from_name("connect")), (None, None));
    }

    #[test]
    fn clock_numbers_order_as_ticks_and_come_back() {
        let ticks = [
            Time::ZERO,
            Time::new(1, 0),
            Time::new(1, COUNTER_MAX),
            Time::new(2, 0),
            Time::new(1_795_000_000_000, 7),
        ];
        for pair in ticks.windows(2) {
            assert!(clock_number(pair[0]) < clock_number(pair[1]));
        }
        for tick in ticks {
            assert_eq!(time_of_clock(clock_number(tick)), tick);
        }
        assert!(clock_number(Time::new(2_190_000_000_000, 0)) < 1 << 53, "in the year 2039");
    }

    #[test]
    fn a_message_is_framed_in_both_ways() {
        let id = MessageId { unix_ms: 5, serial: 0 };
        let mut out = Vec::new();
        write_message(&mut out, Framing::Binary, Code::Ack, id, |fields| fields.text("messageId", "m"));
        let json = br#"{"id":"5-000000000","messageId":"m"}"#;
        let mut expected =
            vec![0x82, 13 + json.len() as u8, 0x21, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, json.len() as u8];
        expected.extend_from_slice(json);
        assert_eq!(out, expected);

        out.clear();
        write_message(&mut out, Framing::Text, Code::Ack, id, |fields| {
            fields.clock(Time::new(1, 2), ClockName::new("a\"").as_ref());
        });
        let json = br#"{"type":"ack","timestamp":5,"id":"5-000000000","clock":{"server":4098,"a\"":4098}}"#;
        assert_eq!(out, [&[0x81, json.len() as u8][..], json].concat());
    }
}
