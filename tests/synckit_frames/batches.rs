//! `delta_batch`: every kind of operation, what other subscribers hear of it, and what a late joiner gets.

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::on_one_and_two;
use crate::peer::{Peer, json};
use crate::server::TestServer;

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

/// The operations of the next `delta_batch`, and whether they are of a text.
pub fn operations(peer: &mut Peer, document: &str) -> (Vec<Value>, bool) {
    let body = peer.body("delta_batch");
    assert_eq!(body["documentId"], document);
    let is_text = body.get("isTextOperation") == Some(&Value::from(true));
    assert_eq!(body.as_object().unwrap().len(), 2 + usize::from(is_text), "{body}");
    (body["deltas"].as_array().unwrap().to_vec(), is_text)
}

/// The next two states of texts, which come one by one.
fn texts(peer: &mut Peer, document: &str) -> Vec<Value> {
    let mut told = Vec::new();
    for _ in 0..2 {
        let (operations, is_text) = operations(peer, document);
        assert!(is_text && operations.len() == 1, "{operations:?}");
        told.extend(operations);
    }
    told
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
        let told = texts(&mut joiner, "t");
        // In the name of the server, as the SDK ignores what comes in its own.
        let newest_first = newest_first.into_iter().map(|mut operation| {
            operation.insert("clientId", "server").unwrap();
            operation
        });
        assert_eq!(told, newest_first.collect::<Vec<_>>());
        assert_eq!((&answer["textState"], &answer["textClock"]), (&told[0]["state"], &told[0]["clock"]));
        joiner.is_silent();
        joiner.sync("t");
        assert_eq!(texts(&mut joiner, "t"), told);
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
fn a_text_without_a_clock_gets_one_and_one_without_a_client_is_refused() {
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
            writer.say("delta_batch", &format!(r#""documentId":"t","deltas":[{bad}]"#));
            assert_eq!(writer.refused().0, "Delta batch application failed", "{bad:.80}");
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

// Each client's text may be as large as a message, and a document has no bound for all of them.
#[test]
fn many_large_texts_are_delivered_one_by_one() {
    on_one_and_two(|server| {
        let mut writer = Peer::connect(server.address);
        let text = "x".repeat(1_900_000);
        for n in 0..9 {
            writer.batch("t", &text_state(&format!("c{n}"), &format!("{n}{text}")));
        }
        let mut joiner = Peer::connect(server.address);
        let answer = joiner.subscribe("t");
        assert_eq!(answer["textState"].as_str().unwrap().len(), 1_900_001);
        let mut first_bytes: Vec<u8> = (0..9)
            .map(|_| {
                let (told, is_text) = operations(&mut joiner, "t");
                assert!(is_text && told.len() == 1);
                told[0]["state"].as_str().unwrap().as_bytes()[0]
            })
            .collect();
        first_bytes.sort_unstable();
        assert_eq!(first_bytes, b"012345678");
        joiner.is_silent();
    });
}
