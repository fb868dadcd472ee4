//! Messages in fragments of one byte, as fast as they leave: seven bytes of header for each byte that means something.
//!
//! Bound in the server: what is read of one connection in a turn, whatever it is made of.

use super::behaviour::Row;
use super::peer::Bytes;
use super::siege::Siege;
use super::volley::FLOOD;

pub const ROW: Row = Row {
    name: "one-byte-frames",
    says: "4 clients send messages in fragments of one byte",
    make: |_| Box::new(Siege::new(Vec::new(), 4, vec![Bytes::from(fragments().repeat(200))], FLOOD)),
    server_arguments: &[],
};

/// One ping, each byte a masked fragment: the first says that it is text, the last that it is the last.
fn fragments() -> Vec<u8> {
    let message = br#"{"type":"ping","id":1}"#;
    let last = message.len() - 1;
    let fragment = |(place, &byte): (usize, &u8)| {
        let first = u8::from(place == 0) | u8::from(place == last) << 7;
        [first, 0x81, 0, 0, 0, 0, byte]
    };
    message.iter().enumerate().flat_map(fragment).collect()
}
