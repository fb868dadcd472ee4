//! The admin API, by its page, of a real server of two shards: what it shows, what it refuses, and that pages miss nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, set};
use crate::identity::{SECRET, token};
use crate::process::{Running, annulus};
use crate::server::{Directory, PATIENCE, await_that};

const LISTEN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

/// One way to ask a server: its listener, with further headers.
#[derive(Clone)]
pub struct Admin {
    address: SocketAddr,
    headers: String,
}

impl Admin {
    pub fn of(server: &Running) -> Self {
        let line = server.line("admin     http://");
        let address = line.strip_suffix("/api").and_then(|address| address.parse().ok());
        let address: SocketAddr = address.expect("an address");
        Self { address, headers: format!("Host: {address}\r\n") }
    }

    fn with(&self, header: &str) -> Self {
        Self { headers: format!("{}{header}\r\n", self.headers), ..*self }
    }

    fn with_key(&self, key: &str) -> Self {
        self.with(&format!("Authorization: Bearer {key}"))
    }

    fn as_host(&self, host: &str) -> Self {
        Self { headers: format!("Host: {host}\r\n"), ..*self }
    }

    fn send(&self, method: &str, target: &str, further: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        ask(&mut stream, method, target, &format!("{}{further}", self.headers), body)
    }

    /// Status and answer.
    pub fn get(&self, target: &str) -> (u16, Value) {
        self.send("GET", target, "", "")
    }

    fn post(&self, target: &str, body: impl ToString) -> (u16, Value) {
        self.send("POST", target, "Content-Type: application/json\r\n", &body.to_string())
    }

    /// The answer of what is not refused.
    pub fn good(&self, target: &str) -> Value {
        let (status, answer) = self.get(target);
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }

    fn refused(&self, target: &str) -> (u16, String) {
        let (status, answer) = self.get(target);
        (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    fn refused_change(&self, target: &str, body: impl ToString) -> (u16, String) {
        let (status, answer) = self.post(target, body);
        (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    /// All rows of a list. `meanwhile` is done between two pages.
    fn all(&self, target: &str, rows: &str, limit: usize, mut meanwhile: impl FnMut()) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.good(&format!("{target}limit={limit}&after={after}"));
            let found = page[rows].as_array().unwrap();
            assert!(found.len() <= limit && page["looked_at"].as_u64().unwrap() <= 16_384 + 1_024, "{page}");
            all.extend(found.iter().cloned());
            let Some(next) = page["next"].as_str() else { return all };
            after = next.to_owned();
            meanwhile();
        }
    }
}

fn ask(
    stream: &mut (impl Read + Write),
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> (u16, Value) {
    let len = body.len();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {len}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
}

fn names(rows: &[Value], field: &str) -> Vec<String> {
    rows.iter().map(|row| row[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_shows_what_there_is_by_the_fields_of_its_page() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &LISTEN);
    let admin = Admin::of(&server);
    let mut client = Client::connect(server.address);
    client.write(&set("board:7", "card-1", r#"{"title":"a"}"#));
    client.write(r#"{"map":"votes","key":"n","op":"increment","by":3}"#);
    client.write(r#"{"map":"tags","key":"t","op":"add","value":"x"}"#);
    client.subscribe(r#""map":"board:7","prefix":"card-""#);
    client.ask(r#"{"type":"presence.join","room":"doc-1"}"#);
    client.ask(r#"{"type":"join","channel":"chat:1"}"#);
    client.ask(r#"{"type":"publish","channel":"chat:1","data":1}"#);

    let about = admin.good("/admin/server");
    assert_eq!(
        (&about["shards"], &about["storage"], &about["auth"]),
        (&json!(2), &json!("disk"), &json!("none"))
    );
    let clients = admin.good("/admin/clients?dialect=v1&address=127.0.0.0/8");
    let row = &clients["clients"][0];
    assert_eq!(
        (&row["user"], &row["phase"], &row["subscriptions"]),
        (&Value::Null, &json!("open"), &json!(1)),
        "{row}"
    );
    assert_eq!((&row["rooms"], &row["channels"]), (&json!(1), &json!(1)));
    assert_eq!(admin.good("/admin/clients?address=10.0.0.0/8")["clients"], json!([]));
    assert_eq!(admin.good("/admin/clients?dialect=synckit")["clients"], json!([]));
    let name = row["connection"].as_str().unwrap().to_owned();
    let one = admin.good(&format!("/admin/client?connection={name}"));
    let subscription = json!({"map": "board:7", "filter": "prefix card-", "is_live": true});
    assert_eq!(
        (&one["subscriptions_page"], &one["channels_page"]),
        (&json!([subscription]), &json!(["chat:1"]))
    );
    assert_eq!((&one["behind"], &one["waits"]), (&json!(0), &json!("no")));

    let maps = admin.good("/admin/maps?prefix=board:");
    let map = &maps["maps"][0];
    assert_eq!(
        (&map["map"], &map["type"], &map["keys"], &map["subscribers"]),
        (&json!("board:7"), &json!("lww"), &json!(1), &json!(1))
    );
    assert_eq!(admin.good("/admin/maps?type=counter")["maps"][0]["map"], "votes");
    assert_eq!(admin.good("/admin/maps?min_subscribers=1")["maps"].as_array().unwrap().len(), 1);
    assert_eq!(admin.good("/admin/maps?min_keys=2")["maps"], json!([]));
    let parts = admin.good("/admin/map?map=board:7");
    assert_eq!((parts["shards"].as_array().unwrap().len(), &parts["keys"]), (2, &json!(1)), "{parts}");
    let keys = admin.good("/admin/keys?map=board:7");
    assert_eq!(
        (&keys["keys"][0]["key"], &keys["keys"][0]["value"]),
        (&json!("card-1"), &json!({"title": "a"}))
    );
    let key = admin.good("/admin/key?map=board:7&key=card-1");
    assert_eq!((&key["state"]["value"], &key["state"]["is_cut"]), (&json!({"title": "a"}), &json!(false)));
    assert!(key["state"]["stamp"].as_str().unwrap().contains(":n-"), "{key}");
    assert_eq!(key["holders"][0]["subscribers"], 1);
    let counter = admin.good("/admin/key?map=votes&key=n");
    assert_eq!(
        (&counter["state"]["value"], &counter["state"]["slots"][0]["added"]),
        (&json!("3"), &json!("3"))
    );
    let set = admin.good("/admin/key?map=tags&key=t");
    assert_eq!((&set["state"]["tags"][0]["value"], &set["state"]["live"]), (&json!("x"), &json!(1)));

    assert_eq!(admin.good("/admin/rooms?prefix=doc")["rooms"][0]["members"], 1);
    let channel = &admin.good("/admin/channels")["channels"][0];
    assert_eq!(
        (&channel["members"], &channel["messages"], &channel["last_offset"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(admin.good("/admin/users")["users"], json!([]));

    await_that("a second with a client", || admin.good("/admin/now")["sum"]["connections"] == 1);
    let now = admin.good("/admin/now");
    assert_eq!(now["shards"].as_array().unwrap().len(), 2);
    assert!(now["sum"]["cpu_cores"].is_number() && now["sum"]["lag_us"].is_u64(), "{now}");
    let history = admin.good("/admin/history?shards=true&limit=2");
    let columns = [&history["unix_ms"], &history["sum"]["ops_per_second"], &history["shards"][1]["lag_us"]];
    assert!(columns.iter().all(|column| (1..=2).contains(&column.as_array().unwrap().len())), "{history}");
    let last = history["unix_ms"].as_array().unwrap().last().unwrap();
    assert!(admin.good(&format!("/admin/history?after={last}"))["unix_ms"].as_array().unwrap().len() < 3);

    let storage = admin.good("/admin/storage");
    assert!(storage["groups"].as_u64() > Some(0) && storage["base_bytes"].as_u64() > Some(0), "{storage}");
    let (status, text) = admin.get("/metrics");
    assert!(status == 200 && text.as_str().unwrap().contains("annulus_connections 1\n"));
    assert_eq!(admin.get("/healthz"), (200, json!("ok\n")));
    assert_eq!(admin.get("/readyz"), (200, json!("ready\n")));
    server.stop();
}

#[test]
fn what_makes_no_sense_has_an_answer_each() {
    let server = Running::in_memory(&LISTEN);
    let admin = Admin::of(&server);
    let bad = (400, "bad_request".to_owned());
    for target in [
        "/admin/clients?limit=0",
        "/admin/clients?limit=501",
        "/admin/clients?limit=x",
        "/admin/clients?nobody=1",
        "/admin/clients?user=a&user=b",
        "/admin/clients?address=home",
        "/admin/clients?dialect=latin",
        "/admin/client",
        "/admin/client?connection=7",
        "/admin/client?connection=9-1-1",
        "/admin/maps?type=tree",
        "/admin/maps?min_keys=-1",
        "/admin/map",
        "/admin/key?map=m",
        "/admin/history?limit=0",
        "/admin/history?shards=2",
        "/admin/log?limit=513",
    ] {
        assert_eq!(admin.refused(target), bad, "{target}");
    }
    for after in ["x", "0", "9-0", "0-x", "-1-0"] {
        assert_eq!(
            admin.refused(&format!("/admin/maps?after={after}")),
            (400, "bad_cursor".to_owned()),
            "{after}"
        );
    }
    for target in [
        "/admin/client?connection=0-77-1",
        "/admin/map?map=none",
        "/admin/key?map=m&key=k",
        "/admin/",
        "/admin/nothing",
    ] {
        assert_eq!(admin.refused(target), (404, "not_found".to_owned()), "{target}");
    }
    assert_eq!(admin.good("/admin/keys?map=none")["keys"], json!([]));
    assert_eq!(admin.refused("/admin/export"), (503, "unavailable".to_owned()));
    assert_eq!(admin.good("/admin/storage"), json!({"storage": "memory"}));
    assert_eq!(admin.get("/admin/kick").0, 405);
    for (target, body, refused) in [
        ("/admin/kick", "{}", (400, "bad_request")),
        ("/admin/kick", r#"{"connection":"0-0-1","user":"a"}"#, (400, "bad_request")),
        ("/admin/kick", r#"{"connection":"0-9-9"}"#, (404, "not_found")),
        ("/admin/kick", "no", (400, "bad_json")),
        ("/admin/revoke", r#"{"user":"a"}"#, (400, "auth_unavailable")),
        ("/admin/backup", r#"{"directory":"/tmp/x"}"#, (503, "unavailable")),
        ("/admin/drain", "{}", (400, "bad_request")),
        ("/admin/drain", r#"{"in_ms":3600001}"#, (400, "bad_request")),
        ("/admin/drain", r#"{"cancel":true}"#, (409, "conflict")),
        ("/admin/explain", r#"{"map":"m"}"#, (400, "bad_request")),
        ("/admin/check", r#"{"at":1}"#, (400, "bad_request")),
        ("/admin/settings", r#"{"heartbeat-ms":1}"#, (400, "bad_request")),
        ("/admin/settings", r#"{"heartbeat-ms":[1]}"#, (400, "bad_request")),
        ("/admin/settings", r#"{"listen":"127.0.0.1:1"}"#, (400, "bad_request")),
        ("/admin/settings", r#"{"nothing":1}"#, (400, "bad_request")),
        ("/admin/settings", r#"{"outbox-hard-bytes":1}"#, (400, "bad_request")),
        ("/admin/settings", r#"{"log-level":"loud=="}"#, (400, "bad_request")),
    ] {
        let (status, code) = refused;
        assert_eq!(admin.refused_change(target, body), (status, code.to_owned()), "{target} {body}");
    }
    assert!(
        admin.good("/admin/settings")["settings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["source"] != "changed")
    );
    server.stop();
}

#[test]
fn pages_of_thousands_have_each_that_stays_once_while_others_come_and_go() {
    const CLIENTS: usize = 300;
    const MAPS: usize = 4_000;
    let server = Running::in_memory(&LISTEN);
    let admin = Admin::of(&server);
    let clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(server.address)).collect();
    let mut writer = Client::connect(server.address);
    for first in (0..MAPS).step_by(200) {
        let ops: Vec<String> =
            (first..first + 200).map(|number| set(&format!("map-{number}"), "k", 1)).collect();
        writer.write(&ops.join(","));
    }
    let stay: BTreeSet<String> = clients
        .iter()
        .map(|client| client.hello["connection"].to_string().trim_matches('"').to_owned())
        .collect();
    let mut passing = Vec::new();
    let rows = admin.all("/admin/clients?", "clients", 7, || {
        passing.push(Client::connect(server.address));
        if passing.len() > 3 {
            passing.remove(0).leave();
        }
    });
    let told = names(&rows, "connection");
    let once: BTreeSet<String> = told.iter().cloned().collect();
    assert_eq!(once.len(), told.len(), "none is told twice");
    assert!(stay.is_subset(&once), "{:?} are missing", stay.difference(&once));

    let mut number = 0;
    let rows = admin.all("/admin/maps?prefix=map-&", "maps", 150, || {
        number += 1;
        writer.write(&set(&format!("other-{number}"), "k", 1));
        writer.write(&format!(r#"{{"map":"map-{}","key":"l","op":"set","value":1}}"#, number * 7));
    });
    let told = names(&rows, "map");
    let once: BTreeSet<String> = told.iter().cloned().collect();
    assert_eq!((told.len(), once.len()), (MAPS, MAPS));
    assert!(rows.iter().all(|row| row["keys"].as_u64() >= Some(1)), "sums of all shards");
    // What is rare takes several pages, of which some are empty.
    assert_eq!(admin.all("/admin/maps?prefix=map-3999&", "maps", 500, || {}).len(), 1);

    let keys: Vec<String> = (0..1_500).map(|number| set("large", &format!("key-{number}"), number)).collect();
    keys.chunks(500).for_each(|keys| drop(writer.write(&keys.join(","))));
    let rows =
        admin.all("/admin/keys?map=large&", "keys", 100, || drop(writer.write(&set("large", "key-7", 0))));
    let once: BTreeSet<String> = names(&rows, "key").into_iter().collect();
    assert_eq!((rows.len(), once.len()), (1_500, 1_500));
    server.stop();
}

#[test]
fn who_may_administer_and_from_where() {
    let directory = Directory::new();
    let data = directory.path().to_str().unwrap();
    let rules = directory.path().with_extension("rules");
    fs::write(
        &rules,
        "[[role]]\nname = \"reader\"\n[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nroles = [\"reader\"]\n",
    )
    .unwrap();
    let secret = directory.path().with_extension("secret");
    fs::write(&secret, SECRET).unwrap();
    let create = |name: &str, role: &str| {
        let arguments = ["key", "create", "--data-dir", data, "--name", name, "--role", role];
        String::from_utf8(annulus(&arguments).output().unwrap().stdout).unwrap().trim().to_owned()
    };
    let [ops, reader] = [("ops", "admin"), ("eve", "reader")].map(|(name, role)| create(name, role));
    let files = ["--jwt-secret-file", secret.to_str().unwrap(), "--rules", rules.to_str().unwrap()];
    let server = Running::on_disk(directory.path(), &[&["--auth", "required"], &files[..], &LISTEN].concat());
    let admin = Admin::of(&server);
    assert_eq!(admin.refused("/admin/now"), (401, "auth_required".to_owned()));
    assert_eq!(admin.refused("/metrics"), (401, "auth_required".to_owned()));
    assert_eq!(admin.with_key("ann_wrong").refused("/admin/now"), (401, "auth_failed".to_owned()));
    assert_eq!(admin.with_key(&reader).refused("/admin/now"), (403, "forbidden".to_owned()));
    assert_eq!(admin.with_key(&token("anna")).refused("/admin/clients"), (403, "forbidden".to_owned()));
    assert_eq!(
        admin.with_key(&reader).refused_change("/admin/drain", json!({"in_ms": 0})),
        (403, "forbidden".to_owned())
    );
    assert_eq!(admin.get("/healthz").0, 200);
    let key = admin.with_key(&ops);
    assert!(key.good("/admin/server")["you"].as_str().unwrap().starts_with("key:ops from 127.0.0.1:"));
    let asked = json!({"user": "eve", "roles": ["reader"], "action": "read", "map": "m"});
    let (status, explained) = key.post("/admin/explain", asked);
    assert_eq!((status, &explained["outcome"]), (200, &json!("allowed")), "{explained}");
    assert_eq!(explained["rules"], json!([{"rule": 1, "says": "allows it"}]));
    assert_eq!(key.post("/admin/explain", json!({"action": "write", "map": "m"})).1["outcome"], "forbidden");

    let mut anna = Client::connect_to(server.address, &format!("/v1?token={}", token("anna")));
    anna.receive();
    let users = key.good("/admin/users");
    assert_eq!(
        users["users"].as_array().unwrap().iter().filter(|user| user["user"] == "anna").count(),
        1,
        "{users}"
    );
    assert_eq!(key.good("/admin/clients?user=anna")["clients"].as_array().unwrap().len(), 1);
    assert_eq!(key.post("/admin/kick", json!({"user": "anna"})), (200, json!({"kicked": 1})));
    assert_eq!(anna.closed().0, 4003);
    assert_eq!(key.refused_change("/admin/kick", json!({"user": "anna"})), (404, "not_found".to_owned()));

    // The socket asks for no key, and is for whoever may write the data.
    let path = directory.path().join("admin.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut socket = UnixStream::connect(&path).unwrap();
    let (status, about) = ask(&mut socket, "GET", "/admin/server", "Host: x\r\n", "");
    assert!(status == 200 && about["you"].as_str().unwrap().starts_with("socket uid "), "{about}");
    assert!(server.said(&["annulus::audit", "key:ops from", "kick", "anna", "done"]));
    let log = key.good("/admin/log");
    assert!(log["lines"].as_array().unwrap().iter().any(|line| line["target"] == "annulus::audit"), "{log}");
    server.stop();
    assert!(!Path::new(&path).exists(), "the socket is taken away");
    fs::remove_file(rules).unwrap();
    fs::remove_file(secret).unwrap();
}

#[test]
fn pages_of_other_origins_can_neither_read_nor_change() {
    let server = Running::in_memory(&LISTEN);
    let admin = Admin::of(&server);
    let foreign = (403, "cross_origin".to_owned());
    for header in [
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: http://127.0.0.1:1",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        let page = admin.with(header);
        assert_eq!(page.refused("/admin/now"), foreign, "{header}");
        assert_eq!(page.refused_change("/admin/drain", json!({"in_ms": 0})), foreign, "{header}");
        assert_eq!(page.refused_change("/api/write", json!({"ops": []})), foreign, "{header}");
    }
    // A name that somebody has made lead here.
    assert_eq!(admin.as_host("evil.example").refused("/admin/server"), foreign);
    assert_eq!(admin.as_host("localhost:9001").get("/admin/server").0, 200);
    let own = admin.with(&format!("Origin: http://{}", admin.address)).with("Sec-Fetch-Site: same-origin");
    assert_eq!(own.get("/admin/server").0, 200);
    assert_eq!(own.post("/admin/drain", json!({"in_ms": 60_000})).1["phase"], "countdown");
    assert_eq!(own.post("/admin/drain", json!({"cancel": true})).1["phase"], "serving");
    // What a form of any page may send.
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let header = format!("Content-Type: {kind}\r\n");
        let (status, answer) = admin.send("POST", "/admin/drain", &header, r#"{"in_ms":0}"#);
        assert_eq!((status, &answer["error"]["code"]), (415, &json!("content_type")), "{kind}");
    }
    assert_eq!(admin.get("/readyz"), (200, json!("ready\n")));
    // More than 200 at once are too many.
    let statuses: Vec<u16> = (0..8)
        .map(|_| {
            let admin = admin.clone();
            thread::spawn(move || (0..80).map(|_| admin.get("/admin/server").0).collect::<Vec<u16>>())
        })
        .collect::<Vec<_>>()
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert_eq!(admin.get("/healthz").0, 200);
    server.stop();
}

#[test]
fn hot_settings_count_from_then_on_and_say_so() {
    let server = Running::in_memory(&[&LISTEN[..], &["--heartbeat-ms", "30000"]].concat());
    let admin = Admin::of(&server);
    let of = |page: &Value, name: &str| {
        page["settings"].as_array().unwrap().iter().find(|setting| setting["name"] == name).unwrap().clone()
    };
    let page = admin.good("/admin/settings");
    assert_eq!(of(&page, "heartbeat-ms")["source"], "flag");
    assert_eq!(
        (&of(&page, "listen")["is_hot"], &of(&page, "max-subscriptions")["source"]),
        (&json!(false), &json!("default"))
    );
    let mut client = Client::connect(server.address);
    let value = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    client.write(&set("m", "k", value(2_000)));
    let changes = json!({"max-value-bytes": "1KiB", "max-subscriptions": 1, "heartbeat-ms": 20_000, "max-messages-per-second": 1000});
    let (status, page) = admin.post("/admin/settings", changes);
    assert_eq!(status, 200, "{page}");
    let changed = of(&page, "max-value-bytes");
    assert_eq!(
        (&changed["value"], &changed["source"], &changed["was"]),
        (&json!(1024), &json!("changed"), &json!(262_144))
    );
    assert_eq!(of(&page, "heartbeat-ms")["was"], 30_000);
    for _ in 0..4 {
        // On whichever shard.
        let mut client = Client::connect(server.address);
        assert_eq!(client.rejected(&set("m", "k", value(2_000))), "too_large");
        client.subscribe(r#""map":"a""#);
        assert_eq!(client.error(r#"{"type":"subscribe","id":2,"map":"b"}"#), "too_many_subscriptions");
        assert_eq!(client.hello["heartbeat_ms"], 20_000);
    }
    // All or nothing.
    assert_eq!(admin.post("/admin/settings", json!({"max-subscriptions": 5, "heartbeat-ms": 1})).0, 400);
    assert_eq!(of(&admin.good("/admin/settings"), "max-subscriptions")["value"], 1);
    let (_, page) = admin.post("/admin/settings", json!({"max-value-bytes": null, "max-connections": 1}));
    assert_eq!(
        (&of(&page, "max-value-bytes")["source"], &of(&page, "max-connections")["value"]),
        (&json!("default"), &json!(1))
    );
    client.write(&set("m", "k", value(2_000)));
    assert_eq!(Client::try_connect(server.address).err().map(|(code, _)| code), Some(1013));
    // The level of the log.
    assert!(!server.said(&["DEBUG"]));
    assert_eq!(admin.post("/admin/settings", json!({"log-level": "debug", "max-connections": null})).0, 200);
    Client::connect(server.address).leave();
    await_that("a line of a lower level", || server.said(&["DEBUG"]));
    server.stop();
}

#[test]
fn a_backup_an_export_and_a_check_are_begun_and_told_of() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &LISTEN);
    let admin = Admin::of(&server);
    let mut client = Client::connect(server.address);
    client.write(&[set("m", "a", 1), set("n", "b", 2)].join(","));
    let target = directory.path().with_extension("backup");
    let (status, begun) = admin.post("/admin/backup", json!({"directory": target}));
    assert_eq!((status, &begun["directory"]), (202, &json!(target)), "{begun}");
    await_that("the backup", || admin.good("/admin/backup")["is_running"] == false);
    let taken = admin.good("/admin/backup");
    assert!(taken["error"].is_null() && taken["report"].as_str().unwrap().contains("2 maps"), "{taken}");
    assert_eq!(
        admin.refused_change("/admin/backup", json!({"directory": "monday"})),
        (400, "bad_request".to_owned())
    );
    admin.post("/admin/backup", json!({"directory": target}));
    await_that("the second backup", || admin.good("/admin/backup")["is_running"] == false);
    assert!(admin.good("/admin/backup")["error"].is_string(), "it is there already");
    fs::remove_dir_all(target).unwrap();

    let (_, lines) = admin.get("/admin/export?map=m");
    assert!(lines.to_string().contains(r#""key""#) || lines["key"] == "a", "{lines}");
    assert_eq!(admin.refused("/admin/export?key=m"), (400, "bad_request".to_owned()));

    client.subscribe(r#""map":"m""#);
    client.ask(r#"{"type":"presence.join","room":"r"}"#);
    client.ask(r#"{"type":"join","channel":"c"}"#);
    assert_eq!(admin.post("/admin/check", "{}").0, 202);
    assert_eq!(admin.refused_change("/admin/check", "{}").0, 409);
    await_that("the check", || admin.good("/admin/check")["is_running"] == false);
    let check = admin.good("/admin/check");
    assert_eq!((&check["violations"], &check["problems"]), (&json!(0), &json!([])), "{check}");
    let (_, metrics) = admin.get("/metrics");
    assert!(metrics.as_str().unwrap().contains("annulus_checks_total 1\n"));

    let noted = client.ask(r#"{"type":"client_error","message":"it broke\n","context":{"url":"/"}}"#);
    assert_eq!(noted.to_string(), format!(r#"{{"type":"client_error.noted","id":{}}}"#, noted["id"]));
    assert!(server.said(&["annulus::client_error", r#""it broke\n" {"url":"/"}"#]));
    let long = "x".repeat(1_025);
    assert_eq!(client.error(&format!(r#"{{"type":"client_error","id":5,"message":"{long}"}}"#)), "too_large");
    let codes: Vec<_> = (0..12)
        .map(|_| client.ask(r#"{"type":"client_error","message":"again"}"#)["code"].to_string())
        .collect();
    assert!(codes.iter().any(|code| code.contains("rate_limited")), "{codes:?}");
    server.stop();
}

#[test]
fn a_drain_counts_down_and_the_commands_say_what_the_api_says() {
    let directory = Directory::new();
    let mut server = Running::on_disk(directory.path(), &["--drain-ms", "500"]);
    let data = directory.path().to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = annulus(&[&["--data-dir", data], arguments].concat()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text + &String::from_utf8(output.stderr).unwrap())
    };
    let mut client = Client::connect(server.address);
    let maps: Vec<String> = (0..700).map(|number| set(&format!("m{number}"), "k", number)).collect();
    maps.chunks(350).for_each(|ops| drop(client.write(&ops.join(","))));
    let (code, text) = run(&["top", "--once"]);
    assert!(code == Some(0) && text.starts_with("annulus ") && text.contains("connections 1 "), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with(['0', '1'])).count(), 2, "a line a shard: {text}");
    let (_, text) = run(&["maps", "--limit", "1000"]);
    assert_eq!(text.lines().filter(|line| line.contains(" lww ")).count(), 700, "{text}");
    assert!(run(&["maps", "m7"]).1.contains("value"));
    assert!(run(&["maps", "m7", "k"]).1.contains("stamp"));
    assert!(run(&["maps", "none"]).1.contains("no shard has anything"));
    let name = client.hello["connection"].to_string().trim_matches('"').to_owned();
    let (_, text) = run(&["clients"]);
    assert!(text.contains(&name) && text.starts_with("connection"), "{text}");
    assert!(run(&["clients", &name]).1.contains("unread_bytes"));
    assert_eq!(run(&["rooms"]), (Some(0), String::new()));
    assert!(run(&["settings", "heartbeat-ms=25000"]).1.contains("25000  (changed, was 20000)"));
    assert_eq!(run(&["settings", "heartbeat-ms"]).0, Some(1));
    assert!(run(&["check"]).1.contains("everything is as it must be"));
    assert!(run(&["kick", "--connection", &name]).1.contains("1 connections are closed"));
    assert_eq!(client.closed().0, 4003);
    assert!(run(&["drain", "--in-ms", "60000"]).1.contains("the server drains in"));
    assert_eq!(run(&["drain", "--cancel"]).0, Some(0));
    assert_eq!(run(&["drain", "--cancel"]).0, Some(1));
    thread::sleep(Duration::from_millis(50));
    assert!(server.ended().is_none());
    assert_eq!(run(&["drain", "--in-ms", "10"]).0, Some(0));
    assert_eq!(server.exit_code(), Some(0));
    let (code, text) = run(&["maps"]);
    assert!(code == Some(1) && text.contains("no server can be asked at"), "{text}");
}
