//! The one order of all values: missing, `null`, `false`, `true`, numbers, texts, arrays, objects.
//!
//! ```text
//!  missing 01 | null 02 | false 03 | true 04
//!  number  05, the double, big end first, so turned that it compares as bytes
//!  text    06, its UTF-8 with 00 FF for each 00 | 00 00
//!  array   07, its elements | 00
//!  object  08, for each member in the order of names: 01, its name as a text without 06, its value | 00
//! ```
//! Numbers are compared as doubles, as every client in JavaScript has them. Invariant: no encoding is the beginning of another, so
//! encodings one after the other compare as lists do.

use super::json::{self, Elements, Members};

/// What is not there.
pub const MISSING: &[u8] = &[1];

const END: u8 = 0;
const NAME: u8 = 1;
const NULL: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
const NUMBER: u8 = 5;
const TEXT: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;

/// What kinds of values are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Missing,
    Null,
    Truth,
    Number,
    Text,
    Array,
    Object,
}

impl Kind {
    pub fn of(encoded: &[u8]) -> Self {
        match encoded.first() {
            Some(&NULL) => Self::Null,
            Some(&(FALSE | TRUE)) => Self::Truth,
            Some(&NUMBER) => Self::Number,
            Some(&TEXT) => Self::Text,
            Some(&ARRAY) => Self::Array,
            Some(&OBJECT) => Self::Object,
            _ => Self::Missing,
        }
    }

    /// What [`leading`] is at least and at most for values of this kind.
    pub fn leading(self) -> (u64, u64) {
        let (first, last) = match self {
            Self::Missing => (MISSING[0], MISSING[0]),
            Self::Null => (NULL, NULL),
            Self::Truth => (FALSE, TRUE),
            Self::Number => (NUMBER, NUMBER),
            Self::Text => (TEXT, TEXT),
            Self::Array => (ARRAY, ARRAY),
            Self::Object => (OBJECT, OBJECT),
        };
        (leading(&[first], 0), leading(&[last], u8::MAX))
    }
}

/// The first eight bytes of an encoding, or what has `missing` behind it where it has fewer: numbers that compare as encodings do,
/// as far as these tell them apart.
#[inline]
pub fn leading(encoded: &[u8], missing: u8) -> u64 {
    let mut bytes = [missing; 8];
    let len = encoded.len().min(bytes.len());
    bytes[..len].copy_from_slice(&encoded[..len]);
    u64::from_be_bytes(bytes)
}

/// Appends a canonical value so that bytes compare as values do. Recurses as deep as it nests, which the parser bounds
/// (`JSON_DEPTH_MAX`).
pub fn encode(value: &[u8], out: &mut Vec<u8>) {
    match value.first() {
        Some(b'n') => out.push(NULL),
        Some(b'f') => out.push(FALSE),
        Some(b't') => out.push(TRUE),
        Some(b'"') => {
            out.push(TEXT);
            encode_text(&json::unescaped(json::text(value).unwrap_or_default()), out);
        }
        Some(b'[') => {
            out.push(ARRAY);
            Elements::of(value).into_iter().flatten().for_each(|element| encode(element, out));
            out.push(END);
        }
        Some(b'{') => {
            out.push(OBJECT);
            for (name, value) in Members::of(value).into_iter().flatten() {
                out.push(NAME);
                encode_text(&json::unescaped(name), out);
                encode(value, out);
            }
            out.push(END);
        }
        _ => {
            out.push(NUMBER);
            out.extend_from_slice(&turned(number(value)).to_be_bytes());
        }
    }
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    encode_inside(text, out);
    out.extend_from_slice(&[0, 0]);
}

/// Appends what a text has between its kind and its end.
fn encode_inside(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(place) = memchr::memchr(0, text) {
        out.extend_from_slice(&text[..place]);
        out.extend_from_slice(&[0, 0xFF]);
        text = &text[place + 1..];
    }
    out.extend_from_slice(text);
}

fn number(text: &[u8]) -> f64 {
    let text = std::str::from_utf8(text).unwrap_or("0");
    match text.len() {
        // A double has them all.
        0..=15 if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.bytes().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0')) as f64
        }
        _ => text.parse().unwrap_or(0.0),
    }
}

/// The bits of a double, so that they compare as it does.
fn turned(number: f64) -> u64 {
    let bits = (number + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// What the encodings of texts that begin so begin with, given the whole of one; `None` for what is no text.
pub fn beginning(encoded: &[u8]) -> Option<&[u8]> {
    (Kind::of(encoded) == Kind::Text).then(|| &encoded[..encoded.len() - 2])
}

/// Whether a text has another in it.
pub fn has_text(encoded: &[u8], part: &[u8]) -> bool {
    match (beginning(encoded), beginning(part)) {
        // A 00 is never first in its pair by chance, as no text has an FF.
        (Some(text), Some(part)) => memchr::memmem::find(&text[1..], &part[1..]).is_some(),
        _ => false,
    }
}

/// Whether an array has an element.
pub fn has_element(encoded: &[u8], element: &[u8]) -> bool {
    if Kind::of(encoded) != Kind::Array {
        return false;
    }
    let mut rest = &encoded[1..];
    while rest.first().is_some_and(|&byte| byte != END) {
        let (first, others) = rest.split_at(encoded_len(rest));
        if first == element {
            return true;
        }
        rest = others;
    }
    false
}

/// How long the value is that `encoded` begins with.
fn encoded_len(encoded: &[u8]) -> usize {
    let mut at = 1;
    match encoded[0] {
        NUMBER => at += 8,
        TEXT => at += inside_len(&encoded[at..]),
        ARRAY => {
            while encoded[at] != END {
                at += encoded_len(&encoded[at..]);
            }
            at += 1;
        }
        OBJECT => {
            while encoded[at] != END {
                at += 1 + inside_len(&encoded[at + 1..]);
                at += encoded_len(&encoded[at..]);
            }
            at += 1;
        }
        _ => {}
    }
    at
}

/// The same of a text without its kind.
fn inside_len(encoded: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr(0, &encoded[at..]) {
        at += found + 2;
        if encoded[at - 1] == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value.as_bytes(), &mut out);
        out
    }

    /// In ascending order.
    const VALUES: &[&str] = &[
        "null",
        "false",
        "true",
        "-1e308",
        "-2",
        "-1.5",
        "-1",
        "-0.5",
        "0",
        "5e-324",
        "0.5",
        "1",
        "1.5",
        "2",
        "10",
        "9007199254740992",
        "1e+22",
        "\"\"",
        "\"\\u0000\"",
        "\"\\u0000a\"",
        "\"\\u0001\"",
        "\"A\"",
        "\"B\"",
        "\"a\"",
        "\"a\\u0000\"",
        "\"aa\"",
        "\"é\"",
        "\"\u{FFFF}\"",
        "\"\u{1F600}\"",
        "[]",
        "[null]",
        "[null,null]",
        "[1]",
        "[1,\"a\"]",
        "[2]",
        "[\"a\"]",
        "[[]]",
        "[[],1]",
        "[{}]",
        "{}",
        "{\"\":1}",
        "{\"a\":1}",
        "{\"a\":1,\"b\":1}",
        "{\"a\":2}",
        "{\"a\":\"x\"}",
        "{\"ab\":0}",
        "{\"b\":0}",
    ];

    #[test]
    fn the_order_is_total_and_as_the_page_says() {
        for (place, value) in VALUES.iter().enumerate() {
            assert!(MISSING < &*encoded(value));
            for other in &VALUES[place + 1..] {
                assert!(encoded(value) < encoded(other), "{value} < {other}");
                assert!(!encoded(other).starts_with(&encoded(value)), "{value} is no beginning of {other}");
            }
        }
    }

    #[test]
    fn what_follows_a_value_never_changes_its_order() {
        for (place, value) in VALUES.iter().enumerate() {
            for other in &VALUES[place + 1..] {
                for (tail, other_tail) in [(255, 0), (0, 255), (8, 1), (1, 8)] {
                    let (mut left, mut right) = (encoded(value), encoded(other));
                    left.push(tail);
                    right.push(other_tail);
                    assert!(left < right, "{value} < {other}");
                    let turned = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<u8>>();
                    assert!(turned(&encoded(value)) > turned(&encoded(other)), "{value} > {other}, turned");
                }
            }
        }
    }

    #[test]
    fn numbers_are_doubles() {
        assert_eq!(encoded("9007199254740993"), encoded("9007199254740992"));
        assert_eq!(encoded("18446744073709551615"), encoded("1.8446744073709552e+19"));
        assert_eq!(encoded("123456789012345"), encoded("1.23456789012345e+14"));
    }

    #[test]
    fn parts_of_texts_and_arrays_are_found() {
        let text = encoded("\"ab\\u0000cd\"");
        for part in ["", "ab", "b\\u0000", "\\u0000c", "d", "ab\\u0000cd"] {
            assert!(has_text(&text, &encoded(&format!("\"{part}\""))), "{part}");
        }
        for part in ["ac", "\\u0000\\u0000", "d\\u0000", "abcd"] {
            assert!(!has_text(&text, &encoded(&format!("\"{part}\""))), "{part}");
        }
        let array = encoded(r#"[1,"a",[2,"a\u0000"],{"a":{"":[]},"b":"x"},null,true]"#);
        for element in ["1", "\"a\"", r#"[2,"a\u0000"]"#, r#"{"a":{"":[]},"b":"x"}"#, "null", "true"] {
            assert!(has_element(&array, &encoded(element)), "{element}");
        }
        for element in ["2", "false", "\"x\"", "[2]", "[]"] {
            assert!(!has_element(&array, &encoded(element)), "{element}");
        }
        assert!(!has_element(&encoded("1"), &encoded("1")) && !has_text(&array, &encoded("\"a\"")));
    }
}
