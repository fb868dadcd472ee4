//! Who a connection is, from the token of its upgrade to the end of its last one, and what that means for what it asks.
//!
//! Method: one shard, and a desk that believes whatever a token claims; the test decides when it answers and what is in force.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../believing_desk/mod.rs"]
mod believing_desk;
mod channels;
#[path = "../client_frames/mod.rs"]
#[allow(dead_code, reason = "others take texts alone")]
mod client_frames;
mod every_path;
mod host;
#[path = "../shards/mod.rs"]
mod shards;
mod synckit;
mod views;

use annulus::auth::Revocations;
use annulus::config::AuthMode;
use annulus::limits::{TOKEN_BYTES_MAX, TOKENS_WAITING_BYTES_MAX};
use host::Host;

const PING: &str = r#"{"type":"ping","id":9}"#;
const READ: &str = r#"{"type":"read","id":1,"map":"m","keys":["k"]}"#;
const SUBSCRIBE: &str = r#"{"type":"subscribe","id":2,"map":"m"}"#;
const U1: &str = "{'sub':'u1','roles':['member']}";
const MEMBERS_READ: &str = r#"
    [[role]]
    name = "member"
    [[rule]]
    allow = ["read", "write"]
    maps = ["m"]
    roles = ["member"]
"#;

fn auth(token: &str) -> String {
    format!(r#"{{"type":"auth","id":7,"token":"{token}"}}"#)
}

/// What a message says, in short: its type or code, and whom it names.
fn word(text: &str) -> String {
    let Ok(message) = serde_json::from_str::<serde_json::Value>(text) else { return text.to_owned() };
    let field = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let said = if field("code").is_empty() { field("type") } else { field("code") };
    format!("{said} {}", field("user")).trim_end().to_owned()
}

fn words(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| word(text)).collect()
}

#[test]
fn a_token_of_the_upgrade_is_answered_right_after_the_hello() {
    let mut host = Host::new(AuthMode::Required, MEMBERS_READ);
    let (id, texts) = host.open(Some(U1));
    assert!(texts[0].contains(r#""auth":"required""#));
    assert_eq!(texts[1], r#"{"type":"authenticated","user":"u1","roles":["member"],"expires_at":null}"#);
    assert_eq!(words(&host.ask(id, READ)), ["entries"]);
    assert!(host.desk_wakes > 0);
}

#[test]
fn a_bad_token_is_told_and_ends_the_connection() {
    for mode in [AuthMode::Optional, AuthMode::Required] {
        let mut host = Host::new(mode, "");
        let (id, texts) = host.open(Some("forged"));
        assert_eq!(words(&texts), ["hello", "auth_failed", "close 4002"]);
        assert!(!texts.concat().contains("forged"), "no answer repeats a token");
        assert!(host.ask(id, READ).is_empty());
    }
}

#[test]
fn without_a_token_it_is_anonymous_where_that_may_be_and_nobody_where_not() {
    let anonymous = "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nroles = [\"anonymous\"]";
    let mut host = Host::new(AuthMode::Optional, anonymous);
    let (id, texts) = host.open(None);
    assert_eq!(words(&texts), ["hello"]);
    assert_eq!(words(&host.ask(id, READ)), ["entries"]);
    assert_eq!(words(&host.ask(id, r#"{"type":"read","map":"other","keys":["k"]}"#)), ["forbidden"]);

    let mut host = Host::new(AuthMode::Required, anonymous);
    let (id, _) = host.open(None);
    let write = r#"{"type":"write","ops":[{"op":"set","map":"m","key":"k","value":1}]}"#;
    for message in [READ, SUBSCRIBE, write, r#"{"type":"digest","map":"m"}"#] {
        assert_eq!(words(&host.ask(id, message)), ["auth_required"], "{message}");
    }
    assert_eq!(words(&host.ask(id, PING)), ["pong"]);
    host.pass(4_900);
    assert!(host.texts(id).is_empty());
    host.pass(300);
    assert_eq!(host.texts(id), ["close 4001"]);
}

#[test]
fn a_message_behind_a_token_waits_for_the_desk() {
    let mut host = Host::new(AuthMode::Required, MEMBERS_READ);
    let (id, _) = host.open(None);
    host.desk_answers = false;
    host.send(id, &auth(U1));
    assert!(host.ask(id, READ).is_empty());
    host.desk_answers = true;
    host.settle();
    let texts = host.texts(id);
    assert_eq!(words(&texts), ["authenticated u1", "entries"]);
    assert!(texts[0].contains(r#""id":7"#));
}

#[test]
fn tokens_that_wait_have_a_bound() {
    let mut host = Host::new(AuthMode::Optional, "");
    host.desk_answers = false;
    let token = "x".repeat(TOKEN_BYTES_MAX);
    let enough = TOKENS_WAITING_BYTES_MAX / TOKEN_BYTES_MAX;
    let clients: Vec<_> = (0..=enough).map(|_| host.open(None).0).collect();
    let (last, others) = clients.split_last().unwrap();
    for &id in others {
        host.send(id, &auth(&token));
    }
    host.settle();
    assert_eq!(words(&host.ask(*last, &auth(&token))), ["overloaded"]);
    let (id, _) = host.open(None);
    assert_eq!(words(&host.ask(id, &auth(&format!("{token}x")))), ["auth_failed", "close 4002"]);
    let header = "x".repeat(4_000);
    assert_eq!(words(&host.open(Some(&header)).1), ["close 1013"]);
    host.desk_answers = true;
    host.settle();
    assert_eq!(words(&host.texts(others[0])), ["auth_failed", "close 4002"]);
    assert_eq!(words(&host.ask(*last, &auth(U1))), ["authenticated u1"], "there is room again");
}

#[test]
fn the_answer_for_who_has_left_reaches_nobody() {
    let mut host = Host::new(AuthMode::Required, MEMBERS_READ);
    let (id, _) = host.open(None);
    host.desk_answers = false;
    host.send(id, &auth(U1));
    host.settle();
    host.pass(5_200);
    assert_eq!(host.texts(id), ["close 4001"]);
    host.desk_answers = true;
    host.settle();
    assert!(host.texts(id).is_empty());
}

#[test]
fn a_renewed_token_loses_nothing_and_another_user_is_refused() {
    let mut host = Host::new(AuthMode::Required, MEMBERS_READ);
    let (id, _) = host.open(Some("{'sub':'u1','roles':['member'],'exp':1700000100}"));
    assert_eq!(words(&host.ask(id, SUBSCRIBE)), ["snapshot"]);
    let renewed = "{'sub':'u1','roles':['member'],'exp':1700000200}";
    assert_eq!(words(&host.ask(id, &auth(renewed))), ["authenticated u1"]);
    assert_eq!(words(&host.ask(id, &auth("{'sub':'u2','roles':['member']}"))), ["auth_failed"]);
    assert_eq!(words(&host.ask(id, r#"{"type":"unsubscribe","map":"m"}"#)), ["unsubscribed"], "it goes on");
    host.pass(150_000);
    let texts = host.texts(id);
    assert!(texts.iter().all(|text| !text.contains("token_expired")), "{texts:?}");
}

#[test]
fn a_token_is_told_of_before_its_end_and_the_connection_ends_soon_after() {
    let mut host = Host::new(AuthMode::Required, MEMBERS_READ);
    let (id, _) = host.open(Some("{'sub':'u1','roles':['member'],'exp':1700000100}"));
    host.pass(79_000);
    assert!(host.texts(id).is_empty());
    host.pass(2_000);
    assert_eq!(host.texts(id), [r#"{"type":"auth.expiring","expires_at":1700000100000}"#]);
    host.pass(20_000);
    assert_eq!(words(&host.texts(id)), ["token_expired"]);
    host.pass(5_200);
    assert_eq!(host.texts(id), ["close 4002"]);
}

#[test]
fn a_token_that_lasts_keeps_nobody_from_being_pinged() {
    let mut host = Host::with(MEMBERS_READ, |config| {
        (config.auth, config.heartbeat_ms) = (AuthMode::Required, 20_000);
    });
    let (id, _) = host.open(Some("{'sub':'u1','roles':['member'],'exp':1700001000}"));
    host.pass(9_000);
    assert_eq!(words(&host.ask(id, &auth("{'sub':'u1','exp':1700002000}"))), ["authenticated u1"]);
    host.pass(10_500);
    assert_eq!(host.texts(id), ["ping"]);
    host.pass(10_500);
    assert_eq!(host.texts(id), ["close 4005"]);
}

#[test]
fn what_is_no_longer_allowed_is_unsubscribed() {
    let mut host = Host::new(AuthMode::Required, MEMBERS_READ);
    let (id, _) = host.open(Some(U1));
    assert_eq!(words(&host.ask(id, SUBSCRIBE)), ["snapshot"]);
    host.stand(MEMBERS_READ, Revocations::default());
    assert!(host.texts(id).is_empty(), "the same rules change nothing");
    host.stand(&MEMBERS_READ.replace("\"m\"", "\"other\""), Revocations::default());
    let texts = host.texts(id);
    assert_eq!(words(&texts), ["forbidden"]);
    assert!(texts[0].contains(r#""map":"m""#));
    assert_eq!(words(&host.ask(id, READ)), ["forbidden"]);
    host.stand(MEMBERS_READ, Revocations::default());
    assert_eq!(words(&host.ask(id, READ)), ["entries"]);
}

#[test]
fn who_is_revoked_goes() {
    let mut host = Host::new(AuthMode::Required, "");
    let (one, _) = host.open(Some("{'sub':'u1','jti':'a'}"));
    let (other, _) = host.open(Some("{'sub':'u1','jti':'b'}"));
    let revoked = Revocations { tokens: [Box::from("a")].into(), ..Revocations::default() };
    host.stand("", revoked);
    assert_eq!(words(&host.texts(one)), ["auth_failed", "close 4002"]);
    assert!(host.texts(other).is_empty());
    let (_, texts) = host.open(Some("{'sub':'u1','jti':'a'}"));
    assert_eq!(words(&texts), ["hello", "auth_failed", "close 4002"]);
}

#[test]
fn where_nobody_is_asked_a_token_is_nothing() {
    let mut host = Host::new(AuthMode::None, "");
    let (id, texts) = host.open(Some("anything"));
    assert_eq!(words(&texts), ["hello"]);
    assert_eq!(words(&host.ask(id, &auth("anything"))), ["auth_unavailable"]);
    assert_eq!((words(&host.ask(id, READ)), host.desk_wakes), (vec!["entries".to_owned()], 0));
}
