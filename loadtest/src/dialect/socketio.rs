//! Socket.IO 4 as its own client speaks it, over WebSocket from the start: each text frame is a packet of Engine.IO (version
//! 4), most of which hold one of Socket.IO (version 5). With channels as `loadtest/peers/socket.io.mjs` has them.
//!
//! ```text
//! 0{…}                       Engine.IO is open: the server speaks first
//! 2 · 3                      its ping, and the pong that it wants
//! 40 · 40{…}                 a client comes into the default namespace, and is in it
//! 42<id>["join","c"]         an event with an acknowledgement; the id is digits
//! 43<id>[{…}]                that acknowledgement
//! 42["message",{…}]          an event without
//! ```

use super::channel;
use crate::failure::{Failure, excerpt};
use crate::json;
use crate::message::{Message, Set};
use crate::value::{Values, write_number};

/// Path of the upgrade.
pub const PATH: &str = "/socket.io/?EIO=4&transport=websocket";
/// How a message of a channel begins.
pub const MESSAGE: &[u8] = br#"42["message","#;
/// What a client says once Engine.IO is open.
pub const CONNECT: &[u8] = b"40";
pub const PING: &[u8] = b"2";
pub const PONG: &[u8] = b"3";

/// Checks that Engine.IO is open.
///
/// # Errors
/// [`Failure::Wrong`] for another packet.
pub fn expect_open(packet: &[u8]) -> Result<(), Failure> {
    expect(packet, b"0{", "open")
}

/// Checks that the client is in the namespace.
///
/// # Errors
/// [`Failure::Wrong`] for another packet.
pub fn expect_connected(packet: &[u8]) -> Result<(), Failure> {
    expect(packet, b"40{", "connected")
}

fn expect(packet: &[u8], start: &[u8], what: &str) -> Result<(), Failure> {
    if packet.starts_with(start) {
        return Ok(());
    }
    Err(Failure::Wrong(format!("Socket.IO is not {what}: {}", excerpt(packet))))
}

/// Reads a packet of the server.
///
/// # Errors
/// [`Failure::Wrong`] for what is no event and no acknowledgement of ours; as [`channel::read`] for what is in it.
pub fn read(packet: &[u8]) -> Result<Message<'_>, Failure> {
    let wrong = || Failure::Wrong(format!("no packet of ours: {}", excerpt(packet)));
    if let Some(rest) = packet.strip_prefix(MESSAGE) {
        return channel::read_message(rest.strip_suffix(b"]").ok_or_else(wrong)?);
    }
    let rest = packet.strip_prefix(b"43").ok_or_else(wrong)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let answer =
        rest[digits..].strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).ok_or_else(wrong)?;
    let mut message = channel::read(answer)?;
    message.id = Some(json::number(&rest[..digits]).ok_or_else(wrong)?);
    Ok(message)
}

/// Builds requests in one buffer that is used again and again.
#[derive(Default)]
pub struct Request {
    text: Vec<u8>,
}

impl Request {
    pub fn ping(&mut self, id: u64) -> &[u8] {
        self.open(id, "probe");
        self.close()
    }

    pub fn join(&mut self, id: u64, channel: &str) -> &[u8] {
        self.open(id, "join");
        self.argument(channel);
        self.close()
    }

    /// One message; there is but one in `sets`.
    pub fn publish<'a>(&mut self, id: u64, values: &Values, sets: impl Iterator<Item = Set<'a>>) -> &[u8] {
        for set in sets {
            self.open(id, "publish");
            self.argument(set.map);
            self.text.push(b',');
            channel::write_data(&mut self.text, values, &set);
        }
        self.close()
    }

    fn open(&mut self, id: u64, event: &str) {
        self.text.clear();
        self.text.extend_from_slice(b"42");
        write_number(&mut self.text, id);
        self.text.extend_from_slice(b"[\"");
        self.text.extend_from_slice(event.as_bytes());
        self.text.push(b'"');
    }

    fn argument(&mut self, text: &str) {
        self.text.extend_from_slice(b",\"");
        self.text.extend_from_slice(text.as_bytes());
        self.text.push(b'"');
    }

    fn close(&mut self) -> &[u8] {
        self.text.push(b']');
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Entry;
    use crate::value::Stamp;

    #[test]
    fn event_of_a_room_is_a_change_and_an_acknowledgement_has_the_id_of_what_it_answers() {
        let event = br#"42["message",{"channel":"m","offset":7,"data":{"k":"k0-1","v":"x"},"time":1}]"#;
        let message = read(event).unwrap();
        assert_eq!((message.kind, message.map), (&b"change"[..], &b"m"[..]));
        assert_eq!(message.entry, Some(Entry { key: b"k0-1", value: b"\"x\"" }));
        let published = read(br#"4312[{"type":"published","channel":"m","offset":7}]"#).unwrap();
        assert_eq!((published.kind, published.id), (&b"ack"[..], Some(12)));
        let joined = read(br#"435[{"type":"joined","channel":"m","offset":0}]"#).unwrap();
        assert_eq!((joined.kind, joined.id, joined.map), (&b"snapshot"[..], Some(5), &b"m"[..]));
        for packet in [&b"2"[..], b"41", b"43[]", br#"43x[{"type":"pong"}]"#, br#"42["other",{}]"#] {
            assert!(matches!(read(packet), Err(Failure::Wrong(_))), "{}", excerpt(packet));
        }
    }

    #[test]
    fn requests_are_events_with_an_acknowledgement() {
        let set = Set { map: "m", prefix: "k0-", key: 7, stamp: Stamp { writer: 0, sequence: 7 } };
        let mut request = Request::default();
        assert_eq!(request.join(3, "m"), br#"423["join","m"]"#);
        let text = request.publish(9, &Values::new(20), std::iter::once(set));
        let expected = r#"429["publish","m",{"k":"k0-7","v":"000000.0000000007."}]"#;
        assert_eq!(String::from_utf8_lossy(text), expected);
    }

    #[test]
    fn client_is_in_when_the_server_has_said_so_twice() {
        assert!(expect_open(br#"0{"sid":"x"}"#).is_ok() && expect_connected(br#"40{"sid":"x"}"#).is_ok());
        assert!(expect_open(b"40").is_err() && expect_connected(br#"44{"message":"no"}"#).is_err());
    }
}
