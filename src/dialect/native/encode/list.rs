//! Messages about the list of a query: a `snapshot` or `change` that names the query, and entries with their ranks.

use super::answer::write_reject;
use super::feed::write_cursor;
use super::{begin_about, separate};
use crate::shard::ListStep;
use crate::wire::json::{write_integer, write_string};
use crate::wire::{Cursor, Reject, Ticket};

/// Appends a part of a `snapshot` up to its first entry.
pub fn list_start(out: &mut Vec<u8>, id: Option<&Ticket>, map: &str, query: &Ticket) {
    begin_about(out, "snapshot", id, ("map", map));
    write_query(out, query);
    out.extend_from_slice(b",\"map_type\":\"lww\",\"entries\":[");
}

/// Appends what a client that resumes has no more, and how many it has then, behind the last entry.
pub fn list_difference<'a>(out: &mut Vec<u8>, gone: impl Iterator<Item = &'a str>, count: usize) {
    out.extend_from_slice(b"],\"gone\":[");
    for key in gone {
        separate(out);
        write_string(out, key);
    }
    out.extend_from_slice(b"],\"count\":");
    write_integer(out, count);
}

/// Appends the rest of such a `snapshot`.
pub fn list_resumed_end(out: &mut Vec<u8>, cursor: Cursor) {
    out.extend_from_slice(b",\"more\":false,\"cursor\":");
    write_cursor(out, cursor);
    out.extend_from_slice(b",\"resumed\":true,\"reset\":false}");
}

/// Appends a `change` up to what all who have the query are told alike.
pub fn list_change_start(out: &mut Vec<u8>, map: &str, query: &Ticket) {
    begin_about(out, "change", None, ("map", map));
    write_query(out, query);
}

/// Appends an `error` that ends a query.
pub fn error_about_query(out: &mut Vec<u8>, map: &str, query: &Ticket, reject: Reject) {
    begin_about(out, "error", None, ("map", map));
    write_query(out, query);
    write_reject(out, reject);
    out.push(b'}');
}

/// Appends `{"key":…}`.
pub fn entry_name(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b"{\"key\":");
    write_string(out, key);
    out.push(b'}');
}

/// Puts what happens to it, and its rank, into the entry that was appended last.
pub fn ranked(out: &mut Vec<u8>, step: ListStep, rank: u32) {
    out.pop();
    let event: &[u8] = match step {
        ListStep::Stands => b"",
        ListStep::Enter => b",\"event\":\"enter\"",
        ListStep::Update => b",\"event\":\"update\"",
        ListStep::Leave => b",\"event\":\"leave\"",
    };
    out.extend_from_slice(event);
    out.extend_from_slice(b",\"rank\":");
    write_integer(out, rank);
    out.push(b'}');
}

fn write_query(out: &mut Vec<u8>, query: &Ticket) {
    out.extend_from_slice(b",\"query\":");
    out.extend_from_slice(query.as_bytes());
}
