//! The rules on `docs/identity.md`: they are what the page says they are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use annulus::auth::Identity;
use annulus::auth::rules::{Action, Asked, Facts, Rules, View};

/// The rules behind the sentence that begins so.
fn rules(case: &str) -> Arc<Rules> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/identity.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n{case}: ")).unwrap_or_else(|| panic!("{case} is not there"));
    let (_, rest) = rest.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    Arc::new(Rules::parse(text).unwrap_or_else(|error| panic!("{case}: {error}")))
}

fn user(claims: &str) -> Identity {
    Identity::of_claims(&serde_json::from_str(claims).unwrap(), "roles").unwrap()
}

fn may(rules: &Arc<Rules>, who: &Identity, action: Action, map: &str) -> bool {
    rules.grant(who).view(action, map) != View::None
}

/// What somebody is shown of a value.
fn shown(rules: &Arc<Rules>, who: &Identity, map: &str, value: &str) -> Option<String> {
    let facts = Facts::read(map, "k", value.as_bytes());
    let fields = rules.grant(who).view(Action::Read, map).fields(&facts, &mut Asked::default())?;
    Some(String::from_utf8(fields.seen(value.as_bytes())?.into_owned()).unwrap())
}

/// What comes of a write.
fn written(
    rules: &Arc<Rules>,
    who: &Identity,
    map: &str,
    value: &str,
    current: Option<&str>,
) -> Option<String> {
    match rules.grant(who).view(Action::Write, map) {
        View::All => Some(value.to_owned()),
        View::None => None,
        View::Parts(parts) => {
            let facts = Facts::new(map, "k", Some(value.as_bytes()), current.map(str::as_bytes));
            let written = parts.written(&facts, &mut Asked::default())?;
            Some(String::from_utf8(written.into_owned()).unwrap())
        }
    }
}

#[test]
fn own_documents() {
    let (rules, anna) = (rules("Own documents"), user(r#"{"sub":"anna"}"#));
    for (map, expected) in
        [("doc:anna:1", true), ("doc:bert:1", false), ("doc:anna", false), ("doc:anna:1:2", false)]
    {
        assert_eq!(may(&rules, &anna, Action::Write, map), expected, "{map}");
        assert_eq!(may(&rules, &anna, Action::Subscribe, map), expected, "{map}");
    }
    assert!(!may(&rules, &user(r#"{"sub":"*"}"#), Action::Read, "doc:anna:1"), "a name is no pattern");
}

#[test]
fn team_boards() {
    let rules = rules("Team boards");
    let anna = user(r#"{"sub":"anna","roles":["member"],"team":"red"}"#);
    for (map, read, write) in
        [("board:red:a", true, true), ("board:red:archive", true, false), ("board:blue:a", false, false)]
    {
        assert_eq!(
            (may(&rules, &anna, Action::Read, map), may(&rules, &anna, Action::Write, map)),
            (read, write)
        );
    }
    assert!(
        may(&rules, &anna, Action::Presence, "room:red")
            && !may(&rules, &anna, Action::Presence, "room:blue")
    );
    for nobody in [r#"{"sub":"anna","team":"red"}"#, r#"{"sub":"anna","roles":["member"]}"#] {
        assert!(!may(&rules, &user(nobody), Action::Read, "board:red:a"), "{nobody}");
    }
    let write = |value, current| written(&rules, &anna, "board:red:a", value, current);
    assert_eq!(write(r#"{"owner":"anna"}"#, None).as_deref(), Some(r#"{"owner":"anna"}"#));
    let of_bert = Some(r#"{"owner":"bert","title":"a"}"#);
    let kept = write(r#"{"owner":"anna","title":"b"}"#, of_bert);
    assert_eq!(kept.as_deref(), Some(r#"{"owner":"bert","title":"b"}"#));
}

#[test]
fn public_read() {
    let (rules, anybody) = (rules("Public read"), Identity::anonymous());
    let editor = user(r#"{"sub":"e","roles":["editor"]}"#);
    let published = r#"{"notes":"x","published":true,"title":"t"}"#;
    assert_eq!(shown(&rules, &anybody, "news", published).as_deref(), Some(r#"{"title":"t"}"#));
    assert_eq!(shown(&rules, &anybody, "news", r#"{"published":false,"title":"t"}"#), None);
    assert_eq!(shown(&rules, &anybody, "news", r#"{"title":"t"}"#), None);
    assert_eq!(shown(&rules, &editor, "news", r#"{"title":"t"}"#).as_deref(), Some(r#"{"title":"t"}"#));
    assert!(!may(&rules, &anybody, Action::Write, "news") && may(&rules, &editor, Action::Write, "news"));
}

#[test]
fn admin() {
    let rules = rules("Admin");
    let (admin, support) =
        (user(r#"{"sub":"a","roles":["admin"]}"#), user(r#"{"sub":"s","roles":["support"]}"#));
    for map in ["news", "board:red:a"] {
        assert!(may(&rules, &admin, Action::Write, map) && may(&rules, &support, Action::Read, map));
        assert!(!may(&rules, &support, Action::Write, map));
    }
    assert!(rules.grant(&user(r#"{"sub":"x"}"#)).is_nothing(), "it is closed with 4003");
}

#[test]
fn service() {
    let rules = rules("Service");
    let service = user(r#"{"sub":"s","roles":["service"]}"#);
    assert_eq!(written(&rules, &service, "prices", "7", None).as_deref(), Some("7"));
    assert_eq!(shown(&rules, &user(r#"{"sub":"anna"}"#), "prices", "7").as_deref(), Some("7"));
    assert_eq!(shown(&rules, &Identity::anonymous(), "prices", "7"), None);
    assert!(!may(&rules, &user(r#"{"sub":"anna"}"#), Action::Write, "prices"));
}
