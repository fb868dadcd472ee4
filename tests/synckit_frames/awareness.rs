//! Awareness: who is told of whom, and who is gone when its connection is.

use simd_json::OwnedValue as Value;

use crate::peer::{MODES, Mode, Peer, json};
use crate::{on_one_and_two, on_one_and_two_with};

fn update(peer: &mut Peer, document: &str, client: &str, state: &str, clock: u64) {
    let fields =
        format!(r#""documentId":"{document}","clientId":"{client}","state":{state},"clock":{clock}"#);
    peer.say("awareness_update", &fields);
}

/// What `awareness_update` says.
fn told(document: &str, client: &str, state: &str, clock: u64) -> Value {
    json(&format!(r#"{{"documentId":"{document}","clientId":"{client}","state":{state},"clock":{clock}}}"#))
}

/// The answer to `awareness_subscribe`, the states sorted.
fn watch(peer: &mut Peer, document: &str) -> Vec<String> {
    use simd_json::prelude::*;
    peer.say("awareness_subscribe", &format!(r#""documentId":"{document}""#));
    let answer = peer.body("awareness_state");
    assert_eq!((answer["documentId"].as_str(), answer.as_object().unwrap().len()), (Some(document), 2));
    let mut states: Vec<String> =
        answer["states"].as_array().unwrap().iter().map(|state| state.encode()).collect();
    states.sort();
    states
}

#[test]
fn updates_reach_every_watcher_the_sender_too_in_every_mode() {
    on_one_and_two(|server| {
        let mut peers = MODES.map(|mode| Peer::speaking(server.address, mode));
        for peer in &mut peers {
            assert_eq!(watch(peer, "a"), [""; 0]);
        }
        for (n, clock) in (0..3).zip([7, 3, 5]) {
            // Whatever clock a client gives, its update counts.
            update(&mut peers[n], "a", "ann", &format!(r#"{{"cursor":[{n},null]}}"#), clock);
            for (peer, mode) in peers.iter_mut().zip(MODES) {
                let heard = peer.take("awareness_update");
                assert_eq!(heard.is_text, mode == Mode::Text);
                assert_eq!(heard.body, told("a", "ann", &format!(r#"{{"cursor":[{n},null]}}"#), clock));
            }
        }
        update(&mut peers[0], "a", "bob", "1", 1);
        assert_eq!(peers[2].body("awareness_update"), told("a", "bob", "1", 1));
        let mut late = Peer::connect(server.address);
        let ann = r#"{"clientId":"ann","state":{"cursor":[2,null]},"clock":5}"#;
        assert_eq!(watch(&mut late, "a"), [ann, r#"{"clientId":"bob","state":1,"clock":1}"#]);
        assert_eq!(watch(&mut late, "a").len(), 2, "a second subscribe is answered again");
        update(&mut late, "a", "bob", "2", 2);
        assert_eq!(late.body("awareness_update"), told("a", "bob", "2", 2));
        late.is_silent();
    });
}

#[test]
fn a_document_is_not_its_awareness() {
    on_one_and_two(|server| {
        let [mut peer, mut other] = [(); 2].map(|()| Peer::connect(server.address));
        peer.subscribe("doc");
        update(&mut other, "doc", "ann", "1", 1);
        assert_eq!(watch(&mut other, "doc").len(), 1, "who has not subscribed may say where it is");
        peer.is_silent();
        assert_eq!(peer.sync("doc")["state"], json("{}"));
    });
}

#[test]
fn a_state_of_null_or_none_leaves() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        watch(&mut peer, "leave");
        for leave in [r#","state":null"#, ""] {
            update(&mut peer, "leave", "ann", "1", 1);
            assert_eq!(peer.body("awareness_update"), told("leave", "ann", "1", 1));
            peer.say(
                "awareness_update",
                &format!(r#""documentId":"leave","clientId":"ann","clock":2{leave}"#),
            );
            assert_eq!(peer.body("awareness_update"), told("leave", "ann", "null", 2));
            assert_eq!(watch(&mut peer, "leave"), [""; 0]);
        }
    });
}

#[test]
fn who_disconnects_is_gone_under_its_own_name_with_a_higher_clock() {
    on_one_and_two(|server| {
        let mut watcher = Peer::connect(server.address);
        watch(&mut watcher, "gone");
        let [mut first, mut second] = [(); 2].map(|()| Peer::connect(server.address));
        update(&mut first, "gone", "ann", "1", 41);
        assert_eq!(watcher.body("awareness_update"), told("gone", "ann", "1", 41));
        update(&mut second, "gone", "bob", "2", 3);
        assert_eq!(watcher.body("awareness_update"), told("gone", "bob", "2", 3));
        first.leave();
        assert_eq!(watcher.body("awareness_update"), told("gone", "ann", "null", 42));
        // One that has come back on another connection is not removed with its former one.
        let mut again = Peer::connect(server.address);
        update(&mut again, "gone", "bob", "3", 4);
        assert_eq!(watcher.body("awareness_update"), told("gone", "bob", "3", 4));
        second.leave();
        // Nor by a duplicate that never said where it is.
        Peer::connect(server.address).leave();
        update(&mut again, "gone", "bob", "4", 5);
        assert_eq!(watcher.body("awareness_update"), told("gone", "bob", "4", 5));
        assert_eq!(watch(&mut watcher, "gone"), [r#"{"clientId":"bob","state":4,"clock":5}"#]);
    });
}

#[test]
fn bad_updates_are_refused_in_words() {
    on_one_and_two_with(
        |config| config.subscriptions_max = 2,
        |server| {
            for mode in MODES {
                let mut peer = Peer::speaking(server.address, mode);
                let large = format!("\"{}\"", "x".repeat(100_000));
                let long = "x".repeat(513);
                for fields in [
                    r#""documentId":"bad","state":1,"clock":1"#,
                    r#""documentId":"bad","clientId":7,"state":1,"clock":1"#,
                    r#""documentId":"bad","clientId":"","state":1,"clock":1"#,
                    &format!(r#""documentId":"bad","clientId":"{long}","state":1,"clock":1"#),
                    &format!(r#""documentId":"bad","clientId":"c","state":{large},"clock":1"#),
                ] {
                    peer.say("awareness_update", fields);
                    assert_eq!(
                        peer.refused(),
                        ("Failed to update awareness".to_owned(), None),
                        "{fields:.80}"
                    );
                }
                for kind in ["awareness_update", "awareness_subscribe"] {
                    peer.say(kind, r#""clientId":"c","state":1,"clock":1"#);
                    assert_eq!(peer.refused(), ("Invalid document ID".to_owned(), None));
                }
                for clock in ["-1", "1.5", "null", "\"7\"", "1e300"] {
                    let fields = format!(r#""documentId":"bad","clientId":"c","state":1,"clock":{clock}"#);
                    peer.say("awareness_update", &fields);
                }
                assert_eq!(watch(&mut peer, "bad"), [r#"{"clientId":"c","state":1,"clock":0}"#]);
                update(&mut peer, "bad", "c", "null", 1);
                peer.body("awareness_update");
                assert_eq!(watch(&mut peer, "more"), [""; 0]);
                peer.say("awareness_subscribe", r#""documentId":"too many""#);
                assert_eq!(peer.refused(), ("Failed to subscribe to awareness".to_owned(), None));
                peer.is_silent();
            }
        },
    );
}
