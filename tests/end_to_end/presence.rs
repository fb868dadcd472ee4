//! Who is in a room, over real sockets: two tabs, ends of every kind, large rooms, SyncKit's clients beside it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use annulus::config::IdentityConfig;
use annulus::io::Clock;
use jsonwebtoken::{EncodingKey, Header, encode};
use simd_json::OwnedValue as Value;
use simd_json::prelude::*;
use tungstenite::Message;

use crate::client::Client;
use crate::server::{Directory, TestServer, await_that};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A server that believes tokens of users.
struct Scene {
    server: TestServer,
    directory: Directory,
}

impl Scene {
    fn new() -> Self {
        let directory = Directory::new();
        let secret_file = directory.path().with_extension("secret");
        fs::write(&secret_file, SECRET).unwrap();
        let identity = IdentityConfig { secret_file: Some(secret_file), ..IdentityConfig::default() };
        let server = TestServer::asking(directory.path(), identity);
        Self { server, directory }
    }

    fn target(user: &str) -> String {
        let expires = Clock::start().now().unix_ms / 1000 + 60;
        let claims = serde_json::json!({ "sub": user, "exp": expires });
        let token =
            encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
        format!("/v1?token={token}")
    }

    fn come(&self, user: &str) -> Client {
        let mut client = Client::connect_to(self.server.address, &Self::target(user));
        assert_eq!(client.receive()["type"], "authenticated");
        client
    }
}

/// The next message about a room that is a diff.
fn diff(client: &mut Client) -> Value {
    let event = client.event();
    assert_eq!(event["type"], "presence.diff", "{event}");
    event
}

fn names(list: &Value) -> Vec<String> {
    let name = |entry: &Value| entry.get("member").unwrap_or(entry).as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

#[test]
fn two_tabs_drop_and_come_back_and_leave() {
    let scene = Scene::new();
    let mut watcher = scene.come("watcher");
    let state = watcher.ask(r#"{"type":"presence.watch","room":"doc"}"#);
    assert_eq!((&state["type"], &state["count"]), (&"presence.state".into(), &0.into()));
    let join = r#"{"type":"presence.join","room":"doc","state":{"x":1},"grace_ms":20000}"#;
    let mut first = scene.come("ada");
    assert_eq!(names(&first.ask(join)["members"]), ["user:ada"]);
    assert_eq!(names(&diff(&mut watcher)["joined"]), ["user:ada"]);
    let mut second = scene.come("ada");
    second.ask(r#"{"type":"presence.join","room":"doc","grace_ms":20000}"#);
    assert_eq!(diff(&mut watcher)["updated"][0]["connections"], 2);
    // The first is gone without a word, as after `kill -9`: the kernel ends its socket.
    drop(first);
    let update = diff(&mut watcher);
    assert_eq!(
        (&update["updated"][0]["connections"], &update["updated"][0]["away"]),
        (&1.into(), &false.into())
    );
    drop(second);
    let update = diff(&mut watcher);
    assert_eq!(
        (&update["updated"][0]["connections"], &update["updated"][0]["away"]),
        (&0.into(), &true.into())
    );
    let mut back = scene.come("ada");
    assert_eq!(back.ask(join)["members"][0]["away"], false);
    let update = diff(&mut watcher);
    assert_eq!(
        (&update["updated"][0]["connections"], &update["updated"][0]["away"]),
        (&1.into(), &false.into())
    );
    assert_eq!(names(&update["left"]), [""; 0]);
    // A close with 1000 is at once, whatever the grace.
    back.close_with(1000);
    assert_eq!(names(&diff(&mut watcher)["left"]), ["user:ada"]);
    let mut once = scene.come("bob");
    once.ask(r#"{"type":"presence.join","room":"doc","grace_ms":300}"#);
    assert_eq!(names(&diff(&mut watcher)["joined"]), ["user:bob"]);
    once.close_with(1001);
    assert_eq!(diff(&mut watcher)["updated"][0]["away"], true);
    assert_eq!(names(&diff(&mut watcher)["left"]), ["user:bob"]);
    assert_eq!(scene.server.metric("annulus_presence_user_members"), 0.0);
    fs::remove_file(scene.directory.path().with_extension("secret")).unwrap();
}

#[test]
fn a_half_open_link_is_no_ghost() {
    let server = TestServer::with(|config| config.heartbeat_ms = 400);
    let mut watcher = Client::connect(server.address);
    watcher.ask(r#"{"type":"presence.watch","room":"doc"}"#);
    let mut gone = Client::connect(server.address);
    gone.ask(r#"{"type":"presence.join","room":"doc"}"#);
    assert_eq!(diff(&mut watcher)["count"], 1);
    // It reads and answers nothing any more, and its socket stays open.
    let mut left = Value::null();
    for _ in 0..50 {
        watcher.answer_pings_until_text(Duration::from_millis(100), &mut left);
        if left.get("type") == Some(&"presence.diff".into()) {
            break;
        }
    }
    assert_eq!(left["left"].as_array().map(|list| list.len()), Some(1), "{left}");
    drop(gone);
}

#[test]
fn a_large_room_is_counted_and_listed_and_a_storm_leaves_nothing() {
    const MEMBERS: usize = 260;
    let server = TestServer::start();
    let mut watcher = Client::connect(server.address);
    watcher.ask(r#"{"type":"presence.watch","room":"hall"}"#);
    let mut clients: Vec<Client> = (0..MEMBERS).map(|_| Client::connect(server.address)).collect();
    for client in &mut clients {
        client.send(r#"{"type":"presence.join","room":"hall","state":{"n":1}}"#);
    }
    loop {
        let event = watcher.event();
        if event["count"] == MEMBERS {
            assert_eq!(event["type"], "presence.count");
            break;
        }
    }
    let (mut after, mut found) = (String::new(), 0);
    loop {
        let page =
            watcher.ask(&format!(r#"{{"type":"presence.list","room":"hall","after":"{after}","limit":50}}"#));
        let members = names(&page["members"]);
        found += members.len();
        if page["more"] == false {
            break;
        }
        after = members.last().unwrap().clone();
    }
    assert_eq!(found, MEMBERS);
    drop(clients);
    await_that("nobody is left", || server.metric("annulus_presence_user_members") == 0.0);
    loop {
        let event = watcher.event();
        if event["count"] == 0 {
            break;
        }
    }
    assert_eq!(server.metric("annulus_presence_joined_total"), MEMBERS as f64);
    assert_eq!(server.metric("annulus_presence_left_total"), MEMBERS as f64);
}

#[test]
fn a_client_of_synckit_is_in_the_same_room() {
    let server = TestServer::start();
    let mut user = Client::connect(server.address);
    let state = user.ask(r#"{"type":"presence.join","room":"doc","state":{"v":1}}"#);
    let own = state["member"].as_str().unwrap().to_owned();
    let mut kit = kit(server.address);
    let update = r#"{"type":"awareness_update","id":"i","timestamp":1,"documentId":"doc","clientId":"c1","state":{"k":1},"clock":1}"#;
    kit.send(Message::text(update)).unwrap();
    assert_eq!(names(&diff(&mut user)["joined"]), ["client:c1"]);
    let mut seen = Vec::new();
    while !seen.contains(&own) {
        let text = kit.read().unwrap().into_text().unwrap();
        let mut json = text.as_bytes().to_vec();
        let said = simd_json::to_owned_value(&mut json).unwrap();
        seen.extend(said.get("clientId").and_then(|name| name.as_str()).map(str::to_owned));
        let states = said.get("states").and_then(|states| states.as_array()).cloned().unwrap_or_default();
        seen.extend(states.iter().map(|one| one["clientId"].as_str().unwrap().to_owned()));
    }
    drop(kit);
    assert_eq!(names(&diff(&mut user)["left"]), ["client:c1"]);
}

fn kit(address: SocketAddr) -> tungstenite::WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    tungstenite::client("ws://test/ws", stream).unwrap().0
}

#[test]
fn a_restart_leaves_nobody() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    client.ask(r#"{"type":"presence.join","room":"doc","grace_ms":60000}"#);
    server.drain();
    assert_eq!(client.closed().0, 1001);
    server.join().unwrap();
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    assert_eq!(client.ask(r#"{"type":"presence.watch","room":"doc"}"#)["count"], 0);
}
