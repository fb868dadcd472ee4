//! RFC 6455 against the reader, without a socket: every rule, however the bytes are split.
//!
//! Random tests print their seed; `ANNULUS_SEED=<n>` runs one again.

#[path = "websocket_conformance/client.rs"]
mod client;
#[path = "websocket_conformance/conversations.rs"]
mod conversations;
#[path = "websocket_conformance/random.rs"]
mod random;

use annulus::limits::PARSE_PADDING_BYTES;
use annulus::wire::Close;
use annulus::wire::websocket::{Event, Input, Reader};
use client::{BINARY, CONTINUATION, Frame, Heard, LengthForm, PING, Server, TEXT};
use conversations::{MESSAGE_BYTES_MAX, binary, impossible_texts, text};

#[test]
fn every_conversation_is_heard_and_ended_as_the_rfc_wants() {
    for conversation in conversations::all() {
        let (heard, failed) = Server::after(MESSAGE_BYTES_MAX, [&conversation.sent[..]]);
        assert_eq!(heard, conversation.heard, "{}", conversation.name);
        assert_eq!(failed.map(Close::code), conversation.failed, "{}", conversation.name);
    }
}

// Every conversation octet by octet, and cut in two at each place; the failure has the same reason, too.
#[test]
fn every_possible_split_gives_the_same_events() {
    for conversation in conversations::all() {
        let sent = &conversation.sent[..];
        let whole = Server::after(MESSAGE_BYTES_MAX, [sent]);
        let name = conversation.name;
        assert_eq!(Server::after(MESSAGE_BYTES_MAX, sent.chunks(1)), whole, "{name}, octet by octet");
        for cut in 1..sent.len() {
            let (head, tail) = sent.split_at(cut);
            assert_eq!(Server::after(MESSAGE_BYTES_MAX, [head, tail]), whole, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn a_wrong_header_is_refused_before_its_payload_comes() {
    let payload = &[b'x'; 200][..];
    let good = Frame::new(TEXT, payload);
    for (frame, code) in [
        (Frame::new(PING, payload), 1002),
        (Frame { reserved_bits: 4, ..good }, 1002),
        (Frame { mask: None, ..good }, 1002),
        (Frame { form: LengthForm::Bits64, ..good }, 1002),
        (Frame::new(3, payload), 1002),
        (Frame::new(CONTINUATION, payload), 1002),
        (Frame::fragment(PING, &payload[..50]), 1002),
        (Frame { announced: Some(MESSAGE_BYTES_MAX as u64 + 1), ..good }, 1009),
        (Frame { announced: Some(1 << 62), ..good }, 1009),
    ] {
        let (heard, failed) = Server::after(MESSAGE_BYTES_MAX, [&frame.header()[..]]);
        assert_eq!((heard, failed.map(Close::code)), (Vec::new(), Some(code)), "opcode {}", frame.opcode);
    }
}

// Each text fails at its last octet, never before, though its frame announces more: in one frame and in
// fragments of one octet.
#[test]
fn impossible_text_is_refused_at_the_octet_that_makes_it_so() {
    for wrong in impossible_texts() {
        let announced = Some(wrong.len() as u64 + 50);
        let mut one_frame = Server::new(MESSAGE_BYTES_MAX);
        let mut fragments = Server::new(MESSAGE_BYTES_MAX);
        let frame = Frame { announced, ..Frame::new(TEXT, wrong) };
        one_frame.receive(&frame.header());
        let payload = frame.bytes().split_off(frame.header().len());
        for (i, octet) in payload.iter().enumerate() {
            assert_eq!((one_frame.failed, fragments.failed), (None, None), "{wrong:02X?} at octet {i}");
            one_frame.receive(&[*octet]);
            let opcode = if i == 0 { TEXT } else { CONTINUATION };
            fragments.receive(&Frame::fragment(opcode, &wrong[i..=i]).bytes());
        }
        assert_eq!(one_frame.failed.map(Close::code), Some(1007), "{wrong:02X?} in one frame");
        assert_eq!(fragments.failed.map(Close::code), Some(1007), "{wrong:02X?} in fragments");
    }
}

#[test]
fn a_frame_that_arrived_whole_is_handed_out_where_it_lies() {
    let frames = [Frame::new(TEXT, b"first"), Frame::new(PING, b"ping"), Frame::new(BINARY, b"second")];
    let sent: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes()).collect();
    let mut padded = sent.clone();
    padded.resize(sent.len() + PARSE_PADDING_BYTES, 0);
    let arrived = padded.as_ptr_range();
    let mut reader = Reader::new(MESSAGE_BYTES_MAX);
    let mut input = Input::new(&mut padded, sent.len());

    for _ in 0..2 {
        match reader.next(&mut input).expect("the frames are right") {
            Some(Event::Text(payload) | Event::Binary(payload)) => {
                assert!(arrived.contains(&payload.bytes().as_ptr()));
                let (padded, len) = payload.into_padded();
                assert!(padded.len() >= len + PARSE_PADDING_BYTES);
            }
            Some(Event::Ping(payload)) => assert!(arrived.contains(&payload.as_ptr())),
            other => panic!("{other:?}"),
        }
    }
    // A caller that pauses here finds what is unread as it was sent.
    let rest = frames[2].bytes();
    assert_eq!(input.remaining(), rest);
    assert_eq!(reader.memory_bytes(), 0);
}

#[test]
fn memory_follows_what_arrived_and_is_given_back() {
    const LIMIT: usize = 1 << 20;
    let body = vec![b'x'; LIMIT];
    let wire = Frame::new(TEXT, &body).bytes();
    let mut server = Server::new(LIMIT);

    server.receive(&wire[..3]);
    assert_eq!(server.reader.memory_bytes(), 0, "a cut header needs no memory");
    server.receive(&wire[3..14]);
    assert_eq!(server.reader.memory_bytes(), 0, "a header alone needs no memory");
    let mut arrived = 0;
    for part in wire[14..].chunks(8000) {
        server.receive(part);
        arrived += part.len();
        assert!(server.reader.memory_bytes() <= (2 * arrived).min(LIMIT) + PARSE_PADDING_BYTES);
    }
    assert_eq!(server.heard, [text(&body)]);
    assert_eq!(server.reader.memory_bytes(), 0, "an idle connection owns no memory");

    let ping = Frame::new(PING, b"ping").bytes();
    server.receive(&ping[..7]);
    assert!((1..200).contains(&server.reader.memory_bytes()));
    server.receive(&ping[7..]);
    assert_eq!(server.reader.memory_bytes(), 0);
}

#[test]
fn a_failed_or_closed_connection_owns_no_memory() {
    for last in [Frame::new(CONTINUATION, b"\xFF"), Frame::new(client::CLOSE, b"")] {
        let mut server = Server::new(MESSAGE_BYTES_MAX);
        server.receive(&Frame::fragment(TEXT, &[b'x'; 500]).bytes());
        assert!(server.reader.memory_bytes() >= 500);
        server.receive(&last.bytes());
        server.receive(&Frame::fragment(TEXT, &[b'x'; 500]).bytes());
        assert_eq!(server.reader.memory_bytes(), 0);
    }
}

#[test]
fn many_fragments_are_one_message_and_empty_ones_cost_nothing() {
    let mut server = Server::new(1 << 20);
    let mut expected = Vec::new();
    server.receive(&Frame::fragment(BINARY, b"").bytes());
    for i in 0..10_000u32 {
        server.receive(&Frame::fragment(CONTINUATION, b"").bytes());
        assert!(i > 0 || server.reader.memory_bytes() == 0);
        server.receive(&Frame::fragment(CONTINUATION, &i.to_le_bytes()).bytes());
        expected.extend_from_slice(&i.to_le_bytes());
    }
    server.receive(&Frame::new(CONTINUATION, b"").bytes());
    assert_eq!((server.heard, server.failed), (vec![binary(expected)], None));
}

#[test]
fn endless_fragments_are_cut_off_at_the_limit() {
    let mut server = Server::new(MESSAGE_BYTES_MAX);
    server.receive(&Frame::fragment(BINARY, &[7; 250]).bytes());
    for sent in 2.. {
        server.receive(&Frame::fragment(CONTINUATION, &[7; 250]).bytes());
        if server.failed.is_some() {
            assert_eq!((sent, server.failed), (5, Some(Close::TooBig)));
            break;
        }
        assert!(server.reader.memory_bytes() <= MESSAGE_BYTES_MAX + PARSE_PADDING_BYTES);
    }
    assert_eq!(server.heard, Vec::<Heard>::new());
}
