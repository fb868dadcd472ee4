//! Pings as fast as they leave, of the protocol and of WebSocket in turn, on eight connections.
//!
//! Bound in the server: what is read of one connection in a turn; `--max-messages-per-second` where it is set.

use super::behaviour::Row;
use super::peer::Bytes;
use super::requests::{framed, text};
use super::siege::Siege;
use super::volley::FLOOD;
use crate::frame::Kind;

pub const ROW: Row = Row {
    name: "ping-flood",
    says: "8 clients send pings of both kinds as fast as they leave",
    make: |_| {
        let one = [text(r#"{"type":"ping","id":1}"#), framed(Kind::Ping, b"flood")].map(|ping| ping.to_vec());
        let many = one.concat().repeat(1000);
        Box::new(Siege::new(Vec::new(), 8, vec![Bytes::from(many)], FLOOD))
    },
    server_arguments: &[],
};
