//! Flags of identity.

use super::*;

#[test]
fn every_flag_of_identity_reaches_its_setting() {
    let folder = Folder::new("identity");
    let rules = folder.file("rules.toml", "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]");
    let secret = folder.file("secret", SECRET);
    let given = serve(&[
        "--auth",
        "required",
        "--jwt-secret-file",
        &secret,
        "--jwks-url",
        "https://login.example/keys",
        "--jwt-issuer",
        "i",
        "--jwt-audience",
        "a",
        "--jwt-leeway-ms",
        "2",
        "--jwt-allow-no-expiry",
        "--jwt-roles-claim",
        "app.roles",
        "--rules",
        &rules,
        "--api-keys",
        "/k",
        "--revoked",
        "/r",
        "--auth-timeout-ms",
        "3",
        "--auth-revalidate-ms",
        "4000",
        "--listen",
        "0.0.0.0:0",
    ])
    .unwrap();
    let expected = crate::config::IdentityConfig {
        secret_file: Some(secret.clone().into()),
        secret: None,
        public_key_files: Vec::new(),
        jwks_file: None,
        jwks_url: Some("https://login.example/keys".to_owned()),
        issuer: Some("i".into()),
        audience: Some("a".into()),
        leeway_ms: 2,
        allow_no_expiry: true,
        roles_claim: "app.roles".into(),
        rules: Some(rules.clone().into()),
        api_keys: Some("/k".into()),
        revoked: Some("/r".into()),
        revalidate_ms: 4_000,
    };
    assert_eq!(format!("{:?}", given.identity.as_ref().unwrap()), format!("{expected:?}"));
    assert_eq!((given.config.auth, given.config.auth_timeout_ms), (AuthMode::Required, 3));
    let caution = "has mode 644, so that others may use it";
    assert!(given.warnings().iter().any(|warning| warning.contains(caution)), "{:?}", given.warnings());

    let default = serve(&["--rules", &rules, "--data-dir", "/d"]).unwrap().identity.unwrap();
    assert_eq!((default.api_keys, default.revoked), (Some("/d/api-keys".into()), Some("/d/revoked".into())));
    let in_memory = serve(&["--rules", &rules, "--storage", "memory"]).unwrap().identity.unwrap();
    assert_eq!((in_memory.api_keys, in_memory.revoked), (None, None));
    assert!(serve(&["--jwt-secret-file", &secret]).unwrap().identity.is_none(), "nobody is asked");
}

#[test]
fn what_the_desk_cannot_use_is_told_before_anything_starts() {
    let folder = Folder::new("unusable");
    let [short, bad] = [folder.file("short", "hush\n"), folder.file("bad", "[[rule]]\nallow = [\"reed\"]")];
    for (flags, part) in [
        (["--jwt-secret-file", &short], "the secret has 4 bytes and needs at least 32"),
        (["--jwt-public-key-file", &short], "there is no public key in it"),
        (["--jwks-file", &short], "it is no JSON Web Key Set"),
        (["--jwks-file", "/nowhere"], "--jwks-file /nowhere: No such file"),
        (["--rules", &bad], "there is no action \"reed\""),
        (["--api-keys", &bad], "line 1: "),
        (["--revoked", &bad], "line 1: "),
    ] {
        let text = refusal(&[&["--auth", "optional"][..], &flags].concat());
        assert!(text.contains(part) && text.contains(flags[1]), "{text}");
        assert!(text.ends_with("; see docs/identity.md"), "{text}");
    }
    let text = refusal(&["--rules", &bad]);
    assert!(text.contains("there is no action"), "{text}");
}

#[test]
fn who_lets_anybody_in_from_elsewhere_has_to_say_so() {
    let open = ["--listen", "127.0.0.1:0", "--listen", "[::]:9"];
    let text = serve_in(&[("HOST", "0.0.0.0")], &[]).expect_err("nobody has said so").to_string();
    assert!(text.contains("--allow-anonymous") && text.ends_with("; --listen comes from HOST"), "{text}");
    assert!(refusal(&open).contains("--listen [::]:9 lets in"));
    let given = serve(&[&open[..], &["--allow-anonymous"]].concat()).unwrap();
    let caution = "--allow-anonymous: everybody who reaches [::]:9 may read, write and remove everything";
    assert_eq!(given.warnings(), [caution]);
    assert!(serve(&["--allow-anonymous"]).unwrap().warnings().is_empty(), "nobody reaches it");
    let idle = serve(&["--max-connections-per-user", "3"]).unwrap();
    assert!(idle.warnings()[0].contains("mean nothing with --auth none"));
    assert!(serve(&[&open[..], &["--auth", "optional"]].concat()).is_ok());
}

// There, tokens are asked for unless somebody says that they are not.
#[test]
fn what_synckit_asks_of_clients_is_asked_here() {
    let auth = |variables: &[(&str, &str)], flags: &[&str]| {
        let given = serve_in(variables, flags).unwrap();
        let has_secret = given.identity.as_ref().is_some_and(|identity| identity.secret.is_some());
        (given.config.auth, has_secret, given.remarks.len())
    };
    let (secret, open) = (("JWT_SECRET", SECRET), ("SYNCKIT_AUTH_REQUIRED", "false"));
    assert_eq!(auth(&[secret], &[]), (AuthMode::Required, true, 0));
    assert_eq!(auth(&[open], &[]), (AuthMode::None, false, 0));
    assert_eq!(auth(&[secret, open], &[]), (AuthMode::None, false, 1));
    assert_eq!(auth(&[secret, open], &["--auth", "optional"]), (AuthMode::Optional, true, 0));
    assert_eq!(auth(&[secret], &["--auth", "none"]), (AuthMode::None, false, 0));
    assert_eq!(auth(&[secret], &["--no-synckit"]), (AuthMode::None, false, 0));
    assert!(serve_in(&[open, ("HOST", "0.0.0.0")], &[]).is_ok(), "it says so");
    let own = auth(&[secret], &["--auth", "optional", "--jwks-url", "https://login.example/keys"]);
    assert_eq!(own, (AuthMode::Optional, false, 0), "our own keys come first");
    let given = serve_in(&[secret], &[]).unwrap();
    assert!(!format!("{given:?}").contains(SECRET), "it is in no text");
}
