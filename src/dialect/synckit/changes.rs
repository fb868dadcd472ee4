//! Changes of a document on their way to its subscribers: one `delta` a field, one `delta_batch` for what else there is.

use super::frame::{ClockName, Code, Fields, Framing, MessageId, write_clock, write_message};
use super::keys::Key;
use super::text;
use crate::crdt::{Stamp, Time};
use crate::limits::SHARED_BYTES_MIN;
use crate::mesh::{Entry, EntryState};
use crate::shard::{Frames, Hole, Personal};
use crate::wire::json::write_string;
use crate::wire::websocket::header_len;

/// What stands for a field that was deleted.
pub const DELETED: &[u8] = br#"{"__deleted":true}"#;

/// Changes of a delivery in whose clocks every reader is named; of more only the newest names it. What counts is the largest
/// number that a client has under its name, and many changes are dear to copy for each.
const NAMED_MAX: usize = 16;

/// Writes changes of one document in one way.
pub struct Changes<'a> {
    pub framing: Framing,
    pub document: &'a str,
    /// The name of the client, where one alone reads it.
    pub client: Option<&'a ClockName>,
}

impl Changes<'_> {
    /// Appends what tells of `entries`. Those that are no last-writer-wins values are not for this dialect.
    pub fn write<'e>(&self, out: &mut Vec<u8>, entries: impl Iterator<Item = Entry<'e>>) {
        self.write_each(out, entries, |_, _| {});
    }

    /// The same for many, each of whom may be named in the clocks: see [`personalize`].
    pub fn write_for_all<'e>(&self, out: &mut Frames, entries: impl Iterator<Item = Entry<'e>>) {
        let (mut newest, mut newest_time) = (0, Time::ZERO);
        let holes = &mut out.holes;
        self.write_each(&mut out.bytes, entries, |hole, time| {
            if time >= newest_time {
                (newest, newest_time) = (holes.len(), time);
            }
            holes.push(hole);
        });
        if holes.len() > NAMED_MAX {
            holes.swap(0, newest);
            holes.truncate(1);
        }
    }

    /// `named` is told where in each message a client's name goes.
    fn write_each<'e>(
        &self,
        out: &mut Vec<u8>,
        entries: impl Iterator<Item = Entry<'e>>,
        mut named: impl FnMut(Hole, Time),
    ) {
        for Entry { key, state } in entries {
            let EntryState::Value { at, value } = state else { continue };
            match (Key::of(key), value) {
                (Key::Field(field), value) => {
                    named(self.field(out, field, &at, value.unwrap_or(DELETED)), at.time);
                }
                (Key::Text, Some(operation)) if text::is_operation(operation) => {
                    self.operations(out, key, &at, true, |out| out.extend_from_slice(operation));
                }
                // A text that is contained in another is forgotten without a word. Operations on sets are handed on as
                // they come, in the order of their sender, which their keys, at several owners, do not keep.
                (Key::Text | Key::Element(_) | Key::Cleared, _) => {}
            }
        }
    }

    /// Appends what tells of the elements of a set, each as if it were added now.
    pub fn write_elements<'e>(
        &self,
        out: &mut Vec<u8>,
        elements: impl Iterator<Item = (&'e str, &'e Stamp)>,
    ) {
        for (element, at) in elements {
            self.operations(out, element, at, false, |out| {
                out.extend_from_slice(b"{\"type\":\"set\",\"operation\":\"add\",\"value\":");
                out.extend_from_slice(element.as_bytes());
                out.extend_from_slice(b",\"documentId\":");
                write_string(out, self.document);
                out.extend_from_slice(b",\"clientId\":\"server\",\"clock\":");
                write_clock(out, at.time, None);
                out.push(b'}');
            });
        }
    }

    /// The value, which may be large, comes last, so that what is of one client alone is followed by it and may be short.
    fn field(&self, out: &mut Vec<u8>, field: &str, at: &Stamp, value: &[u8]) -> Hole {
        let frame = out.len();
        let mut behind = CLOSING_BYTES;
        write_message(out, self.framing, Code::Delta, id_of(field, at), |fields| {
            fields.text("documentId", self.document);
            fields.text("field", field);
            fields.json("clientId", b"\"server\"");
            fields.clock(at.time, self.client);
            let at = fields.position() - CLOSING_BYTES;
            fields.json("value", value);
            behind += fields.position() - at;
        });
        Hole { frame, payload: frame + header_len(&out[frame..]), at: out.len() - behind, end: out.len() }
    }

    fn operations(
        &self,
        out: &mut Vec<u8>,
        key: &str,
        at: &Stamp,
        is_text: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        write_message(out, self.framing, Code::DeltaBatch, id_of(key, at), |fields| {
            batch(fields, self.document, is_text, write);
        });
    }
}

/// Bytes that end a JSON object.
const CLOSING_BYTES: usize = 1;

/// Appends messages with the name of their reader in the clocks.
pub fn personalize(framing: Framing, frames: &Frames, name: &ClockName, out: &mut Personal<'_>) {
    let mut done = 0;
    for &Hole { frame, payload, at, end } in &frames.holes {
        out.shared(done..frame);
        let before = &frames.bytes[payload..at];
        let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let number = &before[before.len() - digits..];
        let more = name.as_bytes().len() + digits;
        out.own(at - frame + more + (end - at).min(SHARED_BYTES_MIN), |out| {
            let started = framing.write_start(out, &frames.bytes[payload..end], more);
            out.extend_from_slice(&before[started..]);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(number);
        });
        out.shared(at..end);
        done = end;
    }
    out.shared(done..frames.bytes.len());
}

/// The fields of a `delta_batch` with the operations that `write` appends, joined by commas.
pub fn batch(fields: &mut Fields<'_>, document: &str, is_text: bool, write: impl FnOnce(&mut Vec<u8>)) {
    fields.text("documentId", document);
    let out = fields.begin("deltas");
    out.push(b'[');
    write(out);
    out.push(b']');
    if is_text {
        fields.json("isTextOperation", b"true");
    }
}

/// The id of what tells of a change: the same for all who hear of it, and another for every change.
fn id_of(key: &str, at: &Stamp) -> MessageId {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), at.time.to_bits());
    MessageId { unix_ms: at.time.millis(), serial: hash }
}
