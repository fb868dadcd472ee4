//! Changes of a document on their way to its subscribers: one `delta` a field, one `delta_batch` for what else there is.

use super::frame::{Code, Fields, Framing, MessageId, write_clock, write_message};
use super::keys::{self, Key};
use super::text;
use crate::crdt::Stamp;
use crate::mesh::{Entry, EntryState};
use crate::wire::json::write_string;

/// What stands for a field that was deleted.
pub const DELETED: &[u8] = br#"{"__deleted":true}"#;

/// Operations on a set in one message, at most: as many as the SDK itself puts into one.
const SET_OPERATIONS_MAX: usize = 50;

/// An entry of a document that this dialect can tell of.
enum Told<'e> {
    Field { name: &'e str, at: Stamp, value: &'e [u8] },
    Text { key: &'e str, at: Stamp, operation: &'e [u8] },
    Set(SetStep<'e>),
}

/// What became of a set.
#[derive(Clone, Copy)]
pub struct SetStep<'e> {
    pub key: &'e str,
    pub at: Stamp,
    pub change: SetChange<'e>,
}

/// Elements are JSON.
#[derive(Clone, Copy)]
pub enum SetChange<'e> {
    Add(&'e str),
    Remove(&'e str),
    Clear,
}

impl<'e> Told<'e> {
    fn of(entry: Entry<'e>) -> Option<Self> {
        let EntryState::Value { at, value } = entry.state else { return None };
        let key = entry.key;
        let step = |change| Some(Self::Set(SetStep { key, at, change }));
        match (Key::of(key), value) {
            (Key::Field(name), value) => Some(Self::Field { name, at, value: value.unwrap_or(DELETED) }),
            (Key::Text, Some(operation)) if text::is_operation(operation) => {
                Some(Self::Text { key, at, operation })
            }
            // Native clients may write under any name.
            (Key::Element(element), _) if !keys::is_element(element) => None,
            (Key::Element(element), Some(_)) => step(SetChange::Add(element)),
            (Key::Element(element), None) => step(SetChange::Remove(element)),
            (Key::Cleared, Some(_)) => step(SetChange::Clear),
            // A text that is contained in another is forgotten without a word.
            (Key::Text | Key::Cleared, _) => None,
        }
    }
}

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
        let mut all = entries.filter_map(Told::of).peekable();
        while let Some(told) = all.next() {
            match told {
                Told::Field { name, at, value } => self.field(out, name, &at, value),
                Told::Text { key, at, operation } => {
                    self.operations(out, key, &at, true, |out| out.extend_from_slice(operation));
                }
                Told::Set(first) => {
                    let is_set = |told: &Told<'_>| matches!(told, Told::Set(_));
                    let mut rest = std::iter::from_fn(|| match all.next_if(is_set) {
                        Some(Told::Set(step)) => Some(step),
                        _ => None,
                    });
                    self.set_operations(out, first, &mut rest);
                }
            }
        }
    }

    /// Appends what tells of these changes of a set.
    pub fn write_set<'e>(&self, out: &mut Vec<u8>, mut steps: impl Iterator<Item = SetStep<'e>>) {
        while let Some(first) = steps.next() {
            self.set_operations(out, first, &mut steps);
        }
    }

    /// Appends one message of changes of a set. They have the name of the server: each client hears of its own, too.
    fn set_operations<'e>(
        &self,
        out: &mut Vec<u8>,
        first: SetStep<'e>,
        rest: &mut impl Iterator<Item = SetStep<'e>>,
    ) {
        self.operations(out, first.key, &first.at, false, |out| {
            self.set_operation(out, &first);
            for step in rest.take(SET_OPERATIONS_MAX - 1) {
                out.push(b',');
                self.set_operation(out, &step);
            }
        });
    }

    fn set_operation(&self, out: &mut Vec<u8>, step: &SetStep<'_>) {
        let (operation, element) = match step.change {
            SetChange::Add(element) => ("add", Some(element)),
            SetChange::Remove(element) => ("remove", Some(element)),
            SetChange::Clear => ("clear", None),
        };
        out.extend_from_slice(b"{\"type\":\"set\",\"operation\":");
        write_string(out, operation);
        if let Some(element) = element {
            out.extend_from_slice(b",\"value\":");
            out.extend_from_slice(element.as_bytes());
        }
        out.extend_from_slice(b",\"documentId\":");
        write_string(out, self.document);
        out.extend_from_slice(b",\"clientId\":\"server\",\"clock\":");
        write_clock(out, step.at.time, None);
        out.push(b'}');
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
