//! Large messages, large documents, and peers that try to make the server hold more than they sent.

use simd_json::prelude::*;

use crate::client::Client;
use crate::peer::{Peer, json};
use crate::{on_one_and_two, on_one_and_two_with};

/// `count` fields, each of this value.
fn delta(count: usize, value: &str) -> String {
    let fields: Vec<String> = (0..count).map(|n| format!(r#""f{n}":{value}"#)).collect();
    format!(r#""delta":{{{}}}"#, fields.join(","))
}

#[test]
fn a_delta_has_ten_thousand_fields_and_no_more() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.write("many", &delta(10_000, "1"));
        let mut deltas = peer.deltas(10_000);
        deltas.dedup();
        assert_eq!(deltas.len(), 10_000);
        for kind in ["delta", "delta_batch"] {
            let write = match kind {
                "delta" => delta(10_001, "2"),
                _ => format!(r#""deltas":[{}]"#, [r#"{"field":"f","value":2}"#; 10_001].join(",")),
            };
            peer.say(kind, &format!(r#""documentId":"many",{write}"#));
            let (error, details) = peer.refused();
            assert!(error.ends_with("application failed"), "{error}");
            let expected = r#"{"documentId":"many","code":"too_large","reason":"a message has too many operations","limit":10000}"#;
            assert_eq!(details, Some(json(expected)));
        }
        let mut joiner = Peer::connect(server.address);
        let state = joiner.subscribe("many")["state"].clone();
        assert_eq!(state.as_object().unwrap().len(), 10_000);
        assert!(state.as_object().unwrap().values().all(|value| *value == 1), "nothing of what was refused");
        assert_eq!(joiner.deltas(10_000), deltas);
    });
}

#[test]
fn a_document_of_several_megabytes_is_sent_whole() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        let value = format!("\"{}\"", "x".repeat(100_000));
        for n in 0..3 {
            let fields: Vec<String> = (0..10).map(|field| format!(r#""f{n}{field}":{value}"#)).collect();
            peer.write("large", &format!(r#""delta":{{{}}}"#, fields.join(",")));
        }
        let mut joiner = Peer::connect(server.address);
        assert_eq!(joiner.subscribe("large")["state"].as_object().unwrap().len(), 30);
        assert_eq!(joiner.deltas(30).len(), 30);
        joiner.is_silent();
    });
}

#[test]
fn a_value_over_its_limit_is_refused() {
    on_one_and_two_with(
        |config| config.synckit_value_bytes_max = 1_000,
        |server| {
            let mut peer = Peer::connect(server.address);
            peer.set("value", "f", &format!("\"{}\"", "x".repeat(998)));
            peer.delta();
            peer.say("delta", &format!(r#""documentId":"value","field":"f","value":"{}""#, "x".repeat(999)));
            let expected = r#"{"documentId":"value","code":"too_large","reason":"the value is too large","field":"f","limit":1000,"flag":"--synckit-max-value-bytes"}"#;
            assert_eq!(peer.refused(), ("Delta application failed".to_owned(), Some(json(expected))));
            // What counts is the canonical form, and every operation of a batch.
            for (value, fits) in [
                (format!("\"{}\"", "\\u0041".repeat(300)), true),
                (format!("[{}]", ["1e20"; 60].join(",")), false),
            ] {
                let operations = format!(
                    r#"{{"type":"set","field":"g","value":1}},{{"type":"set","field":"h","value":{value}}}"#
                );
                peer.say(
                    "delta_batch",
                    &format!(r#""documentId":"value","messageId":"m","deltas":[{operations}]"#),
                );
                if fits {
                    peer.take("ack");
                } else {
                    assert_eq!(peer.refused().1.unwrap()["field"], "h");
                }
                assert_eq!(peer.deltas(if fits { 2 } else { 1 })[0], "g=1", "what is good in it is applied");
            }
            // A state of a text is no value, and an element is.
            peer.batch(
                "value",
                &format!(r#"{{"type":"text-state","state":"{}","clientId":"c"}}"#, "x".repeat(5_000)),
            );
            let element = format!(r#"{{"type":"set","operation":"add","value":"{}"}}"#, "x".repeat(999));
            peer.say("delta_batch", &format!(r#""documentId":"value","deltas":[{element}]"#));
            peer.take("ack");
            assert_eq!(peer.sync("value")["state"]["f"].as_str().unwrap().len(), 998);
        },
    );
}

// SyncKit's own server takes a message of two megabytes, whatever is in it.
#[test]
fn a_value_of_almost_two_megabytes_arrives_everywhere() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Peer::connect(server.address));
        Peer::watch_all("large", &mut [&mut writer, &mut reader]);
        let mut native = Client::connect(server.address);
        native.subscribe(r#""map":"large""#);
        let value = format!("\"{}\"", "x".repeat(1_999_000));
        for client in ["w", "w"] {
            writer.write("large", &format!(r#""field":"f","value":{value},"clientId":"{client}""#));
            for peer in [&mut writer, &mut reader] {
                assert_eq!(peer.delta().value.as_str().map(str::len), Some(1_999_000));
            }
            assert_eq!(native.change("large")[0]["value"].as_str().map(str::len), Some(1_999_000));
        }
        assert_eq!(
            Peer::connect(server.address).sync("large")["state"]["f"].as_str().map(str::len),
            Some(1_999_000)
        );
    });
}

// A name stands in every delta that its client gets: 10 000 of them, each with a name of a megabyte, are ten gigabytes.
#[test]
fn a_client_with_a_name_as_large_as_a_message_is_nobody() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        let name = "c".repeat(1_500_000);
        peer.write("named", &format!(r#"{},"clientId":"{name}""#, delta(10_000, "1")));
        for _ in 0..10_000 {
            assert!(peer.delta().also.is_empty());
        }
    });
}

// Each is answered with the whole state, which is a hundred thousand times as large as the request: they take turns.
#[test]
fn however_many_requests_for_one_state_come_at_once_all_are_answered() {
    // Documents whose states have room once, some times, and all at once, and more requests than wait.
    for (requests, fields, value_bytes) in [(60, 20, 200_000), (1_000, 10, 10_000), (6_000, 2, 1)] {
        on_one_and_two(|server| {
            let mut writer = Peer::connect(server.address);
            let value = format!("\"{}\"", "x".repeat(value_bytes));
            for n in 0..fields {
                writer.set("asked", &format!("f{n}"), &value);
            }
            let mut peer = Peer::connect(server.address);
            for n in 0..requests {
                let body = format!(r#"{{"id":{n},"documentId":"asked"}}"#);
                peer.send(tungstenite::Message::binary(crate::peer::frame(0x12, &body)));
            }
            for n in 0..requests {
                let answer = peer.body("sync_response");
                assert_eq!(answer["requestId"], n, "in the order of the requests");
                assert_eq!(answer["state"].as_object().unwrap().len(), fields);
            }
            peer.is_silent();
        });
    }
}

#[test]
fn an_answer_has_what_its_client_has_written_before_it_asked() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.write("burst", &delta(5_000, "0"));
        peer.deltas(5_000);
        for n in 1..=500 {
            peer.say("delta", &format!(r#""documentId":"burst","field":"f{n}","value":{n}"#));
            peer.say("sync_request", &format!(r#""documentId":"burst","id":{n}"#));
        }
        for n in 1..=500 {
            let answer = peer.body("sync_response");
            assert_eq!(
                (&answer["requestId"], &answer["state"][format!("f{n}").as_str()]),
                (&json(&n.to_string()), &json(&n.to_string()))
            );
        }
    });
}

// What does not fit into the outbox could only end the connection, which its client would open again for ever.
#[test]
fn a_state_over_the_outbox_is_refused_and_the_connection_stays() {
    on_one_and_two_with(
        |config| config.outbox_hard_bytes = 4 << 20,
        |server| {
            let mut writer = Peer::connect(server.address);
            let value = format!("\"{}\"", "x".repeat(100_000));
            for n in 0..5 {
                let fields: Vec<String> = (0..10).map(|field| format!(r#""f{n}{field}":{value}"#)).collect();
                writer.say("delta", &format!(r#""documentId":"huge","delta":{{{}}}"#, fields.join(",")));
                writer.take("ack");
                writer.deltas(10);
            }
            let mut peer = Peer::connect(server.address);
            for (kind, error) in [("subscribe", "Subscribe failed"), ("sync_request", "Sync request failed")]
            {
                peer.say(kind, r#""id":"i","documentId":"huge""#);
                let room = (4 << 20) - (256 << 10);
                let details = format!(
                    r#"{{"documentId":"huge","code":"too_large","reason":"the state of the document has no room","limit":{room},"flag":"--outbox-hard-bytes"}}"#
                );
                assert_eq!(peer.refused(), (error.to_owned(), Some(json(&details))));
            }
            peer.say("unsubscribe", r#""documentId":"huge""#);
            assert_eq!(peer.subscribe("small")["state"], json("{}"));
            peer.is_silent();
        },
    );
}

// Lists of documents open one each: the limit is there against clients gone wild, not against them.
#[test]
fn five_thousand_documents_on_one_connection_work() {
    const DOCUMENTS: usize = 5_000;
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        for n in 0..DOCUMENTS {
            peer.say("subscribe", &format!(r#""id":{n},"documentId":"d{n}""#));
        }
        for n in 0..DOCUMENTS {
            assert_eq!(peer.body("sync_response")["requestId"], n);
        }
        let mut writer = Peer::connect(server.address);
        for n in [0, 1_000, DOCUMENTS - 1] {
            writer.set(&format!("d{n}"), "f", "1");
            assert_eq!(peer.delta().document, format!("d{n}"));
        }
        peer.is_silent();
    });
}

/// The SDK asks for all its documents at once when it comes back.
#[test]
fn many_documents_asked_for_at_once_come_one_after_the_other() {
    const DOCUMENTS: usize = 40;
    on_one_and_two_with(
        |config| config.outbox_hard_bytes = 2 << 20,
        |server| {
            let mut writer = Peer::connect(server.address);
            let value = format!("\"{}\"", "x".repeat(100_000));
            for n in 0..DOCUMENTS {
                writer.set(&format!("d{n}"), "f", &value);
                writer.deltas(1);
            }
            let mut peer = Peer::connect(server.address);
            for n in 0..DOCUMENTS {
                peer.say("subscribe", &format!(r#""id":{n},"documentId":"d{n}""#));
            }
            for n in 0..DOCUMENTS {
                assert_eq!(peer.body("sync_response")["requestId"], n, "in the order of the requests");
                peer.deltas(1);
            }
            writer.set("d0", "f", "1");
            assert_eq!(peer.deltas(1), ["f=1"]);
        },
    );
}
