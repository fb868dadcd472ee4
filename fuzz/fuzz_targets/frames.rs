//! Any bytes, split anywhere: the same events, no panic, and never more memory than the limit.
//!
//! The first byte says how many of the following say where to split; the rest is what the peer sent.

#![no_main]

use annulus::limits::PARSE_PADDING_BYTES;
use annulus::wire::Close;
use annulus::wire::websocket::{Event, Input, Reader};
use libfuzzer_sys::fuzz_target;

/// Low, so that short inputs reach it.
const MESSAGE_BYTES_MAX: usize = 300;
/// A control frame may be in pieces inside a message in pieces.
const MEMORY_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 125 + PARSE_PADDING_BYTES;

type Heard = (Vec<(u8, Vec<u8>)>, Option<Close>);

fuzz_target!(|data: &[u8]| {
    let Some((&cuts, rest)) = data.split_first() else { return };
    let (cuts, sent) = rest.split_at(usize::from(cuts).min(rest.len()));

    let mut pieces = Vec::new();
    let mut unsent = sent;
    for &cut in cuts.iter().cycle().take(if cuts.is_empty() { 0 } else { sent.len() }) {
        let (piece, after) = unsent.split_at(usize::from(cut).min(unsent.len()));
        pieces.push(piece);
        unsent = after;
    }
    pieces.push(unsent);

    let whole = hear(&[sent]);
    assert_eq!(hear(&pieces), whole);
    assert_eq!(hear(&sent.chunks(1).collect::<Vec<_>>()), whole);
});

fn hear(pieces: &[&[u8]]) -> Heard {
    let mut reader = Reader::new(MESSAGE_BYTES_MAX);
    let mut heard: Heard = (Vec::new(), None);
    for piece in pieces {
        let mut padded = [piece, &[0xA5; PARSE_PADDING_BYTES][..]].concat();
        let mut input = Input::new(&mut padded, piece.len());
        loop {
            let event = match reader.next(&mut input) {
                Ok(Some(Event::Fragments(_))) => continue,
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(close) => {
                    assert_eq!(heard.1.replace(close), None, "failed twice");
                    continue;
                }
            };
            assert!(
                heard.1.is_none() && heard.0.last().is_none_or(|last| last.0 != 8),
                "an event after the end"
            );
            heard.0.push(owned(event));
            assert!(reader.memory_bytes() <= MEMORY_BYTES_MAX);
        }
        assert!(input.is_empty());
        assert!(reader.memory_bytes() <= MEMORY_BYTES_MAX);
        assert_eq!(padded[piece.len()..], [0xA5; PARSE_PADDING_BYTES]);
    }
    heard
}

/// An event by its opcode and bytes.
fn owned(event: Event<'_>) -> (u8, Vec<u8>) {
    match event {
        Event::Text(payload) => {
            assert!(str::from_utf8(payload.bytes()).is_ok());
            (1, payload.bytes().to_vec())
        }
        Event::Binary(payload) => (2, payload.bytes().to_vec()),
        Event::Close { code } => (8, code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec())),
        Event::Ping(payload) => (9, payload.to_vec()),
        Event::Pong(payload) => (10, payload.to_vec()),
        Event::Fragments(_) => unreachable!("they are not heard"),
    }
}
