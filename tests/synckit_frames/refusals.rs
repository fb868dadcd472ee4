//! Each refusal: its text, its details, and that the connection goes on.

use simd_json::OwnedValue as Value;

use crate::peer::{MODES, Peer, json};
use crate::{on_one_and_two, on_one_and_two_with};

const BAD_DELTA: &str = "Invalid delta message: missing or empty delta";
const BAD_BATCH: &str = "Invalid delta batch: missing or empty deltas array";

/// What refuses because of a document: its text and `details`.
fn of_document(error: &str, document: &str, reason: &str) -> (String, Option<Value>) {
    (error.to_owned(), Some(json(&format!(r#"{{"documentId":"{document}",{reason}}}"#))))
}

#[test]
fn messages_with_wrong_fields_are_refused_in_words() {
    let long = format!(r#""documentId":"{}""#, "x".repeat(257));
    let chunk = |fields: &str| format!(r#""chunkId":"c","data":"AAAA",{fields}"#);
    let chunks = [
        r#""data":"AAAA","totalChunks":2,"chunkIndex":0"#.to_owned(),
        chunk(r#""totalChunks":2"#),
        chunk(r#""chunkIndex":0"#),
        chunk(r#""totalChunks":0,"chunkIndex":0"#),
    ];
    let mut cases = vec![
        ("auth", r#""apiKey":"k""#, "API key authentication not yet implemented"),
        ("subscribe", r#""documentId":"a b""#, "Document ID contains invalid characters"),
        ("subscribe", r#""documentId":"é""#, "Document ID contains invalid characters"),
        ("subscribe", r#""documentId":"a/b""#, "Document ID contains invalid characters"),
    ];
    for kind in ["subscribe", "unsubscribe", "sync_request", "sync_step1", "delta", "delta_batch"] {
        for fields in ["", r#""documentId":"""#, r#""documentId":7"#, r#""documentId":null"#] {
            cases.push((kind, fields, "Invalid document ID"));
        }
        cases.push((kind, &long, "Document ID too long"));
        cases.push((kind, r#""documentId":"a\u0000""#, "Document ID contains invalid characters"));
        cases.push((kind, r#""documentId":"__annulus:a""#, "Document ID contains invalid characters"));
    }
    for rest in ["", r#","delta":{}"#, r#","delta":[1]"#, r#","delta":null"#, r#","field":"f""#] {
        cases.push(("delta", rest, BAD_DELTA));
    }
    for rest in [r#","value":1"#, r#","field":7,"value":1"#, r#","delta":"f""#, r#","deltas":[1]"#] {
        cases.push(("delta", rest, BAD_DELTA));
    }
    for rest in ["", r#","deltas":[]"#, r#","deltas":{}"#, r#","deltas":null"#, r#","delta":{"f":1}"#] {
        cases.push(("delta_batch", rest, BAD_BATCH));
    }
    cases.extend(chunks.iter().map(|fields| ("delta_batch_chunk", &**fields, "Invalid message format")));
    on_one_and_two(|server| {
        for mode in MODES {
            let mut peer = Peer::speaking(server.address, mode);
            for (kind, fields, error) in &cases {
                let fields = match *error {
                    BAD_DELTA | BAD_BATCH => format!(r#""documentId":"d"{fields}"#),
                    _ => (*fields).to_owned(),
                };
                peer.say(kind, &fields);
                assert_eq!(peer.refused(), ((*error).to_owned(), None), "{kind} {fields:.80}");
            }
            peer.is_silent();
        }
    });
}

#[test]
fn other_requests_take_any_name_that_a_map_may_have() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        for document in ["a b", "é", "a/b", &"x".repeat(256)] {
            peer.set(document, "f", "1");
            peer.delta();
            assert_eq!(peer.sync(document)["state"], json(r#"{"f":1}"#));
            peer.say("unsubscribe", &format!(r#""documentId":"{document}""#));
            peer.is_silent();
        }
    });
}

#[test]
fn too_many_subscriptions_fail_by_the_name_of_the_request() {
    on_one_and_two_with(
        |config| config.subscriptions_max = 1,
        |server| {
            let mut peer = Peer::connect(server.address);
            peer.subscribe("one");
            peer.say("subscribe", r#""documentId":"two""#);
            let reason = concat!(
                r#""code":"too_many_subscriptions","reason":"this connection has as many subscriptions as it may","#,
                r#""flag":"--max-subscriptions""#
            );
            assert_eq!(peer.refused(), of_document("Subscribe failed", "two", reason));
            peer.say("sync_request", r#""id":"i","documentId":"three""#);
            assert_eq!(peer.refused(), of_document("Sync request failed", "three", reason));
            // A write would be subscribed, too.
            peer.say("delta", r#""documentId":"four","field":"f","value":1"#);
            assert_eq!(peer.refused(), of_document("Delta application failed", "four", reason));
            peer.say("delta_batch", r#""documentId":"four","deltas":[{"field":"f","value":1}]"#);
            assert_eq!(peer.refused(), of_document("Delta batch application failed", "four", reason));
            peer.set("one", "f", "1");
            assert_eq!(peer.deltas(1), ["f=1"]);
            peer.subscribe("one");
            peer.rest();
            peer.say("unsubscribe", r#""documentId":"one""#);
            assert_eq!(peer.sync("four")["state"], json("{}"), "nothing of what was refused");
        },
    );
}

#[test]
fn a_write_that_fails_in_part_is_refused_without_an_ack() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.subscribe("d");
        let long = "x".repeat(513);
        let reserved = "names that begin with __synckit: are not for fields";
        for (bad, code, text) in [
            ("", "key_invalid", "the name of a field is not empty"),
            ("a\\u0000", "key_invalid", "the name of a field has no U+0000"),
            ("__synckit:text:c", "key_invalid", reserved),
            ("__synckit:set:cleared", "key_invalid", reserved),
            ("__synckit:", "key_invalid", reserved),
            (&long, "too_large", "the name of a field is too long"),
        ] {
            let shown = &bad[..bad.len().min(100)];
            let limit = if code == "too_large" { r#","limit":512"# } else { "" };
            let reason = format!(r#""code":"{code}","reason":"{text}","field":"{shown}"{limit}"#);
            peer.say("delta", &format!(r#""id":"i","documentId":"d","delta":{{"good":1,"{bad}":2}}"#));
            assert_eq!(peer.refused(), of_document("Delta application failed", "d", &reason), "{bad}");
            let operations = format!(r#"{{"type":"set","field":"{bad}","value":1}}"#);
            peer.say("delta_batch", &format!(r#""documentId":"d","deltas":[{operations}]"#));
            assert_eq!(peer.refused(), of_document("Delta batch application failed", "d", &reason), "{bad}");
            peer.say("delta", &format!(r#""documentId":"d","field":"{bad}","value":{{"__deleted":true}}"#));
            assert_eq!(peer.refused(), of_document("Delta application failed", "d", &reason), "{bad}");
            assert_eq!(peer.deltas(1), ["good=1"], "what is good in it is applied");
        }
        peer.is_silent();
        assert_eq!(peer.sync("d")["state"], json(r#"{"good":1}"#));
    });
}

#[test]
fn a_type_as_long_as_a_message_is_not_repeated_whole() {
    on_one_and_two(|server| {
        let mut peer = Peer::speaking(server.address, crate::peer::Mode::Text);
        let kind = "x".repeat(1_500_000);
        let message = format!(r#"{{"type":"{kind}","id":"i","timestamp":1}}"#);
        peer.send(tungstenite::Message::text(message));
        assert_eq!(peer.refused().0, format!("Invalid message type: {}", "x".repeat(100)));
    });
}
