//! The admin API, by its page, of a real server of two shards: what it shows, what makes no sense, and that pages miss nothing.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::client::{Client, set};
use crate::process::Running;
use crate::server::{Directory, PATIENCE, await_that};

pub const LISTEN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

/// One way to ask a server: its listener, with further headers.
#[derive(Clone)]
pub struct Admin {
    pub address: SocketAddr,
    headers: String,
}

impl Admin {
    pub fn of(server: &Running) -> Self {
        let line = server.line("admin     http://");
        let address = line.strip_suffix("/api").and_then(|address| address.parse().ok());
        let address: SocketAddr = address.expect("an address");
        Self { address, headers: format!("Host: {address}\r\n") }
    }

    pub fn with(&self, header: &str) -> Self {
        Self { headers: format!("{}{header}\r\n", self.headers), ..*self }
    }

    pub fn with_key(&self, key: &str) -> Self {
        self.with(&format!("Authorization: Bearer {key}"))
    }

    pub fn as_host(&self, host: &str) -> Self {
        Self { headers: format!("Host: {host}\r\n"), ..*self }
    }

    pub fn send(&self, method: &str, target: &str, further: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        ask(&mut stream, method, target, &format!("{}{further}", self.headers), body)
    }

    /// Status and answer.
    pub fn get(&self, target: &str) -> (u16, Value) {
        self.send("GET", target, "", "")
    }

    pub fn post(&self, target: &str, body: impl ToString) -> (u16, Value) {
        self.send("POST", target, "Content-Type: application/json\r\n", &body.to_string())
    }

    /// The answer of what is not refused.
    pub fn good(&self, target: &str) -> Value {
        let (status, answer) = self.get(target);
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }

    pub fn refused(&self, target: &str) -> (u16, String) {
        let (status, answer) = self.get(target);
        (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    pub fn refused_change(&self, target: &str, body: impl ToString) -> (u16, String) {
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

pub fn ask(
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
