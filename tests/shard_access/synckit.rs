//! The same where SyncKit is spoken: its tokens, its words, and what its SDK sends before its token.

use serde_json::Value;

use annulus::auth::Revocations;
use annulus::config::AuthMode;
use annulus::mesh::ConnectionId;

use crate::host::Host;

const SUBSCRIBE: &str = r#"{"type":"subscribe","id":"i","timestamp":1,"documentId":"doc"}"#;
const DELTA: &str =
    r#"{"type":"delta","id":"i","timestamp":1,"documentId":"doc","delta":{"a":1},"clientId":"c"}"#;
const READER: &str = "{'userId':'u1','permissions':{'canRead':['doc'],'canWrite':[],'isAdmin':false}}";

fn auth(token: &str) -> String {
    format!(r#"{{"type":"auth","id":"i","timestamp":1,"token":"{token}"}}"#)
}

/// What messages say, in short.
fn words(texts: &[String]) -> Vec<String> {
    let word = |text: &String| {
        let Ok(message) = serde_json::from_str::<Value>(text) else { return text.clone() };
        message
            .get("error")
            .or_else(|| message.get("type"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    texts.iter().map(word).collect()
}

fn ask(host: &mut Host, id: ConnectionId, text: &str) -> Vec<String> {
    words(&host.ask(id, text))
}

#[test]
fn what_comes_before_the_token_waits_for_it() {
    let mut host = Host::new(AuthMode::Required, "");
    let (id, _) = host.open_at("/ws", None);
    assert!(ask(&mut host, id, SUBSCRIBE).is_empty());
    assert_eq!(ask(&mut host, id, r#"{"type":"ping","id":"i","timestamp":1}"#), ["pong"]);
    let texts = host.ask(id, &auth(READER));
    assert_eq!(words(&texts), ["auth_success", "sync_response"]);
    assert!(texts[0].contains(r#""userId":"u1""#) && texts[0].contains(r#""canRead":["doc"]"#), "{texts:?}");
    assert_eq!(ask(&mut host, id, DELTA), ["Permission denied"]);
}

#[test]
fn more_than_a_little_does_not_wait() {
    let mut host = Host::new(AuthMode::Required, "");
    let (id, _) = host.open_at("/ws", None);
    for _ in 0..64 {
        assert!(ask(&mut host, id, SUBSCRIBE).is_empty());
    }
    assert_eq!(ask(&mut host, id, SUBSCRIBE), ["Not authenticated"]);
    let (id, _) = host.open_at("/ws", None);
    let large = DELTA.replace(":1}", &format!(":\"{}\"}}", "x".repeat(200 << 10)));
    assert!(ask(&mut host, id, &large).is_empty());
    assert_eq!(ask(&mut host, id, &large), ["Not authenticated"]);
}

#[test]
fn each_may_do_what_its_permissions_say() {
    let mut host = Host::new(AuthMode::Optional, "");
    let writer = READER.replace("'canWrite':[]", "'canWrite':['doc']");
    let (id, _) = host.open_at("/ws", Some(&writer));
    assert_eq!(ask(&mut host, id, DELTA), ["ack", "delta"], "and it gets back what it has written");
    assert_eq!(ask(&mut host, id, &DELTA.replace("\"doc\"", "\"other\"")), ["Permission denied"]);
    assert_eq!(ask(&mut host, id, &SUBSCRIBE.replace("\"doc\"", "\"other\"")), ["Permission denied"]);
    let awareness = r#"{"type":"awareness_subscribe","id":"i","timestamp":1,"documentId":"other"}"#;
    assert_eq!(ask(&mut host, id, awareness), ["Permission denied"]);
    assert!(
        !words(&host.ask(id, &awareness.replace("\"other\"", "\"doc\"")))
            .contains(&"Permission denied".into())
    );

    let (id, _) = host.open_at("/ws", Some("{'sub':'u2'}"));
    assert_eq!(ask(&mut host, id, SUBSCRIBE), ["Permission denied"], "a token without permissions has none");
    let (id, _) = host.open_at("/ws", Some("{'sub':'root','permissions':{'isAdmin':true}}"));
    assert_eq!(ask(&mut host, id, DELTA), ["ack", "delta"]);
    let (id, _) = host.open_at("/ws", None);
    assert_eq!(
        ask(&mut host, id, r#"{"type":"auth","id":"i","timestamp":1}"#),
        ["auth_success"],
        "anonymous, as before"
    );
    assert_eq!(ask(&mut host, id, DELTA), ["ack", "delta"]);
}

#[test]
fn refusals_are_in_their_words() {
    let mut host = Host::new(AuthMode::Required, "");
    let (id, _) = host.open_at("/ws", None);
    assert_eq!(ask(&mut host, id, &auth("forged")), ["Authentication failed", "close 1008"]);
    let (id, _) = host.open_at("/ws", None);
    assert_eq!(
        ask(&mut host, id, r#"{"type":"auth","id":"i","timestamp":1}"#),
        ["Authentication required", "close 1008"]
    );
    let (id, _) = host.open_at("/ws", None);
    host.pass(5_200);
    assert_eq!(host.texts(id), ["close 1008"]);
}

#[test]
fn a_document_that_may_no_longer_be_read_is_left() {
    let rules = "[[rule]]\nallow = [\"all\"]\nmaps = [\"doc\", \"room:doc\"]";
    let mut host = Host::new(AuthMode::Required, rules);
    let (id, _) = host.open_at("/ws", Some("{'sub':'u1'}"));
    assert_eq!(ask(&mut host, id, SUBSCRIBE), ["sync_response"]);
    host.stand(&rules.replace("\"doc\"", "\"other\""), Revocations::default());
    assert_eq!(words(&host.texts(id)), ["Permission denied"]);
    assert_eq!(ask(&mut host, id, DELTA), ["Permission denied"]);
    host.stand(rules, Revocations::default());
    assert_eq!(ask(&mut host, id, SUBSCRIBE), ["sync_response"]);
}

#[test]
fn who_may_not_be_in_a_room_any_more_is_shown_there_no_longer() {
    let rules = "[[rule]]\nallow = [\"all\"]\nmaps = [\"doc\"]\n\
                 [[rule]]\nallow = [\"presence\"]\nmaps = [\"room:doc\"]\nwhen = \"claims.team == 'x'\"";
    let mut host = Host::new(AuthMode::Required, rules);
    let [watcher, shown] = ["{'sub':'u1','team':'x'}", "{'sub':'u2','team':'x'}"]
        .map(|token| host.open_at("/ws", Some(token)).0);
    ask(&mut host, watcher, r#"{"type":"awareness_subscribe","id":"i","timestamp":1,"documentId":"doc"}"#);
    let update = r#"{"type":"awareness_update","id":"i","timestamp":1,"documentId":"doc","clientId":"c2","state":{"x":1},"clock":1}"#;
    host.ask(shown, update);
    assert_eq!(words(&host.texts(watcher)), ["awareness_update"]);
    let texts = words(&host.ask(shown, &auth("{'sub':'u2'}")));
    assert_eq!(texts, ["auth_success", "Permission denied"], "who shows itself watches, too");
    let texts = host.texts(watcher);
    assert_eq!(words(&texts), ["awareness_update"]);
    assert!(texts[0].contains(r#""state":null"#), "{texts:?}");
    assert_eq!(ask(&mut host, shown, update), ["Permission denied"]);
}

#[test]
fn what_is_handed_on_and_not_kept_is_for_those_who_may_see_all() {
    let rules = "[[role]]\nname = \"editor\"\n[[rule]]\nallow = [\"all\"]\nmaps = [\"doc\"]\nroles = [\"editor\"]\n\
                 [[rule]]\nallow = [\"read\", \"write\"]\nmaps = [\"doc\"]\nkeys = [\"public*\"]";
    let mut host = Host::new(AuthMode::Required, rules);
    let editor = "{'sub':'e','roles':['editor']}";
    let [one, two, viewer] = [editor, editor, "{'sub':'v'}"].map(|token| host.open_at("/ws", Some(token)).0);
    for id in [one, two, viewer] {
        assert_eq!(ask(&mut host, id, SUBSCRIBE), ["sync_response"]);
    }
    let batch = r#"{"type":"delta_batch","id":"i","timestamp":1,"documentId":"doc","deltas":[{"operation":{"type":"increment","documentId":"doc","counterId":"c","amount":1}}]}"#;
    host.ask(one, batch);
    let (told, seen) = (host.texts(two), host.texts(viewer));
    assert!(!told.is_empty() && seen.is_empty(), "{told:?} {seen:?}");
    assert_eq!(ask(&mut host, viewer, batch), ["Permission denied"]);
}
