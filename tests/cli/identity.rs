//! API keys, revocations and rules on the command line.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;

use crate::{annulus, stderr, stdout};

/// A directory of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("annulus-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn with<'a>(first: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
    [first, words].concat()
}

/// What a command prints that goes well.
fn printed(arguments: &[&str]) -> String {
    let output = annulus(arguments, &[]);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output).to_owned()
}

/// What a command says that does not, with its exit code.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = annulus(arguments, &[]);
    assert_eq!(stdout(&output), "");
    (output.status.code(), stderr(&output).to_owned())
}

fn content(path: &str) -> String {
    std::fs::read_to_string(path).expect("it is there")
}

#[test]
fn a_key_is_shown_once_and_revoked_by_its_name() {
    let folder = Folder::new("key");
    // Before the first start there is no directory either.
    let data = folder.path("data");
    let key = ["--data-dir", &data, "key"];
    assert_eq!(printed(&with(&key, &["list"])), "");
    let made = printed(&with(&key, &["create", "--name", "backend", "--role", "service", "--role", "b"]));
    assert!(made.starts_with("ann_") && made.len() == "ann_".len() + 12 + 1 + 43 + 1, "{made}");
    let file = format!("{data}/api-keys");
    assert!(!content(&file).contains(&made[17..made.len() - 1]), "only its hash is kept");
    let mode = |path: &str| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&data)), (0o600, 0o700));
    let listed = printed(&with(&key, &["list"]));
    assert!(
        listed.starts_with("backend  id ") && listed.contains("  roles service,b  created 20"),
        "{listed}"
    );
    let (code, text) = refused(&with(&key, &["create", "--name", "backend"]));
    assert_eq!(code, Some(1));
    assert!(text.contains("there is a key of that name already"), "{text}");
    assert!(refused(&with(&key, &["create", "--name", "a b"])).1.contains("a name has 1 to 64 letters"));
    assert_eq!(printed(&with(&key, &["revoke", "--name", "backend"])), "");
    assert!(refused(&with(&key, &["revoke", "--name", "backend"])).1.contains("see `annulus key list`"));
    assert_eq!((printed(&with(&key, &["list"])), content(&file)), (String::new(), String::new()));
    assert_ne!(printed(&with(&key, &["create", "--name", "backend"])), made);
    let others: Vec<_> = std::fs::read_dir(&data).expect("a directory").flatten().collect();
    assert_eq!(others.len(), 1, "nothing is left behind: {others:?}");
}

#[test]
fn tokens_and_users_are_revoked() {
    let folder = Folder::new("revoke");
    let file = folder.path("revoked");
    let revoke = ["revoke", "--revoked", &file];
    printed(&with(&revoke, &["--token", "t 1"]));
    printed(&with(&revoke, &["--user", "anna", "--issued-before", "2026-11-26 20:00:00"]));
    printed(&with(&revoke, &["--user", "bert"]));
    let listed = printed(&with(&revoke, &["list"]));
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("token \"t 1\", since 20"), "{listed}");
    assert_eq!(lines[1], "user \"anna\", tokens issued before 2026-11-26T20:00:00.000Z");
    assert!(lines[2].starts_with("user \"bert\", tokens issued before 20"), "{listed}");
    for (words, code, part) in [
        (&["--user", "anna", "--issued-before", "soon"][..], 1, "\"soon\" is no time"),
        (&[], 2, "the following required arguments were not provided"),
        (&["--token", "t", "--user", "u"], 2, "cannot be used with"),
        (&["--token", "t", "--issued-before", "2026-11-26T20:00:00Z"], 2, ""),
    ] {
        let (found, text) = refused(&with(&revoke, words));
        assert_eq!(found, Some(code), "{words:?}: {text}");
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(printed(&with(&revoke, &["list"])), listed, "nothing has changed");
    std::fs::write(&file, "{\"token\":\"t\"").expect("a file");
    let (code, text) = refused(&with(&revoke, &["--token", "u"]));
    assert_eq!(code, Some(1));
    assert!(text.contains(&file) && text.contains("line 1: "), "{text}");
    assert_eq!(content(&file), "{\"token\":\"t\"", "it is as it was");
}

#[test]
fn many_who_revoke_at_once_lose_nothing() {
    let folder = Folder::new("revoke-at-once");
    let file = folder.path("revoked");
    let all: Vec<_> = (0..20)
        .map(|index| {
            let file = file.clone();
            thread::spawn(move || printed(&["revoke", "--revoked", &file, "--token", &format!("t{index}")]))
        })
        .collect();
    all.into_iter().for_each(|one| drop(one.join().expect("it goes well")));
    assert_eq!(printed(&["revoke", "--revoked", &file, "list"]).lines().count(), 20);
}

#[test]
fn rules_are_checked_and_explained() {
    let folder = Folder::new("rules");
    let (good, bad) = (folder.path("good.toml"), folder.path("bad.toml"));
    let text = "[[role]]\nname = \"member\"\n\
        [[rule]]\nallow = [\"read\", \"write\"]\nmaps = [\"board:{claims.team}\"]\nroles = [\"member\"]\nfields = [\"title\"]\n\
        [[rule]]\nallow = [\"read\"]\nmaps = [\"board:*\"]\nwhen = \"value.open\"\n\
        [[rule]]\ndeny = [\"write\"]\nmaps = [\"board:archive\"]\n";
    std::fs::write(&good, text).expect("a file");
    std::fs::write(&bad, text.replace("member\"]", "editor\"]")).expect("a file");
    assert_eq!(printed(&["rules", "check", &good]), format!("{good}: 3 rules, which can be used\n"));
    let (code, text) = refused(&["rules", "check", &bad]);
    assert_eq!(code, Some(1));
    assert!(text.contains(&bad) && text.contains("rule 1: there is no role \"editor\""), "{text}");

    let ask = ["rules", "explain", "--rules", &good];
    let anna = ["--user", "anna", "--role", "member", "--claim", "team=red"];
    let board = ["--map", "board:red", "--key", "k", "--value", r#"{"title":"a", "owner":"b"}"#];
    let read = printed(&with(&ask, &[&anna[..], &board, &["--action", "read"]].concat()));
    let expected = "rule 1: allows it, for its fields\n\
        rule 2: its condition has no answer, which allows nothing\n\
        rule 3: is about other actions\n\
        anna read of \"board:red\": allowed; what is shown is {\"title\":\"a\"}\n";
    assert_eq!(read, expected);
    let current = ["--action", "write", "--current", r#"{"title":"z","owner":"c"}"#];
    let written = printed(&with(&ask, &[&anna[..], &board, &current].concat()));
    assert!(
        written.ends_with("allowed; what is written is {\"owner\":\"c\",\"title\":\"a\"}\n"),
        "{written}"
    );
    let deleted = printed(&with(&ask, &[&anna[..], &board, &["--action", "delete"]].concat()));
    assert!(deleted.ends_with("forbidden: some of its fields may not go\n"), "{deleted}");
    let archive = ["--map", "board:archive", "--action", "write", "--claim", "team=archive"];
    let denied = printed(&with(&ask, &[&anna[..4], &archive].concat()));
    assert!(denied.contains("rule 3: denies it\n") && denied.ends_with(": forbidden\n"), "{denied}");
    let anonymous =
        printed(&with(&ask, &["--map", "board:red", "--action", "read", "--value", r#"{"open":true}"#]));
    assert!(anonymous.contains("rule 1: is about others\nrule 2: allows it\n"), "{anonymous}");
    assert!(anonymous.ends_with("anonymous read of \"board:red\": allowed\n"), "{anonymous}");
    let admin = ["--role", "admin", "--map", "x", "--action", "admin"];
    assert!(printed(&with(&ask, &admin)).ends_with(": allowed\n"));
    for (words, part) in [
        (&["--map", "m", "--action", "reed"][..], "there is no --action \"reed\"; there are read, write"),
        (&["--map", "m", "--action", "read", "--value", "{"], "--value is no JSON"),
        (&["--map", "m", "--action", "read", "--claim", "x"], "write team=red"),
        (&["--map", "m", "--action", "read", "--user", "key:x"], "no token names such a user"),
    ] {
        assert!(refused(&with(&ask, words)).1.contains(part), "{words:?}");
    }
    assert!(refused(&["rules", "explain", "--map", "m", "--action", "read"]).1.contains("with --rules"));
}

#[test]
fn who_may_come_without_a_name_is_said_loudly() {
    let (code, text) = refused(&["--listen", "0.0.0.0:0", "--storage", "memory"]);
    assert_eq!(code, Some(2));
    assert!(
        text.starts_with("annulus: --listen 0.0.0.0:0 lets in") && text.contains("--allow-anonymous"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}
