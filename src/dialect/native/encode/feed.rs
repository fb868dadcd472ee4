//! Messages around a list of entries: a start, the entries (`entry.rs`) separated by commas, an end.
//!
//! They are written in parts so that entries encoded once can be put into many frames.

use super::write_id;
use crate::crdt::MapType;
use crate::shard::SnapshotEnd;
use crate::wire::json::write_string;
use crate::wire::{Cursor, Ticket};

/// Appends a `change` up to its first entry.
#[inline]
pub fn change_start(out: &mut Vec<u8>, map: &str) {
    out.extend_from_slice(b"{\"type\":\"change\",\"map\":");
    write_string(out, map);
    out.extend_from_slice(b",\"entries\":[");
}

/// Appends the rest of a `change` after its last entry.
#[inline]
pub fn change_end(out: &mut Vec<u8>, cursor: Cursor) {
    out.extend_from_slice(b"],\"cursor\":");
    write_cursor(out, cursor);
    out.push(b'}');
}

/// Appends a chunk of a `snapshot` up to its first entry. A map that nobody has written to has no type.
pub fn snapshot_start(out: &mut Vec<u8>, id: Option<&Ticket>, map: &str, map_type: Option<MapType>) {
    out.extend_from_slice(b"{\"type\":\"snapshot\"");
    write_id(out, id);
    out.extend_from_slice(b",\"map\":");
    write_string(out, map);
    if let Some(map_type) = map_type {
        out.extend_from_slice(b",\"map_type\":\"");
        out.extend_from_slice(map_type.as_str().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"entries\":[");
}

/// Appends the rest of a `snapshot` after its last entry.
pub fn snapshot_end(out: &mut Vec<u8>, end: SnapshotEnd) {
    match end {
        SnapshotEnd::More => out.extend_from_slice(b"],\"more\":true}"),
        SnapshotEnd::Last { cursor, resumed, reset } => {
            out.extend_from_slice(b"],\"more\":false,\"cursor\":");
            write_cursor(out, cursor);
            out.extend_from_slice(if resumed { b",\"resumed\":true" } else { b",\"resumed\":false" });
            out.extend_from_slice(if reset { b",\"reset\":true}" } else { b",\"reset\":false}" });
        }
    }
}

/// Appends the answer to a `read` up to its first entry.
pub fn entries_start(out: &mut Vec<u8>, id: Option<&Ticket>, map: &str) {
    out.extend_from_slice(b"{\"type\":\"entries\"");
    write_id(out, id);
    out.extend_from_slice(b",\"map\":");
    write_string(out, map);
    out.extend_from_slice(b",\"entries\":[");
}

/// Appends the rest of the answer to a `read` after its last entry.
pub fn entries_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"]}");
}

#[inline]
pub(super) fn write_cursor(out: &mut Vec<u8>, cursor: Cursor) {
    out.push(b'"');
    cursor.write_to(out);
    out.push(b'"');
}
