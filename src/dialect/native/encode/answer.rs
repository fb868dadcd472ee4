//! Answers without entries: `ack`, `pong`, `digest`, `unsubscribed` and `error`.

use super::stamps::Stamps;
use super::{begin_about, write_about, write_id, write_stamp};
use crate::auth::Identity;
use crate::crdt::Stamp;
use crate::shard::AckLevel;
use crate::wire::json::{write_integer, write_string};
use crate::wire::write_hex;
use crate::wire::{Reject, Ticket};

/// What became of a `write` as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// What was reached, which on a timeout is less than what was asked for.
    pub level: AckLevel,
    /// Operations that were not rejected.
    pub applied: usize,
    pub timeout: bool,
}

/// Appends an `ack`. `stamps` has one item per operation, `None` for a rejected one; `rejected` names the
/// rejected ones by their index.
pub fn ack(
    out: &mut Vec<u8>,
    id: Option<&Ticket>,
    ack: Ack,
    stamps: impl Iterator<Item = Option<Stamp>>,
    rejected: impl Iterator<Item = (usize, Reject)>,
) {
    out.extend_from_slice(b"{\"type\":\"ack\"");
    write_id(out, id);
    out.extend_from_slice(b",\"level\":\"");
    out.extend_from_slice(ack.level.as_str().as_bytes());
    out.extend_from_slice(b"\",\"applied\":");
    write_integer(out, ack.applied);
    out.extend_from_slice(b",\"stamps\":[");
    let (start, mut texts) = (out.len(), Stamps::default());
    for stamp in stamps {
        // By reference, as the compiler would copy it once more.
        match &stamp {
            Some(stamp) => texts.write(out, stamp),
            None => out.extend_from_slice(b"null,"),
        }
    }
    if out.len() > start {
        out.pop();
    }
    out.push(b']');
    write_rejected(out, rejected);
    if ack.timeout {
        out.extend_from_slice(b",\"timeout\":true");
    }
    out.push(b'}');
}

/// Appends `,"rejected":[…]`, or nothing if nothing was.
fn write_rejected(out: &mut Vec<u8>, rejected: impl Iterator<Item = (usize, Reject)>) {
    let start = out.len();
    for (index, reject) in rejected {
        out.extend_from_slice(if out.len() == start { b",\"rejected\":[" } else { b"," });
        out.extend_from_slice(b"{\"index\":");
        write_integer(out, index);
        write_reject(out, reject);
        out.push(b'}');
    }
    if out.len() > start {
        out.push(b']');
    }
}

/// Appends a `pong`.
pub fn pong(out: &mut Vec<u8>, id: Option<&Ticket>, time: &Stamp) {
    out.extend_from_slice(b"{\"type\":\"pong\"");
    write_id(out, id);
    out.extend_from_slice(b",\"time\":");
    write_stamp(out, time);
    out.push(b'}');
}

/// Appends the answer to a `digest`: `entries` live keys, and the hash of all cells.
pub fn digest(out: &mut Vec<u8>, id: Option<&Ticket>, map: &str, entries: u64, hash: u64) {
    out.extend_from_slice(b"{\"type\":\"digest\"");
    write_id(out, id);
    out.extend_from_slice(b",\"map\":");
    write_string(out, map);
    out.extend_from_slice(b",\"entries\":");
    write_integer(out, entries);
    out.extend_from_slice(b",\"hash\":\"");
    write_hex(out, hash);
    out.extend_from_slice(b"\"}");
}

/// Appends the answer to an `unsubscribe`.
pub fn unsubscribed(out: &mut Vec<u8>, id: Option<&Ticket>, map: &str) {
    write_about(out, "unsubscribed", id, ("map", map));
}

/// Appends an `error`, the answer to a request that was refused as a whole.
pub fn error(out: &mut Vec<u8>, id: Option<&Ticket>, reject: Reject) {
    out.extend_from_slice(b"{\"type\":\"error\"");
    write_id(out, id);
    write_reject(out, reject);
    out.push(b'}');
}

/// Appends an `error` where the application does not want something, in its words if it has any.
pub fn denied(out: &mut Vec<u8>, id: Option<&Ticket>, reason: Option<&str>) {
    let Some(reason) = reason else { return error(out, id, Reject::Denied) };
    out.extend_from_slice(b"{\"type\":\"error\"");
    write_id(out, id);
    out.extend_from_slice(b",\"code\":");
    write_string(out, Reject::Denied.code());
    out.extend_from_slice(b",\"message\":");
    write_string(out, reason);
    out.push(b'}');
}

/// Appends an `error` about a map, a room or a channel, which no request has asked for.
pub fn error_about(out: &mut Vec<u8>, about: (&str, &str), reject: Reject) {
    begin_about(out, "error", None, about);
    write_reject(out, reject);
    out.push(b'}');
}

/// Appends an `authenticated`.
pub fn authenticated(out: &mut Vec<u8>, id: Option<&Ticket>, identity: &Identity) {
    out.extend_from_slice(b"{\"type\":\"authenticated\"");
    write_id(out, id);
    out.extend_from_slice(b",\"user\":");
    write_string(out, &identity.user);
    out.extend_from_slice(b",\"roles\":[");
    for (place, role) in identity.roles.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_string(out, role);
    }
    out.extend_from_slice(b"],\"expires_at\":");
    match identity.expires_ms {
        Some(expires_ms) => write_integer(out, expires_ms),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

/// Appends a `welcome`, whose `data` is JSON.
pub fn welcome(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(b"{\"type\":\"welcome\",\"data\":");
    out.extend_from_slice(data);
    out.push(b'}');
}

/// Appends the answer to a `disconnect`.
pub fn disconnected(out: &mut Vec<u8>, id: Option<&Ticket>, connections: u32) {
    out.extend_from_slice(b"{\"type\":\"disconnected\"");
    write_id(out, id);
    out.extend_from_slice(b",\"connections\":");
    write_integer(out, connections);
    out.push(b'}');
}

/// Appends the answer to a `client_error`.
pub fn client_error_noted(out: &mut Vec<u8>, id: Option<&Ticket>) {
    out.extend_from_slice(b"{\"type\":\"client_error.noted\"");
    write_id(out, id);
    out.push(b'}');
}

/// Appends an `auth.expiring`.
pub fn expiring(out: &mut Vec<u8>, expires_ms: u64) {
    out.extend_from_slice(b"{\"type\":\"auth.expiring\",\"expires_at\":");
    write_integer(out, expires_ms);
    out.push(b'}');
}

/// Appends an `error` in words of its own.
pub fn refusal(out: &mut Vec<u8>, id: Option<&Ticket>, code: &str, message: &str) {
    out.extend_from_slice(b"{\"type\":\"error\"");
    write_id(out, id);
    write_reason(out, code, message);
    out.push(b'}');
}

/// Appends `,"code":…,"message":…`.
fn write_reason(out: &mut Vec<u8>, code: &str, message: &str) {
    out.extend_from_slice(b",\"code\":");
    write_string(out, code);
    out.extend_from_slice(b",\"message\":");
    write_string(out, message);
}

/// Appends `,"code":…,"message":…`, and `,"retry_after_ms":…` where trying again makes sense.
pub(super) fn write_reject(out: &mut Vec<u8>, reject: Reject) {
    write_reason(out, reject.code(), reject.message());
    if let Some(byte) = reject.byte() {
        out.pop();
        out.extend_from_slice(b", at byte ");
        write_integer(out, byte);
        out.push(b'"');
    }
    if let Some(retry_after_ms) = reject.retry_after_ms() {
        out.extend_from_slice(b",\"retry_after_ms\":");
        write_integer(out, retry_after_ms);
    }
}
