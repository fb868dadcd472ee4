//! Rights in channels, and what becomes of who loses them.

use annulus::auth::Revocations;
use annulus::config::AuthMode;

use crate::host::Host;
use crate::words;

const BOTH: &str = "[[rule]]\nallow = [\"subscribe\", \"publish\"]\nmaps = [\"channel:chat:*\"]";
const PUBLISH: &str = "[[rule]]\nallow = [\"publish\"]\nmaps = [\"channel:chat:*\"]";
const USER: &str = "{'sub':'u1'}";

const JOIN: &str = r#"{"type":"join","id":1,"channel":"chat:1"}"#;
const PUBLISHED: &str = r#"{"type":"publish","id":2,"channel":"chat:1","data":1,"echo":true}"#;
const HISTORY: &str = r#"{"type":"history","id":3,"channel":"chat:1"}"#;

#[test]
fn who_may_publish_may_not_listen_and_who_loses_the_right_is_told() {
    let mut host = Host::new(AuthMode::Required, BOTH);
    let (id, _) = host.open(Some(USER));
    let (other, _) = host.open(Some(USER));
    assert_eq!(words(&host.ask(id, JOIN)), ["joined"]);
    assert_eq!(words(&host.ask(id, HISTORY)), ["history"]);
    let said = host.ask(id, PUBLISHED);
    assert!(said.iter().any(|text| text.contains(r#""offset":1,"from":"u1","data":1"#)), "{said:?}");
    host.stand(PUBLISH, Revocations::default());
    let told = host.texts(id);
    assert_eq!(words(&told), ["forbidden"]);
    assert!(told[0].contains(r#""channel":"chat:1""#));
    assert_eq!(words(&host.ask(other, PUBLISHED)), ["published"]);
    assert!(host.texts(id).is_empty(), "it is in it no longer");
    for message in [JOIN, HISTORY] {
        assert_eq!(words(&host.ask(id, message)), ["forbidden"]);
    }
    host.stand(BOTH, Revocations::default());
    assert_eq!(words(&host.ask(id, JOIN)), ["joined"]);
}

#[test]
fn rules_say_how_much_is_kept_and_others_say_it_anew() {
    let keep = |count| format!("{BOTH}\n[[channel]]\nname = \"chat:*\"\nhistory = {count}");
    let mut host = Host::new(AuthMode::Required, &keep(5));
    let (id, _) = host.open(Some(USER));
    let kept = |host: &mut Host| host.ask(id, HISTORY).concat().matches("\"offset\"").count();
    for _ in 0..9 {
        host.ask(id, PUBLISHED);
    }
    assert_eq!(kept(&mut host), 5);
    host.stand(&keep(2), Revocations::default());
    assert_eq!(kept(&mut host), 2, "without a further message");
    host.stand(&keep(7), Revocations::default());
    for _ in 0..9 {
        host.ask(id, PUBLISHED);
    }
    assert_eq!(kept(&mut host), 7);
    host.stand(&keep(0), Revocations::default());
    assert_eq!(kept(&mut host), 0);
}
