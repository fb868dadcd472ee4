//! `delta_batch_chunk`: messages in pieces, in any order, and pieces that lie.

use data_encoding::BASE64;

use crate::on_one_and_two;
use crate::peer::{MODES, Peer, frame, json};

const INVALID: &str = "Invalid message format";

fn piece(name: &str, count: usize, index: usize, bytes: &[u8]) -> String {
    let data = BASE64.encode(bytes);
    format!(r#""chunkId":"{name}","totalChunks":{count},"chunkIndex":{index},"data":"{data}""#)
}

/// The pieces of a message that writes `value` to the field `name`, each of `len` bytes.
fn pieces(name: &str, value: u32, len: usize) -> Vec<String> {
    let message = frame(
        0x50,
        &format!(r#"{{"id":"{name}","documentId":"c","deltas":[{{"field":"{name}","value":{value}}}]}}"#),
    );
    let parts: Vec<&[u8]> = message.chunks(len).collect();
    parts.iter().enumerate().map(|(index, part)| piece(name, parts.len(), index, part)).collect()
}

#[test]
fn pieces_in_any_order_and_twice_make_one_message() {
    on_one_and_two(|server| {
        for mode in MODES {
            let mut peer = Peer::speaking(server.address, mode);
            peer.sync("c");
            let (forward, mut backward) = (pieces("a", 1, 10), pieces("b", 2, 1));
            backward.reverse();
            for piece in forward.iter().chain(&backward) {
                peer.say("delta_batch_chunk", piece);
            }
            assert_eq!(peer.deltas(2), ["a=1", "b=2"]);
            let acks = [peer.body("ack"), peer.body("ack")];
            for id in ["a", "b"] {
                assert!(acks.contains(&json(&format!(r#"{{"messageId":"{id}"}}"#))), "{acks:?}");
            }

            // Two at the same time, and every piece but the last of each twice.
            let (one, two) = (pieces("one", 3, 20), pieces("two", 3, 20));
            assert_eq!(one.len(), two.len());
            for (n, (one, two)) in (1..).zip(one.iter().zip(&two)) {
                for _ in 0..if n < pieces("one", 3, 20).len() { 2 } else { 1 } {
                    peer.say("delta_batch_chunk", one);
                    peer.say("delta_batch_chunk", two);
                }
            }
            assert_eq!(peer.deltas(2), ["one=3", "two=3"]);
            peer.body("ack");
            peer.body("ack");
            peer.is_silent();
        }
    });
}

#[test]
fn a_message_in_pieces_may_be_json_and_a_lie_in_its_header_is_refused() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.say("delta_batch_chunk", &piece("j", 1, 0, br#"{"type":"ping","id":"i","timestamp":1}"#));
        assert_eq!(peer.body("pong"), json("{}"));
        let whole = frame(0x30, "{}");
        for bytes in [&b""[..], b"x", &whole[..whole.len() - 1], b"{\"type\":"] {
            peer.say("delta_batch_chunk", &piece("l", 1, 0, bytes));
            assert_eq!(peer.refused(), (INVALID.to_owned(), None));
        }
        // White space behind a length is ignored as everywhere.
        peer.say("delta_batch_chunk", &piece("t", 1, 0, &[&whole[..], b"tail"].concat()));
        peer.body("pong");
        peer.is_silent();
    });
}

#[test]
fn a_piece_that_holds_a_piece_is_refused() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        let inner = frame(0x23, &format!("{{{}}}", piece("inner", 1, 0, &frame(0x30, "{}"))));
        peer.say("delta_batch_chunk", &piece("outer", 1, 0, &inner));
        assert_eq!(peer.refused(), (INVALID.to_owned(), None));
        peer.is_silent();
    });
}

#[test]
fn pieces_that_lie_are_refused_and_forget_their_message() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        let good = pieces("m", 1, 30);
        let count = good.len();
        for bad in [
            piece("m", count + 1, 1, b"x"),
            piece("m", count - 1, 1, b"x"),
            piece("m", count, count, b"x"),
            piece("m", count, usize::MAX, b"x"),
            piece("m", 0, 0, b"x"),
            piece("m", 1_025, 0, b"x"),
            piece("m", usize::MAX, 0, b"x"),
            format!(r#""chunkId":"m","totalChunks":{count},"chunkIndex":1,"data":"not base64""#),
            format!(r#""chunkId":"m","totalChunks":{count},"chunkIndex":1,"data":7"#),
            format!(r#""chunkId":"m","totalChunks":{count},"chunkIndex":-1,"data":"""#),
            format!(r#""chunkId":"m","totalChunks":{count},"chunkIndex":0.5,"data":"""#),
            format!(r#""chunkId":"m","totalChunks":"{count}","chunkIndex":0,"data":"""#),
        ] {
            peer.say("delta_batch_chunk", &good[0]);
            peer.say("delta_batch_chunk", &bad);
            assert_eq!(peer.refused(), (INVALID.to_owned(), None), "{bad}");
            // Without the first piece, which was forgotten, the rest is no message.
            good[1..].iter().for_each(|piece| peer.say("delta_batch_chunk", piece));
            peer.is_silent();
            peer.say("delta_batch_chunk", &good[0]);
            peer.body("ack");
            peer.deltas(1);
        }
        for name in [r#""chunkId":7,"#, r#""chunkId":null,"#, ""] {
            peer.say("delta_batch_chunk", &format!(r#"{name}"totalChunks":1,"chunkIndex":0,"data":"""#));
            assert_eq!(peer.refused(), (INVALID.to_owned(), None), "{name}");
        }
        peer.is_silent();
    });
}

#[test]
fn more_than_four_messages_in_pieces_are_refused_and_those_four_go_on() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.subscribe("c");
        let messages = ["a", "b", "c", "d"].map(|name| pieces(name, 1, 40));
        messages.iter().for_each(|pieces| peer.say("delta_batch_chunk", &pieces[0]));
        for piece in &pieces("e", 2, 40) {
            peer.say("delta_batch_chunk", piece);
            assert_eq!(peer.refused(), (INVALID.to_owned(), None));
        }
        messages
            .iter()
            .flat_map(|pieces| &pieces[1..])
            .for_each(|piece| peer.say("delta_batch_chunk", piece));
        assert_eq!(peer.deltas(4), ["a=1", "b=1", "c=1", "d=1"]);
    });
}

#[test]
fn pieces_of_more_than_a_message_are_refused() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        let part = vec![b'x'; 700_000];
        for round in 0..2 {
            peer.say("delta_batch_chunk", &piece("m", 3, 0, &part));
            peer.say("delta_batch_chunk", &piece("m", 3, 1, &part));
            peer.say("delta_batch_chunk", &piece("m", 3, 2, &part));
            let (error, details) = peer.refused();
            assert_eq!(error, "Message too large (2100000 bytes, max 2000000)", "round {round}");
            assert_eq!(details, Some(json(r#"{"code":"INVALID_MESSAGE"}"#)));
        }
        peer.is_silent();
    });
}
