//! Writes: the fields of a `delta`, and the operations of a `delta_batch`, as operations of the engine.
//!
//! Fields, states of texts and elements of sets are kept. Whatever else a batch has is handed on to the other subscribers
//! as it is and not kept: counters above all, whose operations have no names, so that nobody could tell a repeated one.

use std::borrow::Cow;

use super::keys;
use super::message::{Fields, Nodes, elements, is_true, text};
use super::refusal::Refusal;
use super::relay::Relay;
use crate::crdt::Time;
use crate::mesh::{Action, At};
use crate::shard::{Op, Ops};
use crate::wire::Reject;
use crate::wire::json::{Members, Scratch, Value};

/// Operations of one message, at most.
const OPERATIONS_MAX: usize = 10_000;

/// What a message writes.
#[derive(Default)]
pub struct Writes<'a> {
    kept: Vec<Write<'a>>,
    /// Operations to be handed on.
    pub relays: Vec<Relay>,
    /// The name that the client gives itself.
    pub client: Option<&'a str>,
}

struct Write<'a> {
    key: Cow<'a, str>,
    /// Whether its client has chosen the key.
    is_field: bool,
    change: Change<'a>,
    /// The newest change that the client has seen.
    seen: Time,
}

#[derive(Clone, Copy)]
enum Change<'a> {
    Set(Nodes<'a>),
    /// A state of a text, which may be as large as a message.
    SetText(Nodes<'a>),
    Delete,
}

impl<'a> Writes<'a> {
    /// Of a `delta`, in either form.
    ///
    /// # Errors
    /// [`Refusal::EmptyDelta`] if there is nothing in it.
    pub fn of_delta(fields: &Fields<'a>) -> Result<Self, Refusal<'a>> {
        let mut writes = Self { client: fields.client.and_then(text), ..Self::default() };
        let seen = super::frame::time_of_clock(fields.seen());
        for (field, value) in fields.delta.and_then(Members::of).into_iter().flatten() {
            writes.field(field, value, seen);
        }
        if writes.kept.is_empty()
            && let Some(field) = fields.field.and_then(text)
            && let Some(value) = fields.value
        {
            writes.field(field, value, seen);
        }
        if writes.kept.is_empty() { Err(Refusal::EmptyDelta) } else { Ok(writes) }
    }

    /// Of a `delta_batch`.
    ///
    /// # Errors
    /// [`Refusal::EmptyBatch`] if there is nothing in it.
    pub fn of_batch(fields: &Fields<'a>) -> Result<Self, Refusal<'a>> {
        let operations = fields.deltas.and_then(elements).filter(|operations| operations.len() > 0);
        let mut writes = Self::default();
        for operation in operations.ok_or(Refusal::EmptyBatch)? {
            if let Some(fields) = Fields::of(operation, fields.scratch) {
                writes.operation(&fields, operation);
            }
        }
        Ok(writes)
    }

    fn operation(&mut self, operation: &Fields<'a>, nodes: Nodes<'a>) {
        self.client = operation.client.and_then(text).or(self.client);
        let seen = super::frame::time_of_clock(operation.seen());
        let kind = operation.kind.and_then(text).unwrap_or_default();
        if let Some(field) = operation.field.and_then(text) {
            if let Some(value) = operation.value {
                self.field(field, value, seen);
            }
            return;
        }
        if let Some(write) = kept(operation, kind, nodes, seen) {
            return self.kept.push(write);
        }
        let mut json = Vec::new();
        operation.json(nodes).write_canonical(&mut json);
        self.relays.push(Relay { operation: json, is_text: kind == "text" });
    }

    fn field(&mut self, field: &'a str, value: Nodes<'a>, seen: Time) {
        let change = if is_deletion(value) { Change::Delete } else { Change::Set(value) };
        self.kept.push(Write { key: field.into(), is_field: true, change, seen });
    }

    /// Whether there is anything to keep.
    pub fn keeps(&self) -> bool {
        !self.kept.is_empty()
    }

    pub fn is_too_long(&self) -> bool {
        self.kept.len() + self.relays.len() > OPERATIONS_MAX
    }
}

/// An operation that has no field, but can be kept.
fn kept<'a>(operation: &Fields<'a>, kind: &str, nodes: Nodes<'a>, seen: Time) -> Option<Write<'a>> {
    match kind {
        "text-state" => {
            operation.state.and_then(text)?;
            let key = keys::of_text(operation.client.and_then(text)?)?;
            Some(Write { key: key.into(), is_field: false, change: Change::SetText(nodes), seen })
        }
        "set" => {
            let verb = operation.operation.and_then(text)?;
            if verb == "clear" {
                // Any value will do: what counts is when.
                let change = Change::Set(operation.kind?);
                return Some(Write { key: keys::CLEARED.into(), is_field: false, change, seen });
            }
            let element = operation.value?;
            let mut json = Vec::new();
            operation.json(element).write_canonical(&mut json);
            let key = keys::of_element(std::str::from_utf8(&json).ok()?)?;
            let change = match verb {
                "add" => Change::Set(element),
                "remove" => Change::Delete,
                _ => return None,
            };
            Some(Write { key: key.into(), is_field: false, change, seen })
        }
        _ => None,
    }
}

/// Whether the value is exactly `{"__deleted":true}`.
fn is_deletion(value: Nodes<'_>) -> bool {
    let Some(mut members) = Members::of(value) else { return false };
    members.next().is_some_and(|(name, value)| name == "__deleted" && is_true(value))
        && members.next().is_none()
}

/// The operations of one message for the shard.
pub struct Operations<'a> {
    document: &'a str,
    writes: std::slice::Iter<'a, Write<'a>>,
    scratch: &'a Scratch,
    value_bytes_max: usize,
    text_bytes_max: usize,
}

impl<'a> Operations<'a> {
    /// The limits are of canonical JSON.
    pub fn new(
        document: &'a str,
        writes: &'a Writes<'a>,
        scratch: &'a Scratch,
        value_bytes_max: usize,
        text_bytes_max: usize,
    ) -> Self {
        Self { document, writes: writes.kept.iter(), scratch, value_bytes_max, text_bytes_max }
    }
}

impl Ops for Operations<'_> {
    fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.writes.clone().map(|write| (self.document, &*write.key))
    }

    fn next<'s>(&'s mut self, scratch: &'s mut Vec<u8>) -> Option<Result<Op<'s>, Reject>> {
        let write = self.writes.next()?;
        let at = At::After(write.seen);
        let (value, bytes_max) = match write.change {
            Change::Set(value) => (Some(value), self.value_bytes_max),
            Change::SetText(value) => (Some(value), self.text_bytes_max),
            Change::Delete => (None, 0),
        };
        if write.is_field && !keys::is_field(&write.key) {
            return Some(Err(Reject::KeyInvalid("this can not be the name of a field")));
        }
        let action = match value {
            None => Action::Delete { at },
            Some(value) => {
                Value::new(value, self.scratch).write_canonical(scratch);
                if scratch.len() > bytes_max {
                    return Some(Err(Reject::TooLarge("the value is over --max-value-bytes")));
                }
                Action::Set { value: scratch, at, ttl_ms: None }
            }
        };
        Some(Ok(Op { map: self.document, key: &write.key, action }))
    }
}
