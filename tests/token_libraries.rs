//! Tokens as backends make them: of every algorithm, from libraries that share nothing with ours.
//!
//! Method: `tests/token_libraries/` signs with PyJWT and with jose, each with keys of its own, and says with what to verify.
//! `scripts/setup` installs both below `target/`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use annulus::auth::{Keys, Policy, TokenError, Verifier};
use annulus::io::Clock;
use data_encoding::BASE64;
use serde::Deserialize;

#[derive(Deserialize)]
struct Signed {
    algorithm: String,
    token: String,
    kind: String,
    key: String,
}

#[test]
fn tokens_of_pyjwt_are_taken() {
    let signed =
        sign(Command::new("python3").arg(script("sign.py")).env("PYTHONPATH", installed().join("python")));
    assert_eq!(check(&signed), 12);
}

#[test]
fn tokens_of_jose_are_taken() {
    let signed = sign(Command::new("node").arg(script("sign.mjs")).arg(installed()));
    assert_eq!(check(&signed), 12);
}

/// Each token is taken with its own key, and not with those of others. Returns how many algorithms there were.
fn check(signed: &[Signed]) -> usize {
    let mut algorithms = BTreeMap::new();
    for Signed { algorithm, token, kind, .. } in signed {
        *algorithms.entry(algorithm).or_insert(0) += 1;
        for other in signed {
            let verified = verifier(other).verify(token, Clock::start().now().unix_ms);
            if other.key == signed.iter().find(|own| own.token == *token).unwrap().key {
                let identity = verified.unwrap_or_else(|error| panic!("{algorithm} with {kind}: {error:?}"));
                assert_eq!((&*identity.user, identity.has_role("member")), ("Jörg", true));
                assert_eq!(identity.claims.read().at("team.a").unwrap().as_array().unwrap()[1], 2.5);
            } else if let Ok(identity) = verified {
                // The same key in another form.
                assert!(other.algorithm == *algorithm && other.kind != *kind, "{algorithm} with another key");
                assert_eq!(&*identity.user, "Jörg");
            }
        }
        let own = signed.iter().find(|own| own.token == *token).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let changed = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{message}.{changed}{}", &signature[1..]);
        let refused = verifier(own).verify(&forged, Clock::start().now().unix_ms);
        assert_eq!(refused.map(drop), Err(TokenError::Signature), "{algorithm}");
    }
    algorithms.len()
}

fn verifier(signed: &Signed) -> Verifier {
    let mut keys = Keys::default();
    let key = BASE64.decode(signed.key.as_bytes()).unwrap();
    let added = match &*signed.kind {
        "secret" => keys.add_secret(&key),
        "pem" => keys.add_pem(&key),
        _ => keys.add_set(&key),
    };
    added.unwrap();
    Verifier { keys, policy: Policy::default() }
}

fn sign(command: &mut Command) -> Vec<Signed> {
    let output = command.output().expect("it is installed; run scripts/setup if it is not");
    let text = String::from_utf8(output.stdout).unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "run scripts/setup if the libraries are missing:\n{problem}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/token_libraries").join(name)
}

/// Where `scripts/setup` puts the libraries.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/token_libraries")
}
