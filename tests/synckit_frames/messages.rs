//! Every message of the table of type codes, in each of the three ways in which it may come.

use crate::on_one_and_two;
use crate::peer::{CODES, MODES, Mode, Peer, frame, json};
use simd_json::prelude::*;

/// Runs `test` with a fresh document in every mode.
fn in_every_mode(test: impl Fn(&mut Peer, &str)) {
    on_one_and_two(|server| {
        for (mode, document) in MODES.into_iter().zip(["binary", "text", "json-in-binary"]) {
            let mut peer = Peer::speaking(server.address, mode);
            test(&mut peer, document);
            peer.is_silent();
        }
    });
}

#[test]
fn auth_lets_everybody_in() {
    in_every_mode(|peer, _| {
        for fields in ["", r#""token":"t""#, r#""token":null,"apiKey":null"#] {
            peer.say("auth", fields);
            let expected =
                r#"{"userId":"anonymous","permissions":{"canRead":["*"],"canWrite":["*"],"isAdmin":false}}"#;
            assert_eq!(peer.body("auth_success"), json(expected), "{fields}");
        }
    });
}

#[test]
fn subscribe_is_answered_with_the_state() {
    in_every_mode(|peer, document| {
        peer.say("subscribe", &format!(r#""id":"a","documentId":"{document}""#));
        let expected =
            format!(r#"{{"requestId":"a","documentId":"{document}","state":{{}},"deltas":[],"clock":{{}}}}"#);
        assert_eq!(peer.body("sync_response"), json(&expected));
    });
}

#[test]
fn sync_request_is_answered_with_the_state() {
    in_every_mode(|peer, document| {
        peer.set(document, "n", "1");
        peer.delta();
        peer.say("sync_request", &format!(r#""id":"b","documentId":"{document}","vectorClock":{{"a":1}}"#));
        let answer = peer.body("sync_response");
        assert_eq!((&answer["requestId"], &answer["state"]), (&json(r#""b""#), &json(r#"{"n":1}"#)));
        assert_eq!((&answer["documentId"], &answer["deltas"]), (&document.into(), &json("[]")));
        assert!(answer["clock"]["server"].as_u64().is_some());
    });
}

#[test]
fn unsubscribe_is_not_answered() {
    in_every_mode(|peer, document| {
        peer.subscribe(document);
        for _ in 0..2 {
            peer.say("unsubscribe", &format!(r#""documentId":"{document}""#));
        }
        peer.is_silent();
        peer.set("another", "n", "1");
        peer.say("unsubscribe", r#""documentId":"never seen""#);
        assert_eq!(peer.deltas(1), ["n=1"]);
    });
}

#[test]
fn sync_step1_is_answered_with_no_operations() {
    in_every_mode(|peer, document| {
        peer.set(document, "n", "1");
        peer.delta();
        peer.say("sync_step1", &format!(r#""documentId":"{document}","stateVector":{{}}"#));
        let expected = format!(r#"{{"documentId":"{document}","operations":[]}}"#);
        assert_eq!(peer.body("sync_step2"), json(&expected));
    });
}

#[test]
fn delta_is_acked_and_comes_back() {
    in_every_mode(|peer, document| {
        peer.say("delta", &format!(r#""id":"c","documentId":"{document}","delta":{{"f":[1]}}"#));
        assert_eq!(peer.body("ack"), json(r#"{"messageId":"c"}"#));
        let delta = peer.delta();
        assert_eq!((&*delta.document, &*delta.field, delta.value), (document, "f", json("[1]")));
    });
}

#[test]
fn delta_batch_is_acked_once_and_each_field_comes_back() {
    in_every_mode(|peer, document| {
        peer.batch(
            document,
            r#"{"type":"set","field":"a","value":1,"clock":{"c":1},"clientId":"c"},
               {"type":"set","field":"b","value":null,"clock":{"c":2},"clientId":"c"}"#,
        );
        assert_eq!(peer.deltas(2), ["a=1", "b=null"]);
    });
}

#[test]
fn delta_batch_chunk_is_a_piece_of_a_message() {
    in_every_mode(|peer, _| {
        let data = data_encoding::BASE64.encode(&frame(0x30, "{}"));
        peer.say(
            "delta_batch_chunk",
            &format!(r#""chunkId":"c","totalChunks":1,"chunkIndex":0,"data":"{data}""#),
        );
        assert_eq!(peer.body("pong"), json("{}"));
    });
}

#[test]
fn ping_is_answered_with_pong() {
    in_every_mode(|peer, _| {
        peer.say("ping", "");
        let pong = peer.take("pong");
        assert_eq!(pong.body, json("{}"));
        assert!(pong.unix_ms > 1_700_000_000_000);
    });
}

#[test]
fn acks_and_pongs_are_taken_without_a_word() {
    in_every_mode(|peer, _| {
        peer.say("ack", r#""messageId":"m""#);
        peer.say("pong", "");
    });
}

#[test]
fn what_only_servers_say_is_refused_by_name() {
    in_every_mode(|peer, _| {
        for name in ["auth_success", "auth_error", "sync_response", "sync_step2", "awareness_state", "error"]
        {
            peer.say(name, r#""documentId":"d","error":"e""#);
            let (error, details) = peer.refused();
            assert_eq!(error, format!("Invalid message type: {name}"));
            assert_eq!(details, Some(json(r#"{"code":"INVALID_MESSAGE"}"#)));
        }
    });
}

#[test]
fn names_without_a_code_are_taken_or_refused() {
    on_one_and_two(|server| {
        for mode in [Mode::Text, Mode::JsonInBinary] {
            let mut peer = Peer::speaking(server.address, mode);
            for name in ["connect", "snapshot_request", "snapshot_upload"] {
                peer.say(name, r#""documentId":"d""#);
                peer.is_silent();
            }
            for name in ["nonsense", "PING", "0x30", "constructor", "é\\\""] {
                peer.say(name, "");
                let (error, details) = peer.refused();
                assert_eq!(error, format!("Invalid message type: {}", name.replace("\\\"", "\"")));
                assert_eq!(details, Some(json(r#"{"code":"INVALID_MESSAGE"}"#)));
            }
        }
    });
}

#[test]
fn a_code_without_a_name_is_an_invalid_format() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        for code in (0..=u8::MAX).filter(|code| CODES.iter().all(|(known, _)| known != code)) {
            if code != b'{' {
                peer.send_binary(&frame(code, "{}"));
                assert_eq!(peer.refused(), ("Invalid message format".to_owned(), None), "{code}");
            }
        }
        peer.is_silent();
    });
}

#[test]
fn every_message_has_an_id_of_its_own() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        let mut ids = std::collections::HashSet::new();
        peer.watch("ids");
        for n in 0..200 {
            peer.say("delta", &format!(r#""documentId":"ids","delta":{{"a":{n},"b":{n}}}"#));
            peer.say("ping", "");
        }
        for n in 0..800 {
            let heard = peer.try_receive().unwrap();
            assert!(ids.insert(heard.id), "message {n} repeats an id");
        }
    });
}
