//! `subscribe`, `sync_request` and `unsubscribe`: who is answered with what, and who is told of changes.

use std::collections::BTreeSet;

use simd_json::prelude::*;

use crate::on_one_and_two;
use crate::peer::{Peer, json};

/// Everything up to the answer to a ping once `sentinel` has heard of a change that was made after all others.
fn nothing_came(peer: &mut Peer, sentinel: &mut Peer, document: &str) {
    sentinel.subscribe(document);
    sentinel.rest();
    sentinel.set(document, "sentinel", "1");
    assert_eq!(sentinel.deltas(1), ["sentinel=1"]);
    peer.is_silent();
}

#[test]
fn subscribe_is_followed_by_the_fields_one_by_one_and_a_named_request_is_not() {
    on_one_and_two(|server| {
        let mut writer = Peer::connect(server.address);
        writer.subscribe("fields");
        writer.write("fields", r#""delta":{"a":1,"b":null,"c":{"d":[]},"gone":1}"#);
        writer.set("fields", "gone", r#"{"__deleted":true}"#);
        let state = json(r#"{"a":1,"b":null,"c":{"d":[]}}"#);
        // A client that was away may still show what was deleted, and does not say whether it was ever here.
        let each = ["a=1", "b=null", r#"c={"d":[]}"#, r#"gone={"__deleted":true}"#];

        let mut peer = Peer::connect(server.address);
        peer.say("subscribe", r#""documentId":"fields""#);
        let answer = peer.body("sync_response");
        assert_eq!((&answer["state"], &answer["requestId"]), (&state, &json(r#""""#)));
        assert_eq!(peer.deltas(4), each);
        peer.is_silent();

        peer.say("sync_request", r#""documentId":"fields""#);
        assert_eq!(peer.body("sync_response")["state"], state);
        assert_eq!(peer.deltas(4), each, "as the SDK asks, which reads nothing else");

        for id in [r#""i""#, "7", "null", r#"{"a":[1,"x"]}"#, &format!("\"{}\"", "y".repeat(200))] {
            peer.say("sync_request", &format!(r#""documentId":"fields","id":{id}"#));
            let answer = peer.body("sync_response");
            assert_eq!((&answer["state"], &answer["requestId"]), (&state, &json(id)), "{id:.40}");
            peer.is_silent();
        }
    });
}

#[test]
fn both_requests_subscribe() {
    on_one_and_two(|server| {
        let mut writer = Peer::connect(server.address);
        let [mut first, mut second] = [(); 2].map(|()| Peer::connect(server.address));
        first.subscribe("both");
        second.sync("both");
        writer.set("both", "f", "1");
        assert_eq!([first.deltas(1), second.deltas(1)], [["f=1"], ["f=1"]]);
    });
}

#[test]
fn requests_at_the_same_time_are_each_answered() {
    on_one_and_two(|server| {
        let mut writer = Peer::connect(server.address);
        let fields: Vec<String> = (0..2_000).map(|n| format!(r#""f{n}":"{n:060}""#)).collect();
        writer.write("same", &format!(r#""delta":{{{}}}"#, fields.join(",")));
        let mut peer = Peer::connect(server.address);
        for n in 0..5 {
            peer.say("sync_request", &format!(r#""documentId":"same","id":"r{n}""#));
        }
        peer.say("subscribe", r#""documentId":"same","id":"s""#);
        let mut answered = BTreeSet::new();
        for _ in 0..6 {
            let answer = peer.body("sync_response");
            assert_eq!(answer["state"].as_object().unwrap().len(), 2_000);
            assert!(answered.insert(answer["requestId"].as_str().unwrap().to_owned()));
        }
        assert_eq!(answered.into_iter().collect::<Vec<_>>(), ["r0", "r1", "r2", "r3", "r4", "s"]);
        assert_eq!(peer.deltas(2_000).len(), 2_000);
        peer.is_silent();
    });
}

#[test]
fn hundred_documents_at_once_are_each_answered() {
    on_one_and_two(|server| {
        let mut writer = Peer::connect(server.address);
        for n in 0..100 {
            writer.set(&format!("d{n}"), "n", &n.to_string());
        }
        let mut peer = Peer::connect(server.address);
        for n in 0..100 {
            peer.say("subscribe", &format!(r#""documentId":"d{n}""#));
        }
        let mut answered = BTreeSet::new();
        for _ in 0..100 {
            let answer = peer.body("sync_response");
            assert!(answered.insert(answer["documentId"].as_str().unwrap().to_owned()));
            let delta = peer.delta();
            assert_eq!(delta.document, format!("d{}", delta.value));
        }
    });
}

#[test]
fn unsubscribe_ends_the_deltas_and_subscribe_brings_them_back_once() {
    on_one_and_two(|server| {
        let [mut writer, mut peer, mut sentinel] = [(); 3].map(|()| Peer::connect(server.address));
        writer.subscribe("leave");
        peer.subscribe("leave");
        writer.set("leave", "f", "1");
        assert_eq!(peer.deltas(1), ["f=1"]);
        peer.say("unsubscribe", r#""documentId":"leave""#);
        peer.is_silent();
        writer.set("leave", "f", "2");
        nothing_came(&mut peer, &mut sentinel, "leave");

        for n in 3..6 {
            let before = peer.subscribe("leave")["state"]["f"].clone();
            assert_eq!(before, n - 1);
            peer.rest();
            writer.set("leave", "f", &n.to_string());
            assert_eq!(peer.deltas(1), [format!("f={n}")]);
            peer.is_silent();
        }
    });
}

#[test]
fn changes_while_a_state_is_asked_for_again_and_again_are_not_lost() {
    on_one_and_two(|server| {
        let [mut writer, mut peer] = [(); 2].map(|()| Peer::connect(server.address));
        writer.subscribe("busy");
        for n in 0..200 {
            peer.say("sync_request", &format!(r#""documentId":"busy","id":"{n}""#));
            writer.set("busy", "f", &n.to_string());
        }
        let (mut answered, mut value) = (0, json("null"));
        while answered < 200 || value != 199 {
            let heard = peer.try_receive().unwrap();
            match heard.kind {
                "delta" => value = heard.body["value"].clone(),
                _ => value = heard.body["state"].get("f").cloned().unwrap_or(value),
            }
            answered += u32::from(heard.kind != "delta");
        }
        peer.is_silent();
    });
}

#[test]
fn who_disconnects_takes_nothing_from_the_others() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Peer::connect(server.address));
        reader.subscribe("stay");
        for n in 0..10 {
            let mut passing = Peer::connect(server.address);
            passing.subscribe("stay");
            writer.set("stay", "f", &n.to_string());
            passing.leave();
            assert_eq!(reader.deltas(1), [format!("f={n}")]);
        }
    });
}

#[test]
fn who_unsubscribes_before_the_state_has_come_is_refused_each_request_once() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.write("kept", r#""delta":{"f":1}"#);
        peer.deltas(1);
        let document = r#""documentId":"cut""#;
        let named = |id: &str| format!(r#"{document},"id":"{id}""#);
        let (first, second, third) = (named("1"), named("2"), named("3"));
        peer.say_at_once(&[
            ("subscribe", &first),
            ("sync_request", &second),
            ("unsubscribe", document),
            ("unsubscribe", document),
            ("sync_request", &third),
        ]);
        let errors = ["Subscribe failed", "Sync request failed"];
        assert_eq!([(); 2].map(|()| peer.refused().0), errors);
        assert_eq!(peer.body("sync_response")["requestId"], "3");
        peer.is_silent();
        peer.set("cut", "f", "2");
        assert_eq!(peer.deltas(1), ["f=2"]);
        peer.is_silent();
    });
}

#[test]
fn who_asks_for_the_state_in_the_same_breath_as_it_writes_is_answered() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        for n in 0..10 {
            let delta = format!(r#""documentId":"breath{n}","delta":{{"f":{n}}},"id":"w""#);
            let ask = format!(r#""documentId":"breath{n}","id":"s""#);
            peer.say_at_once(&[("delta", &delta), ("sync_request", &ask)]);
            assert_eq!(peer.body("ack")["messageId"], "w");
            assert_eq!(peer.body("sync_response")["requestId"], "s");
            assert!(peer.rest().iter().all(|heard| heard.kind == "delta"));
        }
    });
}

#[test]
fn who_leaves_before_it_is_told_who_is_there_is_refused_once() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        for n in 0..10 {
            let document = format!(r#""documentId":"away{n}""#);
            peer.say_at_once(&[("awareness_subscribe", &document), ("unsubscribe", &document)]);
            let heard = peer.try_receive().unwrap();
            let is_refused = heard.body["error"] == "Failed to subscribe to awareness";
            assert!(is_refused || heard.kind == "awareness_state", "{heard:?}");
            peer.is_silent();
        }
    });
}
