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

// The SDK asks once, and not again after it has reconnected.
#[test]
fn who_subscribes_or_says_where_it_is_hears_of_the_others_without_asking() {
    use simd_json::prelude::*;
    on_one_and_two(|server| {
        let [mut reader, mut other, mut late] = [(); 3].map(|()| Peer::connect(server.address));
        reader.subscribe("doc");
        reader.sync("doc");
        reader.is_silent();
        update(&mut other, "doc", "ann", "1", 1);
        assert_eq!(reader.body("awareness_update"), told("doc", "ann", "1", 1));
        assert_eq!(other.body("awareness_state")["states"].as_array().unwrap().len(), 1, "itself");
        late.subscribe("doc");
        assert_eq!(late.body("awareness_state")["states"].as_array().unwrap().len(), 1);
        // Who asks as well is answered, and hears of each change once.
        for peer in [&mut reader, &mut other, &mut late] {
            assert_eq!(watch(peer, "doc").len(), 1);
        }
        late.subscribe("doc");
        update(&mut other, "doc", "ann", "2", 2);
        for peer in [&mut reader, &mut other, &mut late] {
            assert_eq!(peer.body("awareness_update"), told("doc", "ann", "2", 2));
            peer.is_silent();
        }
        late.say("unsubscribe", r#""documentId":"doc""#);
        late.is_silent();
        update(&mut other, "doc", "ann", "3", 3);
        assert_eq!(reader.body("awareness_update"), told("doc", "ann", "3", 3));
        late.is_silent();
        assert_eq!(reader.sync("doc")["state"], json("{}"), "a document is not its awareness");
    });
}

#[test]
fn who_leaves_with_its_older_socket_stays_with_the_newer() {
    on_one_and_two(|server| {
        let [mut watcher, mut older, mut newer] = [(); 3].map(|()| Peer::connect(server.address));
        watch(&mut watcher, "two");
        update(&mut older, "two", "ann", "1", 1);
        assert_eq!(watcher.body("awareness_update"), told("two", "ann", "1", 1));
        update(&mut newer, "two", "ann", "2", 2);
        assert_eq!(watcher.body("awareness_update"), told("two", "ann", "2", 2));
        update(&mut older, "two", "ann", "null", 3);
        // What it says next comes after that.
        update(&mut older, "two", "cid", "1", 1);
        assert_eq!(watcher.body("awareness_update"), told("two", "cid", "1", 1));
        older.leave();
        assert_eq!(watcher.body("awareness_update"), told("two", "cid", "null", 2));
        update(&mut newer, "two", "bob", "1", 1);
        assert_eq!(watcher.body("awareness_update"), told("two", "bob", "1", 1));
        assert_eq!(watch(&mut watcher, "two").len(), 2, "ann is there");
        update(&mut newer, "two", "ann", "null", 4);
        assert_eq!(watcher.body("awareness_update"), told("two", "ann", "null", 4));
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
                for (fields, code, reason) in [
                    (r#""state":1"#, "value_invalid", "the clientId is missing"),
                    (r#""clientId":7,"state":1"#, "value_invalid", "the clientId is missing"),
                    (
                        r#""clientId":"","state":1"#,
                        "key_invalid",
                        "the name of a member is not empty and has no U+0000",
                    ),
                    (
                        &format!(r#""clientId":"{long}","state":1"#),
                        "too_large",
                        "the name of a member has at most 512 bytes",
                    ),
                    (
                        &format!(r#""clientId":"c","state":{large}"#),
                        "too_large",
                        "the state of a member has at most 65536 bytes",
                    ),
                ] {
                    peer.say("awareness_update", &format!(r#""documentId":"bad",{fields},"clock":1"#));
                    let details = json(&format!(r#"{{"code":"{code}","reason":"{reason}"}}"#));
                    let expected = ("Failed to update awareness".to_owned(), Some(details));
                    assert_eq!(peer.refused(), expected, "{fields:.80}");
                }
                for kind in ["awareness_update", "awareness_subscribe"] {
                    peer.say(kind, r#""clientId":"c","state":1,"clock":1"#);
                    assert_eq!(peer.refused(), ("Invalid document ID".to_owned(), None));
                }
                assert_eq!(watch(&mut peer, "bad"), [""; 0]);
                for clock in ["-1", "1.5", "null", "\"7\"", "1e300"] {
                    let fields = format!(r#""documentId":"bad","clientId":"c","state":1,"clock":{clock}"#);
                    peer.say("awareness_update", &fields);
                    assert_eq!(peer.body("awareness_update"), told("bad", "c", "1", 0));
                }
                assert_eq!(watch(&mut peer, "bad"), [r#"{"clientId":"c","state":1,"clock":0}"#]);
                update(&mut peer, "bad", "c", "null", 1);
                peer.body("awareness_update");
                assert_eq!(watch(&mut peer, "more"), [""; 0]);
                peer.say("awareness_subscribe", r#""documentId":"too many""#);
                let (error, details) = peer.refused();
                assert_eq!(
                    (&*error, &details.unwrap()["flag"]),
                    ("Failed to subscribe to awareness", &json("\"--max-subscriptions\""))
                );
                peer.is_silent();
            }
        },
    );
}

#[test]
fn what_one_connection_shows_is_bounded_in_bytes_and_may_be_shown_elsewhere_instead() {
    on_one_and_two_with(
        |config| config.synckit_awareness_bytes_max = 100_000,
        |server| {
            let mut peer = Peer::connect(server.address);
            for document in ["a", "b"] {
                assert_eq!(watch(&mut peer, document), [""; 0]);
            }
            let large = format!("\"{}\"", "x".repeat(60_000));
            update(&mut peer, "a", "c", &large, 1);
            assert_eq!(peer.body("awareness_update")["documentId"], "a");
            let fields = format!(r#""documentId":"b","clientId":"c","state":{large},"clock":1"#);
            let details = r#"{"code":"too_large","reason":"this connection shows as much of its clients as it may","limit":100000,"flag":"--synckit-max-awareness-bytes"}"#;
            let refused = ("Failed to update awareness".to_owned(), Some(json(details)));
            peer.say("awareness_update", &fields);
            assert_eq!(peer.refused(), refused);
            // A smaller state, or the same again, takes the place of what was there.
            for state in [&*large, "1", &*large] {
                update(&mut peer, "a", "c", state, 2);
                assert_eq!(peer.body("awareness_update")["documentId"], "a");
            }
            // What the engine refuses counts for nothing.
            for _ in 0..3 {
                let fields = format!(r#""documentId":"b","clientId":"c","state":"{}""#, "x".repeat(70_000));
                peer.say("awareness_update", &fields);
                assert_eq!(peer.refused().1.unwrap()["code"], "too_large");
                update(&mut peer, "a", "c", "null", 3);
                peer.body("awareness_update");
                peer.say("awareness_update", &fields);
                let reason = peer.refused().1.unwrap()["reason"].clone();
                assert_eq!(reason, "the state of a member has at most 65536 bytes");
                update(&mut peer, "a", "c", &large, 4);
                peer.body("awareness_update");
            }
            peer.say("awareness_update", &fields);
            assert_eq!(peer.refused(), refused);
            update(&mut peer, "a", "c", "null", 5);
            peer.body("awareness_update");
            peer.say("awareness_update", &fields);
            assert_eq!(peer.body("awareness_update")["documentId"], "b");
        },
    );
}
