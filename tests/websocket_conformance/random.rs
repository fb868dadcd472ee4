//! Random streams: against `tungstenite`'s own reading of them, and against themselves split otherwise.

use std::io::{self, Read, Write};

use annulus::wire::Close;
use annulus::wire::websocket::{Opcode, begin_frame, end_frame, write_close, write_frame, write_pong};
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

use crate::client::{BINARY, CLOSE, CONTINUATION, Frame, Heard, PING, PONG, Server, TEXT};

const MESSAGE_BYTES_MAX: usize = 100_000;

/// Splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    /// Prints the seed, so that a failure can be run again.
    fn seeded(test: &str) -> Self {
        let seed = match std::env::var("ANNULUS_SEED") {
            Ok(seed) => seed.parse().expect("ANNULUS_SEED is a number"),
            Err(_) => getrandom::u64().expect("the system has random numbers"),
        };
        println!("{test}: ANNULUS_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn text(&mut self, chars: usize) -> Vec<u8> {
        let alphabet = ['a', ' ', '\0', 'é', '\u{7FF}', '€', '\u{FFFD}', '😀', '\u{10FFFF}'];
        (0..chars).map(|_| self.one_of(&alphabet)).collect::<String>().into_bytes()
    }

    /// The stream in pieces of all sizes.
    fn pieces<'a>(&mut self, mut stream: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !stream.is_empty() {
            let len = self.one_of(&[1, 2, 3, 5, 13, 100, 1500, 8192]).min(stream.len());
            let (piece, rest) = stream.split_at(len);
            pieces.push(piece);
            stream = rest;
        }
        pieces
    }

    /// Messages in fragments, with control frames between them.
    fn valid_stream(&mut self) -> Vec<u8> {
        let mut stream = Vec::new();
        for _ in 0..self.below(20) + 1 {
            let size = self.one_of(&[0, 1, 7, 125, 126, 127, 1000, 20_000]);
            let (kind, body) =
                if self.below(2) == 0 { (TEXT, self.text(size / 2)) } else { (BINARY, self.bytes(size)) };
            let mut rest = &body[..];
            let mut opcode = kind;
            for _ in 0..self.one_of(&[0, 0, 0, 1, 2, 5]) {
                let (piece, after) = rest.split_at(self.below(rest.len() + 1));
                self.push_frame(&mut stream, Frame::fragment(opcode, piece));
                (opcode, rest) = (CONTINUATION, after);
                if self.below(3) == 0 {
                    let control = self.one_of(&[PING, PONG]);
                    let len = self.below(126);
                    let payload = self.bytes(len);
                    self.push_frame(&mut stream, Frame::new(control, &payload));
                }
            }
            self.push_frame(&mut stream, Frame::new(opcode, rest));
        }
        stream
    }

    fn push_frame(&mut self, stream: &mut Vec<u8>, frame: Frame<'_>) {
        let mask = Some((self.next() as u32).to_ne_bytes());
        stream.extend_from_slice(&Frame { mask, ..frame }.bytes());
    }
}

/// A transport that holds what one side sends and swallows what the other answers.
struct Wire<'a> {
    unread: &'a [u8],
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.unread.read(buffer) }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `tungstenite` reads from a whole stream.
fn heard_by_tungstenite(stream: &[u8], role: Role) -> Vec<Heard> {
    let mut socket = WebSocket::from_raw_socket(Wire { unread: stream }, role, None);
    let mut heard = Vec::new();
    loop {
        heard.push(match socket.read() {
            Ok(Message::Text(text)) => Heard::Text(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => Heard::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Heard::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Heard::Pong(bytes.to_vec()),
            Ok(Message::Close(frame)) => Heard::Close(frame.map(|frame| frame.code.into())),
            Ok(Message::Frame(_)) => panic!("reading never gives raw frames"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return heard,
            Err(Error::ConnectionClosed) => return heard,
            Err(error) => panic!("{error}"),
        });
    }
}

#[test]
fn valid_streams_are_heard_as_tungstenite_hears_them() {
    let mut random = Random::seeded("valid_streams_are_heard_as_tungstenite_hears_them");
    for _ in 0..200 {
        let mut stream = random.valid_stream();
        if random.below(2) == 0 {
            let code: u16 = random.one_of(&[1000, 1001, 3000, 4999]);
            random.push_frame(&mut stream, Frame::new(CLOSE, &code.to_be_bytes()));
        }
        let pieces = random.pieces(&stream);
        let (heard, failed) = Server::after(MESSAGE_BYTES_MAX, pieces);
        assert_eq!(failed, None);
        assert_eq!(heard, heard_by_tungstenite(&stream, Role::Server));
    }
}

// Valid streams with a few octets changed, put in or left out: mostly nonsense after that.
#[test]
fn damaged_streams_are_judged_alike_however_they_are_split() {
    let mut random = Random::seeded("damaged_streams_are_judged_alike_however_they_are_split");
    let mut failures = 0;
    for _ in 0..1000 {
        let mut stream = random.valid_stream();
        stream.truncate(3000);
        for _ in 0..random.below(4) + 1 {
            let place = random.below(stream.len());
            match random.below(3) {
                0 => stream[place] ^= 1 << random.below(8),
                1 => stream.insert(place, random.next() as u8),
                _ => drop(stream.drain(place..(place + 3).min(stream.len()))),
            }
            if stream.is_empty() {
                stream.push(0x81);
            }
        }
        let whole = Server::after(MESSAGE_BYTES_MAX, [&stream[..]]);
        failures += usize::from(whole.1.is_some());
        let pieces = random.pieces(&stream);
        assert_eq!(Server::after(MESSAGE_BYTES_MAX, pieces), whole);
        assert_eq!(Server::after(MESSAGE_BYTES_MAX, stream.chunks(1)), whole);
    }
    assert!(failures > 100, "only {failures} of 1000 damaged streams failed: the damage is too mild");
}

#[test]
fn a_client_hears_what_was_written() {
    let mut random = Random::seeded("a_client_hears_what_was_written");
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    for size in [0, 1, 124, 125, 126, 127, 65_535, 65_536, 100_000] {
        let body = random.bytes(size);
        write_frame(&mut out, Opcode::Binary, &body);
        expected.push(Heard::Binary(body));
        let body = random.text(size / 3);
        let start = begin_frame(&mut out);
        out.extend_from_slice(&body);
        end_frame(&mut out, start, Opcode::Text);
        expected.push(Heard::Text(body));
        write_pong(&mut out, b"pong");
        expected.push(Heard::Pong(b"pong".to_vec()));
    }
    write_close(&mut out, Close::GoingAway { retry_after_ms: 1500 }, None);
    expected.push(Heard::Close(Some(1001)));
    assert_eq!(heard_by_tungstenite(&out, Role::Client), expected);
}
