//! Entries: the state of one key, as snapshots, changes and reads carry it.

use super::{separate, write_stamp};
use crate::crdt::Stamp;
use crate::wire::json::{write_integer, write_string};

/// Appends `{"key":…,"value":…,"at":…}`, with `"expires_at":…` behind it for a value that ends, or
/// `{"key":…,"deleted":true,"at":…}` for no value.
#[inline]
pub fn entry_lww(out: &mut Vec<u8>, key: &str, at: &Stamp, value: Option<&[u8]>, expires_ms: u64) {
    out.extend_from_slice(b"{\"key\":");
    write_string(out, key);
    match value {
        Some(value) => {
            out.extend_from_slice(b",\"value\":");
            out.extend_from_slice(value);
        }
        None => out.extend_from_slice(b",\"deleted\":true"),
    }
    out.extend_from_slice(b",\"at\":");
    write_stamp(out, at);
    if expires_ms != 0 {
        out.extend_from_slice(b",\"expires_at\":");
        write_integer(out, expires_ms);
    }
    out.push(b'}');
}

/// Appends `{"key":…,"values":[{"tag":…,"value":…,"at":…}],"removed":[…]}`; both lists may be empty.
pub fn entry_or<'a>(
    out: &mut Vec<u8>,
    key: &str,
    values: impl Iterator<Item = (&'a str, &'a [u8], Stamp)>,
    removed: impl Iterator<Item = &'a str>,
) {
    out.extend_from_slice(b"{\"key\":");
    write_string(out, key);
    out.extend_from_slice(b",\"values\":[");
    for (tag, value, at) in values {
        separate(out);
        out.extend_from_slice(b"{\"tag\":");
        write_string(out, tag);
        out.extend_from_slice(b",\"value\":");
        out.extend_from_slice(value);
        out.extend_from_slice(b",\"at\":");
        write_stamp(out, &at);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"removed\":[");
    for tag in removed {
        separate(out);
        write_string(out, tag);
    }
    out.extend_from_slice(b"]}");
}

/// Appends `{"key":…,"count":…}`.
#[inline]
pub fn entry_counter(out: &mut Vec<u8>, key: &str, count: impl itoa::Integer) {
    out.extend_from_slice(b"{\"key\":");
    write_string(out, key);
    out.extend_from_slice(b",\"count\":");
    write_integer(out, count);
    out.push(b'}');
}

/// Appends `{"key":…,"deleted":true}`.
pub fn entry_gone(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b"{\"key\":");
    write_string(out, key);
    out.extend_from_slice(b",\"deleted\":true}");
}

/// Appends the comma before an entry, unless it is the first of its message.
#[inline]
pub fn separate_entries(out: &mut Vec<u8>) {
    separate(out);
}
