//! Messages the parser refuses: what is said to be wrong with them, where, and what is left of them.

use annulus::limits::PARSE_PADDING_BYTES;
use annulus::wire::Payload;
use annulus::wire::json::{Diagnosis, Faults, Parser, Step, find_id, write_canonical};

use super::random::Random;

const NAMES: &[&str] = &["ops", "map", "value", "id"];

/// What is wrong with the message, in words and by its byte, and the `id` where one was read; with what is left of it
/// where values were replaced.
fn diagnose(json: &[u8]) -> Result<(Faults, String), (String, Option<String>)> {
    let mut padded = [json, &b"9]}\"".repeat(PARSE_PADDING_BYTES / 4)].concat();
    let mut parser = Parser::new();
    let mut payload = Payload::new(&mut padded, json.len());
    let refused = match parser.parse(payload.reborrow()) {
        Ok(_) => panic!("it is taken: {}", String::from_utf8_lossy(json)),
        Err(refused) => refused,
    };
    match refused.diagnose(&mut payload, NAMES) {
        Diagnosis::Broken { fault, id } => {
            let id = id.map(|place| String::from_utf8(payload.bytes()[place].to_vec()).unwrap());
            Err((format!("{}, at byte {}", fault.text(), fault.byte), id))
        }
        Diagnosis::Mended(faults) => {
            let object = parser.parse(payload).expect("what was mended is taken");
            let mut left = Vec::new();
            write_canonical(object.nodes(), object.scratch(), &mut left);
            Ok((faults, String::from_utf8(left).unwrap()))
        }
    }
}

#[test]
fn what_is_no_json_is_told_with_its_byte_and_the_id_before_it() {
    for (json, expected, id) in [
        ("", "a message is one JSON object, at byte 0", None),
        (" [1]", "a message is one JSON object, at byte 1", None),
        (r#"{"id":7"#, "the JSON object does not end, at byte 7", None),
        (r#"{"id":7,"a":"b"#, "the string does not end, at byte 12", Some("7")),
        (r#"{"id":"x"}}"#, "something follows the JSON object, at byte 10", Some(r#""x""#)),
        (
            "{\"id\":1,\"a\":\"\n\"}",
            "a control character in a string is written as an escape, at byte 13",
            Some("1"),
        ),
        (r#"{"a":"\"","b":"\x","id":1}"#, "JSON has no such escape, at byte 15", None),
        (r#"{"id":1,"b":"\u12"}"#, "JSON has no such escape, at byte 13", Some("1")),
        (r#"{"id":01}"#, "JSON has no such number, at byte 6", None),
        (r#"{"id":1,"a":-}"#, "JSON has no such number, at byte 12", Some("1")),
        (r#"{"id":1,"a":1.e5}"#, "JSON has no such number, at byte 12", Some("1")),
        (r#"{"id":1,"a":nil}"#, "a value is expected, at byte 12", Some("1")),
        (r#"{"id":1,"a":truer}"#, "a comma or an end is expected, at byte 16", Some("1")),
        (r#"{"id":1,"a":[1,]}"#, "a value is expected, at byte 15", Some("1")),
        (r#"{"id":1,"a":[1}"#, "a comma or an end is expected, at byte 14", Some("1")),
        (r#"{"id":1,}"#, "a name in double quotes is expected, at byte 8", Some("1")),
        (r#"{"id":1,b:2}"#, "a name in double quotes is expected, at byte 8", Some("1")),
        (r#"{"id":1,"b" 2}"#, "a colon is expected, at byte 12", Some("1")),
        (r#"{"id":1,"id":2,"a":{"id":3,"b" 2}}"#, "a colon is expected, at byte 31", Some("2")),
        (r#"{"\u0069\u0064":1,"a":x}"#, "a value is expected, at byte 22", Some("1")),
    ] {
        let (text, found) = diagnose(json.as_bytes()).unwrap_err();
        assert_eq!((text.as_str(), found.as_deref()), (expected, id), "{json}");
    }
    let (text, id) = diagnose(b"{\"id\":1,\"a\":\"\xff\"}").unwrap_err();
    assert_eq!((text.as_str(), id.as_deref()), ("this is not UTF-8, at byte 13", Some("1")));
}

#[test]
fn a_value_that_cannot_be_held_is_told_with_its_byte_and_its_path_and_the_rest_is_left() {
    use Step::{Element, Member};
    let deep = format!(r#"{{"ops":[{{"value":{}1{}}}]}}"#, "[".repeat(70), "]".repeat(70));
    for (json, text, path, left) in [
        (
            r#"{"id":1,"x":1e400}"#,
            "the number is beyond a double, at byte 12",
            vec![Member("")],
            r#"{"id":1,"x":""}"#,
        ),
        (r#"{"id":-1e999}"#, "the number is beyond a double, at byte 6", vec![Member("id")], r#"{"id":""}"#),
        (
            r#"{"x\"":"\n\u0001\/\ud83d\ude00","ops":[1,{"map":"m","value":["a",{"b":"c\ud83d!"}]}]}"#,
            "half a surrogate pair is no text, at byte 72",
            vec![Member("ops"), Element(1), Member("value"), Element(1)],
            r#"{"ops":[1,{"map":"m","value":["a",{"b":""}]}],"x\"":"\n\u0001/😀"}"#,
        ),
        (
            r#"{"ops":[{"m\u0061p":"\ude00\ud83d"}]}"#,
            "half a surrogate pair is no text, at byte 21",
            vec![Member("ops"), Element(0), Member("map")],
            r#"{"ops":[{"map":""}]}"#,
        ),
        (
            r#"{"ops":[{"\ud83d":1}]}"#,
            "half a surrogate pair is no text, at byte 10",
            vec![Member("ops"), Element(0)],
            r#"{"ops":[{"":1}]}"#,
        ),
        (
            deep.as_str(),
            "this nests more than 64 deep, at byte 78",
            vec![Member("ops"), Element(0), Member("value"), Element(0)],
            &format!(r#"{{"ops":[{{"value":{}""{}}}]}}"#, "[".repeat(61), "]".repeat(61)),
        ),
    ] {
        let (faults, found) = diagnose(json.as_bytes()).unwrap();
        let fault = &faults.found[0];
        assert_eq!(format!("{}, at byte {}", fault.fault.text(), fault.fault.byte), text, "{json}");
        assert_eq!((&fault.path, found.as_str()), (&path, left), "{json}");
        assert!(faults.are_all && faults.found.len() == 1, "{json}");
    }
}

#[test]
fn each_operation_has_one_fault_and_no_more_are_told_than_a_write_has_operations() {
    let write = |op: &str, count| format!(r#"{{"ops":[{}]}}"#, [op].repeat(count).join(","));
    let (faults, _) = diagnose(write(r#"{"value":[1e400,"\ud800",{"a":1e400}]}"#, 1000).as_bytes()).unwrap();
    assert!(faults.are_all && faults.found.len() == 1000);
    let (faults, _) = diagnose(write("1e400", 1001).as_bytes()).unwrap();
    assert!(!faults.are_all && faults.found.len() == 1000);
}

/// Method: objects of random members, some with escapes, one of them then given a value that cannot be held. What is left must
/// be what the parser reads where that value is replaced by hand.
#[test]
fn what_stands_around_a_fault_is_read_as_it_was_sent() {
    const GOOD: [&str; 10] = [
        r#""plain""#,
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u0022\u005c\u0000é\u00e9\ud83d\ude00""#,
        r#""\"} ,\"x\":\"""#,
        "[1,-2.5e3 , [ ] ,{}]",
        r#"{ "a\n" : "\\", "b":"" }"#,
        "true",
        "null",
        r#""\\""#,
        r#""""#,
    ];
    const BAD: [(&str, &str); 5] = [
        (r#""\ud800""#, r#""""#),
        (r#""a\"\udfff\\""#, r#""""#),
        ("1e400", r#""""#),
        ("[-9e999]", r#"[""]"#),
        (r#"{"\ud83d\n":1}"#, r#"{"":1}"#),
    ];
    let mut random = Random::from_environment();
    for _ in 0..5_000 {
        let count = 1 + random.below(6);
        let bad = random.below(count);
        let instead = random.one_of(&BAD);
        let object = |bad_value: &str, random: &mut Random| {
            let members = (0..count).map(|index| {
                let value = if index == bad { bad_value } else { random.one_of(&GOOD) };
                format!(r#"{}"\t{index}"{}:{value}"#, random.one_of(&["", " \n"]), random.one_of(&["", "  "]))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let seed = random.next();
        let [sent, expected] = [instead.0, instead.1].map(|value| object(value, &mut Random::of(seed)));
        let (_, left) = diagnose(sent.as_bytes()).unwrap();
        assert_eq!(left, super::canonical::canonical_of(&expected), "{sent}");
    }
}

#[test]
fn an_id_is_found_without_reading_more() {
    for (json, id) in [
        (r#"{"type":"ping","id":7}"#, Some("7")),
        (r#"{"id":"a\"b","ops":"#, Some(r#""a\"b""#)),
        (r#" { "a" : {"id":1} , "id" : -2.5e3 , garbage"#, Some("-2.5e3")),
        (r#"{"a":[{"id":1}]}"#, None),
        (r#"{"id":[1]}"#, None),
        (r#"{"id":null,"x":1}"#, None),
        (r#"{"id":12"#, None),
        (r#"["id",1]"#, None),
        ("", None),
    ] {
        assert_eq!(find_id(json.as_bytes()).map(|place| &json[place]), id, "{json}");
    }
}
