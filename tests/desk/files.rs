//! Files that change while the desk serves.

use std::time::{Duration, Instant};

use annulus::auth::rules::{Action, View};
use annulus::auth::{API_KEY_RANDOM_BYTES, ApiKeys, Refused, Revoked, Time, TokenError};
use annulus::config::IdentityConfig;

use crate::shards::{Folder, Shards, replace, token_of};
use crate::signer::SECRET;

const READERS: &str = "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\n";
const WRITERS: &str = "[[rule]]\nallow = [\"write\"]\nmaps = [\"m\"]\n";

fn config(folder: &Folder) -> IdentityConfig {
    IdentityConfig {
        secret_file: Some(folder.file("secret", SECRET)),
        rules: Some(folder.file("rules.toml", READERS)),
        api_keys: Some(folder.0.join("api-keys")),
        revoked: Some(folder.0.join("revoked")),
        ..IdentityConfig::default()
    }
}

#[test]
fn tokens_are_judged_for_every_shard() {
    let folder = Folder::new();
    let mut shards = Shards::with(&config(&folder));
    assert!(shards.standing.rules.is_some());
    let token = token_of("u1");
    for shard in [0, 1, 0] {
        let principal = shards.judge(shard, &token).unwrap();
        assert_eq!((&*principal.identity.user, principal.identity.has_role("member")), ("u1", true));
        assert_eq!(principal.grant.view(Action::Read, "m"), View::All);
        assert_eq!(principal.grant.view(Action::Write, "m"), View::None);
    }
    assert_eq!(shards.judge(1, "x").unwrap_err(), Refused::Token(TokenError::Malformed));
    for index in 0..200 {
        shards.ask(index % 2, &token_of(&format!("u{index}")));
    }
    for index in 0..200 {
        let item = shards.next(index % 2);
        assert!(format!("{item:?}").contains(&format!("u{index}\"")), "{item:?}");
    }
}

#[test]
fn what_is_revoked_is_known_to_all_within_a_second() {
    let folder = Folder::new();
    let config = config(&folder);
    let mut shards = Shards::with(&config);
    let token = token_of("u1");
    let principal = shards.judge(0, &token).unwrap();
    let mut revoked = Revoked::default();
    for round in 0..3 {
        revoked.add_token(&format!("t-u{round}"), Time(0));
        let began = Instant::now();
        replace(config.revoked.as_deref().unwrap(), &revoked.text());
        let standing = shards.other_standing();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let is_revoked = standing.revocations.are_about(&principal.identity, &principal.proof);
        assert_eq!(is_revoked, round > 0);
    }
    assert_eq!(shards.judge(1, &token).unwrap_err(), Refused::Revoked);
    assert!(shards.judge(1, &token_of("u3")).is_ok());
    // A file that says nothing leaves all as it is.
    replace(config.revoked.as_deref().unwrap(), "{\"token\":\"t-u3\"");
    assert!(shards.next_within(0, Duration::from_millis(300)).is_none());
    assert_eq!(shards.judge(1, &token).unwrap_err(), Refused::Revoked);
    // One that goes away, as with its disk, does so, too: an empty one says that nobody is revoked.
    std::fs::remove_file(config.revoked.as_deref().unwrap()).unwrap();
    assert!(shards.next_within(0, Duration::from_millis(300)).is_none());
    assert_eq!(shards.judge(1, &token).unwrap_err(), Refused::Revoked);
    replace(config.revoked.as_deref().unwrap(), "");
    shards.other_standing();
    assert!(shards.judge(1, &token).is_ok());
}

#[test]
fn api_keys_come_and_go_at_once() {
    let folder = Folder::new();
    let config = config(&folder);
    let path = config.api_keys.as_deref().unwrap();
    let mut shards = Shards::with(&config);
    let mut keys = ApiKeys::default();
    let key = keys.create("backend", &[], "2026-11-26T20:00:00Z", &[1; API_KEY_RANDOM_BYTES]).unwrap();
    assert_eq!(shards.judge(0, &key).unwrap_err(), Refused::UnknownKey);
    replace(path, &keys.text());
    shards.other_standing();
    let principal = shards.judge(0, &key).unwrap();
    assert_eq!(&*principal.identity.user, "key:backend");
    keys.remove("backend");
    replace(path, &keys.text());
    let standing = shards.other_standing();
    assert!(standing.revocations.are_about(&principal.identity, &principal.proof));
    assert_eq!(shards.judge(1, &key).unwrap_err(), Refused::UnknownKey);
}

#[test]
fn rules_and_keys_are_read_again_when_told_and_bad_ones_change_nothing() {
    let folder = Folder::new();
    let config = config(&folder);
    let mut shards = Shards::with(&config);
    let token = token_of("u1");
    let may_write = |shards: &mut Shards| {
        let principal = shards.judge(0, &token).unwrap();
        principal.grant.view(Action::Write, "m") == View::All
    };
    folder.file("rules.toml", WRITERS);
    assert!(shards.next_within(0, Duration::from_millis(200)).is_none(), "nobody has said so");
    assert!(!may_write(&mut shards));
    shards.handle.reload();
    let standing = shards.other_standing();
    assert!(standing.rules.is_some() && may_write(&mut shards));
    folder.file("rules.toml", format!("{READERS}\n[[rule]]\nallow = [\"reed\"]"));
    folder.file("secret", "short");
    shards.handle.reload();
    assert!(shards.next_within(0, Duration::from_millis(300)).is_none());
    assert!(may_write(&mut shards));
    // What is right again counts, and a token of the secret of before does not.
    folder.file("secret", "another secret of 32 bytes or more");
    folder.file("rules.toml", READERS);
    shards.handle.reload();
    shards.other_standing();
    assert_eq!(shards.judge(0, &token).unwrap_err(), Refused::Token(TokenError::Signature));
}

#[test]
fn what_nobody_tells_of_is_found_now_and_then() {
    let folder = Folder::new();
    // A link into a folder that is exchanged, as Kubernetes mounts files; its own folder stays as it is.
    let [first, second] = ["first", "second"].map(|name| folder.0.join(name));
    for path in [&first, &second] {
        std::fs::create_dir(path).unwrap();
    }
    std::fs::write(second.join("revoked"), "{\"user\":\"u1\",\"issued_before\":\"2999-01-01T00:00:00Z\"}\n")
        .unwrap();
    std::fs::write(first.join("revoked"), "").unwrap();
    std::os::unix::fs::symlink(&first, folder.0.join("data")).unwrap();
    let mounted = folder.0.join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    std::os::unix::fs::symlink("../data/revoked", mounted.join("revoked")).unwrap();
    let config =
        IdentityConfig { revoked: Some(mounted.join("revoked")), revalidate_ms: 1_000, ..config(&folder) };
    let mut shards = Shards::with(&config);
    assert!(shards.judge(0, &token_of("u1")).is_ok());
    std::os::unix::fs::symlink(&second, folder.0.join("new")).unwrap();
    std::fs::rename(folder.0.join("new"), folder.0.join("data")).unwrap();
    shards.other_standing();
    assert_eq!(shards.judge(0, &token_of("u1")).unwrap_err(), Refused::Revoked);
}
