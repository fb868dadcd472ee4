//! Frame headers: complete ones from the input, cut ones from a few octets of its own.
//!
//! A header is judged as soon as its last octet is here, whether or not its payload is.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::input::Input;
use crate::wire::Close;

/// The longest header a client sends: two octets, a 64-bit length and the masking key.
const HEADER_BYTES_MAX: usize = 14;
const _: () = assert!(HEADER_BYTES_MAX <= u8::MAX as usize);
/// Bytes of a control frame's payload (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// A header that is right by itself; whether it may come now is the reader's to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: FrameKind,
    pub(super) is_final: bool,
    pub(super) mask: [u8; 4],
    pub(super) payload_len: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// The first frame of a message.
    Message(MessageKind),
    /// A further frame of a message.
    Continuation,
    Control(ControlKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    Text,
    Binary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlKind {
    Close,
    Ping,
    Pong,
}

/// The front of a header whose end has not arrived.
#[derive(Debug, Default)]
pub(super) struct CutHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl CutHeader {
    /// Reads one header from the front of `input`; `None`, and all of it absorbed, until it is complete.
    ///
    /// # Errors
    /// [`Close::Protocol`] for whatever RFC 6455 sections 5.2 and 5.5 forbid in a client's header.
    pub(super) fn read(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, Close> {
        let had = usize::from(self.len);
        if had == 0
            && let Some((header, used)) = parse(input.remaining())?
        {
            input.advance(used);
            return Ok(Some(header));
        }
        let arrived = input.remaining();
        let added = arrived.len().min(HEADER_BYTES_MAX - had);
        self.bytes[had..had + added].copy_from_slice(&arrived[..added]);
        let Some((header, used)) = parse(&self.bytes[..had + added])? else {
            self.len = (had + added) as u8;
            input.advance_to_end();
            return Ok(None);
        };
        self.len = 0;
        input.advance(used - had);
        Ok(Some(header))
    }
}

/// Parses the header at the front of `bytes` and says how long it is.
fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Close> {
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Close::Protocol("reserved opcode"))?;
    let Some((header, payload_len)) = parsed else { return Ok(None) };
    let used = cursor.position() as usize;
    Ok(Some((check(&header, payload_len, used)?, used)))
}

fn check(header: &FrameHeader, payload_len: u64, header_len: usize) -> Result<Header, Close> {
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(Close::Protocol("reserved bit set, no extension was agreed on"));
    }
    let Some(mask) = header.mask else { return Err(Close::Protocol("client frame without a mask")) };
    if payload_len >> 63 != 0 {
        return Err(Close::Protocol("frame length with its top bit set"));
    }
    if header_len != header.len(payload_len) {
        return Err(Close::Protocol("frame length not in its shortest form"));
    }
    let kind = frame_kind(header.opcode)?;
    if matches!(kind, FrameKind::Control(_)) {
        if !header.is_final {
            return Err(Close::Protocol("control frame in fragments"));
        }
        if payload_len > CONTROL_BYTES_MAX {
            return Err(Close::Protocol("control frame over 125 bytes"));
        }
    }
    Ok(Header { kind, is_final: header.is_final, mask, payload_len })
}

fn frame_kind(opcode: OpCode) -> Result<FrameKind, Close> {
    Ok(match opcode {
        OpCode::Data(Data::Continue) => FrameKind::Continuation,
        OpCode::Data(Data::Text) => FrameKind::Message(MessageKind::Text),
        OpCode::Data(Data::Binary) => FrameKind::Message(MessageKind::Binary),
        OpCode::Control(Control::Close) => FrameKind::Control(ControlKind::Close),
        OpCode::Control(Control::Ping) => FrameKind::Control(ControlKind::Ping),
        OpCode::Control(Control::Pong) => FrameKind::Control(ControlKind::Pong),
        OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
            return Err(Close::Protocol("reserved opcode"));
        }
    })
}
