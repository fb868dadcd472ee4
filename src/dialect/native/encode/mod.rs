//! What the server says: the answers and events of protocol v1, appended to a buffer as JSON; [`text_frame`] puts a frame around it.
//!
//! Each function writes straight through: no intermediate value, no format string, no allocation beyond the
//! buffer's own growth. Invariant: the caller's parts (values, entries) are canonical JSON already; all text
//! is escaped here; stamps need none, as node names have no such characters ([`crate::crdt::Node::new`]).

mod answer;
mod channel;
mod direct;
mod entry;
mod feed;
mod hello;
mod presence;
mod stamps;

pub use answer::{
    Ack, ack, authenticated, digest, disconnected, error, expiring, map_error, pong, refusal, unsubscribed,
    welcome,
};
pub use channel::{channel_error, channel_message, gap, history, joined, left, published};
pub use direct::{direct, direct_event};
pub use entry::{entry_counter, entry_gone, entry_lww, entry_or, separate_entries};
pub use feed::{change_end, change_start, entries_end, entries_start, snapshot_end, snapshot_start};
pub use hello::{Hello, Limits, hello};

pub use presence::{member_updated, room_error, room_left, room_list, room_news, room_state};

use answer::write_reject;

use crate::crdt::Stamp;
use crate::wire::Ticket;
use crate::wire::websocket::{Opcode, write_frame_with};

/// Appends `,"id":…` for a request that had one.
#[inline]
fn write_id(out: &mut Vec<u8>, id: Option<&Ticket>) {
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id.as_bytes());
    }
}

/// Appends a stamp's text with its quotes.
#[inline]
fn write_stamp(out: &mut Vec<u8>, stamp: &Stamp) {
    out.push(b'"');
    stamp.write_to(out);
    out.push(b'"');
}

/// Appends a comma, unless a list has just been opened: no element ends with a bracket that opens one.
#[inline]
fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'[') {
        out.push(b',');
    }
}

/// Appends a text frame around what `write` appends.
pub fn text_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    write_frame_with(out, Opcode::Text, write);
}
