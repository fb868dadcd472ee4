//! Texts: each client sends the whole state of its replica, which only clients can merge. The server keeps the latest of
//! every client and gives all of them to whoever comes, so that no text written at the same time is lost.

use super::frame::Fields;
use super::message;
use crate::crdt::Time;
use crate::limits::PARSE_PADDING_BYTES;
use crate::wire::Payload;
use crate::wire::json::{Parser, write_string};

/// Appends `textState` and `textClock` of the newest operation, which was stored as canonical JSON.
pub fn write_state(fields: &mut Fields<'_>, operation: &[u8], time: Time) {
    let mut padded = operation.to_vec();
    padded.resize(operation.len() + PARSE_PADDING_BYTES, 0);
    let Ok(object) = Parser::new().parse(Payload::new(&mut padded, operation.len())) else { return };
    let Some(operation) = message::Fields::of(object.nodes(), object.scratch()) else { return };
    if let Some(state) = operation.state.and_then(message::text) {
        write_string(fields.begin("textState"), state);
        match operation.clock {
            Some(clock) => operation.json(clock).write_canonical(fields.begin("textClock")),
            None => super::frame::write_clock(fields.begin("textClock"), time, None),
        }
    }
}
