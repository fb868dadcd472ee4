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
mod list;
mod presence;
mod stamps;

pub use answer::{
    Ack, ack, authenticated, client_error_noted, denied, digest, disconnected, error, error_about, expiring,
    pong, refusal, unsubscribed, welcome,
};
pub use channel::{channel_message, gap, history, joined, left, published};
pub use direct::{direct, direct_event};
pub use entry::{entry_counter, entry_gone, entry_lww, entry_or, separate_entries};
pub use feed::{change_end, change_start, entries_end, entries_start, snapshot_end, snapshot_start};
pub use hello::{Hello, Limits, hello};
pub use list::{
    entry_name, error_about_query, list_change_start, list_difference, list_resumed_end, list_start, ranked,
};
pub use presence::{member_updated, room_left, room_list, room_news, room_state};

use crate::crdt::Stamp;
use crate::wire::Ticket;
use crate::wire::json::write_string;
use crate::wire::websocket::{Opcode, write_frame_with};

/// Appends `,"id":…` for a request that had one.
#[inline]
fn write_id(out: &mut Vec<u8>, id: Option<&Ticket>) {
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id.as_bytes());
    }
}

/// Begins a message of this type about a map, a room, a channel or a user, which has that field.
fn begin_about(out: &mut Vec<u8>, kind: &str, id: Option<&Ticket>, (field, name): (&str, &str)) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    write_id(out, id);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(b"\":");
    write_string(out, name);
}

/// Appends a message that says nothing else.
fn write_about(out: &mut Vec<u8>, kind: &str, id: Option<&Ticket>, about: (&str, &str)) {
    begin_about(out, kind, id, about);
    out.push(b'}');
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
