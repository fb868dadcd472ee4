//! Views by the whole way: from a token and rules to what a client of `/v1` may write, read and hear.

use annulus::auth::Revocations;
use annulus::config::AuthMode;

use crate::host::Host;

const RULES: &str = r#"
    [[rule]]
    allow = ["read", "write"]
    maps = ["m"]
    when = "value.team == claims.team"
    [[rule]]
    allow = ["read"]
    maps = ["m"]
    fields = ["title"]
"#;

fn write(op: &str) -> String {
    format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#)
}

fn set(key: &str, team: &str) -> String {
    write(&format!(r#"{{"op":"set","map":"m","key":"{key}","value":{{"team":"{team}","title":"t"}}}}"#))
}

fn values(texts: &[String]) -> Vec<String> {
    let value = |text: &String| {
        let message: serde_json::Value = serde_json::from_str(text).unwrap();
        let entries = message["entries"].as_array().unwrap().iter();
        entries
            .map(|entry| format!("{}={}", entry["key"].as_str().unwrap(), entry["value"]))
            .collect::<Vec<_>>()
    };
    texts.iter().flat_map(value).collect()
}

#[test]
fn what_a_token_claims_is_what_is_written_read_and_told() {
    let mut host = Host::new(AuthMode::Required, RULES);
    let (a, _) = host.open(Some("{'sub':'u','team':'a'}"));
    let (b, _) = host.open(Some("{'sub':'v','team':'b'}"));
    assert!(host.ask(a, &set("k", "a"))[0].contains(r#""type":"ack""#));
    let refused = host.ask(b, &set("k", "a"));
    assert!(refused[0].contains(r#""code":"forbidden""#), "{refused:?}");
    let read = r#"{"type":"read","id":2,"map":"m","keys":["k"]}"#;
    assert_eq!(values(&host.ask(a, read)), [r#"k={"team":"a","title":"t"}"#]);
    assert_eq!(values(&host.ask(b, read)), [r#"k={"title":"t"}"#]);
    let told = host.ask(b, r#"{"type":"subscribe","id":3,"map":"m"}"#);
    assert_eq!(values(&told), [r#"k={"title":"t"}"#]);
    host.ask(a, &set("n", "a"));
    assert_eq!(values(&host.texts(b)), [r#"n={"title":"t"}"#]);

    // Other rules: what is seen now is told anew, and what is not is gone with that.
    host.stand(&RULES.replace("\"title\"", "\"team\""), Revocations::default());
    let told = host.texts(b);
    assert!(told.len() == 1 && told[0].contains(r#""reset":true"#), "{told:?}");
    assert_eq!(values(&told), [r#"k={"team":"a"}"#, r#"n={"team":"a"}"#]);
}

fn answer(host: &mut Host, id: annulus::mesh::ConnectionId, op: &str) -> String {
    host.ask(id, &write(op)).into_iter().find(|text| text.contains(r#""type":"ack""#)).unwrap()
}

const OWNERS: &str = r#"
    [[rule]]
    allow = ["read", "write"]
    maps = ["s", "m"]
    [[rule]]
    deny = ["write"]
    maps = ["s", "m"]
    when = "current != null && current.owner != user.id"
"#;

#[test]
fn a_tag_that_is_there_is_somebodys() {
    let mut host = Host::new(AuthMode::Required, OWNERS);
    let [alice, mallory] = ["{'sub':'alice'}", "{'sub':'mallory'}"].map(|token| host.open(Some(token)).0);
    let add = |owner: &str| {
        format!(r#"{{"op":"add","map":"s","key":"k","tag":"t1","value":{{"owner":"{owner}"}}}}"#)
    };
    assert!(answer(&mut host, alice, &add("alice")).contains(r#""applied":1"#));
    assert!(answer(&mut host, mallory, &add("mallory")).contains("forbidden"));
    let read = host.ask(alice, r#"{"type":"read","id":2,"map":"s","keys":["k"]}"#);
    assert!(read[0].contains("alice") && !read[0].contains("mallory"), "{read:?}");
}

#[test]
fn a_value_that_ends_is_a_removal() {
    let rules = "[[rule]]\nallow = [\"read\", \"write\"]\nmaps = [\"m\"]\n\
                 [[rule]]\ndeny = [\"delete\"]\nmaps = [\"m\"]";
    let mut host = Host::new(AuthMode::Required, rules);
    let (id, _) = host.open(Some("{'sub':'u'}"));
    let ending = r#"{"op":"set","map":"m","key":"k","value":{"title":"x","secret":1},"ttl_ms":60000}"#;
    assert!(answer(&mut host, id, ending).contains("forbidden"));
    assert!(answer(&mut host, id, &ending.replace(r#","ttl_ms":60000"#, "")).contains(r#""applied":1"#));

    // With some fields nothing can be removed, and what is there keeps its end.
    let some = "[[rule]]\nallow = [\"read\", \"write\"]\nmaps = [\"m\"]\nfields = [\"title\"]\nroles = [\"anonymous\"]\n\
                [[rule]]\nallow = [\"all\"]\nmaps = [\"m\"]\nwhen = \"user.id == 'owner'\"";
    let mut host = Host::new(AuthMode::Optional, some);
    let (owner, _) = host.open(Some("{'sub':'owner'}"));
    let (editor, _) = host.open(None);
    assert!(answer(&mut host, owner, ending).contains(r#""applied":1"#));
    let edit = r#"{"op":"set","map":"m","key":"k","value":{"title":"y"}}"#;
    assert!(answer(&mut host, editor, &edit.replace("}}", r#"},"ttl_ms":1}"#)).contains("forbidden"));
    assert!(answer(&mut host, editor, edit).contains(r#""applied":1"#));
    let read = r#"{"type":"read","id":2,"map":"m","keys":["k"]}"#;
    assert!(host.ask(owner, read)[0].contains("expires_at"), "it ends when its owner said");
    host.pass(61_000);
    assert!(!host.ask(owner, read)[0].contains("secret"));
}
