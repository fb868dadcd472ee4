//! WebSocket frames from the client's side, written from RFC 6455 and sharing no code with the server.

use crate::random::Random;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Appends one masked frame.
pub fn write_frame(out: &mut Vec<u8>, random: &mut Random, is_final: bool, opcode: u8, payload: &[u8]) {
    out.push(opcode | if is_final { 0x80 } else { 0 });
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=65535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let mask = (random.next() as u32).to_ne_bytes();
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
}

/// Takes one whole frame off the front of `input`: its opcode and payload. A server's frames are never
/// masked, never fragmented.
pub fn take_frame(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&first, &second) = (input.first()?, input.get(1)?);
    assert!(first & 0xF0 == 0x80, "a server frame with the first byte {first:#x}");
    assert!(second & 0x80 == 0, "a masked server frame");
    let (len, start) = match second {
        126 => (usize::from(u16::from_be_bytes(input.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(input.get(2..10)?.try_into().ok()?) as usize, 10),
        len => (usize::from(len), 2),
    };
    if input.len() < start + len {
        return None;
    }
    let payload = input[start..start + len].to_vec();
    input.drain(..start + len);
    Some((first & 0x0F, payload))
}
