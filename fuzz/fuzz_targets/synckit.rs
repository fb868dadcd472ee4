//! Goal: whatever clients of SyncKit say, nothing panics, every frame that is sent back can be read, and nothing ends a
//! connection but what a page says: text that is not UTF-8, a message far too large.
//! Method: two connections of one shard; the input is a list of messages, each with a byte that says whose it is and of which
//! kind, and a length.

#![no_main]

use annulus::limits::PARSE_PADDING_BYTES;
use annulus::wire::Payload;
use annulus::wire::json::Parser;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/synckit_frames/host.rs"]
mod host;

use host::{BINARY, CLOSE, Host, TEXT};

const HEADER_BYTES: usize = 13;

fuzz_target!(|data: &[u8]| {
    let mut host = Host::new();
    let peers = [host.open(), host.open()];
    let mut rest = data;
    while let [flags, high, low, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (message, unread) = after.split_at(len);
        rest = unread;
        let opcode = if flags & 1 == 0 { BINARY } else { TEXT };
        for (answer, payload) in host.send(peers[usize::from(flags >> 1 & 1)], opcode, message) {
            match answer {
                CLOSE => {
                    assert!(opcode == TEXT && payload[..2] == 1007_u16.to_be_bytes());
                    return;
                }
                BINARY => {
                    let (header, json) = payload.split_at(HEADER_BYTES);
                    assert_eq!(header[9..], (json.len() as u32).to_be_bytes());
                    assert_json(json);
                }
                TEXT => assert_json(&payload),
                other => panic!("opcode {other}"),
            }
        }
    }
    for peer in peers {
        host.take_frames(peer).iter().filter(|(opcode, _)| *opcode == BINARY).for_each(|(_, payload)| {
            assert_json(&payload[HEADER_BYTES..]);
        });
    }
});

fn assert_json(json: &[u8]) {
    let mut padded = [json, &[0; PARSE_PADDING_BYTES]].concat();
    let parsed = Parser::new().parse(Payload::new(&mut padded, json.len()));
    // The answer nests what was sent a few levels deeper than it may be sent.
    let is_deep = json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 60;
    assert!(parsed.is_ok() || is_deep, "{}", String::from_utf8_lossy(json));
}
