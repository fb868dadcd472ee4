//! What of a value must be true.

use super::order::{self, Kind, MISSING};

/// A condition on fields, which are named by their places among the paths of the query.
#[derive(Debug)]
pub enum Condition {
    /// All of these; of none: true.
    All(Box<[Condition]>),
    /// Any of these; of none: false.
    Any(Box<[Condition]>),
    Not(Box<Condition>),
    Field(u16, Test),
}

/// What is asked of one field. Values are encoded as in `order.rs`.
#[derive(Debug)]
pub enum Test {
    Equal(Box<[u8]>),
    /// Of the same kind, and before it.
    Below(Box<[u8]>),
    /// Of the same kind, and not behind it.
    AtMost(Box<[u8]>),
    /// Of the same kind, and behind it.
    Above(Box<[u8]>),
    /// Of the same kind, and not before it.
    AtLeast(Box<[u8]>),
    /// Ascending.
    OneOf(Box<[Box<[u8]>]>),
    /// A text that begins so.
    Prefix(Box<[u8]>),
    /// A text with this in it, or an array with this element.
    Contains(Box<[u8]>),
    Exists,
}

/// That a field has one of some values.
#[derive(Clone, Copy, Debug)]
pub struct Pin<'c> {
    pub path: u16,
    pub values: &'c [Box<[u8]>],
}

/// That a field is in a span of the order of values, as far as its first bytes say ([`order::leading`]), both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub path: u16,
    pub first: u64,
    pub last: u64,
}

impl Condition {
    /// Narrows what fields must be in in any case.
    pub(super) fn narrow_spans(&self, spans: &mut Vec<Span>) {
        match self {
            Self::All(all) => all.iter().for_each(|one| one.narrow_spans(spans)),
            Self::Field(path, test) => {
                let Some((first, last)) = test.span() else { return };
                match spans.iter_mut().find(|span| span.path == *path) {
                    Some(span) => (span.first, span.last) = (span.first.max(first), span.last.min(last)),
                    None => spans.push(Span { path: *path, first, last }),
                }
            }
            _ => {}
        }
    }

    /// Appends what must be true in any case.
    pub(super) fn push_pins<'c>(&'c self, pins: &mut Vec<Pin<'c>>) {
        match self {
            Self::All(all) => all.iter().for_each(|one| one.push_pins(pins)),
            Self::Field(path, Test::Equal(value)) => {
                pins.push(Pin { path: *path, values: std::slice::from_ref(value) });
            }
            Self::Field(path, Test::OneOf(values)) => pins.push(Pin { path: *path, values }),
            _ => {}
        }
    }

    /// Whether it is true of the fields that `field` has.
    pub(super) fn is_met<'f>(&self, field: &impl Fn(u16) -> &'f [u8]) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.is_met(field)),
            Self::Any(any) => any.iter().any(|one| one.is_met(field)),
            Self::Not(other) => !other.is_met(field),
            Self::Field(path, test) => test.is_met(field(*path)),
        }
    }

    /// Appends what tells it from every other condition.
    pub(super) fn write_digest(&self, out: &mut Vec<u8>) {
        let mut list = |kind: u8, conditions: &[Self]| {
            out.push(kind);
            put_len(conditions.len(), out);
            conditions.iter().for_each(|condition| condition.write_digest(out));
        };
        match self {
            Self::All(all) => list(1, all),
            Self::Any(any) => list(2, any),
            Self::Not(other) => list(3, std::slice::from_ref(other)),
            Self::Field(path, test) => {
                out.push(4);
                out.extend_from_slice(&path.to_le_bytes());
                test.write_digest(out);
            }
        }
    }
}

impl Test {
    /// What values of which it may be true begin with, the first and the last, where that is less than all. What is behind a value,
    /// as a key in a place, makes no difference.
    fn span(&self) -> Option<(u64, u64)> {
        let (first, last) =
            (|value: &[u8]| order::leading(value, 0), |value: &[u8]| order::leading(value, u8::MAX));
        match self {
            Self::Equal(value) => Some((first(value), last(value))),
            Self::Below(value) | Self::AtMost(value) => Some((Kind::of(value).leading().0, last(value))),
            Self::Above(value) | Self::AtLeast(value) => Some((first(value), Kind::of(value).leading().1)),
            Self::OneOf(values) => Some((first(values.first()?), last(values.last()?))),
            Self::Prefix(value) => order::beginning(value).map(|text| (first(text), last(text))),
            Self::Contains(_) | Self::Exists => None,
        }
    }

    fn is_met(&self, field: &[u8]) -> bool {
        let is_alike = |value: &[u8]| Kind::of(field) == Kind::of(value);
        match self {
            Self::Equal(value) => *field == **value,
            Self::Below(value) => is_alike(value) && *field < **value,
            Self::AtMost(value) => is_alike(value) && *field <= **value,
            Self::Above(value) => is_alike(value) && *field > **value,
            Self::AtLeast(value) => is_alike(value) && *field >= **value,
            Self::OneOf(values) => values.binary_search_by(|value| (**value).cmp(field)).is_ok(),
            Self::Prefix(value) => {
                order::beginning(value).is_some_and(|beginning| field.starts_with(beginning))
            }
            Self::Contains(value) => order::has_text(field, value) || order::has_element(field, value),
            Self::Exists => *field != *MISSING,
        }
    }

    fn write_digest(&self, out: &mut Vec<u8>) {
        let mut one = |kind: u8, value: &[u8]| {
            out.push(kind);
            put_len(value.len(), out);
            out.extend_from_slice(value);
        };
        match self {
            Self::Equal(value) => one(1, value),
            Self::Below(value) => one(2, value),
            Self::AtMost(value) => one(3, value),
            Self::Prefix(value) => one(4, value),
            Self::Contains(value) => one(5, value),
            Self::Exists => one(6, &[]),
            Self::Above(value) => one(9, value),
            Self::AtLeast(value) => one(10, value),
            Self::OneOf(values) => {
                one(7, &[]);
                values.iter().for_each(|value| one(8, value));
            }
        }
    }
}

pub(super) fn put_len(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(len as u64).to_le_bytes());
}
