//! A golden line for each request in each of its forms.

use annulus::dialect::native::message::{Message, Request};
use annulus::shard::AckLevel;
use annulus::wire::json::{Object, Parser};
use annulus::wire::{Payload, Reject};

use super::{outcome, with_message};

/// Every good message, and what it asks for.
pub const GOLDEN: &[(&str, &str)] = &[
    (r#"{"type":"ping"}"#, "ping"),
    (r#" { "id" : 1.5e0 , "type" : "ping" , "unknown" : [ { } ] } "#, "ping"),
    (r#"{"type":"auth","token":"a.b.c"}"#, "auth a.b.c"),
    (r#"{"type":"read","id":1,"map":"todos","keys":["t1","t\u00e9"]}"#, r#"read todos ["t1", "té"]"#),
    (r#"{"type":"read","map":"todos","keys":[]}"#, "read todos []"),
    (
        r#"{"type":"subscribe","id":2,"map":"todos"}"#,
        "subscribe todos since None keys None prefix None snapshot true echo false",
    ),
    (
        r#"{"type":"subscribe","map":"m","since":"00000000000000ff.7","keys":["t1"],"prefix":"t","snapshot":false,"echo":true}"#,
        r#"subscribe m since Some("00000000000000ff.7") keys Some(["t1"]) prefix Some("t") snapshot false echo true"#,
    ),
    (
        r#"{"type":"subscribe","map":"m","id":null,"since":null,"keys":null,"prefix":null,"snapshot":null,"echo":null}"#,
        "subscribe m since None keys None prefix None snapshot true echo false",
    ),
    (r#"{"type":"unsubscribe","id":3,"map":"todos"}"#, "unsubscribe todos"),
    (r#"{"type":"digest","id":4,"map":"todos"}"#, "digest todos"),
    (r#"{"type":"presence.join","id":5,"room":"doc"}"#, "join doc None grace None"),
    (
        r#"{"type":"presence.join","room":"doc","state":{"b":1.0,"a":null},"grace_ms":3e5}"#,
        r#"join doc Some("{\"a\":null,\"b\":1}") grace Some(300000)"#,
    ),
    (
        r#"{"type":"presence.join","room":"doc","state":null,"grace_ms":null}"#,
        r#"join doc Some("null") grace None"#,
    ),
    (r#"{"type":"presence.watch","room":"doc"}"#, "watch doc"),
    (r#"{"type":"presence.update","room":"doc","state":[1]}"#, "update doc [1]"),
    (r#"{"type":"presence.leave","room":"doc"}"#, "leave doc"),
    (r#"{"type":"presence.list","room":"doc"}"#, r#"list doc after "" 100"#),
    (r#"{"type":"presence.list","room":"doc","after":"user:a","limit":7}"#, r#"list doc after "user:a" 7"#),
    (r#"{"type":"disconnect","id":5,"user":"u1"}"#, "disconnect u1"),
    (
        r#"{"type":"client_error","id":9,"message":"it broke","context":{"b":[1],"a":null}}"#,
        r#"client_error "it broke" Some({"a":null,"b":[1]})"#,
    ),
    (r#"{"type":"client_error","message":""}"#, r#"client_error "" None"#),
    (
        r#"{"type":"send","id":8,"to":"user:u:2","data":{"b":1,"a":[]}}"#,
        r#"send User("u:2") {"a":[],"b":1} ttl None durable false"#,
    ),
    (
        r#"{"data":null,"ack":"durable","ttl_ms":1e3,"to":"role:staff","type":"send"}"#,
        r#"send Role("staff") null ttl Some(1000) durable true"#,
    ),
    (
        r#"{"type":"send","to":"all","data":"x","ack":"memory","ttl_ms":null}"#,
        r#"send All "x" ttl None durable false"#,
    ),
    (
        r#"{"type":"direct.ack","through":"0f00000000000001-18446744073709551615"}"#,
        "ack f00000000000001 18446744073709551615",
    ),
    (r#"{"type":"block","user":"u:2"}"#, "block u:2"),
    (r#"{"type":"unblock","id":1,"user":"é"}"#, "unblock é"),
    (r#"{"type":"write","ops":[]}"#, "write memory 0"),
    (
        r#"{"type":"write","id":7,"ack":"durable","ops":[{"map":"todos","key":"t1","op":"set","value":{"done":false},"at":"1700000000000:3:n-1","ttl_ms":60000},{"map":"todos","key":"t2","op":"delete"},{"map":"tags","key":"t1","op":"add","value":"urgent"},{"map":"tags","key":"t1","op":"remove","tags":["1:0:a","x"]},{"map":"views","key":"t1","op":"increment","by":1}]}"#,
        r#"write durable 5; todos/t1 set {"done":false} at 1700000000000:3:n-1 ttl Some(60000); todos/t2 delete at ; tags/t1 add "urgent" tag None at ; tags/t1 remove tags ["1:0:a", "x"]; views/t1 increment 1"#,
    ),
    (
        r#"{"ops":[{"at":"5:65535:z","op":"delete","key":"k","map":"m"},{"op":"add","tag":"T","at":"6:0:z","value":null,"key":"k","map":"m"},{"op":"remove","value":[1.0,"\n"],"key":"k","map":"m"}],"ack":"none","type":"write"}"#,
        r#"write none 3; m/k delete at 5:65535:z; m/k add null tag Some("T") at 6:0:z; m/k remove value [1,"\n"]"#,
    ),
    (
        r#"{"type":"write","ack":"replicated","ops":[{"map":"v","key":"k","op":"increment","replica":"phone","added":12,"subtracted":3.0},{"map":"v","key":"k","op":"increment","by":-9007199254740991},{"map":"v","key":"k","op":"increment","by":1e3,"replica":null}]}"#,
        "write replicated 3; v/k increment 0:0:phone +12 -3; v/k increment -9007199254740991; v/k increment 1000",
    ),
    (
        r#"{"type":"write","ack":null,"ops":[{"map":"m","key":"k","op":"set","value":{},"at":null,"ttl_ms":null},{"map":"m","key":"k","op":"remove","tags":null,"value":null},{"map":"m","key":"k","op":"set","value":0,"ttl_ms":315360000000}]}"#,
        "write memory 3; m/k set {} at  ttl None; m/k remove value null; m/k set 0 at  ttl Some(315360000000)",
    ),
];

#[test]
fn every_request_reads_as_its_golden_line() {
    for (json, expected) in GOLDEN {
        assert_eq!(outcome(json), *expected, "{json}");
    }
}

#[test]
fn of_a_field_sent_twice_the_last_counts() {
    assert_eq!(outcome(r#"{"type":"digest","map":"a","type":"unsubscribe","map":"b"}"#), "unsubscribe b");
    assert_eq!(
        outcome(
            r#"{"type":"write","ops":[{"op":"delete","op":"increment","map":"m","key":"a","by":1,"by":2,"key":"b"}]}"#
        ),
        "write memory 1; m/b increment 2"
    );
}

#[test]
fn the_id_comes_back_in_canonical_form() {
    let id_of = |json: &str| {
        with_message(json.as_bytes(), |message| {
            message.unwrap().id().map(|id| String::from_utf8(id.to_ticket().as_bytes().to_vec()).unwrap())
        })
    };
    for (id, expected) in [
        ("7", "7"),
        ("-7", "-7"),
        ("7.0", "7"),
        ("18446744073709551615", "18446744073709551615"),
        ("1e30", "1e+30"),
        (r#""a\u0001\"""#, r#""a\u0001\"""#),
        (r#""""#, r#""""#),
    ] {
        assert_eq!(id_of(&format!(r#"{{"id":{id},"type":"ping"}}"#)).as_deref(), Some(expected));
    }
    assert_eq!(id_of(r#"{"id":1,"id":2}"#).as_deref(), Some("2"), "even of a message that is no request");
    assert_eq!(id_of(r#"{"type":"ping"}"#), None);
    assert_eq!(id_of(r#"{"type":"ping","id":null}"#), None);
    assert_eq!(id_of(r#"{"type":"ping","id":{"id":1}}"#), None);
}

#[test]
fn ack_levels_are_ordered_by_how_much_they_promise() {
    assert!(AckLevel::None < AckLevel::Memory);
    assert!(AckLevel::Memory < AckLevel::Durable);
    assert!(AckLevel::Durable < AckLevel::Replicated);
}

#[test]
fn ops_can_be_read_twice_and_know_how_many_are_left() {
    let json = br#"{"type":"write","ops":[{"map":"m","key":"a","op":"delete"},7,{"map":"m","key":"b","op":"delete"}]}"#;
    with_message(json, |message| {
        let message = message.unwrap();
        let Ok(Request::Write { mut ops, .. }) = message.request() else { panic!("a write") };
        assert_eq!(ops.next().unwrap().unwrap().key, "a");
        let again = ops.clone();
        assert_eq!((ops.len(), again.count()), (2, 2));
        assert!(matches!(ops.next(), Some(Err(Reject::BadRequest(_)))), "a bad one is refused alone");
        assert_eq!(ops.next().unwrap().unwrap().key, "b");
        assert!(ops.next().is_none() && ops.len() == 0);
    });
}

/// A parser serves one message after another, whatever became of the ones before.
#[test]
fn a_refused_message_leaves_no_trace_in_the_next() {
    let mut parser = Parser::new();
    let huge = format!(r#"{{"type":"ping","x":[{}0]}}"#, "0,".repeat(200_000));
    for round in 0..3 {
        for json in [r#"{"type":"ping""#, r#"{"type":"ping"}"#, "[1]", "{}", huge.as_str(), ""] {
            let mut padded = [json.as_bytes(), &[b'}'; 64]].concat();
            let parsed = parser.parse(Payload::new(&mut padded, json.len()));
            assert_eq!(parsed.is_ok(), json.ends_with('}'), "{json:.20} in round {round}");
            let Ok(object) = parsed else { continue };
            let message = Message::new(&object);
            assert_eq!(matches!(message.request(), Ok(Request::Ping)), json != "{}");
            assert_eq!(message.request().is_err(), json == "{}");
            parser.recycle(object);
        }
    }
}

#[test]
fn message_borrows_nothing_from_its_parser() {
    fn parse<'a>(parser: &mut Parser, padded: &'a mut [u8]) -> Object<'a> {
        let len = padded.len() - 64;
        parser.parse(Payload::new(padded, len)).unwrap()
    }
    let (mut first, mut second) = ([0; 66], [0; 66]);
    first[..2].copy_from_slice(b"{}");
    second[..2].copy_from_slice(b"{}");
    let mut parser = Parser::new();
    let messages = [parse(&mut parser, &mut first), parse(&mut parser, &mut second)];
    assert!(messages.iter().all(|message| Message::new(message).id().is_none()));
}
