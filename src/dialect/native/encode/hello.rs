//! The first message of a connection. Sent once, so it is written the easy way, with `serde`.

use serde::{Serialize, Serializer};

use crate::crdt::Stamp;

/// Who speaks, and by which rules.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "type", rename = "hello")]
pub struct Hello<'a> {
    /// Version of the protocol: 1.
    pub protocol: u32,
    /// Names the connection in logs of both sides.
    pub connection: &'a str,
    pub node: &'a str,
    /// The server's clock.
    #[serde(serialize_with = "stamp_as_text")]
    pub time: &'a Stamp,
    /// `none`, `optional` or `required`: whether the client must say who it is.
    pub auth: &'a str,
    /// How far a write may be asked to come before it is answered.
    pub acks: &'a [&'a str],
    /// Silence for longer than this closes the connection.
    pub heartbeat_ms: u64,
    /// How long a removal is remembered, and who has counted in a counter.
    pub tombstone_retention_ms: u64,
    /// Whether what is unknown is refused; left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// What there is beside maps.
    pub features: &'a [&'a str],
    pub limits: Limits,
}

/// What a well-behaved client keeps within.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Subscriptions of one connection.
    pub subscriptions: usize,
}

/// Appends a `hello`.
pub fn hello(out: &mut Vec<u8>, hello: &Hello<'_>) {
    simd_json::to_writer(out, hello).expect("plain fields always serialize, and memory takes every write");
}

fn stamp_as_text<S: Serializer>(stamp: &Stamp, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = Vec::new();
    stamp.write_to(&mut text);
    serializer.serialize_str(&String::from_utf8_lossy(&text))
}
