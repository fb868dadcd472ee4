//! WebSocket frames from the client's side, for tests that drive shards without sockets.

/// A text frame.
pub fn text_frame(text: &[u8]) -> Vec<u8> {
    frame(0x81, text)
}

/// A frame that begins with `first`, with the mask zero, which is a mask like any other.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The payload of the text frame at the front of `input`; other frames are skipped.
pub fn take_text(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        let (first, payload) = take_frame(input)?;
        if first == 0x81 {
            return Some(payload);
        }
    }
}

/// The first byte and the payload of the frame at the front of `input`.
pub fn take_frame(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&first, &second) = (input.first()?, input.get(1)?);
    let (len, start) = match second {
        126 => (usize::from(u16::from_be_bytes([input[2], input[3]])), 4),
        127 => (u64::from_be_bytes(input[2..10].try_into().ok()?) as usize, 10),
        len => (usize::from(len), 2),
    };
    let payload = input[start..start + len].to_vec();
    input.drain(..start + len);
    Some((first, payload))
}
