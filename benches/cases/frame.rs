//! Frames from received bytes. A binary frame is a header and the unmasking; a text frame is checked to be UTF-8, too.

use std::hint::black_box;

use annulus::limits::{MESSAGE_BYTES_DEFAULT, PARSE_PADDING_BYTES};
use annulus::wire::websocket::{Event, Input, Reader};

use super::{Meter, one};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// Turns ASCII into other ASCII, so that what one run has unmasked is a masked text to the next.
const MASK: [u8; 4] = [1, 2, 3, 4];

pub fn measure(meter: &mut impl Meter) {
    for (name, len) in [("16 B", 16), ("100 B", 100), ("1 KiB", 1 << 10), ("64 KiB", 64 << 10)] {
        let mut text = Frame::new(TEXT, len);
        meter.steady(one("frame, text", name), || text.read());
    }
    for (name, len) in [("16 B", 16), ("100 B", 100), ("1 KiB", 1 << 10), ("64 KiB", 64 << 10)] {
        let mut binary = Frame::new(BINARY, len);
        meter.steady(one("frame, binary", name), || binary.read());
    }
}

/// One masked frame as it lies in a receive buffer, and who reads it.
struct Frame {
    padded: Vec<u8>,
    frame_len: usize,
    payload_len: usize,
    reader: Reader,
}

impl Frame {
    fn new(opcode: u8, payload_len: usize) -> Self {
        let mut padded = vec![0x80 | opcode];
        // RFC 6455 section 5.2: 7 bits, or 126 and 16 bits, or 127 and 64 bits.
        match payload_len {
            0..126 => padded.push(0x80 | payload_len as u8),
            126..0x1_0000 => {
                padded.push(0x80 | 126);
                padded.extend_from_slice(&(payload_len as u16).to_be_bytes());
            }
            _ => {
                padded.push(0x80 | 127);
                padded.extend_from_slice(&(payload_len as u64).to_be_bytes());
            }
        }
        padded.extend_from_slice(&MASK);
        padded.extend((0..payload_len).map(|index| b'A' + (index % 26) as u8));
        let frame_len = padded.len();
        padded.resize(frame_len + PARSE_PADDING_BYTES, 0);
        Self { padded, frame_len, payload_len, reader: Reader::new(MESSAGE_BYTES_DEFAULT) }
    }

    fn read(&mut self) {
        let mut input = Input::new(black_box(&mut self.padded), self.frame_len);
        match self.reader.next(&mut input) {
            Ok(Some(Event::Text(payload) | Event::Binary(payload))) => {
                assert_eq!(black_box(payload).bytes().len(), self.payload_len);
            }
            other => panic!("the frame was not read: {other:?}"),
        }
    }
}
