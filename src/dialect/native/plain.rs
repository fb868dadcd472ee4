//! Writes as clients usually send them, read straight from their text.
//!
//! A *plain* message is what `JSON.stringify` or Python's `json.dumps` makes of most `write`s that are good in every part: each field
//! known, of its right type and there once, and everything written as `wire/json/plain.rs` has it. Any other message is left to
//! the parser, which is the authority: it has the answer to whatever is wrong. Canonical values are used where they lie.
//!
//! Invariant: what is read here is what the parser reads of the same text, which `tests/messages` and the fuzzer hold.

use super::message::RequestId;
use crate::crdt::{MapType, Node, Stamp};
use crate::limits::{
    COUNTER_TOTAL_MAX, JSON_INTEGER_MAX, KEY_BYTES_MAX, MAP_NAME_BYTES_MAX, OPS_PER_REQUEST_MAX, OWN_PREFIX,
    REQUEST_ID_BYTES_MAX, SCRATCH_BYTES_MAX, TAG_BYTES_MAX, TAGS_PER_KEY_MAX, TTL_MS_MAX,
};
use crate::mesh::{Action, TagList};
use crate::shard::{self, AckLevel};
use crate::wire::json::{Plain, PlainValue, write_sorted};
use crate::wire::{Reject, Ticket};

/// Room for the operations of a message, kept for the next one.
#[derive(Default)]
pub struct PlainRoom {
    ops: Vec<PlainOp<'static>>,
    made: Vec<u8>,
}

/// A `write` whose operations are all good.
#[derive(Debug)]
pub struct PlainWrite<'a> {
    pub ticket: Option<Ticket>,
    pub ack: AckLevel,
    ops: Vec<PlainOp<'a>>,
    /// Values that were not canonical as they were sent, and packed tags.
    made: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct PlainOp<'a> {
    op: shard::Op<'a>,
    /// In place of the value or tags of `op`.
    made: Option<Made>,
}

/// Where in the bytes of a [`PlainWrite`].
#[derive(Clone, Copy, Debug)]
struct Made {
    start: usize,
    end: usize,
}

impl<'a> PlainWrite<'a> {
    /// Reads a message; `None` unless it is plain. No value may take more than `value_bytes_max` in canonical form.
    pub fn read(text: &'a str, value_bytes_max: usize, room: &mut PlainRoom) -> Option<Self> {
        let ops = empty(std::mem::take(&mut room.ops));
        let made = std::mem::take(&mut room.made);
        let mut write = Self { ticket: None, ack: AckLevel::Memory, ops, made };
        if write.fill(text, value_bytes_max).is_none() {
            room.keep(write);
            return None;
        }
        Some(write)
    }

    /// Its operations, from the first on.
    pub fn ops(&self) -> PlainOps<'_> {
        PlainOps { ops: &self.ops, made: &self.made }
    }

    fn fill(&mut self, text: &'a str, value_bytes_max: usize) -> Option<()> {
        let (mut kind, mut ack, mut has_ops) = (None, None, false);
        let mut plain = Plain::new(text);
        plain.members(|plain| {
            if plain.eat_name(r#""type":"#) {
                // Of any other message nothing more is read.
                set(&mut kind, plain.eat_text(r#""write""#).then_some(())?)
            } else if plain.eat_name(r#""id":"#) {
                set(&mut self.ticket, plain.apart(ticket)?)
            } else if plain.eat_name(r#""ack":"#) {
                set(&mut ack, ack_level(plain.string()?)?)
            } else if plain.eat_name(r#""ops":"#) && !has_ops {
                has_ops = true;
                plain.elements(|plain| {
                    let fields = Fields::read(plain, &mut self.made)?;
                    let op = fields.op(&mut self.made)?;
                    let is_in_limits =
                        op.value_bytes() <= value_bytes_max && self.ops.len() < OPS_PER_REQUEST_MAX;
                    is_in_limits.then(|| self.ops.push(op))
                })
            } else {
                None
            }
        })?;
        self.ack = ack.unwrap_or(AckLevel::Memory);
        (plain.is_at_end() && kind.is_some() && has_ops).then_some(())
    }
}

impl PlainRoom {
    /// Takes the room of a message back for the next one, unless it was a giant.
    pub fn keep(&mut self, write: PlainWrite<'_>) {
        if write.ops.capacity() * size_of::<PlainOp<'_>>() <= SCRATCH_BYTES_MAX {
            self.ops = empty(write.ops);
        }
        if write.made.capacity() <= SCRATCH_BYTES_MAX {
            self.made = write.made;
            self.made.clear();
        }
    }
}

/// The same allocation for operations of another message: nothing is left to be mapped, and the sizes are equal.
fn empty<'b>(mut ops: Vec<PlainOp<'_>>) -> Vec<PlainOp<'b>> {
    ops.clear();
    ops.into_iter().map(|_| unreachable!("it was cleared")).collect()
}

/// The operations of a [`PlainWrite`], one at a time.
#[derive(Clone, Debug)]
pub struct PlainOps<'a> {
    ops: &'a [PlainOp<'a>],
    made: &'a [u8],
}

impl shard::Ops for PlainOps<'_> {
    fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ops.iter().map(|plain| (plain.op.map, plain.op.key))
    }

    fn for_each(self, _: &mut Vec<u8>, mut carry_out: impl FnMut(Result<&shard::Op<'_>, Reject>)) {
        for PlainOp { op, made } in self.ops {
            match made {
                None => carry_out(Ok(op)),
                Some(made) => carry_out(Ok(&with_made(*op, &self.made[made.start..made.end]))),
            }
        }
    }
}

/// The operation with this value, or these tags, in place of its own.
fn with_made<'a>(mut op: shard::Op<'a>, made: &'a [u8]) -> shard::Op<'a> {
    match &mut op.action {
        Action::Set { value, .. } | Action::Add { value, .. } | Action::RemoveValue { value } => {
            *value = made
        }
        Action::RemoveTags { tags } => *tags = TagList(made),
        Action::Delete { .. } | Action::Increment { .. } | Action::IncrementTotals { .. } => {}
    }
    op
}

/// Every field an operation may have. What means nothing to it is read all the same, and ignored.
#[derive(Default)]
struct Fields<'a> {
    map: Option<&'a str>,
    key: Option<&'a str>,
    op: Option<&'a str>,
    value: Option<PlainValue<'a>>,
    at: Option<&'a str>,
    map_type: Option<&'a str>,
    ttl_ms: Option<i64>,
    tag: Option<&'a str>,
    tags: Option<Made>,
    by: Option<i64>,
    replica: Option<&'a str>,
    added: Option<i64>,
    subtracted: Option<i64>,
}

impl<'a> Fields<'a> {
    #[inline(always)]
    fn read(plain: &mut Plain<'a>, made: &mut Vec<u8>) -> Option<Self> {
        let mut fields = Self::default();
        // The usual ones first, in their usual order.
        plain.members(|plain| {
            if plain.eat_name(r#""map":"#) {
                set(&mut fields.map, plain.string()?)
            } else if plain.eat_name(r#""key":"#) {
                set(&mut fields.key, plain.string()?)
            } else if plain.eat_name(r#""op":"#) {
                set(&mut fields.op, plain.string()?)
            } else if plain.eat_name(r#""value":"#) {
                set(&mut fields.value, plain.value()?)
            } else if plain.eat_name(r#""at":"#) {
                set(&mut fields.at, plain.string()?)
            } else if plain.eat_name(r#""ttl_ms":"#) {
                set(&mut fields.ttl_ms, plain.apart(whole)?)
            } else if plain.eat_name(r#""tag":"#) {
                set(&mut fields.tag, plain.string()?)
            } else if plain.eat_name(r#""tags":"#) {
                set(&mut fields.tags, plain.apart(|plain| tags(plain, made))?)
            } else if plain.eat_name(r#""by":"#) {
                set(&mut fields.by, plain.apart(whole)?)
            } else if plain.eat_name(r#""replica":"#) {
                set(&mut fields.replica, plain.string()?)
            } else if plain.eat_name(r#""added":"#) {
                set(&mut fields.added, plain.apart(whole)?)
            } else if plain.eat_name(r#""subtracted":"#) {
                set(&mut fields.subtracted, plain.apart(whole)?)
            } else if plain.eat_name(r#""map_type":"#) {
                set(&mut fields.map_type, plain.string()?)
            } else {
                None
            }
        })?;
        Some(fields)
    }

    fn op(&self, made: &mut Vec<u8>) -> Option<PlainOp<'a>> {
        let is_map = |map: &&str| is_name(map, MAP_NAME_BYTES_MAX) && !map.starts_with(OWN_PREFIX);
        let map = self.map.filter(is_map)?;
        let key = self.key.filter(|key| is_name(key, KEY_BYTES_MAX))?;
        let mut made_of_value = None;
        let mut value = || {
            let PlainValue { json, is_canonical } = self.value?;
            if !is_canonical {
                let start = made.len();
                write_sorted(json, made)?;
                made_of_value = Some(Made { start, end: made.len() });
            }
            Some(json.as_bytes())
        };
        let action = match self.op?.as_bytes() {
            b"set" => Action::Set { value: value()?, at: self.stamp()?.into(), ttl_ms: self.ttl_ms()? },
            b"delete" => Action::Delete { at: self.stamp()?.into(), map_type: self.map_type()? },
            b"add" => {
                let tag = self.tag.map(|tag| is_name(tag, TAG_BYTES_MAX).then_some(tag));
                Action::Add { value: value()?, tag: all_good(tag)?, at: self.stamp()?.into() }
            }
            b"remove" => match self.tags {
                None => Action::RemoveValue { value: value()? },
                Some(_) if self.value.is_some() => return None,
                Some(tags) => {
                    made_of_value = Some(tags);
                    Action::RemoveTags { tags: TagList(&[]) }
                }
            },
            b"increment" => self.increment()?,
            _ => return None,
        };
        Some(PlainOp { op: shard::Op { map, key, action }, made: made_of_value })
    }

    fn stamp(&self) -> Option<Option<Stamp>> {
        all_good(self.at.map(Stamp::parse))
    }

    fn map_type(&self) -> Option<Option<MapType>> {
        let named = |text| MapType::ALL.into_iter().find(|map_type| map_type.as_str() == text);
        all_good(self.map_type.map(named))
    }

    fn ttl_ms(&self) -> Option<Option<u64>> {
        let in_limits =
            |ttl_ms: i64| u64::try_from(ttl_ms).ok().filter(|ttl_ms| (1..=TTL_MS_MAX).contains(ttl_ms));
        all_good(self.ttl_ms.map(in_limits))
    }

    fn increment(&self) -> Option<Action<'a>> {
        let total =
            |total: Option<i64>| u64::try_from(total?).ok().filter(|&total| total <= COUNTER_TOTAL_MAX);
        match (self.by, self.replica) {
            (Some(by), None) => Some(Action::Increment { by }),
            (None, Some(replica)) => Some(Action::IncrementTotals {
                replica: Node::new(replica.as_bytes())?,
                added: total(self.added)?,
                subtracted: total(self.subtracted)?,
            }),
            _ => None,
        }
    }
}

impl PlainOp<'_> {
    /// Bytes of its value in canonical form.
    fn value_bytes(&self) -> usize {
        match (&self.op.action, self.made) {
            (Action::RemoveTags { .. }, _) => 0,
            (_, Some(made)) => made.end - made.start,
            (action, None) => action.bytes(),
        }
    }
}

/// Sets a field that has not been met before.
#[inline]
fn set<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

/// `None` if what was sent is not good.
#[inline]
fn all_good<T>(sent: Option<Option<T>>) -> Option<Option<T>> {
    match sent {
        None => Some(None),
        Some(good) => good.map(Some),
    }
}

/// A plain string has no U+0000.
#[inline]
const fn is_name(text: &str, bytes_max: usize) -> bool {
    !text.is_empty() && text.len() <= bytes_max
}

fn ticket(plain: &mut Plain<'_>) -> Option<Ticket> {
    if plain.peek() != Some(b'"') {
        return Some(Ticket::new(&[plain.integer()?.as_bytes()]));
    }
    let text = plain.string().filter(|text| text.len() <= REQUEST_ID_BYTES_MAX)?;
    Some(RequestId::Text(text).to_ticket())
}

fn ack_level(text: &str) -> Option<AckLevel> {
    const LEVELS: [AckLevel; 4] = [AckLevel::None, AckLevel::Memory, AckLevel::Durable, AckLevel::Replicated];
    LEVELS.into_iter().find(|level| level.as_str() == text)
}

/// A whole number of at most [`JSON_INTEGER_MAX`] either way.
fn whole(plain: &mut Plain<'_>) -> Option<i64> {
    let number: i64 = plain.integer()?.parse().ok()?;
    (number.unsigned_abs() <= JSON_INTEGER_MAX).then_some(number)
}

/// Packs a list of tags.
fn tags(plain: &mut Plain<'_>, made: &mut Vec<u8>) -> Option<Made> {
    let (start, mut count) = (made.len(), 0);
    plain.elements(|plain| {
        let tag = plain.string().filter(|tag| is_name(tag, TAG_BYTES_MAX) && count < TAGS_PER_KEY_MAX)?;
        count += 1;
        TagList::push(made, tag);
        Some(())
    })?;
    Some(Made { start, end: made.len() })
}
