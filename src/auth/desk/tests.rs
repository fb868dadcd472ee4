//! Who is believed as time goes by and files change.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::auth::rules::{Action, View};
use crate::auth::{API_KEY_RANDOM_BYTES, Policy, Time};
use crate::limits::{BELIEVED_BYTES_MAX, BELIEVED_MAX};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW_MS: u64 = 1_700_000_000_500;

fn token(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET)).expect("a token")
}

/// A token of a user that lives for a minute.
fn token_of(user: &str) -> String {
    token(
        &json!({ "sub": user, "exp": NOW_MS / 1000 + 60, "iat": NOW_MS / 1000, "jti": format!("t-{user}") }),
    )
}

fn keys(secret: &[u8]) -> Keys {
    let mut keys = Keys::default();
    keys.add_secret(secret).expect("long enough");
    keys
}

fn desk() -> Desk {
    let verifier = Verifier { keys: keys(SECRET), policy: Policy::default() };
    Desk::new(verifier, ApiKeys::default(), Revoked::default(), None)
}

fn rules(text: &str) -> Option<Arc<Rules>> {
    Some(Arc::new(Rules::parse(text).expect("rules")))
}

fn refused(desk: &mut Desk, credential: &str, unix_ms: u64) -> Option<Refused> {
    desk.believe(credential, unix_ms).err()
}

#[test]
fn a_token_is_verified_once_however_often_it_comes() {
    let (mut desk, token) = (desk(), token_of("u1"));
    let first = desk.believe(&token, NOW_MS).expect("it is good");
    for _ in 0..4_999 {
        assert!(Arc::ptr_eq(&first, &desk.believe(&token, NOW_MS).expect("it is good")));
    }
    assert_eq!((desk.counts().verifications, desk.counts().hits), (1, 4_999));
    assert_eq!((&*first.identity.user, &first.proof), ("u1", &Proof::Token));
    assert_eq!(first.grant.view(Action::Write, "m"), View::All, "there are no rules");
}

#[test]
fn it_is_believed_until_it_expires_and_no_longer() {
    let (mut desk, token) = (desk(), token_of("u1"));
    let expires_ms = (NOW_MS / 1000 + 60) * 1000;
    assert!(desk.believe(&token, NOW_MS).is_ok() && desk.believe(&token, expires_ms - 1).is_ok());
    let expired = Some(Refused::Token(TokenError::Expired));
    assert_eq!(refused(&mut desk, &token, expires_ms), expired);
    assert_eq!(refused(&mut desk, &token, expires_ms + 1), expired);
    assert_eq!(desk.counts().verifications, 1, "what has expired costs nothing more");
    desk.verifier.policy.leeway_ms = 5;
    assert!(desk.believe(&token, expires_ms + 4).is_ok());
    assert_eq!(refused(&mut desk, &token, expires_ms + 5), expired);
}

#[test]
fn what_is_not_believed_leaves_nothing_behind() {
    let mut desk = desk();
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    let forged = encode(&Header::new(Algorithm::HS256), &json!({}), &EncodingKey::from_secret(b"x")).unwrap();
    for (credential, expected) in [
        (&*long, Refused::Token(TokenError::TooLong)),
        ("", Refused::Token(TokenError::Malformed)),
        (&forged, Refused::Token(TokenError::Signature)),
        ("ann_0_0", Refused::UnknownKey),
        ("ann_\u{1F600}", Refused::UnknownKey),
    ] {
        assert_eq!(refused(&mut desk, credential, NOW_MS), Some(expected));
        assert_eq!(desk.counts().refused[expected.reason()], 1, "{expected:?}");
        desk.counts = Counts::default();
    }
    assert_eq!((desk.believed.len(), desk.believed.bytes()), (0, 0));
}

#[test]
fn memory_is_bounded_in_entries_and_in_bytes() {
    let mut desk = desk();
    let mut insert = |index: usize, claims: Value| {
        let mut fingerprint = [0; 32];
        fingerprint[..8].copy_from_slice(&index.to_le_bytes());
        let Value::Object(claims) = claims else { panic!("claims") };
        let identity = Identity { claims: claims.into(), ..Identity::anonymous() };
        let entry = judged(&desk.standing, 0, identity, Proof::Token);
        desk.believed.insert(fingerprint, entry);
        (desk.believed.len(), desk.believed.bytes(), desk.believed.get_mut(&[0; 32]).is_some())
    };
    for index in 0..2 * BELIEVED_MAX {
        let (entries, bytes, has_first) = insert(index, json!({}));
        assert!(entries <= BELIEVED_MAX && bytes <= BELIEVED_BYTES_MAX);
        assert_eq!(has_first, index < entries, "the oldest goes first");
    }
    // As many small objects as a token has room for.
    let many = json!({ "x": vec![json!({ "a": 0 }); TOKEN_BYTES_MAX / 8] });
    let too_many = 2 * BELIEVED_BYTES_MAX / TOKEN_BYTES_MAX;
    for index in 0..too_many {
        let (_, bytes, _) = insert(2 * BELIEVED_MAX + index, many.clone());
        assert!(bytes <= BELIEVED_BYTES_MAX);
    }
    let (entries, ..) = insert(usize::MAX, json!({}));
    assert!((10..too_many).contains(&entries), "{entries} large ones are left");
    desk.set_keys(keys(SECRET));
    assert_eq!((desk.believed.len(), desk.believed.bytes()), (0, 0));
}

#[test]
fn other_rules_count_at_once_for_those_who_were_believed() {
    let (mut desk, token) = (desk(), token_of("u1"));
    assert!(desk.believe(&token, NOW_MS).is_ok());
    let before = Arc::clone(desk.standing());
    desk.set_rules(rules("[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]"));
    assert!(!Arc::ptr_eq(&before, desk.standing()));
    let principal = desk.believe(&token, NOW_MS).expect("it may read");
    assert_eq!(principal.grant.view(Action::Read, "m"), View::All);
    assert_eq!(principal.grant.view(Action::Write, "m"), View::None);
    // Whom no rule allows anything may not use the server; denials do not change that.
    desk.set_rules(rules(
        "[[role]]\nname = \"x\"\n[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nroles = [\"x\"]\n\
         [[rule]]\ndeny = [\"read\"]\nmaps = [\"n\"]",
    ));
    assert_eq!(refused(&mut desk, &token, NOW_MS), Some(Refused::Forbidden));
    desk.set_rules(None);
    assert!(desk.believe(&token, NOW_MS).is_ok());
    assert_eq!(desk.counts().verifications, 1);
}

#[test]
fn what_is_revoked_is_refused_at_once() {
    let mut desk = desk();
    let [a, b, c] = ["a", "b", "c"].map(token_of);
    for token in [&a, &b] {
        assert!(desk.believe(token, NOW_MS).is_ok());
    }
    let mut revoked = Revoked::default();
    revoked.add_token("t-a", Time(NOW_MS));
    revoked.add_user("c", Time(NOW_MS));
    desk.set_revoked(revoked);
    for (token, expected) in [(&a, Some(Refused::Revoked)), (&b, None), (&c, Some(Refused::Revoked))] {
        assert_eq!(refused(&mut desk, token, NOW_MS), expected);
    }
    let newer = token(&json!({ "sub": "c", "exp": NOW_MS / 1000 + 60, "iat": NOW_MS / 1000 + 1 }));
    assert!(desk.believe(&newer, NOW_MS).is_ok());
    assert_eq!(refused(&mut desk, &c, NOW_MS), Some(Refused::Revoked));
    assert_eq!(desk.counts().verifications, 4, "a revoked token is not verified again");
}

#[test]
fn another_secret_is_needed_where_the_secret_was_changed() {
    let (mut desk, token) = (desk(), token_of("u1"));
    assert!(desk.believe(&token, NOW_MS).is_ok());
    desk.set_keys(keys(b"another secret of 32 bytes or so.."));
    assert_eq!(refused(&mut desk, &token, NOW_MS), Some(Refused::Token(TokenError::Signature)));
}

#[test]
fn an_api_key_names_a_user_until_it_is_withdrawn() {
    let mut desk = desk();
    let mut api_keys = ApiKeys::default();
    let roles = [Box::from("service")];
    let create = |api_keys: &mut ApiKeys, random| {
        api_keys.create("backend", &roles, "2026-11-26T20:00:00Z", &[random; API_KEY_RANDOM_BYTES])
    };
    let key = create(&mut api_keys, 1).expect("a key");
    assert_eq!(refused(&mut desk, &key, NOW_MS), Some(Refused::UnknownKey));
    desk.set_api_keys(api_keys.clone());
    let principal = desk.believe(&key, NOW_MS).expect("it is there");
    assert!(desk.believe(&key, NOW_MS).is_ok());
    assert_eq!((&*principal.identity.user, principal.identity.has_role("service")), ("key:backend", true));
    let Principal { identity, proof, .. } = &*principal;
    assert!(!desk.standing().revocations.are_about(identity, proof));
    // Another of the same name is another key: who came with the first has to go.
    let before = api_keys.clone();
    api_keys.remove("backend").expect("it was there");
    let second = create(&mut api_keys, 2).expect("a key");
    desk.set_api_keys(api_keys);
    assert!(desk.standing().revocations.are_about(identity, proof));
    assert_eq!(refused(&mut desk, &key, NOW_MS), Some(Refused::UnknownKey));
    assert!(desk.believe(&second, NOW_MS).is_ok());
    desk.set_api_keys(before);
    assert!(!desk.standing().revocations.are_about(identity, proof) && desk.believe(&key, NOW_MS).is_ok());
    assert_eq!(desk.counts().verifications, 0);
}

#[test]
fn an_api_key_whose_line_is_changed_is_what_it_says_now() {
    let mut desk = desk();
    let mut api_keys = ApiKeys::default();
    let roles = [Box::from("admin")];
    let made = api_keys.create("backend", &roles, "2026-11-26T20:00:00Z", &[1; API_KEY_RANDOM_BYTES]);
    let key = made.expect("a key");
    desk.set_api_keys(api_keys.clone());
    let Principal { identity, proof, .. } = &*desk.believe(&key, NOW_MS).expect("it is there");
    let fewer = api_keys.text().replace("admin", "reader");
    desk.set_api_keys(ApiKeys::parse(&fewer).expect("a file of keys"));
    assert!(desk.standing().revocations.are_about(identity, proof), "who came with it has to come again");
    let now = desk.believe(&key, NOW_MS).expect("it is there");
    assert!(now.identity.has_role("reader") && !now.identity.has_role("admin"));
}
