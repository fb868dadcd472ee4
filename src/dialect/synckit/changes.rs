//! Changes of a document on their way to its subscribers: one `delta` a field, one `delta_batch` for what else there is.

use super::frame::{Code, Fields, Framing, MessageId, write_clock, write_message};
use super::keys::Key;
use super::text;
use crate::crdt::Stamp;
use crate::mesh::{Entry, EntryState};
use crate::wire::json::write_string;

/// What stands for a field that was deleted.
pub const DELETED: &[u8] = br#"{"__deleted":true}"#;

/// Writes changes of one document in one way.
pub struct Changes<'a> {
    pub framing: Framing,
    pub document: &'a str,
    /// The name of the client, where one alone reads it.
    pub client: Option<&'a str>,
}

impl Changes<'_> {
    /// Appends what tells of `entries`. Those that are no last-writer-wins values are not for this dialect.
    pub fn write<'e>(&self, out: &mut Vec<u8>, entries: impl Iterator<Item = Entry<'e>>) {
        for Entry { key, state } in entries {
            let EntryState::Value { at, value, .. } = state else { continue };
            match (Key::of(key), value) {
                (Key::Field(field), value) => self.field(out, field, &at, value.unwrap_or(DELETED)),
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

    fn field(&self, out: &mut Vec<u8>, field: &str, at: &Stamp, value: &[u8]) {
        write_message(out, self.framing, Code::Delta, id_of(field, at), |fields| {
            fields.text("documentId", self.document);
            fields.text("field", field);
            fields.json("value", value);
            fields.clock(at.time, self.client);
            fields.json("clientId", b"\"server\"");
        });
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
