//! The operations of a `write`, one at a time, straight from the tape.

use std::fmt;

use simd_json::Node;

use super::Tags;
use super::field::{self, Field};
use crate::crdt::{MapType, Node as NodeName, Stamp};
use crate::limits::OPS_PER_REQUEST_MAX;
use crate::wire::Reject;
use crate::wire::json::{Elements, Members, Scratch, Value};

/// One operation on one key.
#[derive(Clone, Debug)]
pub struct Op<'a> {
    pub map: &'a str,
    pub key: &'a str,
    pub action: Action<'a>,
}

#[derive(Clone, Debug)]
pub enum Action<'a> {
    /// lww: `set`. The value lives for `ttl_ms` if there is one.
    Set { value: Value<'a>, at: Option<Stamp>, ttl_ms: Option<u64> },
    /// lww, and without a stamp of any type: `delete`.
    Delete { at: Option<Stamp>, map_type: Option<MapType> },
    /// or: `add`.
    Add { value: Value<'a>, tag: Option<&'a str>, at: Option<Stamp> },
    /// or: `remove` with `tags`.
    RemoveTags(Tags<'a>),
    /// or: `remove` with `value`, of the tags the owner sees for it.
    RemoveValue(Value<'a>),
    /// counter: `increment` with `by`.
    Increment { by: i64 },
    /// counter: `increment` with the totals of a replica's own slot.
    IncrementTotals { replica: NodeName, added: u64, subtracted: u64 },
}

/// The operations of one `write`, read as they are asked for. An operation that is refused is that
/// operation's `Err`; the others go on. A clone starts over from where this stands.
#[derive(Clone)]
pub struct Ops<'a> {
    elements: Elements<'a>,
    scratch: &'a Scratch,
}

impl<'a> Ops<'a> {
    pub(super) fn of(field: Option<&'a [Node<'a>]>, scratch: &'a Scratch) -> Result<Self, Reject> {
        let elements =
            field.and_then(Elements::of).ok_or(Reject::BadRequest("ops is missing or not an array"))?;
        if elements.len() > OPS_PER_REQUEST_MAX {
            return Err(Reject::TooLarge("a write has at most 1000 operations"));
        }
        Ok(Self { elements, scratch })
    }

    /// The map and key that each operation names, if it is a good one: a look ahead that costs a fraction of
    /// reading it.
    pub fn targets(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.elements.map(|element| {
            let mut target = ("", "");
            let Some(members) = Members::of(element) else { return target };
            for (name, value) in members {
                match (name.as_bytes(), value.first()) {
                    (b"map", Some(Node::String(map))) => target.0 = map,
                    (b"key", Some(Node::String(key))) => target.1 = key,
                    _ => {}
                }
            }
            target
        })
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, Reject>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let element = self.elements.next()?;
        Some(decode(element, self.scratch))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.elements.size_hint()
    }
}

impl ExactSizeIterator for Ops<'_> {}

impl fmt::Debug for Ops<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.clone()).finish()
    }
}

/// Every field an operation may have, as it was sent.
#[derive(Default)]
struct Fields<'a> {
    map: Field<'a>,
    key: Field<'a>,
    op: Field<'a>,
    at: Field<'a>,
    map_type: Field<'a>,
    ttl_ms: Field<'a>,
    tag: Field<'a>,
    by: Field<'a>,
    replica: Field<'a>,
    added: Field<'a>,
    subtracted: Field<'a>,
    value: Option<&'a [Node<'a>]>,
    tags: Option<&'a [Node<'a>]>,
}

impl<'a> Fields<'a> {
    #[inline]
    fn of(members: Members<'a>) -> Self {
        let mut fields = Self::default();
        for (name, value) in members {
            match name.as_bytes() {
                b"map" => fields.map = value.first(),
                b"key" => fields.key = value.first(),
                b"op" => fields.op = value.first(),
                b"value" => fields.value = Some(value),
                b"at" => fields.at = value.first(),
                b"map_type" => fields.map_type = value.first(),
                b"ttl_ms" => fields.ttl_ms = value.first(),
                b"tag" => fields.tag = value.first(),
                b"tags" => fields.tags = Some(value),
                b"by" => fields.by = value.first(),
                b"replica" => fields.replica = value.first(),
                b"added" => fields.added = value.first(),
                b"subtracted" => fields.subtracted = value.first(),
                _ => {}
            }
        }
        fields
    }
}

fn decode<'a>(element: &'a [Node<'a>], scratch: &'a Scratch) -> Result<Op<'a>, Reject> {
    let members = Members::of(element).ok_or(Reject::BadRequest("an operation is an object"))?;
    let fields = Fields::of(members);
    let map = field::map_name(fields.map)?;
    let key = field::key(fields.key)?;
    let action = match field::text(fields.op, "op is missing or not a string")?.as_bytes() {
        b"set" => Action::Set {
            value: value(&fields, scratch)?,
            at: field::optional_stamp(fields.at)?,
            ttl_ms: field::optional_ttl_ms(fields.ttl_ms)?,
        },
        b"delete" => Action::Delete {
            at: field::optional_stamp(fields.at)?,
            map_type: field::optional_map_type(fields.map_type)?,
        },
        b"add" => Action::Add {
            value: value(&fields, scratch)?,
            tag: field::optional_text(fields.tag, "tag is not a string")?.map(field::tag).transpose()?,
            at: field::optional_stamp(fields.at)?,
        },
        b"remove" => remove(&fields, scratch)?,
        b"increment" => increment(&fields)?,
        _ => return Err(Reject::BadRequest("op is set, delete, add, remove or increment")),
    };
    Ok(Op { map, key, action })
}

#[inline]
fn value<'a>(fields: &Fields<'a>, scratch: &'a Scratch) -> Result<Value<'a>, Reject> {
    let nodes = fields.value.ok_or(Reject::BadRequest("value is missing"))?;
    Ok(Value::new(nodes, scratch))
}

fn remove<'a>(fields: &Fields<'a>, scratch: &'a Scratch) -> Result<Action<'a>, Reject> {
    match (Tags::of(fields.tags)?, fields.value) {
        (Some(tags), None) => Ok(Action::RemoveTags(tags)),
        (None, Some(nodes)) => Ok(Action::RemoveValue(Value::new(nodes, scratch))),
        _ => Err(Reject::BadRequest("a remove has either tags or value")),
    }
}

fn increment<'a>(fields: &Fields<'a>) -> Result<Action<'a>, Reject> {
    match (field::is_sent(fields.by), field::is_sent(fields.replica)) {
        (true, false) => Ok(Action::Increment { by: field::increment(fields.by)? }),
        (false, true) => Ok(Action::IncrementTotals {
            replica: field::replica(fields.replica)?,
            added: field::total(fields.added, "added is a whole number from 0 to 2^53-1")?,
            subtracted: field::total(fields.subtracted, "subtracted is a whole number from 0 to 2^53-1")?,
        }),
        _ => Err(Reject::BadRequest("an increment has either by or replica, added and subtracted")),
    }
}
