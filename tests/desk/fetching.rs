//! Keys that are fetched, from a server of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use annulus::auth::{Refused, TokenError};
use annulus::config::IdentityConfig;
use annulus::handover::FromDesk;
use annulus::io::Clock;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, Header, encode};
use serde_json::json;

use crate::shards::{Folder, Shards, token_of};
use crate::signer::{SECRET, Signer};

/// Answers each request with what it has at the time.
struct Source {
    address: SocketAddr,
    answer: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
    /// Each request waits for one of these, if there is a gate.
    gate: Option<Sender<()>>,
}

impl Source {
    fn new(answer: String, is_gated: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, requests) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let (gate, opened) = mpsc::channel();
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        break;
                    }
                    request.extend(byte);
                }
                count.fetch_add(1, Ordering::SeqCst);
                if is_gated && opened.recv().is_err() {
                    return;
                }
                let answer = answers.lock().unwrap().clone();
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, answer, requests, gate: is_gated.then_some(gate) }
    }

    fn config(&self, folder: &Folder) -> IdentityConfig {
        let jwks_url = Some(format!("http://{}/keys", self.address));
        IdentityConfig {
            secret_file: Some(folder.file("secret", SECRET)),
            jwks_url,
            ..IdentityConfig::default()
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// A set with the public key of an Ed25519 signer, under a name.
fn set(signer: &Signer, name: &str) -> String {
    let pem = String::from_utf8(signer.public.clone()).unwrap();
    let der = BASE64.decode(pem.lines().nth(1).unwrap().as_bytes()).unwrap();
    let x = BASE64URL_NOPAD.encode(&der[der.len() - 32..]);
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": name, "x": x }] }).to_string()
}

fn token(signer: &Signer, name: &str) -> String {
    let claims = json!({ "sub": "u1", "exp": Clock::start().now().unix_ms / 1000 + 60 });
    let header = Header { kid: Some(name.to_owned()), ..Header::new(Algorithm::EdDSA) };
    encode(&header, &claims, &signer.key).unwrap()
}

#[test]
fn a_token_waits_for_the_keys_that_are_being_fetched_and_no_other_does() {
    let (folder, signer) = (Folder::new(), Signer::ed25519());
    let source = Source::new(ok(&set(&signer, "k1")), true);
    let mut shards = Shards::with(&source.config(&folder));
    shards.ask(0, &token(&signer, "k1"));
    assert!(shards.judge(1, &token_of("u2")).is_ok(), "the secret is there");
    shards.ask(0, &token_of("u3"));
    let FromDesk::Verified(first) = shards.next(0) else { panic!("nothing has changed") };
    assert_eq!(&*first.outcome.unwrap().identity.user, "u3");
    source.gate.as_ref().unwrap().send(()).unwrap();
    let FromDesk::Verified(waited) = shards.next(0) else { panic!("nothing has changed") };
    assert_eq!(&*waited.outcome.unwrap().identity.user, "u1");
    // A name that nobody has is looked for once a minute, and the last time was just now.
    for _ in 0..100 {
        let refused = shards.judge(0, &token(&signer, "k2")).unwrap_err();
        assert_eq!(refused, Refused::Token(TokenError::UnknownKey));
    }
    assert_eq!(source.requests(), 1);
}

#[test]
fn keys_stay_while_their_source_is_away_or_says_nothing() {
    let (folder, signer) = (Folder::new(), Signer::ed25519());
    let source = Source::new(ok(&set(&signer, "k1")), false);
    let config = IdentityConfig { revalidate_ms: 100, ..source.config(&folder) };
    let mut shards = Shards::with(&config);
    assert!(shards.judge(0, &token(&signer, "k1")).is_ok());
    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/keys\r\ncontent-length: 0\r\n\r\n";
    let long = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 << 10));
    for bad in ["HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", "", &ok("{}"), &ok(&long), elsewhere] {
        bad.clone_into(&mut source.answer.lock().unwrap());
        let before = source.requests();
        while source.requests() < before + 2 {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(shards.judge(0, &token(&signer, "k1")).is_ok(), "{bad:.60}");
    }
    // Another key in the place of the first.
    let other = Signer::ed25519();
    *source.answer.lock().unwrap() = ok(&set(&other, "k1"));
    while shards.judge(0, &token(&other, "k1")).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    let refused = shards.judge(0, &token(&signer, "k1")).unwrap_err();
    assert_eq!(refused, Refused::Token(TokenError::Signature));
}

#[test]
fn a_source_that_does_not_answer_holds_nobody_up_for_ever() {
    let (folder, signer) = (Folder::new(), Signer::ed25519());
    let source = Source::new(String::new(), true);
    let mut shards = Shards::with(&source.config(&folder));
    shards.ask(0, &token(&signer, "k1"));
    assert!(shards.judge(1, &token_of("u2")).is_ok());
    // It gives up after some seconds.
    let FromDesk::Verified(waited) = shards.next(0) else { panic!("nothing has changed") };
    assert_eq!(waited.outcome.unwrap_err(), Refused::Token(TokenError::UnknownKey));
}
