//! Writes: the fields of a `delta`, and the operations of a `delta_batch`, as operations of the engine.
//!
//! Fields, states of texts and elements of sets are kept, and everybody is told of them as they change. Whatever else a batch
//! has is handed on to the other subscribers as it is and not kept: counters above all, whose operations have no names, so
//! that nobody could tell a repeated one, and elements that are too long for a key.

use std::borrow::Cow;

use simd_json::Node;

use super::frame::time_of_clock;
use super::keys;
use super::message::{Fields, Nodes, elements, is_true, text};
use super::refusal::{Reason, Refusal};
use super::relay::Relayed;
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
    /// Operations to be handed on, and how many.
    pub relayed: Relayed,
    relayed_count: usize,
    /// The name that the client gives itself.
    pub client: Option<&'a str>,
    /// Why the message is refused as a whole: an operation can neither be kept, as it must, nor be handed on.
    bad: Option<Reason<'static>>,
    /// Why an operation is left out that nothing here can hold: the first of them.
    pub unrepresentable: Option<Reason<'a>>,
}

struct Write<'a> {
    key: Cow<'a, str>,
    kind: Kind,
    /// `None`: deleted.
    value: Option<Nodes<'a>>,
    /// The newest change that the client has seen.
    seen: Time,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its client has chosen the key.
    Field,
    /// A state of a text, which may be as large as a message.
    Text,
    /// An element of a set, or when it was cleared.
    Set,
}

impl<'a> Writes<'a> {
    /// Of a `delta`, in either form.
    ///
    /// # Errors
    /// [`Refusal::EmptyDelta`] if there is nothing in it.
    pub fn of_delta(fields: &Fields<'a>) -> Result<Self, Refusal<'a>> {
        let mut writes = Self { client: fields.client.and_then(text), ..Self::default() };
        let seen = time_of_clock(fields.seen());
        for (field, value) in fields.delta.and_then(Members::of).into_iter().flatten() {
            if !writes.leaves_out(fields, Some(field), value) {
                writes.field(field, value, seen);
            }
        }
        if writes.is_empty()
            && let Some(field) = fields.field.and_then(text)
            && let Some(value) = fields.value
            && !writes.leaves_out(fields, Some(field), value)
        {
            writes.field(field, value, seen);
        }
        if writes.is_empty() { Err(Refusal::EmptyDelta) } else { Ok(writes) }
    }

    /// Of a `delta_batch` for `document`.
    ///
    /// # Errors
    /// [`Refusal::EmptyBatch`] if there is nothing in it.
    pub fn of_batch(document: &str, fields: &Fields<'a>) -> Result<Self, Refusal<'a>> {
        let operations = fields.deltas.and_then(elements).filter(|operations| operations.len() > 0);
        let mut writes = Self::default();
        for nodes in operations.ok_or(Refusal::EmptyBatch)? {
            let operation = Fields::of(nodes, fields.scratch);
            let field = operation.and_then(|operation| operation.field.and_then(text));
            if !writes.leaves_out(fields, field, nodes)
                && let Some(operation) = operation
            {
                writes.operation(document, &operation, nodes);
            }
        }
        Ok(writes)
    }

    fn operation(&mut self, document: &str, operation: &Fields<'a>, nodes: Nodes<'a>) {
        self.client = operation.client.and_then(text).or(self.client);
        let seen = time_of_clock(operation.seen());
        let kind = operation.kind.and_then(text).unwrap_or_default();
        if let Some(field) = operation.field.and_then(text) {
            if let Some(value) = operation.value {
                self.field(field, value, seen);
            }
            return;
        }
        // It is told as it came, so that it must not speak of another document.
        if operation.document.is_some_and(|named| text(named) != Some(document)) {
            self.bad = Some(Reason::invalid("an operation names another document than its batch"));
        }
        if kind == "text-state" {
            return match key_of_text(operation) {
                Some(key) => {
                    self.kept.push(Write { key: key.into(), kind: Kind::Text, value: Some(nodes), seen });
                }
                None => {
                    let text = "a text needs a state and a clientId of at most 490 bytes";
                    self.bad = Some(Reason::invalid(text));
                }
            };
        }
        if kind == "set" && self.set(operation, seen) {
            return;
        }
        self.relayed.push(kind == "text", &operation.canonical(nodes));
        self.relayed_count += 1;
    }

    fn field(&mut self, field: &'a str, value: Nodes<'a>, seen: Time) {
        let value = (!is_deletion(value)).then_some(value);
        self.kept.push(Write { key: field.into(), kind: Kind::Field, value, seen });
    }

    /// Keeps an operation on a set, if it is one, and its element fits into a key; whether it does.
    fn set(&mut self, operation: &Fields<'a>, seen: Time) -> bool {
        let verb = operation.operation.and_then(text).unwrap_or_default();
        let (key, value) = match (verb, operation.value) {
            // Any value will do: what counts is when.
            ("clear", _) => (keys::CLEARED.into(), operation.kind),
            ("add" | "remove", Some(element)) => {
                let json = operation.canonical(element);
                let Some(key) = std::str::from_utf8(&json).ok().and_then(keys::of_element) else {
                    return false;
                };
                (key.into(), (verb == "add").then_some(element))
            }
            _ => return false,
        };
        self.kept.push(Write { key, kind: Kind::Set, value, seen });
        true
    }

    /// Whether an operation is left out, as something in it is at fault: in the name of its field, or in its value.
    fn leaves_out(&mut self, message: &Fields<'a>, field: Option<&'a str>, value: Nodes<'a>) -> bool {
        let Some(faults) = message.faults else { return false };
        let in_name = field.and_then(|field| faults.in_text(field)).map(Reject::KeyFault);
        let Some(reject) = in_name.or_else(|| faults.in_value(value).map(Reject::ValueFault)) else {
            return false;
        };
        let reason = Reason::of(reject);
        let named = field.filter(|_| in_name.is_none()).map_or(reason, |field| reason.field(field));
        self.unrepresentable.get_or_insert(named);
        true
    }

    fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.unrepresentable.is_none()
    }

    /// Whether there is anything to keep.
    pub fn keeps(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Why the message must be refused as a whole, if it must.
    pub fn bad(&self) -> Option<Reason<'static>> {
        if self.kept.len() + self.relayed_count > OPERATIONS_MAX {
            return Some(Reason::too_large("a message has too many operations", OPERATIONS_MAX));
        }
        self.bad
    }

    /// Takes out fields that cannot be kept, before anything of them is; why of the first.
    pub fn take_bad_fields(&mut self, scratch: &Scratch, value_bytes_max: usize) -> Option<Reason<'a>> {
        let mut reason = None;
        self.kept.retain(|write| {
            let checked = check(write, scratch, value_bytes_max);
            let is_good = checked.is_ok();
            reason = reason.or(checked.err());
            is_good
        });
        reason
    }
}

fn check<'a>(write: &Write<'a>, scratch: &Scratch, value_bytes_max: usize) -> Result<(), Reason<'a>> {
    let (Kind::Field, Cow::Borrowed(field)) = (write.kind, &write.key) else { return Ok(()) };
    keys::check_field(field)?;
    let is_too_large = write.value.is_some_and(|value| {
        // Most are known to fit without being written.
        bytes_at_most(value) > value_bytes_max && {
            let mut canonical = Vec::new();
            Value::new(value, scratch).write_canonical(&mut canonical);
            canonical.len() > value_bytes_max
        }
    });
    if is_too_large {
        let reason = Reason::too_large("the value is too large", value_bytes_max);
        return Err(reason.flag("--synckit-max-value-bytes").field(field));
    }
    Ok(())
}

/// Bytes that a value has as canonical JSON, or more.
fn bytes_at_most(value: Nodes<'_>) -> usize {
    /// Of a number, a literal, and what is around each value.
    const SMALL: usize = 32;
    const ESCAPED: usize = 6;
    let bytes =
        |node: &Node<'_>| SMALL + if let Node::String(text) = node { ESCAPED * text.len() } else { 0 };
    value.iter().map(bytes).sum()
}

fn key_of_text(operation: &Fields<'_>) -> Option<String> {
    operation.state.and_then(text)?;
    keys::of_text(operation.client.and_then(text)?)
}

/// Whether the value is exactly `{"__deleted":true}`.
fn is_deletion(value: Nodes<'_>) -> bool {
    let Some(mut members) = Members::of(value) else { return false };
    members.next().is_some_and(|(name, value)| name == "__deleted" && is_true(value))
        && members.next().is_none()
}

/// The operations of one message for the shard.
pub struct Operations<'a> {
    pub document: &'a str,
    writes: std::slice::Iter<'a, Write<'a>>,
    scratch: &'a Scratch,
    /// Bytes of canonical JSON.
    bytes_max: usize,
}

impl<'a> Operations<'a> {
    pub fn new(document: &'a str, writes: &'a Writes<'a>, scratch: &'a Scratch, bytes_max: usize) -> Self {
        Self { document, writes: writes.kept.iter(), scratch, bytes_max }
    }
}

impl Ops for Operations<'_> {
    fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.writes.clone().map(|write| (self.document, &*write.key))
    }

    fn for_each(self, scratch: &mut Vec<u8>, mut carry_out: impl FnMut(Result<&Op<'_>, Reject>)) {
        for write in self.writes {
            let at = At::After(write.seen);
            scratch.clear();
            let action = match write.value {
                None => Action::Delete { at, map_type: None },
                Some(value) => {
                    Value::new(value, self.scratch).write_canonical(scratch);
                    Action::Set { value: scratch, at, ttl_ms: None }
                }
            };
            // Of fields that was seen before. What a message has room for is longer here only by what numbers may grow.
            if action.bytes() > self.bytes_max {
                carry_out(Err(Reject::TooLarge("the state of a text is larger than a message")));
            } else {
                carry_out(Ok(&Op { map: self.document, key: &write.key, action }));
            }
        }
    }
}
