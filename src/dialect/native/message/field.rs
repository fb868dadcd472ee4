//! One reader for each kind of field, with the rule it must keep.
//!
//! A *name* (of a map, a key, a tag, a prefix) is any UTF-8 within its length, except that it is not empty
//! and has no U+0000, which C clients and many stores cannot carry. A *whole number* is one that JavaScript
//! counts exactly, written in any form: `1000`, `1e3` and `1000.0` are the same.

use simd_json::{Node, StaticNode};

use super::fields::Whole;
use crate::crdt::{MapType, Node as NodeName, Stamp};
use crate::limits::{
    COUNTER_TOTAL_MAX, JSON_INTEGER_MAX, KEY_BYTES_MAX, MAP_NAME_BYTES_MAX, OWN_PREFIX, TAG_BYTES_MAX,
    TTL_MS_MAX, USER_BYTES_MAX,
};
use crate::wire::Reject;
use crate::wire::json::{Number, Scratch, Value};

/// A field as it was sent, if it was.
pub(super) type Field<'a> = Option<&'a Node<'a>>;

/// Whether the field says anything: `null` is the same as leaving it out.
#[inline]
pub(super) fn is_sent(field: Field<'_>) -> bool {
    !matches!(field, None | Some(Node::Static(StaticNode::Null)))
}

/// `None` if the field was left out or is `null`.
#[inline]
pub(super) fn optional_text<'a>(field: Field<'a>, wrong: &'static str) -> Result<Option<&'a str>, Reject> {
    match field {
        Some(Node::String(text)) => Ok(Some(text)),
        None | Some(Node::Static(StaticNode::Null)) => Ok(None),
        Some(_) => Err(Reject::BadRequest(wrong)),
    }
}

#[inline]
pub(super) fn text<'a>(field: Field<'a>, wrong: &'static str) -> Result<&'a str, Reject> {
    match field {
        Some(Node::String(text)) => Ok(text),
        _ => Err(Reject::BadRequest(wrong)),
    }
}

pub(super) fn flag(field: Field<'_>, default: bool, wrong: &'static str) -> Result<bool, Reject> {
    match field {
        Some(Node::Static(StaticNode::Bool(flag))) => Ok(*flag),
        None | Some(Node::Static(StaticNode::Null)) => Ok(default),
        Some(_) => Err(Reject::BadRequest(wrong)),
    }
}

#[inline]
pub(super) fn map_name(field: Field<'_>) -> Result<&str, Reject> {
    let name = name_within(
        text(field, "map is missing or not a string")?,
        MAP_NAME_BYTES_MAX,
        Reject::TooLarge("the name of a map has at most 256 bytes"),
        Reject::KeyInvalid("the name of a map is not empty and has no U+0000"),
    )?;
    if name.starts_with(OWN_PREFIX) {
        return Err(Reject::KeyInvalid("maps whose names begin with __annulus: are the server's own"));
    }
    Ok(name)
}

/// Of a room; nothing else is looked at here, as whoever takes it checks it.
pub(super) fn room_name(field: Field<'_>) -> Result<&str, Reject> {
    text(field, "room is missing or not a string")
}

/// A whole number of at least `least` and at most `most`, if there is any.
#[inline]
pub(super) fn optional_whole(
    field: Field<'_>,
    (least, most): (u64, u64),
    rule: &'static str,
) -> Result<Option<u64>, Reject> {
    if !is_sent(field) {
        return Ok(None);
    }
    match u64::try_from(whole(field, rule)?) {
        Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(Reject::ValueInvalid(rule)),
    }
}

#[inline]
pub(super) fn key(field: Field<'_>) -> Result<&str, Reject> {
    name_within(
        text(field, "key is missing or not a string")?,
        KEY_BYTES_MAX,
        Reject::TooLarge("a key has at most 512 bytes"),
        Reject::KeyInvalid("a key is not empty and has no U+0000"),
    )
}

pub(super) fn user(field: Field<'_>) -> Result<&str, Reject> {
    name_of_user(text(field, "user is missing or not a string")?)
}

pub(super) fn name_of_user(name: &str) -> Result<&str, Reject> {
    if name.len() > USER_BYTES_MAX {
        return Err(Reject::TooLarge("the name of a user has at most 256 bytes"));
    }
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Reject::KeyInvalid("the name of a user is not empty and has no control characters"));
    }
    Ok(name)
}

/// What a message of somebody says.
pub(super) fn data<'a>(field: Whole<'a>, scratch: &'a Scratch) -> Result<Value<'a>, Reject> {
    Ok(Value::new(field.ok_or(Reject::BadRequest("data is missing"))?, scratch))
}

/// Whether a message is answered once it is on disk.
pub(super) fn is_durable(field: Field<'_>) -> Result<bool, Reject> {
    const RULE: &str = "ack is memory or durable";
    match optional_text(field, RULE)? {
        None | Some("memory") => Ok(false),
        Some("durable") => Ok(true),
        Some(_) => Err(Reject::BadRequest(RULE)),
    }
}

/// What keys begin with; unlike a key it may be empty.
pub(super) fn optional_prefix(field: Field<'_>) -> Result<Option<&str>, Reject> {
    let prefix = optional_text(field, "prefix is not a string")?;
    if prefix.is_some_and(|prefix| prefix.len() > KEY_BYTES_MAX) {
        return Err(Reject::TooLarge("a prefix has at most 512 bytes"));
    }
    Ok(prefix)
}

pub(super) fn tag(text: &str) -> Result<&str, Reject> {
    name_within(
        text,
        TAG_BYTES_MAX,
        Reject::TooLarge("a tag has at most 80 bytes"),
        Reject::ValueInvalid("a tag is not empty and has no U+0000"),
    )
}

/// A name of at most so many bytes, and what it is refused with otherwise.
#[inline]
pub(super) fn name_within(
    name: &str,
    bytes_max: usize,
    too_long: Reject,
    invalid: Reject,
) -> Result<&str, Reject> {
    if name.len() > bytes_max {
        return Err(too_long);
    }
    if is_name(name) { Ok(name) } else { Err(invalid) }
}

#[inline]
fn is_name(text: &str) -> bool {
    // No early exit, so that the compiler scans many bytes at once.
    let has_nul = text.bytes().fold(false, |found, byte| found | (byte == 0));
    !text.is_empty() && !has_nul
}

#[inline]
pub(super) fn optional_stamp(field: Field<'_>) -> Result<Option<Stamp>, Reject> {
    match optional_text(field, "at is not a string")? {
        None => Ok(None),
        Some(text) => match Stamp::parse(text) {
            None => Err(Reject::ValueInvalid("at is not a stamp such as 1700000000000:0:node")),
            stamp => Ok(stamp),
        },
    }
}

pub(super) fn optional_map_type(field: Field<'_>) -> Result<Option<MapType>, Reject> {
    const RULE: &str = "map_type is lww, or or counter";
    let Some(text) = optional_text(field, RULE)? else { return Ok(None) };
    MapType::parse(text).ok_or(Reject::BadRequest(RULE)).map(Some)
}

pub(super) fn replica(field: Field<'_>) -> Result<NodeName, Reject> {
    let name = text(field, "replica is not a string")?;
    NodeName::new(name.as_bytes())
        .ok_or(Reject::ValueInvalid("replica is not a node name of at most 40 graphic ASCII characters"))
}

#[inline]
pub(super) fn optional_ttl_ms(field: Field<'_>) -> Result<Option<u64>, Reject> {
    optional_whole(field, (1, TTL_MS_MAX), "ttl_ms is a whole number from 1 to ten years")
}

pub(super) fn increment(field: Field<'_>) -> Result<i64, Reject> {
    whole(field, "by is a whole number of at most 2^53-1 either way")
}

pub(super) fn total(field: Field<'_>, rule: &'static str) -> Result<u64, Reject> {
    match u64::try_from(whole(field, rule)?) {
        Ok(total) if total <= COUNTER_TOTAL_MAX => Ok(total),
        _ => Err(Reject::ValueInvalid(rule)),
    }
}

/// Of at most [`JSON_INTEGER_MAX`] either way.
///
/// # Errors
/// [`Reject::BadRequest`] if the field is missing or not a number, [`Reject::ValueInvalid`] if it is another
/// number.
fn whole(field: Field<'_>, rule: &'static str) -> Result<i64, Reject> {
    const _: () = assert!(JSON_INTEGER_MAX <= i64::MAX as u64);
    let number = field.and_then(Number::of).ok_or(Reject::BadRequest(rule))?;
    number.whole().ok_or(Reject::ValueInvalid(rule))
}
