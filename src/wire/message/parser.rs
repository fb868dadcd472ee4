//! Bytes to a tape, in place, with buffers that are kept from message to message.

use std::mem;

use simd_json::{Buffers, Node, Tape, fill_tape_padded};

use super::request::{self, Request};
use crate::limits::{JSON_DEPTH_MAX, PARSE_RETAINED_BYTES_MAX};
use crate::wire::json::{Members, Scratch};
use crate::wire::{Payload, Reject, RequestId};

/// One per shard. In the steady state it allocates nothing, provided each message is given back to
/// [`Parser::recycle`] before the next is parsed.
pub struct Parser {
    buffers: Buffers,
    /// Empty between messages: only its room is kept.
    tape: Tape<'static>,
    scratch: Scratch,
}

impl Parser {
    pub fn new() -> Self {
        Self { buffers: new_buffers(), tape: Tape(Vec::new()), scratch: Scratch::default() }
    }

    /// Parses one message in its own bytes: strings with escapes are rewritten where they stand.
    ///
    /// # Errors
    /// [`Reject::BadJson`] if the payload is not one JSON object in UTF-8 (RFC 8259), nests deeper than
    /// [`JSON_DEPTH_MAX`], or has a number beyond the range of a double or half a surrogate pair.
    pub fn parse<'a>(&mut self, payload: Payload<'a>) -> Result<Message<'a>, Reject> {
        let (padded, len) = payload.into_padded();
        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let filled = fill_tape_padded(padded, len, &mut self.buffers, &mut tape);
        if len > PARSE_RETAINED_BYTES_MAX {
            self.buffers = new_buffers();
        }
        let message = Message { tape, scratch: mem::take(&mut self.scratch) };
        if filled.is_ok() && matches!(message.tape.0.first(), Some(Node::Object { .. })) {
            Ok(message)
        } else {
            self.recycle(message);
            Err(Reject::BadJson)
        }
    }

    /// Takes a message's buffers back for the next one.
    pub fn recycle(&mut self, message: Message<'_>) {
        // Each structural character of a message makes at most one node, and each node at most one entry.
        if message.tape.0.capacity() <= PARSE_RETAINED_BYTES_MAX {
            self.tape = message.tape.reset();
        }
        if message.scratch.capacity() <= PARSE_RETAINED_BYTES_MAX {
            self.scratch = message.scratch;
        }
    }
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

fn new_buffers() -> Buffers {
    Buffers::with_max_depth(PARSE_RETAINED_BYTES_MAX, JSON_DEPTH_MAX)
}

/// One JSON object that a client sent.
#[derive(Debug)]
pub struct Message<'a> {
    /// Begins with an object.
    tape: Tape<'a>,
    scratch: Scratch,
}

impl Message<'_> {
    /// The `id` that the answer carries; `None` if there is none or it is none (then
    /// [`Message::request`] says so).
    pub fn id(&self) -> Option<RequestId<'_>> {
        let members = Members::of(&self.tape.0)?;
        let (_, id) = members.filter(|(name, _)| *name == "id").last()?;
        RequestId::of(id.first()?).ok()
    }

    /// What the message asks for.
    ///
    /// # Errors
    /// [`Reject::UnknownType`]; [`Reject::BadRequest`] for a field that is missing or of the wrong type;
    /// [`Reject::KeyInvalid`], [`Reject::ValueInvalid`] and [`Reject::TooLarge`] for one that breaks its
    /// rule. An operation of a `write` is judged on its own, by [`super::Ops`].
    pub fn request(&self) -> Result<Request<'_>, Reject> {
        request::decode(&self.tape.0, &self.scratch)
    }
}
