//! Direct messages by the whole way: tokens, two cores, a disk, restarts and a crash.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use annulus::io::Clock;
use jsonwebtoken::{EncodingKey, Header, encode};
use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::client::Client;
use crate::process::Running;
use crate::server::Directory;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A connection of a user.
fn come(address: SocketAddr, user: &str) -> Client {
    let expires = Clock::start().now().unix_ms / 1000 + 600;
    let claims = serde_json::json!({ "sub": user, "exp": expires });
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    let mut client = Client::connect_to(address, &format!("/v1?token={token}"));
    assert_eq!(client.receive()["type"], "authenticated");
    client
}

fn start(directory: &Path, secret: &Path) -> Running {
    let secret = secret.to_str().unwrap();
    Running::on_disk(directory, &["--auth", "required", "--jwt-secret-file", secret])
}

fn secret_beside(directory: &Path) -> PathBuf {
    let file = directory.with_extension("secret");
    fs::write(&file, SECRET).unwrap();
    file
}

fn say(client: &mut Client, to: &str, text: &str, ack: &str) -> Value {
    client.ask(&format!(r#"{{"type":"send","to":"user:{to}","data":{{"text":"{text}"}},"ack":"{ack}"}}"#))
}

/// What the next messages of a client are: texts of direct messages, and whether they have waited.
fn heard(client: &mut Client, count: usize) -> Vec<(String, bool)> {
    let direct = |_| {
        let message = client.receive();
        assert_eq!(message["type"], "direct", "{message}");
        let text = message["data"]["text"].as_str().unwrap().to_owned();
        (text, message["queued"].as_bool().unwrap())
    };
    (0..count).map(direct).collect()
}

fn waited(texts: &[&str]) -> Vec<(String, bool)> {
    texts.iter().map(|text| ((*text).to_owned(), true)).collect()
}

#[test]
fn what_is_durable_is_delivered_after_a_stop_and_after_a_kill() {
    let directory = Directory::new();
    let secret = secret_beside(directory.path());
    let server = start(directory.path(), &secret);
    let mut anna = come(server.address, "anna");
    for text in ["one", "two", "three"] {
        assert_eq!(say(&mut anna, "bert", text, "durable")["status"], "queued");
    }
    server.stop();

    let server = start(directory.path(), &secret);
    let mut bert = come(server.address, "bert");
    let first = bert.receive();
    assert_eq!((first["data"]["text"].as_str(), first["from"].as_str()), (Some("one"), Some("anna")));
    assert_eq!(heard(&mut bert, 2), waited(&["two", "three"]));
    let through = first["message"].as_str().unwrap().to_owned();
    let acked = bert.ask(&format!(r#"{{"type":"direct.ack","through":"{through}"}}"#));
    assert_eq!((acked["type"].as_str(), acked["through"].as_str()), (Some("direct.acked"), Some(&*through)));
    assert_eq!(bert.ask(r#"{"type":"block","user":"eve"}"#)["type"], "blocked");
    let mut anna = come(server.address, "anna");
    assert_eq!(say(&mut anna, "bert", "four", "durable")["status"], "delivered");
    assert_eq!(heard(&mut bert, 1), [("four".to_owned(), false)]);
    assert_eq!(say(&mut anna, "bert", "five", "durable")["status"], "delivered");
    server.kill();

    let server = start(directory.path(), &secret);
    let mut bert = come(server.address, "bert");
    assert_eq!(heard(&mut bert, 4), waited(&["two", "three", "four", "five"]));
    let mut eve = come(server.address, "eve");
    let refused = say(&mut eve, "bert", "hey", "memory");
    assert_eq!(
        (refused["status"].as_str(), refused["reason"].as_str()),
        (Some("refused"), Some("forbidden"))
    );
    server.stop();
    fs::remove_file(secret).unwrap();
}

#[test]
fn every_tab_on_every_core_hears_the_same_once_and_in_order() {
    let directory = Directory::new();
    let secret = secret_beside(directory.path());
    let server = start(directory.path(), &secret);
    let mut tabs: Vec<Client> = (0..8).map(|_| come(server.address, "bert")).collect();
    let mut senders: Vec<Client> = (0..4).map(|n| come(server.address, &format!("s{n}"))).collect();
    for n in 0..200 {
        let sender = &mut senders[n % 4];
        sender.send(&format!(r#"{{"type":"send","to":"user:bert","data":{{"text":"{n}"}}}}"#));
    }
    let texts = |heard: Vec<(String, bool)>| heard.into_iter().map(|(text, _)| text).collect::<Vec<_>>();
    let all: Vec<Vec<String>> = tabs.iter_mut().map(|tab| texts(heard(tab, 200))).collect();
    assert!(all.iter().all(|heard| heard == &all[0]), "one order for all");
    for sender in 0..4 {
        let of_sender: Vec<usize> =
            all[0].iter().map(|text| text.parse().unwrap()).filter(|n| n % 4 == sender).collect();
        assert_eq!(of_sender, (sender..200).step_by(4).collect::<Vec<_>>());
    }
    for (to, count) in [("all", 11), ("role:none", 0)] {
        let sent = senders[0].ask(&format!(r#"{{"type":"send","to":"{to}","data":{{"text":"hi"}}}}"#));
        assert_eq!(sent["count"].as_u64(), Some(count), "{sent}");
    }
    assert!(tabs.iter_mut().all(|tab| heard(tab, 1) == [("hi".to_owned(), false)]));
    server.stop();
    fs::remove_file(secret).unwrap();
}
