//! Goal: a write that is read without the parser is what the parser reads of it, and what clients usually send is read so.
//! Method: every message of these tests is read in both ways (`with_message`); here are those that programs make, with
//! mutations of them, and a table of what is nearly plain.

use super::alike::{VALUE_BYTES_MAX, assert_alike};
use super::canonical::Model;
use super::random::Random;
use super::random_bytes::mutate;

#[test]
fn what_programs_send_is_plain() {
    let mut random = Random::from_environment();
    for _ in 0..3_000 {
        let json = Program::any(&mut random).write(&mut random);
        assert!(assert_alike(&json), "not plain: {json}");
    }
}

#[test]
fn what_the_protocol_page_and_the_load_generator_send_is_plain() {
    let page = include_str!("../../docs/protocol.md");
    let sent = page
        .lines()
        .filter_map(|line| line.trim_start_matches(['→', '⇒', ' ']).strip_prefix(r#"{"type":"write""#));
    let writes: Vec<String> = sent.map(|rest| format!(r#"{{"type":"write"{rest}"#)).collect();
    assert!(writes.len() >= 6, "{writes:?}");
    for json in &writes {
        assert_eq!(assert_alike(json), !json.contains(r"\ud83d"), "{json}");
    }
    let set = |key: u32| {
        let value =
            format!("000abc.{key:010x}.{}", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456");
        format!(r#"{{"map":"bench-0","key":"{key}","op":"set","value":"{value}"}}"#)
    };
    for ack in ["", r#","ack":"none""#, r#","ack":"durable""#] {
        let ops: Vec<String> = (0..10).map(set).collect();
        assert!(assert_alike(&format!(r#"{{"type":"write","id":7{ack},"ops":[{}]}}"#, ops.join(","))));
    }
}

#[test]
fn mutations_of_plain_messages_are_read_as_the_parser_reads_them() {
    let mut random = Random::from_environment();
    let mut plain = 0;
    for _ in 0..20_000 {
        let mut json = Program::any(&mut random).write(&mut random).into_bytes();
        for _ in 0..1 + random.below(3) {
            mutate(&mut json, &mut random);
        }
        plain += usize::from(str::from_utf8(&json).is_ok_and(assert_alike));
    }
    assert!((500..19_000).contains(&plain), "{plain} of 20000 are plain");
}

/// Values in any form, each in a message that is plain but for them.
#[test]
fn values_in_any_form_are_read_as_the_parser_reads_them() {
    let mut random = Random::from_environment();
    let mut plain = 0;
    for _ in 0..5_000 {
        let model = Model::random(&mut random, 4);
        let mut value = model.canonical();
        if random.below(2) == 0 {
            value.clear();
            model.write_sloppily(&mut value, &mut random);
        }
        let op = format!(r#"{{"map":"m","key":"k","op":"set","value":{value}}}"#);
        plain += usize::from(assert_alike(&format!(r#"{{"type":"write","ops":[{op}]}}"#)));
    }
    assert!((1_000..4_900).contains(&plain), "{plain} of 5000 are plain");
}

#[test]
fn what_is_nearly_plain_is_left_to_the_parser() {
    let op = |fields: &str| format!(r#"{{"type":"write","ops":[{{"map":"m","key":"k",{fields}}}]}}"#);
    let (long, deep) = ("x".repeat(VALUE_BYTES_MAX), "[".repeat(33) + &"]".repeat(33));
    let nested = r#"{"a":"#.repeat(33) + "1" + &"}".repeat(33);
    for json in [
        r#"{"type":"ping","id":1}"#.to_owned(),
        r#"{"type":"write"}"#.to_owned(),
        r#"{"ops":[]}"#.to_owned(),
        r#"{"type":"write","ops":[]} "#.to_owned(),
        r#"{"type":"write","ops":[],"ops":[]}"#.to_owned(),
        r#"{"type":"write","type":"write","ops":[]}"#.to_owned(),
        r#"{"type":"write","id":1,"id":2,"ops":[]}"#.to_owned(),
        r#"{"type":"write","id":null,"ops":[]}"#.to_owned(),
        r#"{"type":"write","id":1.0,"ops":[]}"#.to_owned(),
        r#"{"type":"write","id":-0,"ops":[]}"#.to_owned(),
        r#"{"type":"write","id":"\n","ops":[]}"#.to_owned(),
        r#"{"type":"write","ack":"disk","ops":[]}"#.to_owned(),
        r#"{"type":"write","room":"r","ops":[]}"#.to_owned(),
        format!(r#"{{"type":"write","id":"{}","ops":[]}}"#, &long[..65]),
        format!(
            r#"{{"type":"write","ops":[{}]}}"#,
            vec![r#"{"map":"m","key":"k","op":"delete"}"#; 1001].join(",")
        ),
        op(r#""op":"set""#),
        op(r#""op":"set","value":1,"value":2"#),
        op(r#""op":"set","value":1,"extra":2"#),
        op(r#""op":"set","value":1,"at":null"#),
        op(r#""op":"set","value":1,"at":"now""#),
        op(r#""op":"set","value":1,"ttl_ms":0"#),
        op(r#""op":"set","value":1,"ttl_ms":1e3"#),
        op(r#""op":"set","value":1,"ttl_ms":315360000001"#),
        op(r#""op":"set","value":1e3"#),
        op(&format!(r#""op":"set","value":"{}""#, &long[..VALUE_BYTES_MAX - 1])),
        op(&format!(r#""op":"set","value":{deep}"#)),
        op(&format!(r#""op":"set","value":{nested}"#)),
        op(r#""op":"set","value":"\/""#),
        op(r#""op":"set","value":8.000000000000003"#),
        op(r#""op":"set","value":"\ud83d\ude00""#),
        op(r#""op":"set","value":{"\n":1}"#),
        op(r#""op":"set","value":1,"key":"k""#),
        op(r#""op":"delete","map_type":"set""#),
        op(&format!(r#""op":"add","value":1,"tag":"{}""#, &long[..81])),
        op(r#""op":"add","value":1,"tag":"""#),
        op(r#""op":"remove""#),
        op(r#""op":"remove","tags":["t"],"value":1"#),
        op(r#""op":"remove","tags":[""]"#),
        op(r#""op":"remove","tags":[1]"#),
        op(r#""op":"increment""#),
        op(r#""op":"increment","by":9007199254740992"#),
        op(r#""op":"increment","by":1,"replica":"r","added":1,"subtracted":1"#),
        op(r#""op":"increment","replica":"r","added":1"#),
        op(r#""op":"increment","replica":"a b","added":1,"subtracted":1"#),
        op(r#""op":"increment","replica":"r","added":-1,"subtracted":1"#),
        op(r#""op":"put","value":1"#),
        r#"{"type":"write","ops":[{"map":"","key":"k","op":"delete"}]}"#.to_owned(),
        format!(r#"{{"type":"write","ops":[{{"map":"{}","key":"k","op":"delete"}}]}}"#, &long[..257]),
        format!(r#"{{"type":"write","ops":[{{"map":"m","key":"{}","op":"delete"}}]}}"#, &long[..513]),
        r#"{"type":"write","ops":[{"map":"m","key":"\u0041","op":"delete"}]}"#.to_owned(),
    ] {
        assert!(!assert_alike(&json), "plain: {json}");
    }
    // What means nothing to an operation is read and ignored, as the parser does.
    for json in [
        op(r#""op":"set","value":1,"by":7,"tags":["t"],"map_type":"?","replica":"a b""#),
        op(r#""op":"increment","by":-0,"at":"now""#).replace("-0", "0"),
        op("\"op\":\"set\",\"value\":{\"😀\":2,\"\u{FF5E}\":1,\"a\":0}"),
        op(r#""op":"set","value":{"a":1,"a":2}"#),
        op(r#""op":"set","value":[[[{"b":1,"a":[]}]]]"#),
        op(r#""op":"set","value":{"b":[{"d":{"f":1, "e":[2,3]},"c":4}],"a":[]}"#),
        op(&format!(r#""op":"set","value":"{}""#, &long[..VALUE_BYTES_MAX - 2])),
        op(&format!(r#""op":"remove","tags":["{}","t"]"#, &long[..80])),
        format!(r#"{{"type":"write","id":"{}","ops":[]}}"#, &long[..64]),
    ] {
        assert!(assert_alike(&json), "not plain: {json}");
    }
}

/// A client that prints its messages with one of the usual functions.
struct Program {
    comma: &'static str,
    colon: &'static str,
}

impl Program {
    fn any(random: &mut Random) -> Self {
        match random.below(3) {
            // Python's `json.dumps`, and `JSON.stringify`.
            0 => Self { comma: ", ", colon: ": " },
            _ => Self { comma: ",", colon: ":" },
        }
    }

    fn write(&self, random: &mut Random) -> String {
        let ops: Vec<String> = (0..random.below(4)).map(|_| self.op(random)).collect();
        let mut fields = vec![("type", r#""write""#.to_owned()), ("ops", self.array(&ops))];
        match random.below(3) {
            0 => fields.insert(1, ("id", (random.next() as i64 >> (10 + random.below(50))).to_string())),
            1 => fields.insert(0, ("id", format!("\"0190c5a4-7e2d-{:x}\"", random.next()))),
            _ => {}
        }
        if random.below(3) == 0 {
            let ack = random.one_of(&["none", "memory", "durable", "replicated"]);
            fields.insert(random.below(fields.len() + 1), ("ack", format!("\"{ack}\"")));
        }
        self.object(&fields)
    }

    fn op(&self, random: &mut Random) -> String {
        let mut fields = vec![
            ("map", format!("\"{}\"", random.one_of(&["todos", "m", "küche", "a/b"]))),
            ("key", format!("\"item-{}\"", random.below(1000))),
        ];
        let stamp = format!("\"1700000000{:03}:{}:phone\"", random.below(1000), random.below(1 << 16));
        match random.below(7) {
            0 => fields.extend([("op", text("set")), ("value", self.value(random, 3))]),
            1 => fields.extend([
                ("op", text("set")),
                ("value", self.value(random, 2)),
                ("ttl_ms", "60000".to_owned()),
                ("at", stamp),
            ]),
            2 => fields.extend([("op", text("delete")), ("at", stamp)]),
            3 => fields.extend([
                ("op", text("add")),
                ("value", self.value(random, 1)),
                ("tag", text("phone-7")),
            ]),
            4 => fields.extend([("op", text("remove")), ("tags", self.array(&[text("a"), stamp]))]),
            5 => fields.extend([
                ("op", text("increment")),
                ("replica", text("phone")),
                ("added", random.below(100).to_string()),
                ("subtracted", "0".to_owned()),
            ]),
            _ => fields.extend([("op", text("increment")), ("by", (random.below(9) as i64 - 4).to_string())]),
        }
        if random.below(4) == 0 {
            shuffle(&mut fields, random);
        }
        self.object(&fields)
    }

    /// Names in the order in which a program happens to have them.
    fn value(&self, random: &mut Random, depth: usize) -> String {
        match random.below(if depth == 0 { 4 } else { 6 }) {
            0 => random.one_of(&["null", "true", "false", "0", "-7", "1700000000000"]).to_owned(),
            1 => random.one_of(&["0.5", "-12.25", "52.5200066", "0.000001", "123456789012345678"]).to_owned(),
            2 => random
                .one_of(&[r#""""#, r#""a \"quoted\" word\n""#, r#""\\\t\r\b\f""#, r#""é😀/""#])
                .to_owned(),
            3 => format!("\"{}\"", "lorem ipsum ".repeat(random.below(8))),
            4 => self.array(&(0..random.below(4)).map(|_| self.value(random, depth - 1)).collect::<Vec<_>>()),
            _ => {
                const NAMES: [&str; 16] = [
                    "title", "done", "id", "x", "y", "", "é", "a", "aa", "A", "n1", "n2", "n3", "n4", "n5",
                    "n6",
                ];
                let many = random.one_of(&[3, 5, NAMES.len()]);
                let mut members: Vec<(&str, String)> = NAMES[..many]
                    .iter()
                    .map(|&name| (name, self.value(random, depth.saturating_sub(2))))
                    .collect();
                shuffle(&mut members, random);
                self.object(&members)
            }
        }
    }

    fn object(&self, members: &[(&str, String)]) -> String {
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{name}\"{}{value}", self.colon)).collect();
        format!("{{{}}}", members.join(self.comma))
    }

    fn array(&self, items: &[String]) -> String {
        format!("[{}]", items.join(self.comma))
    }
}

fn text(text: &str) -> String {
    format!("\"{text}\"")
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for place in (1..items.len()).rev() {
        items.swap(place, random.below(place + 1));
    }
}
