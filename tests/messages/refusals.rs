//! Every way a request can be wrong, and the code it is refused with.

use super::{node, outcome, with_message};

const BAD_JSON: &str = "bad_json";
const BAD_REQUEST: &str = "bad_request";
const KEY_INVALID: &str = "key_invalid";
const VALUE_INVALID: &str = "value_invalid";
const TOO_LARGE: &str = "too_large";

/// The outcome of a `write` of one operation: `{"map":"m","key":"k",` and then `rest`.
fn op_outcome(rest: &str) -> String {
    let outcome = outcome(&format!(r#"{{"type":"write","ops":[{{"map":"m","key":"k",{rest}}}]}}"#));
    outcome.strip_prefix("write memory 1; ").unwrap().to_owned()
}

#[test]
fn what_is_not_one_json_object_is_bad_json() {
    for json in [
        "",
        " ",
        "null",
        "true",
        "1",
        r#""type""#,
        "[]",
        r#"[{"type":"ping"}]"#,
        "{",
        "}",
        r#"{"type":"ping""#,
        r#"{"type":"ping"}}"#,
        r#"{"type":"ping"}{"type":"ping"}"#,
        r#"{"type":"ping"} x"#,
        r#"{"type":"ping",}"#,
        r#"{"type" "ping"}"#,
        r#"{type:"ping"}"#,
        r#"{'type':'ping'}"#,
        r#"{"type":"ping"/**/}"#,
        r#"{"type":"ping","x":01}"#,
        r#"{"type":"ping","x":+1}"#,
        r#"{"type":"ping","x":1.}"#,
        r#"{"type":"ping","x":.5}"#,
        r#"{"type":"ping","x":-}"#,
        r#"{"type":"ping","x":NaN}"#,
        r#"{"type":"ping","x":tru}"#,
        r#"{"type":"ping","x":"\x"}"#,
        r#"{"type":"ping","x":"\u12"}"#,
        "{\"type\":\"ping\",\"x\":\"\n\"}",
        "{\"type\":\"ping\"}\0",
    ] {
        assert_eq!(outcome(json), BAD_JSON, "{json}");
    }
}

#[test]
fn every_truncation_of_a_good_message_is_bad_json() {
    for (json, _) in super::requests::GOLDEN {
        let end = json.trim_end().len();
        for len in (0..end).filter(|&len| json.is_char_boundary(len)) {
            assert_eq!(outcome(&json[..len]), BAD_JSON, "{}", &json[..len]);
        }
    }
}

#[test]
fn numbers_no_double_can_hold_are_invalid_values() {
    let digits = "9".repeat(400);
    for number in ["1e400", "-1e400", "1e99999999999", digits.as_str(), "1.8e308", "0.1e400"] {
        assert_eq!(outcome(&format!(r#"{{"type":"ping","x":{number}}}"#)), VALUE_INVALID, "{number}");
    }
    for number in ["1e308", "-1e308", "1e-400", "0e400", &digits[..300], "18446744073709551616"] {
        assert_eq!(outcome(&format!(r#"{{"type":"ping","x":{number}}}"#)), "ping", "{number}");
    }
}

#[test]
fn nesting_ends_at_64() {
    let nested = |depth: usize, open: &str, close: &str| {
        // The message itself is the first level.
        outcome(&format!(r#"{{"type":"ping","x":{}1{}}}"#, open.repeat(depth - 1), close.repeat(depth - 1)))
    };
    for (open, close) in [("[", "]"), (r#"{"":"#, "}")] {
        assert_eq!(nested(64, open, close), "ping");
        assert_eq!(nested(65, open, close), VALUE_INVALID);
        assert_eq!(nested(100_000, open, close), VALUE_INVALID);
    }
    assert_eq!(outcome(&r#"{"":["#.repeat(100_000)), BAD_JSON);
}

#[test]
fn text_that_is_not_unicode_is_bad_json() {
    let bytes: [&[u8]; 6] =
        [b"\xff", b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"];
    for bad in bytes {
        for place in [&br#"{"type":"ping","x":"@"}"#[..], br#"{"type":"ping","@":1}"#, br#"{"type":"ping@"}"#]
        {
            let at = place.iter().position(|&byte| byte == b'@').unwrap();
            let json = [&place[..at], bad, &place[at + 1..]].concat();
            let code = with_message(&json, |message| message.map(|_| ()).map_err(|reject| reject.code()));
            assert_eq!(code, Err(BAD_JSON), "{}", String::from_utf8_lossy(&json));
        }
    }
}

#[test]
fn a_message_has_one_known_type() {
    assert_eq!(outcome("{}"), BAD_REQUEST);
    for kind in ["null", "1", "[]", "{}", "true"] {
        assert_eq!(outcome(&format!(r#"{{"type":{kind}}}"#)), BAD_REQUEST, "{kind}");
    }
    for kind in ["", "Ping", "ping ", "pong", "hello", "type", "presence", "presence.joi"] {
        assert_eq!(outcome(&format!(r#"{{"type":"{kind}"}}"#)), "unknown_type", "{kind}");
    }
}

/// Puts a value of every other JSON type into each field of each request in turn.
#[test]
fn a_field_of_the_wrong_type_is_a_bad_request() {
    let requests: &[(&str, &str, Rules<'_>)] = &[
        ("ping", "", &[("id", "number string null")]),
        ("auth", r#","token":"t""#, &[("token", "string")]),
        (
            "read",
            r#","map":"m","keys":[]"#,
            &[("map", "string"), ("keys", "array"), ("id", "number string null")],
        ),
        (
            "subscribe",
            r#","map":"m""#,
            &[
                ("map", "string"),
                ("since", "string null"),
                ("keys", "array null"),
                ("prefix", "string null"),
                ("snapshot", "bool null"),
                ("echo", "bool null"),
            ],
        ),
        ("unsubscribe", r#","map":"m""#, &[("map", "string")]),
        ("digest", r#","map":"m""#, &[("map", "string")]),
        ("presence.join", r#","room":"r""#, &[("room", "string"), ("grace_ms", "number null")]),
        ("presence.join", r#","room":"r""#, &[("state", "null bool number string array object")]),
        ("presence.watch", r#","room":"r""#, &[("room", "string")]),
        ("presence.update", r#","room":"r","state":1"#, &[("room", "string")]),
        ("presence.leave", r#","room":"r""#, &[("room", "string")]),
        (
            "presence.list",
            r#","room":"r""#,
            &[("room", "string"), ("after", "string null"), ("limit", "number null")],
        ),
        ("disconnect", r#","user":"u""#, &[("user", "string")]),
        ("write", r#","ops":[]"#, &[("ops", "array")]),
        // A wrong word is as wrong as a wrong type.
        ("write", r#","ops":[]"#, &[("ack", "null")]),
    ];
    for (kind, rest, fields) in requests {
        for (field, right) in *fields {
            for (json_type, value) in VALUES {
                let refused =
                    outcome(&format!(r#"{{"type":"{kind}"{rest},"{field}":{value}}}"#)) == BAD_REQUEST;
                assert_eq!(refused, !right.contains(json_type), "{kind} with {field}: {value}");
            }
        }
    }
}

/// Fields, each with the JSON types it takes.
type Rules<'a> = &'a [(&'a str, &'a str)];

const VALUES: [(&str, &str); 6] = [
    ("null", "null"),
    ("bool", "true"),
    ("number", "1"),
    ("string", r#""x""#),
    ("array", "[]"),
    ("object", "{}"),
];

#[test]
fn an_operations_field_of_the_wrong_type_is_a_bad_request() {
    let ops: &[(&str, Rules<'_>)] = &[
        (
            r#""op":"set","value":1"#,
            &[("map", "string"), ("key", "string"), ("at", "string null"), ("ttl_ms", "number null")],
        ),
        (r#""op":"set""#, &[("value", "null bool number string array object")]),
        (r#""op":"delete""#, &[("at", "string null"), ("map_type", "null")]),
        (r#""op":"add","value":1"#, &[("tag", "string null"), ("at", "string null")]),
        (r#""op":"remove""#, &[("tags", "array")]),
        (r#""op":"increment""#, &[("by", "number")]),
        (r#""op":"increment","added":1,"subtracted":1"#, &[("replica", "string")]),
        (r#""op":"increment","replica":"n","subtracted":1"#, &[("added", "number")]),
        (r#""op":"increment","replica":"n","added":1"#, &[("subtracted", "number")]),
        (r#""value":1"#, &[("op", "")]),
    ];
    for (op, fields) in ops {
        for (field, right) in *fields {
            for (json_type, value) in VALUES {
                let refused = op_outcome(&format!(r#"{op},"{field}":{value}"#)) == BAD_REQUEST;
                assert_eq!(refused, !right.contains(json_type), "{op} with {field}: {value}");
            }
        }
    }
}

#[test]
fn a_missing_field_is_a_bad_request() {
    for json in [
        r#"{"type":"auth"}"#,
        r#"{"type":"write"}"#,
        r#"{"type":"read","keys":["k"]}"#,
        r#"{"type":"read","map":"m"}"#,
        r#"{"type":"subscribe"}"#,
        r#"{"type":"unsubscribe"}"#,
        r#"{"type":"digest"}"#,
        r#"{"type":"disconnect"}"#,
        r#"{"type":"client_error","context":1}"#,
        r#"{"type":"client_error","message":null}"#,
    ] {
        assert_eq!(outcome(json), BAD_REQUEST, "{json}");
    }
    for op in [
        r#""x":1"#,
        r#""op":"set""#,
        r#""op":"add""#,
        r#""op":"remove""#,
        r#""op":"remove","tags":[],"value":1"#,
        r#""op":"increment""#,
        r#""op":"increment","by":1,"replica":"n","added":1,"subtracted":1"#,
        r#""op":"increment","replica":"n","added":1"#,
    ] {
        assert_eq!(op_outcome(op), BAD_REQUEST, "{op}");
    }
    for op in ["null", "1", "[]", r#""set""#, "{}", r#"{"map":"m"}"#, r#"{"key":"k","op":"delete"}"#] {
        let json = format!(r#"{{"type":"write","ops":[{op},{{"map":"m","key":"k","op":"delete"}}]}}"#);
        assert_eq!(outcome(&json), "write memory 2; bad_request; m/k delete at ", "{op}");
    }
}

#[test]
fn names_have_their_limits() {
    let map_outcome = |name: &str| outcome(&format!(r#"{{"type":"digest","map":"{name}"}}"#));
    let key_outcome = |key: &str| outcome(&format!(r#"{{"type":"read","map":"m","keys":["a","{key}"]}}"#));
    let tag_outcome = |tag: &str| op_outcome(&format!(r#""op":"add","value":1,"tag":"{tag}""#));
    let tags_outcome = |tag: &str| op_outcome(&format!(r#""op":"remove","tags":["a","{tag}"]"#));
    let prefix_outcome =
        |text: &str| outcome(&format!(r#"{{"type":"subscribe","map":"m","prefix":"{text}"}}"#));

    type Outcome<'a> = &'a dyn Fn(&str) -> String;
    let rules: [(Outcome<'_>, usize, &str); 5] = [
        (&map_outcome, 256, KEY_INVALID),
        (&key_outcome, 512, KEY_INVALID),
        (&tag_outcome, 80, VALUE_INVALID),
        (&tags_outcome, 80, VALUE_INVALID),
        (&prefix_outcome, 512, ""),
    ];
    for (outcome, bytes_max, invalid) in rules {
        let is_good = |name: &str| outcome(name).contains(name);
        assert!(is_good(&"x".repeat(bytes_max)) && is_good("/ ünï.😀-"));
        // Bytes are counted, not characters.
        assert!(is_good(&"é".repeat(bytes_max / 2)));
        assert_eq!(outcome(&"x".repeat(bytes_max + 1)), TOO_LARGE);
        assert_eq!(outcome(&"é".repeat(bytes_max / 2 + 1)), TOO_LARGE);
        if !invalid.is_empty() {
            assert_eq!(outcome(""), invalid);
            assert_eq!(outcome(r"a\u0000"), invalid);
        }
    }
}

#[test]
fn maps_of_the_servers_own_cannot_be_named() {
    for name in ["__annulus:", "__annulus:channel:a", "__annulus:user:u1"] {
        for json in [
            format!(r#"{{"type":"digest","map":"{name}"}}"#),
            format!(r#"{{"type":"read","map":"{name}","keys":["a"]}}"#),
            format!(r#"{{"type":"subscribe","map":"{name}"}}"#),
            format!(r#"{{"type":"unsubscribe","map":"{name}"}}"#),
        ] {
            assert_eq!(outcome(&json), KEY_INVALID, "{json}");
        }
        let op = format!(r#"{{"map":"{name}","key":"k","op":"set","value":1}}"#);
        let json = format!(r#"{{"type":"write","ops":[{op}]}}"#);
        assert_eq!(outcome(&json), format!("write memory 1; {KEY_INVALID}"), "{json}");
    }
    assert!(outcome(r#"{"type":"digest","map":"__annulu:"}"#).contains("__annulu:"));
}

#[test]
fn numbers_have_their_ranges() {
    for ttl_ms in ["0", "-1", "0.5", "315360000001", "1e300"] {
        assert_eq!(
            op_outcome(&format!(r#""op":"set","value":1,"ttl_ms":{ttl_ms}"#)),
            VALUE_INVALID,
            "{ttl_ms}"
        );
    }
    for by in ["0.5", "9007199254740992", "-9007199254740992", "9223372036854775808", "1e300"] {
        assert_eq!(op_outcome(&format!(r#""op":"increment","by":{by}"#)), VALUE_INVALID, "{by}");
    }
    for total in ["-1", "0.5", "9007199254740992", "18446744073709551615"] {
        for (added, subtracted) in [(total, "0"), ("0", total)] {
            let op = format!(r#""op":"increment","replica":"n","added":{added},"subtracted":{subtracted}"#);
            assert_eq!(op_outcome(&op), VALUE_INVALID, "{op}");
        }
    }
}

#[test]
fn stamps_and_node_names_are_checked() {
    let long = format!("1:1:{}", "n".repeat(41));
    for at in
        ["", "1", "1:1", "1:1:", "x:1:n", "-1:1:n", "1:65536:n", "281474976710656:0:n", "1:1:n:n", &long]
    {
        for op in ["set", "delete", "add"] {
            assert_eq!(op_outcome(&format!(r#""op":"{op}","value":1,"at":"{at}""#)), VALUE_INVALID, "{at}");
        }
    }
    for replica in ["", "a:b", "a b", "é", &"n".repeat(41)] {
        let op = format!(r#""op":"increment","replica":"{replica}","added":1,"subtracted":1"#);
        assert_eq!(op_outcome(&op), VALUE_INVALID, "{replica}");
    }
}

/// Stamps are written without escaping, which this is what makes safe.
#[test]
fn a_node_name_never_needs_an_escape() {
    for byte in (0..0x20).chain([b'"', b'\\', 0x7f, 0x80, 0xff]) {
        assert_eq!(annulus::crdt::Node::new(&[b'n', byte]), None, "{byte:#x}");
    }
    assert!(node("node-1_a.b").is_some());
}

#[test]
fn lists_have_their_lengths() {
    let repeated = |item: &str, count: usize| [item].repeat(count).join(",");
    let op = r#"{"map":"m","key":"k","op":"delete"}"#;
    let write = |count| outcome(&format!(r#"{{"type":"write","ops":[{}]}}"#, repeated(op, count)));
    let read =
        |count| outcome(&format!(r#"{{"type":"read","map":"m","keys":[{}]}}"#, repeated(r#""k""#, count)));
    let subscribe = |count| {
        outcome(&format!(r#"{{"type":"subscribe","map":"m","keys":[{}]}}"#, repeated(r#""k""#, count)))
    };
    assert!(write(1000).starts_with("write memory 1000; m/k delete"));
    assert!(read(1000).starts_with("read m [") && subscribe(1000).starts_with("subscribe m"));
    assert_eq!([write(1001), read(1001), subscribe(1001)], [TOO_LARGE; 3]);

    let remove = |count| op_outcome(&format!(r#""op":"remove","tags":[{}]"#, repeated(r#""t""#, count)));
    assert!(remove(16_384).starts_with("m/k remove tags"));
    assert_eq!(remove(16_385), TOO_LARGE);

    for item in ["1", "null", "[]", "{}", r#"["k"]"#] {
        assert_eq!(outcome(&format!(r#"{{"type":"read","map":"m","keys":["k",{item}]}}"#)), BAD_REQUEST);
        assert_eq!(op_outcome(&format!(r#""op":"remove","tags":["t",{item}]"#)), BAD_REQUEST);
    }
}

#[test]
fn an_id_that_cannot_be_repeated_is_a_bad_request() {
    for id in ["true", "[]", "{}", &format!(r#""{}""#, "x".repeat(65))] {
        assert_eq!(outcome(&format!(r#"{{"type":"ping","id":{id}}}"#)), BAD_REQUEST, "{id}");
    }
    assert_eq!(outcome(&format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(64))), "ping");
}
