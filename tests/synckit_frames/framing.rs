//! Headers that lie, JSON that is none, and who is answered in which way.

use tungstenite::Message;

use crate::on_one_and_two;
use crate::peer::{HEADER_BYTES, MODES, Mode, Peer, frame, json};

fn invalid() -> (String, Option<simd_json::OwnedValue>) {
    ("Invalid message format".to_owned(), None)
}

#[test]
fn only_who_begins_with_text_is_answered_in_text() {
    on_one_and_two(|server| {
        for first in MODES {
            for second in MODES {
                let mut peer = Peer::speaking(server.address, first);
                peer.say("ping", "");
                let is_text = first == Mode::Text;
                assert_eq!(peer.take("pong").is_text, is_text, "{first:?}");
                let bytes = br#"{"type":"sync_request","id":"i","timestamp":1,"documentId":"d"}"#;
                match second {
                    Mode::Binary => peer.send_binary(&frame(0x12, r#"{"id":"i","documentId":"d"}"#)),
                    Mode::Text => peer.send(Message::text(std::str::from_utf8(bytes).unwrap())),
                    Mode::JsonInBinary => peer.send_binary(bytes),
                }
                assert_eq!(peer.take("sync_response").is_text, is_text, "{first:?}, then {second:?}");
            }
        }
    });
}

#[test]
fn subscribers_of_one_document_are_told_each_in_their_way() {
    on_one_and_two(|server| {
        let mut peers = MODES.map(|mode| Peer::speaking(server.address, mode));
        for peer in &mut peers {
            peer.subscribe("mixed");
        }
        for (writer, value) in (0..3).zip(["[1]", "{\"b\":2}", "null"]) {
            peers[writer].set("mixed", "f", value);
            for (peer, mode) in peers.iter_mut().zip(MODES) {
                let heard = peer.take("delta");
                assert_eq!(heard.is_text, mode == Mode::Text);
                assert_eq!(heard.body["value"], json(value));
            }
        }
    });
}

#[test]
fn a_first_frame_that_begins_with_0x20_is_a_delta() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        let frame = frame(0x20, r#"{"id":"x","documentId":"space","delta":{"f":1}}"#);
        assert_eq!(frame[0], b' ');
        peer.send_binary(&frame);
        let ack = peer.take("ack");
        assert_eq!((ack.is_text, ack.body), (false, json(r#"{"messageId":"x"}"#)));
        assert_eq!(peer.deltas(1), ["f=1"]);

        // White space before JSON is no way to begin one.
        let mut peer = Peer::connect(server.address);
        peer.send_binary(br#" {"type":"ping","id":"i","timestamp":1}"#);
        assert_eq!(peer.refused(), invalid());
    });
}

#[test]
fn bytes_behind_the_stated_length_are_ignored() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        for tail in [&b"x"[..], b"}", b"{}", b"\"", b"\xFF\xFE", &[0; 500]] {
            let frame = [&frame(0x12, r#"{"id":"i","documentId":"tail"}"#), tail].concat();
            peer.send_binary(&frame);
            assert_eq!(peer.body("sync_response")["requestId"], "i", "{tail:?}");
        }
        peer.is_silent();
    });
}

#[test]
fn lengths_that_lie_are_refused() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        let body = r#"{"documentId":"d"}"#;
        for stated in [body.len() - 1, 1, 0, body.len() + 1, 1 << 20, 1 << 31, u32::MAX as usize] {
            let mut frame = frame(0x10, body);
            frame[9..HEADER_BYTES].copy_from_slice(&(stated as u32).to_be_bytes());
            peer.send_binary(&frame);
            assert_eq!(peer.refused(), invalid(), "{stated}");
        }
        let whole = frame(0x30, "{}");
        for len in 0..whole.len() {
            peer.send_binary(&whole[..len]);
            assert_eq!(peer.refused(), invalid(), "the first {len} bytes");
        }
        peer.is_silent();
    });
}

#[test]
fn what_is_no_json_object_is_refused_in_every_mode() {
    on_one_and_two(|server| {
        let deep = |depth: usize| format!(r#"{{"x":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let too_deep = [deep(64), deep(100_000)];
        let bodies =
            ["", " ", "7", "null", "[]", "\"x\"", "{", "{}}", "{\"x\":1e400}", "{\"x\":\"\\ud800\"}"];
        let mut binary = Peer::connect(server.address);
        let mut text = Peer::speaking(server.address, Mode::Text);
        for body in bodies.into_iter().chain(too_deep.iter().map(String::as_str)) {
            binary.send_binary(&frame(0x30, body));
            assert_eq!(binary.refused().0, invalid().0, "{body:.40}");
            text.send(Message::text(body));
            assert_eq!(text.refused().0, invalid().0, "{body:.40}");
            if body.starts_with('{') {
                binary.send_binary(body.as_bytes());
                assert_eq!(binary.refused().0, invalid().0, "{body:.40}");
            }
        }
        binary.send_binary(&frame(0x30, "{\"x\":1e400}"));
        let details = json(r#"{"code":"value_invalid","reason":"the number is beyond a double","byte":5}"#);
        assert_eq!(binary.refused(), (invalid().0, Some(details)));
        binary.send_binary(&frame(0x30, &deep(63)));
        assert_eq!(binary.body("pong"), json("{}"));
        binary.is_silent();
        text.is_silent();
    });
}

#[test]
fn bytes_that_are_not_utf8_are_refused_in_binary_messages() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        for bad in [&b"\xFF"[..], b"\xC3\x28", b"\xED\xA0\x80", b"\xF0\x9F"] {
            let body = [br#"{"documentId":"d","field":"f","value":""#, bad, b"\"}"].concat();
            let mut message = frame(0x20, "");
            message[9..HEADER_BYTES].copy_from_slice(&(body.len() as u32).to_be_bytes());
            peer.send_binary(&[message, body.clone()].concat());
            assert_eq!(peer.refused(), invalid(), "{bad:02X?}");
            let json = [br#"{"type":"delta","id":"i","timestamp":1,"#, &body[1..]].concat();
            peer.send_binary(&json);
            assert_eq!(peer.refused(), invalid(), "{bad:02X?}");
        }
        assert_eq!(peer.sync("d")["state"], json("{}"));
    });
}

#[test]
fn json_messages_need_type_id_and_timestamp() {
    on_one_and_two(|server| {
        for mode in [Mode::Text, Mode::JsonInBinary] {
            let mut peer = Peer::speaking(server.address, mode);
            let send = |peer: &mut Peer, json: &str| match mode {
                Mode::Text => peer.send(Message::text(json)),
                _ => peer.send_binary(json.as_bytes()),
            };
            for json in [
                "{}",
                r#"{"id":"i","timestamp":1}"#,
                r#"{"type":"ping","timestamp":1}"#,
                r#"{"type":"ping","id":"i"}"#,
                r#"{"type":"","id":"i","timestamp":1}"#,
                r#"{"type":7,"id":"i","timestamp":1}"#,
                r#"{"type":"ping","id":"","timestamp":1}"#,
                r#"{"type":"ping","id":null,"timestamp":1}"#,
                r#"{"type":"ping","id":"i","timestamp":0}"#,
                r#"{"type":"ping","id":"i","timestamp":false}"#,
                r#"{"payload":{"type":"ping","id":"i","timestamp":1}}"#,
            ] {
                send(&mut peer, json);
                assert_eq!(peer.refused(), invalid(), "{json}");
            }
            for json in [
                r#"{"type":"ping","id":"i","timestamp":1}"#,
                r#"{"timestamp":"now","id":7,"type":"ping"}"#,
                r#"{"type":"ping","id":{},"timestamp":true,"payload":null}"#,
                r#"{"type":"ping","id":"i","timestamp":0.5,"payload":7}"#,
            ] {
                send(&mut peer, json);
                assert_eq!(peer.body("pong"), crate::peer::json("{}"), "{json}");
            }
        }
    });
}

#[test]
fn a_payload_object_is_flattened_without_its_type() {
    on_one_and_two(|server| {
        for mode in [Mode::Text, Mode::JsonInBinary] {
            let mut peer = Peer::speaking(server.address, mode);
            peer.say(
                "delta",
                r#""payload":{"type":"set","documentId":"nested","field":"f","value":1,"messageId":"m"}"#,
            );
            assert_eq!(peer.body("ack"), json(r#"{"messageId":"m"}"#));
            assert_eq!(peer.deltas(1), ["f=1"]);
        }
    });
}
