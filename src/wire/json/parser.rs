//! Bytes to a tape, in place, with buffers that are kept from message to message.

use std::mem;

use simd_json::{Buffers, Node, Tape, fill_tape_padded};

use super::{Members, Refused, Scratch};
use crate::limits::{JSON_DEPTH_MAX, PARSE_RETAINED_BYTES_MAX};
use crate::wire::Payload;

/// One per shard. In the steady state it allocates nothing, provided each object is given back to
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
    /// [`Refused`] if the payload is not one JSON object in UTF-8 (RFC 8259), nests deeper than [`JSON_DEPTH_MAX`], or has
    /// a number beyond the range of a double or half a surrogate pair; it tells which.
    pub fn parse<'a>(&mut self, payload: Payload<'a>) -> Result<Object<'a>, Refused> {
        let (padded, len) = payload.into_padded();
        let base = padded.as_ptr().addr();
        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let filled = fill_tape_padded(padded, len, &mut self.buffers, &mut tape);
        let object = Object { tape, scratch: mem::take(&mut self.scratch) };
        let is_object = filled.is_ok() && matches!(object.tape.0.first(), Some(Node::Object { .. }));
        let result = if is_object { Ok(object) } else { Err(self.refuse(base, len, object)) };
        if len > PARSE_RETAINED_BYTES_MAX {
            self.buffers = new_buffers();
        }
        result
    }

    #[cold]
    fn refuse(&mut self, base: usize, len: usize, object: Object<'_>) -> Refused {
        let refused = Refused::new(base, &object.tape, self.buffers.structural_indexes(), len);
        self.recycle(object);
        refused
    }

    /// Takes an object's buffers back for the next one.
    pub fn recycle(&mut self, object: Object<'_>) {
        // Each structural character of a message makes at most one node, and each node at most one entry.
        if object.tape.0.capacity() <= PARSE_RETAINED_BYTES_MAX {
            self.tape = object.tape.reset();
        }
        if object.scratch.capacity() <= PARSE_RETAINED_BYTES_MAX {
            self.scratch = object.scratch;
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
pub struct Object<'a> {
    /// Begins with an object.
    tape: Tape<'a>,
    scratch: Scratch,
}

impl Object<'_> {
    /// The object as a value: its own node first.
    pub fn nodes(&self) -> &[Node<'_>] {
        &self.tape.0
    }

    /// Its members, in the order they were sent, duplicates included.
    pub fn members(&self) -> Members<'_> {
        Members::of(&self.tape.0).expect("the parser lets nothing else through")
    }

    /// What canonical forms of its values are made with.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }
}
