//! WebSocket frames as a client sends and reads them (RFC 6455 section 5). No sockets.

use crate::failure::Failure;

/// Bytes of the largest frame we take: far above every limit of the server, so a bigger one is a broken stream.
const FRAME_BYTES_MAX: u64 = 64 << 20;
/// The longest header of a frame that is not masked.
const HEADER_BYTES_MAX: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// One frame as it lies in what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: Kind,
    pub payload: &'a [u8],
    /// Bytes of the whole frame, header included.
    pub bytes: usize,
}

/// Appends one whole frame, masked with `mask` as a client must (section 5.3).
pub fn encode(out: &mut Vec<u8>, kind: Kind, mask: [u8; 4], payload: &[u8]) {
    let opcode = match kind {
        Kind::Text => 1,
        Kind::Binary => 2,
        Kind::Close => 8,
        Kind::Ping => 9,
        Kind::Pong => 10,
    };
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], mask);
}

/// Bytes of the frame around a payload of `payload_bytes`, as a client sends it.
pub fn encoded_bytes(payload_bytes: usize) -> usize {
    let length = match payload_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    length + 4 + payload_bytes
}

/// Bytes of the frame around a payload of `payload_bytes`, as a server sends it.
pub fn received_bytes(payload_bytes: usize) -> usize {
    encoded_bytes(payload_bytes) - 4
}

/// Reads the frame at the front of `bytes`; `None` until it is complete.
///
/// # Errors
/// [`Failure::Wrong`] for what a server must not send: masks, reserved bits, fragments, other opcodes.
pub fn decode(bytes: &[u8]) -> Result<Option<Frame<'_>>, Failure> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let kind = match first {
        0x81 => Kind::Text,
        0x82 => Kind::Binary,
        0x88 => Kind::Close,
        0x89 => Kind::Ping,
        0x8a => Kind::Pong,
        _ => return Err(Failure::Wrong(format!("a frame that starts with {first:#04x}"))),
    };
    let (header, len) = match second {
        0..=125 => (2, u64::from(*second)),
        126 => match rest.first_chunk() {
            Some(len) => (4, u64::from(u16::from_be_bytes(*len))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(len) => (HEADER_BYTES_MAX, u64::from_be_bytes(*len)),
            None => return Ok(None),
        },
        _ => return Err(Failure::Wrong("a masked frame".to_owned())),
    };
    if len > FRAME_BYTES_MAX {
        return Err(Failure::Wrong(format!("a frame of {len} bytes")));
    }
    let end = header + len as usize;
    Ok(bytes.get(header..end).map(|payload| Frame { kind, payload, bytes: end }))
}

fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_frame_has_the_announced_size_and_unmasks_to_its_payload() {
        for len in [0, 1, 7, 8, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut out = Vec::new();
            encode(&mut out, Kind::Text, [1, 2, 3, 4], &payload);
            assert_eq!(out.len(), encoded_bytes(len));
            let start = out.len() - len;
            apply_mask(&mut out[start..], [1, 2, 3, 4]);
            assert_eq!(&out[start..], payload);
        }
    }

    #[test]
    fn incomplete_frame_is_not_read_whatever_its_length() {
        for len in [0_usize, 3, 200, 70_000] {
            let mut bytes = vec![0x81];
            match len {
                0..=125 => bytes.push(len as u8),
                126..=0xffff => bytes.extend([126].into_iter().chain((len as u16).to_be_bytes())),
                _ => bytes.extend([127].into_iter().chain((len as u64).to_be_bytes())),
            }
            bytes.resize(bytes.len() + len, b'x');
            for cut in [0, 1, 2, 3, 9, bytes.len() - 1] {
                if cut < bytes.len() {
                    assert_eq!(decode(&bytes[..cut]).unwrap(), None, "{cut} of {len}");
                }
            }
            assert_eq!(
                decode(&bytes).unwrap().map(|frame| (frame.payload.len(), frame.bytes)),
                Some((len, bytes.len()))
            );
        }
    }

    #[test]
    fn frame_a_server_must_not_send_is_wrong() {
        for bytes in [[0x01, 0], [0x83, 0], [0xc1, 0], [0x81, 0x80]] {
            assert!(decode(&bytes).is_err(), "{bytes:?}");
        }
    }
}
