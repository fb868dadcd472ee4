//! The canonical form: one text for one value, whoever wrote it and however.

use std::collections::BTreeMap;

use super::outcome;
use super::random::Random;

/// The canonical form of `json`, as a `set` stores it.
pub fn canonical_of(json: &str) -> String {
    let op = format!(r#"{{"map":"m","key":"k","op":"set","value":{json}}}"#);
    let line = outcome(&format!(r#"{{"type":"write","ops":[{op}]}}"#));
    let value = line.strip_prefix("write memory 1; m/k set ").expect("a value that parses");
    value.strip_suffix(" at  ttl None").unwrap().to_owned()
}

#[test]
fn canonical_golden_lines() {
    for (json, canonical) in [
        (" null ", "null"),
        (r#"[ true , false , [ ] , { } ]"#, "[true,false,[],{}]"),
        (r#"{"b":1,"a":2}"#, r#"{"a":2,"b":1}"#),
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
        (r#"{"a":1,"a":2,"a":{"c":0,"b":[]}}"#, r#"{"a":{"b":[],"c":0}}"#),
        (r#"{"aa":1,"a":2,"":3,"B":4}"#, r#"{"":3,"B":4,"a":2,"aa":1}"#),
        // By UTF-8 bytes: U+FF61 before U+10000, though UTF-16 would have it the other way round.
        (r#"{"\ud800\udc00":1,"\uff61":2}"#, "{\"\u{ff61}\":2,\"\u{10000}\":1}"),
        (
            r#"{"z":{"b":{"d":1,"c":2},"a":3},"y":{"b":4,"a":5}}"#,
            r#"{"y":{"a":5,"b":4},"z":{"a":3,"b":{"c":2,"d":1}}}"#,
        ),
        (r#""\u0041\/\u00e9\u2028\ud83d\ude00""#, "\"A/é\u{2028}😀\""),
        (r#""\u0000\u001F\u007f\b\f\n\r\t\"\\""#, "\"\\u0000\\u001f\u{7f}\\b\\f\\n\\r\\t\\\"\\\\\""),
        ("[0,-0,-0.0,0e5,1.0,1e2,-1.50]", "[0,0,0,0,1,100,-1.5]"),
        ("[18446744073709551615,-9223372036854775808]", "[18446744073709551615,-9223372036854775808]"),
        ("[18446744073709551616,-9223372036854775809]", "[18446744073709552000,-9223372036854776000]"),
        (
            "[1e20,1e21,123456789012345678901234567890]",
            "[100000000000000000000,1e+21,1.2345678901234568e+29]",
        ),
        ("[0.1,1e-6,1e-7,5e-324,1e-400]", "[0.1,0.000001,1e-7,5e-324,0]"),
        ("9007199254740993", "9007199254740993"),
        ("9007199254740993.0", "9007199254740992"),
    ] {
        assert_eq!(canonical_of(json), canonical, "{json}");
        assert_eq!(canonical_of(canonical), canonical);
    }
}

/// Writes random values in two random ways each; both must give what a plain model of the rules gives.
#[test]
fn one_value_has_one_canonical_form() {
    let mut random = Random::from_environment();
    for _ in 0..2_000 {
        let model = Model::random(&mut random, 5);
        let expected = model.canonical();
        for _ in 0..2 {
            let mut sloppy = String::new();
            model.write_sloppily(&mut sloppy, &mut random);
            assert_eq!(canonical_of(&sloppy), expected, "{sloppy}");
        }
        assert_eq!(canonical_of(&expected), expected);
    }
}

#[test]
fn an_object_of_many_unsorted_members_is_sorted() {
    let mut random = Random::from_environment();
    let names: Vec<u64> = (0..3_000).map(|_| random.next() % 2_000).collect();
    let members: Vec<String> =
        names.iter().enumerate().map(|(index, name)| format!(r#""{name}":{index}"#)).collect();
    let last: BTreeMap<String, usize> =
        names.iter().enumerate().map(|(index, name)| (name.to_string(), index)).collect();
    let expected: Vec<String> = last.iter().map(|(name, index)| format!(r#""{name}":{index}"#)).collect();
    assert_eq!(canonical_of(&format!("{{{}}}", members.join(","))), format!("{{{}}}", expected.join(",")));
}

/// Any finite double: as short as Rust's own shortest, laid out as JavaScript does, and the same when read.
#[test]
fn every_double_keeps_its_value() {
    let mut random = Random::from_environment();
    for _ in 0..20_000 {
        let bits = match random.below(3) {
            0 => random.next(),
            // Small decimals, and whole numbers around the limits of the forms.
            1 => ((random.below(2_000_000) as f64 - 1e6) / 1000.0).to_bits(),
            _ => (random.next() as f64 * 10f64.powi(random.below(8) as i32 - 4)).to_bits(),
        };
        let value = f64::from_bits(bits);
        if !value.is_finite() {
            continue;
        }
        let written = canonical_of(&format!("{value:e}"));
        assert_eq!(written, javascript(value), "{bits:#x}");
        assert!(written.parse::<f64>().unwrap() == value, "{bits:#x}");
    }
}

/// ECMA-262 section 6.1.6.1.20, from the digits and the exponent that Rust prints.
fn javascript(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap();
    let (digits, exponent) = (to_even(mantissa, value), exponent.parse::<i32>().unwrap());
    let (count, point) = (digits.len() as i32, exponent + 1);
    let unsigned = if count <= point && point <= 21 {
        format!("{digits}{}", "0".repeat((point - count) as usize))
    } else if 0 < point && point <= 21 {
        format!("{}.{}", &digits[..point as usize], &digits[point as usize..])
    } else if -6 < point && point <= 0 {
        format!("0.{}{digits}", "0".repeat(-point as usize))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let fraction = if count == 1 { String::new() } else { format!(".{}", &digits[1..]) };
        format!("{}{fraction}e{sign}{}", &digits[..1], exponent.abs())
    };
    if value < 0.0 { format!("-{unsigned}") } else { unsigned }
}

/// The shortest digits. Where two of that length are equally near, Rust takes the upper, ECMA-262 the even.
fn to_even(mantissa: &str, value: f64) -> String {
    let mut digits = mantissa.replace('.', "").into_bytes();
    let exact = format!("{:.60e}", value.abs()).replace('.', "");
    let (rest, _) = exact[digits.len()..].split_once('e').unwrap();
    let last = digits.last_mut().unwrap();
    if rest.starts_with('5') && rest[1..].bytes().all(|digit| digit == b'0') && *last % 2 == 1 {
        *last -= 1;
    }
    String::from_utf8(digits).unwrap()
}

/// A value.
pub enum Model {
    Word(&'static str),
    Integer(i64),
    Double(f64),
    Text(String),
    Array(Vec<Model>),
    Object(BTreeMap<String, Model>),
}

impl Model {
    pub fn random(random: &mut Random, depth: usize) -> Self {
        match random.below(if depth == 0 { 4 } else { 6 }) {
            0 => Self::Word(random.one_of(&["null", "true", "false"])),
            1 => Self::Integer(random.next() as i64 >> random.below(64)),
            2 => Self::Double(
                (random.below(2_000_000) as f64 - 1e6) / 256.0 * 10f64.powi(random.below(40) as i32 - 20),
            ),
            3 => Self::Text(random_text(random)),
            4 => Self::Array((0..random.below(5)).map(|_| Self::random(random, depth - 1)).collect()),
            _ => Self::Object(
                (0..random.below(6))
                    .map(|_| (random_text(random), Self::random(random, depth - 1)))
                    .collect(),
            ),
        }
    }

    pub fn canonical(&self) -> String {
        let join = |parts: Vec<String>| parts.join(",");
        match self {
            Self::Word(word) => (*word).to_owned(),
            Self::Integer(value) => value.to_string(),
            Self::Double(value) => javascript(*value),
            Self::Text(text) => quoted(text),
            Self::Array(items) => format!("[{}]", join(items.iter().map(Self::canonical).collect())),
            Self::Object(members) => {
                let member =
                    |(name, value): (&String, &Self)| format!("{}:{}", quoted(name), value.canonical());
                format!("{{{}}}", join(members.iter().map(member).collect()))
            }
        }
    }

    /// The same value with spaces, needless escapes, members in any order, and members that are overwritten.
    pub fn write_sloppily(&self, out: &mut String, random: &mut Random) {
        space(out, random);
        match self {
            Self::Word(_) | Self::Integer(_) => out.push_str(&self.canonical()),
            Self::Double(value) if random.below(2) == 0 => out.push_str(&format!("{value:e}")),
            Self::Double(value) => out.push_str(&format!("{value}")),
            Self::Text(text) => write_text_sloppily(text, out, random),
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    item.write_sloppily(out, random);
                }
                out.push(']');
            }
            Self::Object(members) => {
                let mut order: Vec<(&String, Option<&Self>)> =
                    members.iter().map(|(name, value)| (name, Some(value))).collect();
                for place in (1..order.len()).rev() {
                    order.swap(place, random.below(place + 1));
                }
                if random.below(4) == 0
                    && let Some(&(name, _)) = order.last()
                {
                    order.insert(random.below(order.len()), (name, None));
                }
                out.push('{');
                for (index, (name, value)) in order.into_iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    write_text_sloppily(name, out, random);
                    out.push(':');
                    match value {
                        Some(value) => value.write_sloppily(out, random),
                        None => out.push_str(r#"["overwritten",{"b":0,"a":0}]"#),
                    }
                }
                out.push('}');
            }
        }
        space(out, random);
    }
}

fn random_text(random: &mut Random) -> String {
    let characters =
        ['a', 'b', 'c', 'é', '"', '\\', '/', '\n', '\t', '\0', '\u{1f}', '\u{7f}', '\u{ffff}', '😀'];
    let len_max = random.one_of(&[3, 12, 40]);
    (0..random.below(len_max)).map(|_| random.one_of(&characters)).collect()
}

fn quoted(text: &str) -> String {
    let escaped = |character| match character {
        '"' => r#"\""#.to_owned(),
        '\\' => r"\\".to_owned(),
        '\n' => r"\n".to_owned(),
        '\t' => r"\t".to_owned(),
        '\0'..='\u{1f}' => format!("\\u{:04x}", character as u32),
        _ => character.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

fn write_text_sloppily(text: &str, out: &mut String, random: &mut Random) {
    out.push('"');
    for character in text.chars() {
        if random.below(4) == 0 {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04X}"));
            }
        } else {
            let plain = quoted(&character.to_string());
            out.push_str(&plain[1..plain.len() - 1]);
        }
    }
    out.push('"');
}

fn space(out: &mut String, random: &mut Random) {
    if random.below(4) == 0 {
        out.push(random.one_of(&[' ', '\n', '\t', '\r']));
    }
}
