//! Changes of a document on their way to its subscribers: one `delta` a field, one `delta_batch` for what else there is.

use super::frame::{ClockName, Code, Fields, Framing, MessageId, write_clock, write_message};
use super::keys::{self, Key};
use super::text;
use crate::crdt::{Stamp, Time};
use crate::limits::SHARED_PART_BYTES_MIN;
use crate::mesh::{Entry, EntryState};
use crate::shard::{Frames, Hole, Personal};
use crate::wire::json::write_string;
use crate::wire::websocket::header_len;

/// What stands for a field that was deleted.
pub const DELETED: &[u8] = br#"{"__deleted":true}"#;

/// Operations on a set in one message, at most: as many as the SDK itself puts into one.
pub const SET_OPERATIONS_MAX: usize = 50;

/// An entry of a document that this dialect can tell of.
pub enum Told<'e> {
    Field { name: &'e str, at: Stamp, value: &'e [u8], is_deleted: bool },
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
    pub fn of(entry: Entry<'e>) -> Option<Self> {
        let EntryState::Value { at, value, .. } = entry.state else { return None };
        let key = entry.key;
        let step = |change| Some(Self::Set(SetStep { key, at, change }));
        match (Key::of(key), value) {
            (Key::Field(name), value) => {
                let is_deleted = value.is_none();
                Some(Self::Field { name, at, value: value.unwrap_or(DELETED), is_deleted })
            }
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
    pub client: Option<&'a ClockName>,
}

impl Changes<'_> {
    /// Appends what tells of `entries`. Those that are no last-writer-wins values are not for this dialect.
    pub fn write<'e>(&self, out: &mut Vec<u8>, entries: impl Iterator<Item = Entry<'e>>) {
        self.write_each(out, entries, |_, _| {});
    }

    /// The same for many, each of whom may be named in the clock of the newest change: see [`personalize`]. What counts is
    /// the largest number that a client has under its name, and to name it in each of four that are sent at once costs more
    /// than a tenth of all they cost.
    pub fn write_for_all<'e>(&self, out: &mut Frames, entries: impl Iterator<Item = Entry<'e>>) {
        let mut newest = Time::ZERO;
        self.write_next_for_all(out, &mut newest, entries);
    }

    /// The same of some of many entries, of which those before were not newer than `newest`.
    pub fn write_next_for_all<'e>(
        &self,
        out: &mut Frames,
        newest: &mut Time,
        entries: impl Iterator<Item = Entry<'e>>,
    ) {
        self.write_each(&mut out.bytes, entries, |hole, time| {
            if time >= *newest {
                *newest = time;
                out.hole = Some(hole);
            }
        });
    }

    /// `named` is told where in each message a client's name goes.
    fn write_each<'e>(
        &self,
        out: &mut Vec<u8>,
        entries: impl Iterator<Item = Entry<'e>>,
        mut named: impl FnMut(Hole, Time),
    ) {
        let mut all = entries.filter_map(Told::of).peekable();
        while let Some(told) = all.next() {
            match told {
                Told::Field { name, at, value, .. } => named(self.field(out, name, &at, value), at.time),
                Told::Text { key, at, operation } => {
                    self.text(out, key, &at, |out| out.extend_from_slice(operation));
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

    /// Appends the state of a text for who comes, if `entry` is one.
    pub fn pass_on(&self, out: &mut Vec<u8>, entry: Entry<'_>) {
        if let Some(Told::Text { key, at, operation }) = Told::of(entry) {
            self.text(out, key, &at, |out| text::write_operation(out, operation));
        }
    }

    /// Appends one message with the operation on a text that `write` appends.
    pub fn text(&self, out: &mut Vec<u8>, key: &str, at: &Stamp, write: impl FnOnce(&mut Vec<u8>)) {
        self.operations(out, key, at, true, write);
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

/// Appends messages with the name of their reader in the clock of that with the hole.
pub fn personalize(framing: Framing, frames: &Frames, hole: Hole, name: &ClockName, out: &mut Personal<'_>) {
    let Hole { frame, at, end, .. } = hole;
    out.shared(0..frame);
    let bytes = at - frame + name.as_bytes().len() + NUMBER_BYTES + (end - at).min(SHARED_PART_BYTES_MIN);
    out.own(bytes, |out| write_to_hole(framing, frames, hole, name, out));
    out.shared(at..frames.bytes.len());
}

/// Bytes of a clock's number, at most.
const NUMBER_BYTES: usize = 20;

/// Appends the frame with the hole up to it, and the name of its reader in it.
pub fn write_to_hole(framing: Framing, frames: &Frames, hole: Hole, name: &ClockName, out: &mut Vec<u8>) {
    let Hole { payload, at, end, .. } = hole;
    let before = &frames.bytes[payload..at];
    let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let number = &before[before.len() - digits..];
    let more = name.as_bytes().len() + digits;
    let started = framing.write_start(out, &frames.bytes[payload..end], more);
    out.extend_from_slice(&before[started..]);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(number);
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
