//! What the application is told: webhooks, whatever becomes of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use annulus::auth::rules::Rules;
use annulus::config::{AuthMode, HooksConfig, IdentityConfig};
use annulus::hooks::{Before, Verdict, signature};
use annulus::io::Clock;
use rustix::process::Signal;
use serde_json::Value;

use crate::client::{Client, set};
use crate::identity::{SECRET, token};
use crate::process::{Running, annulus};
use crate::receiver::{Receiver, Reply};
use crate::server::{Directory, TestServer, await_that};
use crate::tools::stderr;

/// What everybody may do.
pub const ALL: &str =
    "[[role]]\nname = \"vip\"\n[[rule]]\nallow = [\"read\", \"write\"]\nmaps = [\"open:*\"]\n";

/// A server with rules, whose clients may show tokens, and where its files are.
pub struct Hooked {
    pub server: TestServer,
    pub folder: PathBuf,
    /// Removed at the end.
    _directory: Directory,
}

/// With these tables in its rules file, beside those of [`ALL`].
pub fn hooked(tables: &str, change: impl FnOnce(&mut HooksConfig)) -> Hooked {
    hooked_with(AuthMode::Optional, tables, change)
}

pub fn hooked_with(auth: AuthMode, tables: &str, change: impl FnOnce(&mut HooksConfig)) -> Hooked {
    let directory = Directory::new();
    let folder = directory.path().to_owned();
    fs::create_dir_all(&folder).unwrap();
    let rules = folder.join("rules.toml");
    fs::write(&rules, format!("{ALL}{tables}")).unwrap();
    fs::write(folder.join("secret"), format!("{SECRET}\n")).unwrap();
    let identity = IdentityConfig {
        secret_file: Some(folder.join("secret")),
        rules: Some(rules),
        ..IdentityConfig::default()
    };
    let mut hooks = HooksConfig::default();
    change(&mut hooks);
    let server = TestServer::hooked(auth, identity, hooks);
    Hooked { server, folder, _directory: directory }
}

pub fn come(hooked: &Hooked, user: &str) -> Client {
    let mut client = Client::connect_to(hooked.server.address, &format!("/v1?token={}", token(user)));
    assert_eq!(client.receive()["type"], "authenticated");
    client
}

fn told(events: &[Value]) -> Vec<String> {
    let told = |event: &Value| {
        let about = event.get("user").or_else(|| event.get("map")).and_then(Value::as_str);
        format!("{} {}", event["event"].as_str().unwrap(), about.unwrap())
    };
    events.iter().map(told).collect()
}

fn text(value: &simd_json::OwnedValue) -> String {
    simd_json::to_string(value).unwrap()
}

fn keys(event: &Value) -> Vec<&str> {
    event["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect()
}

#[test]
fn users_and_changes_are_told_signed_and_each_with_an_id() {
    let receiver = Receiver::start(|_, _| Reply::Status(201, "x".repeat(100 << 10)));
    let tables = format!(
        "[[hook]]\nevents = [\"connected\", \"disconnected\", \"changed\"]\nnames = [\"anna\", \"open:a*\"]\n\
         url = \"{}\"\nsecret_file = \"secret\"\n",
        receiver.url("/hook?key=1")
    );
    let hooked = hooked(&tables, |_| {});
    let mut annas = [come(&hooked, "anna"), come(&hooked, "anna")];
    let bert = come(&hooked, "bert");
    assert_eq!(told(&receiver.await_events(1)), ["connected anna"], "the first one, and nobody else");
    annas[0].write(&[set("open:a", "k1", 1), set("open:a", "k2", 1), set("open:b", "k3", 1)].join(","));
    annas[1].write(&set("open:a", "k1", 2));
    let events = receiver.await_events(2);
    assert_eq!(told(&events[1..]), ["changed open:a"]);
    let [first, last] = annas;
    first.leave();
    bert.leave();
    last.leave();
    let events = receiver.await_events(3);
    let last = events.last().unwrap();
    assert_eq!((told(&events).last().unwrap().as_str(), &last["code"]), ("disconnected anna", &1005.into()));
    let mut changed: Vec<&str> =
        events.iter().filter(|event| event["event"] == "changed").flat_map(keys).collect();
    changed.sort_unstable();
    changed.dedup();
    assert_eq!(changed, ["k1", "k2"]);
    let ids: BTreeSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len());
    for received in receiver.received() {
        assert_eq!(received.path, "/hook?key=1");
        let given = received.signature.expect("it is signed");
        let seconds: u64 = given["t=".len()..].split(',').next().unwrap().parse().unwrap();
        assert!(seconds.abs_diff(Clock::start().now().unix_ms / 1000) < 60);
        assert_eq!(given, signature(SECRET.as_bytes(), seconds, &received.body));
    }
    assert!(hooked.server.metric("annulus_hooks_delivered_total") >= 3.0);
    assert_eq!(hooked.server.metric("annulus_hooks_failures_total"), 0.0, "whatever the answer says");
    await_that("nothing waits", || hooked.server.metric("annulus_hooks_waiting") == 0.0);
    hooked.server.stop();
}

#[test]
fn what_is_said_and_who_is_where_are_told() {
    let receiver = Receiver::start(|_, _| Reply::ok());
    let tables = format!(
        "[[rule]]\nallow = [\"all\"]\nmaps = [\"room:**\", \"channel:**\", \"user:**\"]\n\
         [[hook]]\nevents = [\"joined\", \"left\", \"published\", \"sent\"]\nurl = \"{}\"\n",
        receiver.url("/")
    );
    let hooked = hooked(&tables, |_| {});
    let mut anna = come(&hooked, "anna");
    anna.ask(r#"{"type":"presence.join","id":1,"room":"open:r"}"#);
    anna.ask(r#"{"type":"join","id":2,"channel":"open:c"}"#);
    anna.ask(r#"{"type":"publish","id":3,"channel":"open:c","data":{"a":1}}"#);
    let sent = anna.ask(r#"{"type":"send","id":4,"to":"user:open:bert","data":[2]}"#);
    anna.ask(r#"{"type":"leave","id":5,"channel":"open:c"}"#);
    anna.leave();
    let mut events = receiver.await_events(6);
    // Those of one shard are in order, those of two are not.
    events.sort_by_key(|event| event["event"].to_string());
    let fields = |name: &str| -> Vec<String> {
        let of_name = events.iter().filter(|event| event["event"] == name);
        let mut texts: Vec<String> = of_name
            .map(|event| {
                let mut event = event.clone();
                let fields = event.as_object_mut().unwrap();
                ["id", "event", "time"].iter().for_each(|field| drop(fields.remove(*field)));
                event.to_string()
            })
            .collect();
        texts.sort_unstable();
        texts
    };
    let places = [r#"{"channel":"open:c","user":"anna"}"#, r#"{"room":"open:r","user":"anna"}"#];
    assert_eq!(fields("joined"), places);
    assert_eq!(fields("left"), places);
    let published = r#"{"channel":"open:c","data":{"a":1},"from":"anna","offset":1}"#;
    assert_eq!(fields("published"), [published]);
    let sent =
        format!(r#"{{"data":[2],"from":"anna","message":{},"to":"open:bert"}}"#, text(&sent["message"]));
    assert_eq!(fields("sent"), [sent]);
    hooked.server.stop();
}

#[test]
fn what_fails_comes_again_as_it_was_before_anything_else_and_costs_clients_nothing() {
    let receiver = Receiver::start(|_, before| match before {
        0 => Reply::Status(500, "no".to_owned()),
        1 => Reply::Close,
        2 => Reply::Hang,
        3 => Reply::Status(302, String::new()),
        4 => Reply::Late(50, Box::new(Reply::ok())),
        _ => Reply::ok(),
    });
    let tables =
        format!("[[hook]]\nevents = [\"changed\"]\nurl = \"{}\"\ntimeout_ms = 300\n", receiver.url("/"));
    let hooked = hooked(&tables, |_| {});
    let mut client = Client::connect(hooked.server.address);
    client.write(&set("open:a", "first", 1));
    await_that("the first attempt", || !receiver.received().is_empty());
    let began = Instant::now();
    (0..100).for_each(|number| drop(client.write(&set("open:a", &format!("k{number}"), 1))));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "a slow application slows nobody: {:?}",
        began.elapsed()
    );
    await_that("everything", || {
        let told: BTreeSet<String> = receiver
            .events()
            .iter()
            .flat_map(|event| keys(event).into_iter().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        told.len() == 101
    });
    let received = receiver.received();
    let bodies: Vec<&[u8]> = received.iter().map(|received| &*received.body).collect();
    assert!(bodies[..5].iter().all(|body| *body == bodies[0]), "the same events with the same ids");
    assert_eq!(keys(&received[0].events()[0]), ["first"]);
    let numbers = received[4..].iter().flat_map(|received| received.events());
    let numbers: Vec<u64> = numbers
        .map(|event| event["id"].as_str().unwrap().split('-').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "in order, each once from then on: {numbers:?}");
    assert_eq!(hooked.server.metric("annulus_hooks_failures_total"), 4.0);
    hooked.server.stop();
}

#[test]
fn a_dead_application_holds_up_no_other_and_its_events_are_replayed() {
    let alive = Receiver::start(|_, _| Reply::ok());
    let dead =
        Receiver::start(|_, before| if before < 3 { Reply::Status(503, String::new()) } else { Reply::ok() });
    let hook = |url: &str| {
        format!("[[hook]]\nevents = [\"changed\"]\nurl = \"{url}\"\nattempts = 2\nsecret_file = \"secret\"\n")
    };
    let tables = hook(&dead.url("/dead")) + &hook(&alive.url("/"));
    let letters = std::env::temp_dir().join(format!("annulus-letters-{}", std::process::id()));
    let _ = fs::remove_file(&letters);
    let hooked = hooked(&tables, |config| config.dead_letters = Some(letters.clone()));
    let mut client = Client::connect(hooked.server.address);
    client.write(&set("open:a", "k1", 1));
    alive.await_events(1);
    await_that("a dead letter", || hooked.server.metric("annulus_hooks_dead_letters_total") >= 1.0);
    assert_eq!(dead.received().len(), 2);
    let replay = || {
        let (rules, letters) = (hooked.folder.join("rules.toml"), letters.to_str().unwrap());
        let rules = rules.to_str().unwrap();
        annulus(&["hooks", "replay", "--rules", rules, "--hooks-dead-letters", letters]).output().unwrap()
    };
    let failed = replay();
    let said = stderr(&failed);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("503") && said.contains("1 dead letters are left"), "{said}");
    assert!(!said.contains(SECRET));
    let done = replay();
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert!(stderr(&done).contains("1 events delivered"), "{}", stderr(&done));
    let received = dead.received();
    assert_eq!((received.len(), received[3].path.as_str()), (4, "/dead"));
    assert!(received[3].signature.is_some() && received[3].body == received[0].body);
    assert!(stderr(&replay()).contains("there are no dead letters"));
    client.write(&set("open:a", "k2", 1));
    assert_eq!(keys(&dead.await_events(5)[4]), ["k2"], "what is alive again is told at once");
    hooked.server.stop();
}

#[test]
fn events_of_the_last_moment_are_told_or_kept_when_the_server_ends() {
    let receiver = Receiver::start(|_, _| Reply::Late(200, Box::new(Reply::ok())));
    let tables = format!("[[hook]]\nevents = [\"disconnected\"]\nurl = \"{}\"\n", receiver.url("/"));
    let hooked = hooked(&tables, |_| {});
    let _stays = come(&hooked, "anna");
    hooked.server.stop();
    let events = receiver.events();
    assert_eq!(told(&events), ["disconnected anna"]);
    assert_eq!((&events[0]["code"], &events[0]["reason"]), (&1001.into(), &"the server drains".into()));
}

#[test]
fn hooks_change_at_a_hangup_and_a_bad_file_changes_nothing() {
    let receiver = Receiver::start(|_, _| Reply::ok());
    let directory = Directory::new();
    fs::create_dir_all(directory.path()).unwrap();
    let rules = directory.path().join("rules.toml");
    fs::write(&rules, ALL).unwrap();
    let server = Running::in_memory(&["--rules", rules.to_str().unwrap()]);
    let mut client = Client::connect(server.address);
    client.write(&set("open:a", "unheard", 1));
    let hook = format!("[[hook]]\nevents = [\"changed\"]\nurl = \"{}\"\n", receiver.url("/"));
    let hang_up = |text: String, said: &str| {
        let before = server.count_said(&[said]);
        fs::write(&rules, text).unwrap();
        server.signal(Signal::HUP);
        await_that(said, || server.count_said(&[said]) > before);
    };
    hang_up(format!("{ALL}{hook}"), "counts as it is now");
    await_that("a change that is told", || {
        client.write(&set("open:a", "heard", 1));
        !receiver.events().is_empty()
    });
    assert!(receiver.events().iter().all(|event| keys(event) == ["heard"]));
    for (bad, said) in [
        ("secret_file = \"none\"\n", "none: No such file"),
        ("subject = \"s\"\n", "--nats-url names no server"),
        ("attempts = 0\n", "[[hook]] 1: attempts are 1 to"),
    ] {
        hang_up(format!("{ALL}{hook}{bad}"), "what was in force stays");
        let checked = annulus(&["rules", "check", rules.to_str().unwrap()]).output().unwrap();
        assert_eq!(checked.status.code(), Some(1));
        assert!(stderr(&checked).contains(said), "{}", stderr(&checked));
    }
    let count = receiver.events().len();
    await_that("the hook of before", || {
        client.write(&set("open:a", "still", 1));
        receiver.events().len() > count
    });
    let signed = format!("{ALL}{hook}secret_file = \"later\"\n");
    hang_up(signed.clone(), "what was in force stays");
    fs::write(directory.path().join("later"), SECRET).unwrap();
    hang_up(signed, "counts as it is now");
    await_that("a signed change", || {
        client.write(&set("open:a", "signed", 1));
        receiver.received().last().is_some_and(|received| received.signature.is_some())
    });
    hang_up(ALL.to_owned(), "counts as it is now");
    client.write(&set("open:a", "over", 1));
    server.stop();
    assert!(receiver.events().iter().all(|event| keys(event) != ["over"]));
}

#[test]
fn messages_of_channels_are_told_with_their_offsets() {
    let receiver = Receiver::start(|_, _| Reply::ok());
    let tables = format!(
        "[[rule]]\nallow = [\"publish\"]\nmaps = [\"channel:**\"]\n\
         [[hook]]\nevents = [\"published\"]\nnames = [\"chat:*\"]\nurl = \"{}\"\n",
        receiver.url("/")
    );
    let hooked = hooked(&tables, |_| {});
    let (mut anna, mut nobody) = (come(&hooked, "anna"), Client::connect(hooked.server.address));
    let publish =
        |channel: &str, data: &str| format!(r#"{{"type":"publish","channel":"{channel}","data":{data}}}"#);
    assert_eq!(anna.ask(&publish("chat:1", r#"{"text":"hi"}"#))["type"], "published");
    assert_eq!(anna.ask(&publish("log:1", "1"))["type"], "published");
    assert_eq!(nobody.ask(&publish("chat:1", "2"))["offset"], 2);
    let events = receiver.await_events(2);
    let said: Vec<_> = events
        .iter()
        .map(|event| (&event["channel"], &event["offset"], &event["from"], &event["data"]))
        .collect();
    let (chat, anna) = (Value::from("chat:1"), Value::from("anna"));
    let hi = serde_json::json!({"text": "hi"});
    assert_eq!(said, [(&chat, &1.into(), &anna, &hi), (&chat, &2.into(), &Value::Null, &2.into())]);
    hooked.server.stop();
}

/// The blocks of one language in the section of the page.
fn blocks(language: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/messaging.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split("\n## Hooks").nth(1).unwrap().split("\n## ").next().unwrap();
    let begins = format!("\n```{language}\n");
    let blocks = section.split(&begins).skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

#[test]
fn what_stands_on_the_page_can_be_used() {
    let tables = blocks("toml");
    assert_eq!(tables.len(), 4);
    for table in tables {
        let rules = Rules::parse(&format!("{ALL}{table}")).unwrap_or_else(|error| panic!("{error}: {table}"));
        assert!(rules.hooks().is_some(), "{table}");
    }
    let [events, answer, replaced] = blocks("json").try_into().unwrap();
    let Value::Array(events) = serde_json::from_str(&events).unwrap() else { panic!("an array") };
    assert_eq!(told(&events), ["connected anna", "changed board:7"]);
    assert!(Verdict::read(answer.as_bytes(), Before::Connect, &["vip".into()]).is_ok());
    assert!(Verdict::read(replaced.as_bytes(), Before::Send, &[]).is_ok());
    let [script] = blocks("js").try_into().unwrap();
    let body = "[{\"id\":\"\u{e4}\"}]";
    let header = signature(SECRET.as_bytes(), Clock::start().now().unix_ms / 1000, body.as_bytes());
    let old = signature(SECRET.as_bytes(), 1_700_000_000, body.as_bytes());
    let calls = [(header.as_str(), body), (header.as_str(), "[]"), (old.as_str(), body), ("", body)];
    let calls = calls
        .map(|(header, body)| format!("isOurs('{SECRET}', '{header}', Buffer.from('{body}'))"))
        .join(", ");
    let script = format!("{script}\nconsole.log(JSON.stringify([{calls}]))");
    let output = Command::new("node").args(["--input-type=module", "--eval", &script]).output();
    let output = output.expect("it is installed; run scripts/setup if it is not");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.trim(), "[true,false,false,false]", "{}", String::from_utf8_lossy(&output.stderr));
}
