//! `delta_batch`: every kind of operation, what other subscribers hear of it, and what a late joiner gets.

use std::collections::BTreeSet;

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::on_one_and_two;
use crate::peer::{Peer, json};
use crate::server::{TestServer, two_cores};

/// A writer and a reader of one document, subscribed.
fn pair(server: &TestServer, document: &str) -> [Peer; 2] {
    [(); 2].map(|()| {
        let mut peer = Peer::connect(server.address);
        peer.subscribe(document);
        peer
    })
}

fn text_state(client: &str, state: &str) -> String {
    format!(
        r#"{{"type":"text-state","state":"{state}","documentId":"t","clientId":"{client}","timestamp":5,"clock":{{"{client}":1}}}}"#
    )
}

fn set_op(operation: &str, value: &str) -> String {
    format!(
        r#"{{"type":"set","operation":"{operation}","value":{value},"documentId":"s","clientId":"c","timestamp":5,"clock":{{"c":1}}}}"#
    )
}

/// The operations of the next `delta_batch`, and whether they are of a text.
fn operations(peer: &mut Peer, document: &str) -> (Vec<Value>, bool) {
    let body = peer.body("delta_batch");
    assert_eq!(body["documentId"], document);
    let is_text = body.get("isTextOperation") == Some(&Value::from(true));
    assert_eq!(body.as_object().unwrap().len(), 2 + usize::from(is_text), "{body}");
    (body["deltas"].as_array().unwrap().to_vec(), is_text)
}

/// What a set operation of the server says.
fn set_said(peer: &mut Peer) -> String {
    let (operations, is_text) = operations(peer, "s");
    assert!(!is_text, "the SDK takes those for operations of a text");
    let [operation] = &*operations else { panic!("{operations:?}") };
    assert_eq!((&operation["type"], &operation["documentId"]), (&"set".into(), &"s".into()));
    assert!(operation.get("field").is_none());
    let value = operation.get("value").map_or(String::new(), |value| format!(" {}", value.encode()));
    format!("{}{value}", operation["operation"].as_str().unwrap())
}

#[test]
fn field_operations_of_a_batch_are_deltas() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Peer::connect(server.address));
        reader.watch("fields");
        writer.batch(
            "fields",
            r#"{"type":"set","documentId":"elsewhere","field":"a","value":{"x":1},"clock":{"c":1},"clientId":"c","timestamp":5},
               {"field":"b","value":null},
               {"type":"set","field":"a","value":{"__deleted":true},"clock":{"c":2},"clientId":"c"},
               {"type":"set","field":"no value","clientId":"c"},
               7, null, [], "x""#,
        );
        assert_eq!(reader.deltas(3), [r#"a={"__deleted":true}"#, r#"a={"x":1}"#, "b=null"]);
        assert_eq!(reader.sync("fields")["state"], json(r#"{"b":null}"#));
        reader.is_silent();
    });
}

#[test]
fn text_states_reach_the_others_and_every_late_joiner() {
    on_one_and_two(|server| {
        let [mut ann, mut bob] = pair(server, "t");
        let (first, second, latest) =
            (text_state("ann", "A1"), text_state("bob", "B1"), text_state("ann", "A2"));
        for (writer, reader, operation) in [(0, 1, &first), (1, 0, &second), (0, 1, &latest)] {
            let peers = [&mut ann, &mut bob];
            peers[writer].batch("t", operation);
            assert_eq!(operations(peers[reader], "t"), (vec![json(operation)], true));
        }
        ann.is_silent();
        bob.is_silent();

        let mut joiner = Peer::connect(server.address);
        let answer = joiner.subscribe("t");
        assert_eq!(answer["state"], json("{}"));
        let newest_first = vec![json(&latest), json(&second)];
        let (told, is_text) = operations(&mut joiner, "t");
        assert!(is_text && newest_first.iter().all(|operation| told.contains(operation)), "{told:?}");
        assert_eq!((&answer["textState"], &answer["textClock"]), (&told[0]["state"], &told[0]["clock"]));
        joiner.is_silent();
        joiner.sync("t");
        assert_eq!(operations(&mut joiner, "t"), (told, true));
    });
}

#[test]
fn texts_do_not_show_as_fields_and_go_with_none_of_them() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = pair(server, "t");
        let field = r#"{"type":"set","field":"title","value":"T","clock":{"c":1},"clientId":"c"}"#;
        writer.batch("t", &format!("{},{field}", text_state("c", "{\\\"blocks\\\":[]}")));
        assert_eq!(reader.deltas(1), [r#"title="T""#]);
        assert_eq!(operations(&mut reader, "t").0[0]["state"], r#"{"blocks":[]}"#);
        assert_eq!(writer.deltas(1), [r#"title="T""#]);
        writer.is_silent();
        let answer = reader.sync("t");
        assert_eq!(
            (&answer["state"], &answer["textState"]),
            (&json(r#"{"title":"T"}"#), &r#"{"blocks":[]}"#.into())
        );
    });
}

#[test]
fn a_text_without_a_clock_gets_one_and_one_without_a_client_is_not_kept() {
    on_one_and_two(|server| {
        let [mut writer, _] = pair(server, "t");
        writer.batch("t", r#"{"type":"text-state","state":"S","clientId":"c"}"#);
        assert!(writer.sync("t")["textClock"]["server"].as_u64().is_some());
        operations(&mut writer, "t");
        for bad in [
            r#"{"type":"text-state","state":"S2"}"#,
            r#"{"type":"text-state","state":7,"clientId":"c"}"#,
            r#"{"type":"text-state","clientId":"c"}"#,
            &format!(r#"{{"type":"text-state","state":"S2","clientId":"{}"}}"#, "c".repeat(600)),
        ] {
            writer.batch("t", bad);
            assert_eq!(writer.sync("t")["textState"], "S", "{bad:.80}");
            operations(&mut writer, "t");
        }
    });
}

#[test]
fn a_text_may_be_as_large_as_a_message() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = pair(server, "t");
        let state = "x".repeat(1_500_000);
        writer.batch("t", &text_state("c", &state));
        assert_eq!(operations(&mut reader, "t").0[0]["state"], &*state);
        assert_eq!(Peer::connect(server.address).subscribe("t")["textState"], &*state);
    });
}

#[test]
fn sets_are_told_live_and_their_elements_to_late_joiners() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = pair(server, "s");
        let said = |writer: &mut Peer, reader: &mut Peer, operation: &str, value: &str| {
            writer.batch("s", &set_op(operation, value));
            set_said(reader)
        };
        assert_eq!(said(&mut writer, &mut reader, "add", r#"{"b":1,"a":[2]}"#), r#"add {"a":[2],"b":1}"#);
        assert_eq!(said(&mut writer, &mut reader, "add", r#""x:y""#), r#"add "x:y""#);
        assert_eq!(said(&mut writer, &mut reader, "add", "null"), "add null");
        assert_eq!(said(&mut writer, &mut reader, "add", "1"), "add 1");
        assert_eq!(said(&mut writer, &mut reader, "remove", "null"), "remove null");
        writer.is_silent();

        let elements = |address| {
            let mut joiner = Peer::connect(address);
            assert_eq!(joiner.subscribe("s")["state"], json("{}"));
            let rest = joiner.rest();
            assert!(rest.iter().all(|heard| heard.kind == "delta_batch"));
            let elements = rest.iter().map(|heard| heard.body["deltas"][0]["value"].encode());
            elements.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(elements(server.address), [r#""x:y""#, "1", r#"{"a":[2],"b":1}"#]);

        // What happens in one millisecond may be dated by the clocks of two shards (docs/synckit.md).
        let a_moment = || std::thread::sleep(std::time::Duration::from_millis(5));
        a_moment();
        assert_eq!(said(&mut writer, &mut reader, "clear", "null"), "clear");
        a_moment();
        assert!(elements(server.address).is_empty());
        assert_eq!(said(&mut writer, &mut reader, "add", "1"), "add 1");
        assert_eq!(elements(server.address), ["1"]);
    });
}

#[test]
fn what_follows_a_clear_in_one_batch_is_there_afterwards() {
    // With more shards the clear is dated by another clock than the elements (docs/synckit.md).
    let server = &TestServer::on(two_cores()[..1].to_vec(), |_| {});
    let [mut writer, _] = pair(server, "s");
    let add = |values: std::ops::Range<u32>| values.map(|value| set_op("add", &value.to_string()));
    for _ in 0..20 {
        let operations: Vec<String> =
            add(0..20).chain([set_op("clear", "null")]).chain(add(15..30)).collect();
        writer.batch("s", &operations.join(","));
        let mut joiner = Peer::connect(server.address);
        joiner.subscribe("s");
        let told: BTreeSet<String> = (15..30).map(|_| set_said(&mut joiner)).collect();
        assert_eq!(told, (15..30).map(|value| format!("add {value}")).collect());
        joiner.is_silent();
    }
}

#[test]
fn operations_that_cannot_be_kept_are_acked_and_not_told_to_late_joiners() {
    on_one_and_two(|server| {
        let [mut writer, _] = pair(server, "live");
        for operation in [
            r#"{"type":"counter","operation":"increment","value":3,"documentId":"live","clientId":"c"}"#,
            r#"{"type":"richtext","operation":"format","opId":"o","start":0,"end":5,"attributes":{"bold":true}}"#,
            r#"{"type":"text","position":0,"text":"abc","clientId":"c"}"#,
            r#"{"type":"set","operation":"nonsense","value":1}"#,
            r#"{"type":"set","operation":"add"}"#,
            "{}",
        ] {
            writer.batch("live", operation);
        }
        writer.is_silent();
        let mut joiner = Peer::connect(server.address);
        assert_eq!(joiner.subscribe("live")["state"], json("{}"));
        joiner.is_silent();
    });
}
