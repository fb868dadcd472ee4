//! Large messages, large documents, and peers that try to make the server hold more than they sent.

use simd_json::prelude::*;

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
            assert_eq!(details, Some(json(r#"{"documentId":"many"}"#)));
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
        |config| config.value_bytes_max = 1_000,
        |server| {
            let mut peer = Peer::connect(server.address);
            peer.set("value", "f", &format!("\"{}\"", "x".repeat(998)));
            peer.delta();
            peer.say("delta", &format!(r#""documentId":"value","field":"f","value":"{}""#, "x".repeat(999)));
            assert_eq!(peer.refused().0, "Delta application failed");
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

// Each is answered with the whole state, which is a hundred thousand times as large as the request.
#[test]
fn requests_for_one_state_are_refused_past_a_number() {
    on_one_and_two(|server| {
        let mut writer = Peer::connect(server.address);
        let value = format!("\"{}\"", "x".repeat(100_000));
        writer.write("asked", &delta(10, &value));
        let mut peer = Peer::connect(server.address);
        let request =
            tungstenite::Message::binary(crate::peer::frame(0x12, r#"{"id":"i","documentId":"asked"}"#));
        (0..1_000).for_each(|_| peer.send(request.clone()));
        let (mut answered, mut refused) = (0, 0);
        while answered + refused < 1_000 {
            let heard = peer.try_receive().expect("nobody is closed for asking");
            match heard.kind {
                "sync_response" => answered += 1,
                _ => {
                    assert_eq!(heard.body["error"], "Sync request failed", "{heard:?}");
                    refused += 1;
                }
            }
        }
        assert!(answered > 0);
        peer.is_silent();
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
                assert_eq!(peer.refused(), (error.to_owned(), Some(json(r#"{"documentId":"huge"}"#))));
            }
            peer.say("unsubscribe", r#""documentId":"huge""#);
            assert_eq!(peer.subscribe("small")["state"], json("{}"));
            peer.is_silent();
        },
    );
}
