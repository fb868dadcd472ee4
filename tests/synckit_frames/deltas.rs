//! `delta`: both forms, values of every kind, deletes, acks and echoes.

use simd_json::prelude::*;

use crate::on_one_and_two;
use crate::peer::{Peer, json};

const DELETED: &str = r#"{"__deleted":true}"#;

#[test]
fn both_forms_write_and_reach_everybody_the_sender_too() {
    on_one_and_two(|server| {
        let mut peers = [(); 4].map(|()| Peer::connect(server.address));
        for peer in &mut peers {
            peer.subscribe("forms");
        }
        peers[0].write("forms", r#""delta":{"a":1,"b":[2]},"vectorClock":{"x":1}"#);
        peers[1].write(
            "forms",
            r#""type":"set","field":"c","value":{"d":3},"clock":{"cA":3},"clientId":"cA","timestamp":5"#,
        );
        for (n, peer) in peers.iter_mut().enumerate() {
            let mut deltas = [peer.delta(), peer.delta(), peer.delta()];
            deltas.sort_by(|a, b| a.field.cmp(&b.field));
            for (delta, (field, value)) in deltas.iter().zip([("a", "1"), ("b", "[2]"), ("c", r#"{"d":3}"#)])
            {
                assert_eq!((&*delta.document, &*delta.field), ("forms", field));
                assert_eq!(delta.value, json(value));
            }
            assert!(deltas[0].also.is_empty() && deltas[1].also.is_empty());
            // Its own clock goes on from there, and nobody else is told its name.
            let expected: &[&str] = if n == 1 { &["cA"] } else { &[] };
            assert_eq!(deltas[2].also, expected);
            peer.is_silent();
        }
        let answer = peers[0].sync("forms");
        assert_eq!(answer["state"], json(r#"{"a":1,"b":[2],"c":{"d":3}}"#));
    });
}

#[test]
fn values_of_every_kind_come_back_as_they_were() {
    let values = [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "9007199254740991",
        "18446744073709551615",
        "-9223372036854775808",
        "0.1",
        "1e300",
        r#""""#,
        r#""é \" \\ \n \u0001 😀""#,
        "[]",
        "{}",
        r#"[null,[[],{}],{"a":[1,{"b":null}]}]"#,
        r#"{"":{"":""},"documentId":"x","__proto__":1}"#,
    ];
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Peer::connect(server.address));
        reader.subscribe("values");
        for value in values {
            writer.set("values", "v", value);
            for peer in [&mut writer, &mut reader] {
                assert_eq!(peer.delta().value, json(value));
            }
            let mut joiner = Peer::connect(server.address);
            let answer = joiner.subscribe("values");
            assert_eq!(answer["state"], json(&format!(r#"{{"v":{value}}}"#)));
            assert_eq!(joiner.delta().value, json(value));
        }
    });
}

#[test]
fn fields_of_any_name_are_kept() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        let names =
            ["é", "a b", "__proto__", "constructor", "\\\"", "a\\nb", "__synckit", "type", &"x".repeat(512)];
        for name in names {
            peer.set("names", name, "1");
            let expected = json(&format!(r#"{{"{name}":1}}"#));
            assert_eq!(Some(&peer.delta().field), expected.as_object().unwrap().keys().next());
            let state = peer.sync("names")["state"].clone();
            peer.set("names", name, DELETED);
            assert_eq!((state, peer.delta().value), (expected, json(DELETED)));
        }
    });
}

#[test]
fn exactly_the_marker_deletes() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Peer::connect(server.address));
        writer.subscribe("deletes");
        reader.subscribe("deletes");
        for fields in [
            r#""delta":{"f":{"__deleted":true}}"#,
            r#""field":"f","value":{"__deleted":true},"clock":{}"#,
            r#""delta":{"f":{ "__deleted" : true }}"#,
            r#""delta":{"f":{"\u005f_deleted":true}}"#,
        ] {
            writer.set("deletes", "f", "1");
            writer.write("deletes", fields);
            for peer in [&mut writer, &mut reader] {
                assert_eq!([peer.delta().value, peer.delta().value], [json("1"), json(DELETED)], "{fields}");
            }
            let mut joiner = Peer::connect(server.address);
            let answer = joiner.subscribe("deletes");
            assert_eq!((&answer["state"], &answer["clock"]), (&json("{}"), &json("{}")));
            assert_eq!(joiner.delta().value, json(DELETED), "it may have been here before");
            joiner.is_silent();
        }
        for value in [
            r#"{"__deleted":true,"x":1}"#,
            r#"{"__deleted":false}"#,
            r#"{"__deleted":1}"#,
            r#"{"__deleted":"true"}"#,
            r#"{"__Deleted":true}"#,
            r#"[{"__deleted":true}]"#,
            r#"{"a":{"__deleted":true}}"#,
        ] {
            writer.set("deletes", "f", value);
            assert_eq!([writer.delta().value, reader.delta().value], [json(value), json(value)]);
            assert_eq!(writer.sync("deletes")["state"]["f"], json(value));
        }
    });
}

#[test]
fn what_never_was_can_be_deleted_and_a_later_write_brings_back() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.subscribe("again");
        peer.set("again", "f", DELETED);
        assert_eq!(peer.delta().value, json(DELETED));
        peer.set("again", "f", "2");
        assert_eq!(peer.delta().value, json("2"));
        assert_eq!(peer.sync("again")["state"], json(r#"{"f":2}"#));
    });
}

#[test]
fn an_ack_names_the_message_id_or_else_the_id() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.watch("acks");
        let long = format!("\"{}\"", "é".repeat(100));
        for (fields, named) in [
            (r#""id":"i""#, r#""i""#),
            (r#""messageId":"m""#, r#""m""#),
            (r#""id":"i","messageId":"m""#, r#""m""#),
            (r#""messageId":"","id":"i""#, r#""""#),
            (r#""id":7"#, "7"),
            (r#""id":"a\n\"b""#, r#""a\n\"b""#),
            (r#""id":{"a":[1]}"#, r#"{"a":[1]}"#),
            ("\"x\":1", r#""""#),
            (&format!("\"messageId\":{long}"), &long),
        ] {
            for (kind, write) in [
                ("delta", r#""delta":{"f":1}"#),
                ("delta_batch", r#""deltas":[{"type":"set","field":"f","value":1}]"#),
                ("delta_batch", r#""deltas":[{"type":"counter","operation":"increment","value":1}]"#),
            ] {
                peer.say(kind, &format!(r#""documentId":"acks",{fields},{write}"#));
                assert_eq!(peer.body("ack"), json(&format!(r#"{{"messageId":{named}}}"#)), "{fields:.80}");
            }
            assert_eq!(peer.deltas(2), ["f=1", "f=1"]);
        }
        peer.is_silent();
    });
}

#[test]
fn of_a_field_that_is_there_twice_the_last_counts() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.watch("twice");
        peer.write("twice", r#""delta":{"f":1,"g":1,"f":2}"#);
        assert_eq!(peer.deltas(3), ["f=1", "f=2", "g=1"]);
        assert_eq!(peer.sync("twice")["state"], json(r#"{"f":2,"g":1}"#));
        peer.write("twice", r#""delta":{"g":3},"field":"f","value":3"#);
        assert_eq!(peer.deltas(1), ["g=3"], "a delta with fields wins over a field beside it");
        peer.write("twice", r#""delta":{},"field":"f","value":4"#);
        assert_eq!(peer.deltas(1), ["f=4"]);
    });
}

#[test]
fn who_writes_is_subscribed() {
    on_one_and_two(|server| {
        let [mut first, mut second] = [(); 2].map(|()| Peer::connect(server.address));
        first.set("joined", "f", "1");
        second.batch("joined", r#"{"type":"set","field":"g","value":1}"#);
        assert_eq!(first.deltas(2), ["f=1", "g=1"]);
        first.set("joined", "f", "2");
        // What was written a moment before it came may be among what it is told.
        while second.delta().value != json("2") {}
    });
}
