//! Reads one connection's frames: bytes in, events out.
//!
//! Invariants: the events do not depend on how the bytes were split, and what breaks RFC 6455 is refused at
//! the first octet that shows it. A frame that arrived whole is handed out where it lies; only one that did
//! not is copied, once.

use super::assembly::Assembly;
use super::close_frame::parse_close;
use super::header::{ControlKind, CutHeader, FrameKind, Header, MessageKind};
use super::input::{Input, Taken};
use super::mask::unmask;
use super::utf8::{Utf8, is_utf8};
use crate::wire::{Close, Payload};

const NOT_UTF8: Close = Close::InvalidData("text is not UTF-8");

/// Something the peer said. Bytes are unmasked, and last until the next call.
#[derive(Debug)]
pub enum Event<'a> {
    /// A whole message, checked to be UTF-8.
    Text(Payload<'a>),
    Binary(Payload<'a>),
    /// To be answered with a pong of the same bytes.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The peer is done; nothing follows. To be answered with the same code.
    Close {
        code: Option<u16>,
    },
    /// So many frames in a row were parts of a message that goes on: whoever bounds what a peer may cost counts them.
    Fragments(u32),
}

/// Frames that are parts of a message, after which the reader says so: a few microseconds.
const FRAGMENTS_MAX: u32 = 256;

/// The reading half of one connection. Owns no memory while nothing is in pieces.
#[derive(Debug)]
pub struct Reader {
    message_bytes_max: usize,
    header: CutHeader,
    stage: Stage,
    /// The message of which a frame has come but not the last.
    open: Option<MessageKind>,
    utf8: Utf8,
    assembly: Assembly,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Header,
    Payload(Frame),
    /// A close frame or an error has been reported; whatever follows is dropped.
    Over,
}

/// A frame whose header was accepted, and how much of its payload is still to come.
#[derive(Clone, Copy, Debug)]
struct Frame {
    role: Role,
    is_final: bool,
    /// Turned so that its first octet belongs to the next octet of payload.
    mask: [u8; 4],
    remaining: usize,
}

/// What a payload belongs to.
#[derive(Clone, Copy, Debug)]
enum Role {
    Message(MessageKind),
    Control(ControlKind),
}

/// Something complete, and where its payload lies.
#[derive(Clone, Copy, Debug)]
enum Found {
    Text(Place),
    Binary(Place),
    Ping(Place),
    Pong(Place),
    Close { code: Option<u16> },
    Fragments(u32),
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Input(Taken),
    Assembly,
}

impl Reader {
    /// A reader that refuses messages over `message_bytes_max` bytes, in one frame or in many.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            header: CutHeader::default(),
            stage: Stage::Header,
            open: None,
            utf8: Utf8::default(),
            assembly: Assembly::default(),
        }
    }

    /// The next event of `input`. On `None` all of it has been absorbed, and after a [`Event::Close`] or an
    /// error that is all there ever is.
    ///
    /// # Errors
    /// The [`Close`] to send to the peer: [`Close::Protocol`], [`Close::InvalidData`] or [`Close::TooBig`].
    pub fn next<'a>(&'a mut self, input: &'a mut Input<'_>) -> Result<Option<Event<'a>>, Close> {
        match self.find(input) {
            Ok(None) => Ok(None),
            Ok(Some(found)) => Ok(Some(self.hand_out(found, input))),
            Err(close) => {
                self.finish();
                Err(close)
            }
        }
    }

    /// Bytes of memory held beyond the reader itself; 0 while nothing is in pieces.
    pub const fn memory_bytes(&self) -> usize {
        self.assembly.memory_bytes()
    }

    /// Reads on until something is complete or the input is absorbed.
    fn find(&mut self, input: &mut Input<'_>) -> Result<Option<Found>, Close> {
        if !matches!(self.stage, Stage::Payload(Frame { role: Role::Control(_), .. })) {
            self.assembly.forget_handed_out();
        }
        let mut fragments = 0;
        loop {
            let frame = match self.stage {
                Stage::Payload(frame) => frame,
                Stage::Header => match self.header.read(input)? {
                    Some(header) => self.accept(header)?,
                    None => break,
                },
                Stage::Over => {
                    input.advance_to_end();
                    break;
                }
            };
            self.stage = Stage::Payload(frame);
            let found = match frame.role {
                Role::Message(kind) => self.read_message(frame, kind, input)?,
                Role::Control(kind) => self.read_control(frame, kind, input)?,
            };
            if found.is_some() {
                return Ok(found);
            }
            if matches!(self.stage, Stage::Payload(_)) {
                break;
            }
            fragments += 1;
            if fragments == FRAGMENTS_MAX {
                return Ok(Some(Found::Fragments(fragments)));
            }
        }
        self.assembly.release_if_empty();
        Ok(None)
    }

    /// Whether a frame with this header may come now.
    fn accept(&mut self, header: Header) -> Result<Frame, Close> {
        let role = match header.kind {
            FrameKind::Control(kind) => Role::Control(kind),
            FrameKind::Message(_) if self.open.is_some() => {
                return Err(Close::Protocol("a message began inside another"));
            }
            FrameKind::Message(kind) => Role::Message(kind),
            FrameKind::Continuation => match self.open {
                Some(kind) => Role::Message(kind),
                None => return Err(Close::Protocol("continuation of no message")),
            },
        };
        if let Role::Message(kind) = role {
            let room = self.message_bytes_max.saturating_sub(self.assembly.message_len());
            if header.payload_len > room as u64 {
                return Err(Close::TooBig);
            }
            self.open = Some(kind);
        }
        let remaining = header.payload_len as usize;
        Ok(Frame { role, is_final: header.is_final, mask: header.mask, remaining })
    }

    fn read_message(
        &mut self,
        frame: Frame,
        kind: MessageKind,
        input: &mut Input<'_>,
    ) -> Result<Option<Found>, Close> {
        let is_text = kind == MessageKind::Text;
        let is_whole = frame.remaining <= input.remaining().len();

        let place = if frame.is_final && is_whole && self.assembly.message_len() == 0 {
            let taken = input.take(frame.remaining);
            let bytes = input.bytes_mut(taken);
            unmask(bytes, frame.mask, 0);
            if is_text && !is_utf8(bytes) {
                return Err(NOT_UTF8);
            }
            Place::Input(taken)
        } else {
            let (bytes, frame) = take_payload(frame, input);
            if is_text {
                self.utf8.push(bytes).map_err(|_| NOT_UTF8)?;
            }
            let announced_bytes = if frame.is_final {
                frame.remaining
            } else {
                self.message_bytes_max - self.assembly.message_len() - bytes.len()
            };
            self.assembly.extend_message(bytes, announced_bytes);
            self.stage = if is_whole { Stage::Header } else { Stage::Payload(frame) };
            if !(frame.is_final && is_whole) {
                return Ok(None);
            }
            if !self.utf8.is_complete() {
                return Err(NOT_UTF8);
            }
            Place::Assembly
        };
        self.stage = Stage::Header;
        self.open = None;
        Ok(Some(if is_text { Found::Text(place) } else { Found::Binary(place) }))
    }

    fn read_control(
        &mut self,
        frame: Frame,
        kind: ControlKind,
        input: &mut Input<'_>,
    ) -> Result<Option<Found>, Close> {
        let is_whole = frame.remaining <= input.remaining().len();
        let place = if is_whole && self.assembly.control_len() == 0 {
            let taken = input.take(frame.remaining);
            unmask(input.bytes_mut(taken), frame.mask, 0);
            Place::Input(taken)
        } else {
            let (bytes, frame) = take_payload(frame, input);
            self.assembly.extend_control(bytes, frame.remaining);
            if !is_whole {
                self.stage = Stage::Payload(frame);
                return Ok(None);
            }
            Place::Assembly
        };
        self.stage = Stage::Header;
        Ok(Some(match kind {
            ControlKind::Ping => Found::Ping(place),
            ControlKind::Pong => Found::Pong(place),
            ControlKind::Close => {
                let code = parse_close(self.control_payload(place, input))?;
                self.finish();
                Found::Close { code }
            }
        }))
    }

    fn hand_out<'a>(&'a mut self, found: Found, input: &'a mut Input<'_>) -> Event<'a> {
        match found {
            Found::Text(place) => Event::Text(self.message_payload(place, input)),
            Found::Binary(place) => Event::Binary(self.message_payload(place, input)),
            Found::Ping(place) => Event::Ping(self.control_payload(place, input)),
            Found::Pong(place) => Event::Pong(self.control_payload(place, input)),
            Found::Close { code } => Event::Close { code },
            Found::Fragments(count) => Event::Fragments(count),
        }
    }

    fn message_payload<'a>(&'a mut self, place: Place, input: &'a mut Input<'_>) -> Payload<'a> {
        match place {
            Place::Input(taken) => input.payload(taken),
            Place::Assembly => self.assembly.hand_out_message(),
        }
    }

    fn control_payload<'a>(&'a self, place: Place, input: &'a mut Input<'_>) -> &'a [u8] {
        match place {
            Place::Input(taken) => input.bytes_mut(taken),
            Place::Assembly => self.assembly.hand_out_control(),
        }
    }

    fn finish(&mut self) {
        self.stage = Stage::Over;
        self.assembly.discard();
    }
}

/// Takes what has arrived of a frame's payload, unmasked, and says what is left of the frame.
fn take_payload<'a>(frame: Frame, input: &'a mut Input<'_>) -> (&'a [u8], Frame) {
    let taken = input.take(frame.remaining.min(input.remaining().len()));
    let bytes = input.bytes_mut(taken);
    unmask(bytes, frame.mask, 0);
    let mut rest = frame;
    rest.remaining -= bytes.len();
    rest.mask.rotate_left(bytes.len() % 4);
    (bytes, rest)
}

const _: () = assert!(size_of::<Reader>() <= 120, "an idle connection must stay small");
