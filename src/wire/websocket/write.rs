//! Writes a server's frames: never masked, never in fragments, appended to a buffer that only grows.

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::wire::Close;

/// Bytes kept free for a header whose length is not known yet: what payloads of 126 to 65535 bytes need,
/// so that only shorter ones, which are cheap to move, and very long ones are moved.
const RESERVED_HEADER_BYTES: usize = 4;
/// The longest header without a mask.
const HEADER_BYTES_MAX: usize = 10;
/// Bytes of a control frame's payload (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// Bytes of the code in a close frame.
const CLOSE_CODE_BYTES: usize = 2;

/// What a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// Where a frame began whose end is not written yet.
#[derive(Debug)]
#[must_use = "a frame that is begun must be ended"]
pub struct FrameStart {
    header: usize,
}

/// Begins a frame. Whatever is appended to `out` until [`end_frame`] is its payload.
pub fn begin_frame(out: &mut Vec<u8>) -> FrameStart {
    let header = out.len();
    out.extend_from_slice(&[0; RESERVED_HEADER_BYTES]);
    FrameStart { header }
}

/// Ends the frame: writes its header, and moves the payload if that is not as long as was reserved.
///
/// # Panics
/// If `out` was cut to before the frame's payload, or a control frame is over 125 bytes.
pub fn end_frame(out: &mut Vec<u8>, start: FrameStart, opcode: Opcode) {
    let payload = start.header + RESERVED_HEADER_BYTES;
    let payload_len = out.len().checked_sub(payload).expect("frames are ended in the buffer they began in");
    let (header, header_len) = format_header(opcode, payload_len);

    if header_len < RESERVED_HEADER_BYTES {
        out.copy_within(payload.., start.header + header_len);
        out.truncate(start.header + header_len + payload_len);
    } else if header_len > RESERVED_HEADER_BYTES {
        out.resize(start.header + header_len + payload_len, 0);
        out.copy_within(payload..payload + payload_len, start.header + header_len);
    }
    out[start.header..start.header + header_len].copy_from_slice(&header[..header_len]);
}

/// Appends the header of a frame whose payload, of so many bytes, the caller appends.
///
/// # Panics
/// If a control frame is over 125 bytes.
#[inline]
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, payload_len: usize) {
    let (header, header_len) = format_header(opcode, payload_len);
    out.extend_from_slice(&header[..header_len]);
}

/// Bytes of the header at the front of a frame that was written here.
pub fn header_len(frame: &[u8]) -> usize {
    match frame.get(1) {
        Some(127) => 10,
        Some(126) => 4,
        _ => 2,
    }
}

/// Appends a frame whose payload is at hand.
///
/// # Panics
/// If a control frame is over 125 bytes.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a frame around what `write` appends.
#[inline]
pub fn write_frame_with(out: &mut Vec<u8>, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) {
    let start = begin_frame(out);
    write(out);
    end_frame(out, start, opcode);
}

/// Appends the answer to a ping, whose payload it repeats.
pub fn write_pong(out: &mut Vec<u8>, ping: &[u8]) {
    write_frame(out, Opcode::Pong, ping);
}

/// Appends the close frame for `close`; nothing for [`Close::Gone`], which has no one to read it. `said`: a reason in other words.
pub fn write_close(out: &mut Vec<u8>, close: Close, said: Option<&str>) {
    if close == Close::Gone {
        return;
    }
    let start = begin_frame(out);
    if close != (Close::Echoed { code: None }) {
        out.extend_from_slice(&close.code().to_be_bytes());
    }
    let reason = out.len();
    match said {
        Some(said) => out.extend_from_slice(said.as_bytes()),
        None => close.write_reason(out),
    }
    // The code is what counts: a reason that does not fit is left out rather than cut inside a character.
    if out.len() - reason > CONTROL_BYTES_MAX - CLOSE_CODE_BYTES {
        out.truncate(reason);
    }
    end_frame(out, start, Opcode::Close);
}

/// The header and how much of the array it takes.
fn format_header(opcode: Opcode, payload_len: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let opcode = match opcode {
        Opcode::Text => OpCode::Data(Data::Text),
        Opcode::Binary => OpCode::Data(Data::Binary),
        Opcode::Close => OpCode::Control(Control::Close),
        Opcode::Ping => OpCode::Control(Control::Ping),
        Opcode::Pong => OpCode::Control(Control::Pong),
    };
    assert!(
        payload_len <= CONTROL_BYTES_MAX || matches!(opcode, OpCode::Data(_)),
        "control frames have at most 125 bytes"
    );
    let header = FrameHeader { is_final: true, opcode, ..FrameHeader::default() };
    let mut bytes = [0; HEADER_BYTES_MAX];
    let mut free = &mut bytes[..];
    header.format(payload_len as u64, &mut free).expect("ten bytes hold any header without a mask");
    let header_len = HEADER_BYTES_MAX - free.len();
    (bytes, header_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 section 5.2, word for word.
    fn frame_by_the_book(first: u8, payload: &[u8]) -> Vec<u8> {
        let len = payload.len();
        let mut frame = vec![first];
        match len {
            0..=125 => frame.push(len as u8),
            126..=65535 => {
                frame.push(126);
                frame.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn a_frame_of_any_length_is_written_alike_in_one_go_and_in_parts() {
        for len in [0, 1, 124, 125, 126, 127, 200, 65535, 65536, 65537, 100_000] {
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut expected = b"before".to_vec();
            expected.extend_from_slice(&frame_by_the_book(0x81, &payload));

            let mut at_once = b"before".to_vec();
            write_frame(&mut at_once, Opcode::Text, &payload);
            assert_eq!(at_once, expected, "{len} at once");
            assert_eq!(header_len(&expected["before".len()..]), expected.len() - "before".len() - len);

            let mut in_parts = b"before".to_vec();
            let start = begin_frame(&mut in_parts);
            for part in payload.chunks(1000) {
                in_parts.extend_from_slice(part);
            }
            end_frame(&mut in_parts, start, Opcode::Text);
            assert_eq!(in_parts, expected, "{len} in parts");
        }
    }

    #[test]
    fn frames_written_one_after_the_other_do_not_touch_each_other() {
        let mut out = Vec::new();
        for len in [3, 70_000, 0, 300] {
            let start = begin_frame(&mut out);
            out.resize(out.len() + len, b'x');
            end_frame(&mut out, start, Opcode::Binary);
        }
        let expected = [3, 70_000, 0, 300].map(|len| frame_by_the_book(0x82, &vec![b'x'; len])).concat();
        assert_eq!(out, expected);
    }

    #[test]
    fn a_close_carries_its_code_and_reason() {
        let mut out = Vec::new();
        write_close(&mut out, Close::TryAgainLater { retry_after_ms: 250 }, None);
        assert_eq!(out, frame_by_the_book(0x88, b"\x03\xF5retry_after_ms=250"));
    }

    #[test]
    fn a_peer_that_is_gone_is_sent_nothing() {
        let mut out = Vec::new();
        write_close(&mut out, Close::Gone, None);
        assert!(out.is_empty());
    }

    #[test]
    fn a_reason_that_does_not_fit_is_left_out_and_the_code_stays() {
        const MARKS: [u8; 124] = [b'!'; 124];
        const LONG: &str = match str::from_utf8(&MARKS) {
            Ok(marks) => marks,
            Err(_) => "",
        };
        let mut out = Vec::new();
        write_close(&mut out, Close::Policy(LONG), None);
        assert_eq!(out, frame_by_the_book(0x88, b"\x03\xF0"));
        out.clear();
        write_close(&mut out, Close::Policy(&LONG[..123]), None);
        assert_eq!(out.len(), 2 + 125);
    }

    #[test]
    fn a_peers_close_is_answered_with_its_code() {
        let mut out = Vec::new();
        write_close(&mut out, Close::Echoed { code: Some(4999) }, None);
        write_close(&mut out, Close::Echoed { code: None }, None);
        assert_eq!(out, [0x88, 2, 0x13, 0x87, 0x88, 0]);
    }

    #[test]
    fn a_pong_repeats_the_ping() {
        let mut out = Vec::new();
        write_pong(&mut out, b"\xFF\0");
        assert_eq!(out, [0x8A, 2, 0xFF, 0]);
    }
}
