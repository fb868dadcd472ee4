//! Who comes with a token, from the upgrade to the end, with the desk at work.

use std::fs;
use std::time::{Duration, Instant};

use annulus::auth::{Revoked, Time};
use annulus::config::IdentityConfig;
use annulus::io::Clock;
use jsonwebtoken::{EncodingKey, Header, encode};
use simd_json::prelude::*;

use crate::client::Client;
use crate::server::{Directory, TestServer, get};

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub fn token(user: &str) -> String {
    let expires = Clock::start().now().unix_ms / 1000 + 60;
    let claims = serde_json::json!({ "sub": user, "exp": expires, "jti": format!("t-{user}") });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

#[test]
fn a_token_is_verified_once_and_a_revoked_one_is_closed_within_a_second() {
    let directory = Directory::new();
    let revoked_file = directory.path().with_extension("revoked");
    let secret_file = directory.path().with_extension("secret");
    fs::write(&secret_file, SECRET).unwrap();
    let identity = IdentityConfig {
        secret_file: Some(secret_file.clone()),
        revoked: Some(revoked_file.clone()),
        ..IdentityConfig::default()
    };
    let server = TestServer::asking(directory.path(), identity);
    let [anna, bert] = ["anna", "bert"].map(token);
    let come = |token: &str| {
        let mut client = Client::connect_to(server.address, &format!("/v1?token={token}"));
        let said = client.receive();
        assert_eq!(said["type"], "authenticated", "{said}");
        client
    };
    let annas: Vec<Client> = (0..20).map(|_| come(&anna)).collect();
    let mut bert = come(&bert);
    let page = get(server.address, "/metrics");
    assert!(page.contains("annulus_verify_seconds_count 2\n"), "a storm costs one verification each");
    assert!(page.contains("annulus_credential_hits_total 19\n"), "{page}");

    let mut revoked = Revoked::default();
    revoked.add_token("t-anna", Time(0));
    let began = Instant::now();
    let written = revoked_file.with_extension("tmp");
    fs::write(&written, revoked.text()).unwrap();
    fs::rename(&written, &revoked_file).unwrap();
    for mut client in annas {
        assert_eq!(client.receive()["code"], "auth_failed");
        assert_eq!(client.closed().0, 4002);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(bert.ask(r#"{"type":"read","map":"m","keys":["k"]}"#)["type"].as_str().is_some());
    for path in [secret_file, revoked_file] {
        fs::remove_file(path).unwrap();
    }
}
