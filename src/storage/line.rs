//! One line of an export, read back. [`super::export`] draws them.
//!
//! Invariant: what comes out keeps every limit that a shard would have enforced, and values are canonical, whoever
//! has written or changed the line.

use simd_json::{Buffers, Node as JsonNode, StaticNode, Tape, fill_tape};

use crate::crdt::{Count, Delta, MapType, Node, Stamp, Time};
use crate::limits::{
    COUNTER_TOTAL_MAX, JSON_DEPTH_MAX, JSON_INTEGER_MAX, KEY_BYTES_MAX, MAP_NAME_BYTES_MAX,
    MESSAGE_BYTES_CEILING, OWN_NAME_BYTES_MAX, OWN_PREFIX, TAG_BYTES_MAX,
};
use crate::wire::json::{Elements, Members, Number, Scratch, write_canonical};

/// What is wrong with a line, in a sentence for whoever wrote it.
pub(super) type Fault = &'static str;

/// A value may nest as deep as in a message; the line puts it at most three levels deeper.
const LINE_DEPTH_MAX: usize = JSON_DEPTH_MAX + 3;

/// Reads lines one after the other.
pub(super) struct Reader {
    buffers: Buffers,
    scratch: Scratch,
    value: Vec<u8>,
}

/// A line that makes sense: what it is about, and the fields with the state.
pub(super) struct Line<'a> {
    pub map: &'a str,
    pub map_type: MapType,
    /// `None`: the line tells of the map alone.
    pub cell: Option<LineCell<'a>>,
}

pub(super) struct LineCell<'a> {
    pub key: &'a str,
    pub applied: Time,
    fields: Members<'a>,
}

impl Default for Reader {
    fn default() -> Self {
        let buffers = Buffers::with_max_depth(0, LINE_DEPTH_MAX);
        Self { buffers, scratch: Scratch::default(), value: Vec::new() }
    }
}

impl Reader {
    /// Parses the text of a line, in place. [`Line::of`] reads what comes out.
    pub fn parse<'a>(&mut self, text: &'a mut [u8]) -> Result<Tape<'a>, Fault> {
        let mut tape = Tape(Vec::new());
        fill_tape(text, &mut self.buffers, &mut tape).map_err(|_| "it is not one JSON object")?;
        Ok(tape)
    }

    /// Calls `each` with the deltas that together are the state of a cell, and for a removed tag when that was.
    pub fn deltas(
        &mut self,
        map_type: MapType,
        cell: &LineCell<'_>,
        each: &mut dyn FnMut(&Delta<'_>, Option<Time>),
    ) -> Result<(), Fault> {
        match map_type {
            MapType::Lww => self.lww(cell.fields, each),
            MapType::Or => self.or(cell.fields, each),
            MapType::Counter => counter(cell.fields, each),
        }
    }

    fn lww(
        &mut self,
        fields: Members<'_>,
        each: &mut dyn FnMut(&Delta<'_>, Option<Time>),
    ) -> Result<(), Fault> {
        let at = stamp(fields)?;
        match (field(fields, "value"), field(fields, "deleted")) {
            (Some(value), None) => {
                let expires_ms = match field(fields, "expires_ms") {
                    None => 0,
                    Some(number) => whole(number, JSON_INTEGER_MAX, "expires_ms is not a time")?,
                };
                let value = Some(self.canonical(value)?);
                each(&Delta::Lww { at, value, expires_ms }, None);
            }
            (None, Some([JsonNode::Static(StaticNode::Bool(true)), ..])) => {
                each(&Delta::Lww { at, value: None, expires_ms: 0 }, None);
            }
            _ => return Err("of value and \"deleted\":true there is not exactly one"),
        }
        Ok(())
    }

    fn or(
        &mut self,
        fields: Members<'_>,
        each: &mut dyn FnMut(&Delta<'_>, Option<Time>),
    ) -> Result<(), Fault> {
        for tagged in list(fields, "values")? {
            let fields = Members::of(tagged).ok_or("an element of values is not an object")?;
            let (tag, at) = (tag(fields)?, stamp(fields)?);
            let value = self.canonical(field(fields, "value").ok_or("a tag has no value")?)?;
            each(&Delta::OrAdd { tag, value, at }, None);
        }
        for removed in list(fields, "removed")? {
            let fields = Members::of(removed).ok_or("an element of removed is not an object")?;
            each(&Delta::OrRemove { tag: tag(fields)? }, Some(tick(fields, "applied")?));
        }
        Ok(())
    }

    fn canonical(&mut self, value: &[JsonNode<'_>]) -> Result<&[u8], Fault> {
        self.value.clear();
        write_canonical(value, &self.scratch, &mut self.value);
        if self.value.len() > MESSAGE_BYTES_CEILING {
            return Err("a value has at most 64 MiB");
        }
        Ok(&self.value)
    }
}

fn counter(fields: Members<'_>, each: &mut dyn FnMut(&Delta<'_>, Option<Time>)) -> Result<(), Fault> {
    if let Some(absorbed) = field(fields, "absorbed") {
        let fields = Members::of(absorbed).ok_or("absorbed is not an object")?;
        let count = text(fields, "count").and_then(|count| count.parse().ok()).map(Count);
        let count = count.ok_or("count is not a whole number in quotes")?;
        each(&Delta::CounterAbsorbed { count, through: tick(fields, "through")? }, None);
    }
    for slot in list(fields, "slots")? {
        let fields = Members::of(slot).ok_or("an element of slots is not an object")?;
        let replica = Node::new(text(fields, "replica").unwrap_or_default().as_bytes());
        let replica = replica.ok_or("a replica is not a name of 1 to 40 visible ASCII characters")?;
        let total = |name| {
            const RULE: Fault = "a total is not a whole number from 0 to 2^53-1";
            whole(field(fields, name).ok_or(RULE)?, COUNTER_TOTAL_MAX, RULE)
        };
        let (added, subtracted) = (total("added")?, total("subtracted")?);
        // Exports of earlier versions do not say when.
        let counted = field(fields, "counted").map(|_| tick(fields, "counted")).transpose()?;
        each(&Delta::Counter { replica, added, subtracted }, counted);
    }
    Ok(())
}

impl<'a> Line<'a> {
    pub fn of(tape: &'a Tape<'a>) -> Result<Self, Fault> {
        let fields = Members::of(&tape.0).ok_or("it is not one JSON object")?;
        let bytes_max =
            |map: &str| if map.starts_with(OWN_PREFIX) { OWN_NAME_BYTES_MAX } else { MAP_NAME_BYTES_MAX };
        let map = text(fields, "map").filter(|map| is_name(map, bytes_max(map)));
        let map = map.ok_or("map is not a name of 1 to 256 bytes")?;
        let map_type = text(fields, "type").and_then(MapType::parse);
        let map_type = map_type.ok_or("type is none of lww, or, counter")?;
        let cell = match field(fields, "key") {
            None => None,
            Some(_) => {
                let key = text(fields, "key").filter(|key| is_name(key, KEY_BYTES_MAX));
                let key = key.ok_or("key is not a name of 1 to 512 bytes")?;
                Some(LineCell { key, applied: tick(fields, "applied")?, fields })
            }
        };
        Ok(Self { map, map_type, cell })
    }
}

/// The value of a field; of several with that name, the last.
fn field<'a>(fields: Members<'a>, name: &str) -> Option<&'a [JsonNode<'a>]> {
    fields.filter(|(found, _)| *found == name).last().map(|(_, value)| value)
}

fn text<'a>(fields: Members<'a>, name: &str) -> Option<&'a str> {
    match field(fields, name) {
        Some([JsonNode::String(text), ..]) => Some(text),
        _ => None,
    }
}

/// The elements of an array; none if it is not there.
fn list<'a>(fields: Members<'a>, name: &str) -> Result<impl Iterator<Item = &'a [JsonNode<'a>]>, Fault> {
    let elements = field(fields, name).map(|value| Elements::of(value).ok_or("a list is not an array"));
    Ok(elements.transpose()?.into_iter().flatten())
}

fn tag(fields: Members<'_>) -> Result<&str, Fault> {
    text(fields, "tag")
        .filter(|tag| is_name(tag, TAG_BYTES_MAX))
        .ok_or("a tag is not a name of 1 to 80 bytes")
}

fn stamp(fields: Members<'_>) -> Result<Stamp, Fault> {
    text(fields, "at").and_then(Stamp::parse).ok_or("at is not a stamp such as \"1700000000000:0:node\"")
}

fn tick(fields: Members<'_>, name: &str) -> Result<Time, Fault> {
    let split = text(fields, name).and_then(|text| text.split_once(':'));
    let time = split.and_then(|(millis, counter)| {
        let millis = millis.parse().ok().filter(|&millis: &u64| millis <= Time::MILLIS_MAX)?;
        Some(Time::new(millis, counter.parse().ok()?))
    });
    time.ok_or("applied, counted or through is not a tick such as \"1700000000000:0\"")
}

fn whole(value: &[JsonNode<'_>], max: u64, rule: Fault) -> Result<u64, Fault> {
    let number = value.first().and_then(Number::of).and_then(Number::whole);
    number.and_then(|number| u64::try_from(number).ok()).filter(|&number| number <= max).ok_or(rule)
}

fn is_name(text: &str, bytes_max: usize) -> bool {
    !text.is_empty() && text.len() <= bytes_max && !text.contains('\0')
}
