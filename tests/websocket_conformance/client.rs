//! A client for tests: it writes frames, right and wrong ones, and reads a server's reader out.

use annulus::limits::PARSE_PADDING_BYTES;
use annulus::wire::Close;
use annulus::wire::websocket::{Event, Input, Reader};

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// How a frame's length is written.
#[derive(Clone, Copy)]
pub enum LengthForm {
    Shortest,
    Bits16,
    Bits64,
}

/// One frame; every field can be set wrong on purpose.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    pub opcode: u8,
    pub payload: &'a [u8],
    pub is_final: bool,
    pub reserved_bits: u8,
    pub mask: Option<[u8; 4]>,
    pub form: LengthForm,
    /// The length the header announces, if not that of the payload.
    pub announced: Option<u64>,
}

impl<'a> Frame<'a> {
    /// A frame as it should be.
    pub const fn new(opcode: u8, payload: &'a [u8]) -> Self {
        Self {
            opcode,
            payload,
            is_final: true,
            reserved_bits: 0,
            mask: Some([0x37, 0xFA, 0x21, 0x3D]),
            form: LengthForm::Shortest,
            announced: None,
        }
    }

    /// The same, with more fragments to follow.
    pub const fn fragment(opcode: u8, payload: &'a [u8]) -> Self {
        Self { is_final: false, ..Self::new(opcode, payload) }
    }

    /// RFC 6455 section 5.2.
    pub fn bytes(self) -> Vec<u8> {
        let len = self.announced.unwrap_or(self.payload.len() as u64);
        let form = match self.form {
            LengthForm::Shortest if len > 65535 => LengthForm::Bits64,
            LengthForm::Shortest if len > 125 => LengthForm::Bits16,
            form => form,
        };
        let mask_bit = if self.mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![u8::from(self.is_final) << 7 | self.reserved_bits << 4 | self.opcode];
        match form {
            LengthForm::Shortest => bytes.push(mask_bit | len as u8),
            LengthForm::Bits16 => {
                bytes.push(mask_bit | 126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
            LengthForm::Bits64 => {
                bytes.push(mask_bit | 127);
                bytes.extend_from_slice(&len.to_be_bytes());
            }
        }
        let mask = self.mask.unwrap_or([0; 4]);
        if self.mask.is_some() {
            bytes.extend_from_slice(&mask);
        }
        bytes.extend(self.payload.iter().enumerate().map(|(i, octet)| octet ^ mask[i % 4]));
        bytes
    }

    /// What comes before the payload.
    pub fn header(self) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes.truncate(bytes.len() - self.payload.len());
        bytes
    }
}

/// An event that outlives the bytes it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

impl From<Event<'_>> for Heard {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(payload) => Self::Text(payload.bytes().to_vec()),
            Event::Binary(payload) => Self::Binary(payload.bytes().to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close { code } => Self::Close(code),
            Event::Fragments(_) => unreachable!("they are not heard"),
        }
    }
}

/// A server's reader, and everything it has said.
pub struct Server {
    pub reader: Reader,
    pub heard: Vec<Heard>,
    pub failed: Option<Close>,
}

impl Server {
    pub fn new(message_bytes_max: usize) -> Self {
        Self { reader: Reader::new(message_bytes_max), heard: Vec::new(), failed: None }
    }

    /// Hands the reader what one receive brought, in a buffer like the ring's: stale bytes lie behind it.
    pub fn receive(&mut self, bytes: &[u8]) {
        const STALE: u8 = 0xA5;
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len() + PARSE_PADDING_BYTES, STALE);
        let mut input = Input::new(&mut padded, bytes.len());
        loop {
            match self.reader.next(&mut input) {
                // Only for who counts.
                Ok(Some(Event::Fragments(_))) => {}
                Ok(Some(event)) => {
                    assert!(self.failed.is_none(), "an event after a failure: {event:?}");
                    assert!(!matches!(self.heard.last(), Some(Heard::Close(_))), "{event:?} after a close");
                    self.heard.push(event.into());
                }
                Ok(None) => break,
                Err(close) => {
                    assert_eq!(self.failed.replace(close), None, "failed twice");
                }
            }
        }
        assert!(input.is_empty(), "`None` means that all was absorbed");
        assert!(padded[bytes.len()..].iter().all(|&octet| octet == STALE), "wrote behind what was received");
    }

    /// Everything a fresh reader says to these receives.
    pub fn after<'a>(
        message_bytes_max: usize,
        receives: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Heard>, Option<Close>) {
        let mut server = Self::new(message_bytes_max);
        for bytes in receives {
            server.receive(bytes);
        }
        (server.heard, server.failed)
    }
}
