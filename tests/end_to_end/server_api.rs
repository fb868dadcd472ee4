//! The HTTP API for backends, by its own page: each request of the OpenAPI document is made of a running server.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::client::Client;
use crate::identity::{SECRET, token};
use crate::process::{Running, annulus};
use crate::server::Directory;

/// The API of a server.
struct Api {
    address: SocketAddr,
    key: Option<String>,
}

impl Api {
    fn of(server: &Running) -> Self {
        let line = server.line("admin     http://");
        let address = line.strip_suffix("/api").and_then(|address| address.parse().ok());
        Self { address: address.expect("an address"), key: None }
    }

    fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..*self }
    }

    /// The status of an answer, and the answer.
    fn post(&self, path: &str, body: impl ToString) -> (u16, Value) {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut request = config.new_agent().post(format!("http://{}{path}", self.address));
        if path.starts_with("/admin/") {
            request = request.header("content-type", "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body.to_string()).expect("it answers");
        let text = response.body_mut().read_to_string().unwrap();
        let answer = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (response.status().as_u16(), answer)
    }

    fn get(&self, path: &str) -> String {
        let mut response = ureq::get(format!("http://{}{path}", self.address)).call().unwrap();
        response.body_mut().read_to_string().unwrap()
    }

    fn code(&self, path: &str, body: impl ToString) -> (u16, String) {
        let (status, answer) = self.post(path, body);
        (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

fn names(value: &Value) -> Vec<&String> {
    value.as_object().map_or(Vec::new(), |fields| fields.keys().collect())
}

/// What a request of the document is sent with here, where the example is about something else.
fn asked(method: &str, path: &str, operation: &Value, connection: &str, backup: &Path) -> (String, Value) {
    let query = match path {
        "/admin/client" => format!("?connection={connection}"),
        "/admin/map" | "/admin/keys" => "?map=board:7".to_owned(),
        "/admin/key" => "?map=board:7&key=card-1".to_owned(),
        _ => String::new(),
    };
    let body = match (method, path) {
        ("post", "/admin/backup") => json!({ "directory": backup }),
        // That of the example may be somebody here.
        ("post", "/admin/kick") => json!({ "connection": "0-99999-1" }),
        _ => operation["requestBody"]["content"]["application/json"]["example"].clone(),
    };
    (format!("{path}{query}"), body)
}

#[test]
fn every_example_of_its_page_is_answered_as_the_page_says() {
    let directory = Directory::new();
    let backup = directory.path().with_extension("copy");
    let server = Running::on_disk(directory.path(), &["--admin-listen", "127.0.0.1:0"]);
    let api = Api::of(&server);
    let page: Value = serde_json::from_str(&api.get("/api/openapi.json")).unwrap();
    let index = api.get("/api");
    assert_eq!(api.post("/api/publish", json!({"channel": "chat:1", "data": "earlier"})).0, 200);
    let set = json!({"ops": [{"map": "board:7", "key": "card-1", "op": "set", "value": {"title": "a"}}]});
    assert_eq!(api.post("/api/write", set).0, 200);
    let client = Client::connect(server.address);
    let connection = client.hello["connection"].to_string().trim_matches('"').to_owned();
    let mut answers = serde_json::Map::new();
    let mut examples = 0;
    for (path, operations) in page["paths"].as_object().unwrap() {
        assert!(index.contains(path), "{path} is not in the index");
        for (method, operation) in operations.as_object().unwrap() {
            let (target, body) = asked(method, path, operation, &connection, &backup);
            let (wanted, expected) = operation["responses"]
                .as_object()
                .unwrap()
                .iter()
                .find_map(|(status, response)| {
                    Some((status, response["content"]["application/json"].get("example")?))
                })
                .unwrap();
            examples += 1 + usize::from(method == "post");
            let (status, answer) = match &**method {
                "get" => (200, serde_json::from_str(&api.get(&target)).unwrap()),
                _ => api.post(&target, body),
            };
            // Without tokens there is nothing to revoke, and nobody to write to.
            let refused = match (&**method, &**path) {
                ("post", "/api/revoke" | "/admin/revoke") => Some((400, "auth_unavailable")),
                ("post", "/api/send") => Some((401, "auth_required")),
                ("post", "/admin/kick") => Some((404, "not_found")),
                _ => None,
            };
            if let Some((expected, code)) = refused {
                assert_eq!((status, &answer["error"]["code"]), (expected, &json!(code)));
                continue;
            }
            assert_eq!(
                (status.to_string(), names(&answer)),
                (wanted.clone(), names(expected)),
                "{path}: {answer}"
            );
            answers.insert(format!("{method} {path}"), answer);
        }
    }
    assert!(answers.len() >= 25);
    server.stop();
    fs::remove_dir_all(backup).unwrap();
    assert_eq!(validated(&page, &json!(answers)), Ok(examples + answers.len()));
    let mut wrong = answers.clone();
    wrong["post /api/read"]["entries"] = json!("none");
    assert!(validated(&page, &json!(wrong)).unwrap_err().starts_with("ValidationError"));
    let mut wrong = answers.clone();
    wrong["get /admin/maps"]["looked_at"] = json!("many");
    assert!(validated(&page, &json!(wrong)).unwrap_err().starts_with("ValidationError"));
    let mut wrong = page.clone();
    wrong["paths"]["/api/read"]["post"]["responses"]["200"].as_object_mut().unwrap().remove("description");
    assert!(validated(&wrong, &json!({})).is_err(), "the standard asks for one");
}

/// How many examples and answers the document and the standard agree with, or what is wrong.
fn validated(document: &Value, answers: &Value) -> Result<usize, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new("python3")
        .arg(root.join("tests/openapi/validate.py"))
        .env("PYTHONPATH", root.join("target/openapi"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("scripts/setup installs python3");
    let given = json!({ "document": document, "answers": answers }).to_string();
    child.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout).trim().parse().unwrap())
    } else {
        Err(text(output.stderr))
    }
}

#[test]
fn what_backends_write_clients_hear_of_and_the_other_way_round() {
    let server = Running::in_memory(&["--admin-listen", "127.0.0.1:0"]);
    let api = Api::of(&server);
    let mut client = Client::connect(server.address);
    client.subscribe(r#""map":"m""#);
    let write = json!({"ops": [{"map": "m", "key": "k", "op": "set", "value": {"big": u64::MAX, "f": 1.5}}]});
    let (status, answer) = api.post("/api/write", &write);
    assert_eq!((status, &answer["applied"]), (200, &json!(1)), "{answer}");
    let change = client.change("m");
    assert_eq!((&change[0]["value"]["big"], &change[0]["value"]["f"]), (&u64::MAX.into(), &1.5.into()));
    client.write(r#"{"map":"m","key":"l","op":"set","value":"é\""}"#);
    let (_, read) = api.post("/api/read", json!({"map": "m", "keys": ["l"]}));
    assert_eq!(read["entries"][0]["value"], "é\"");
    let batch = json!({"requests": [
        {"type": "write", "ops": [{"map": "m", "key": "k", "op": "increment", "by": 1}]},
        {"type": "read", "map": "m", "keys": ["l"], "id": 77},
        {"type": "ping"},
    ]});
    let (status, answers) = api.post("/api/batch", &batch);
    let codes = [&answers["answers"][0]["rejected"][0]["code"], &answers["answers"][2]["error"]["code"]];
    assert_eq!((status, codes), (200, [&json!("map_type"), &json!("unknown_type")]), "{answers}");
    assert_eq!(answers["answers"][1]["entries"][0]["key"], "l");
    server.stop();
}

#[test]
fn bad_requests_have_an_answer_each() {
    let server = Running::in_memory(&[
        "--admin-listen",
        "127.0.0.1:0",
        "--max-message-bytes",
        "2KiB",
        "--max-value-bytes",
        "1KiB",
    ]);
    let api = Api::of(&server);
    let read = r#"{"map":"m","keys":["a"]}"#;
    assert_eq!(api.code("/api/write", "no"), (400, "bad_json".to_owned()));
    assert_eq!(api.code("/api/write", "[]"), (400, "bad_json".to_owned()));
    assert_eq!(api.code("/api/write", "{}"), (400, "bad_request".to_owned()));
    assert_eq!(api.code("/api/write", r#"{"ops":[],"ack":"none"}"#), (400, "bad_request".to_owned()));
    assert_eq!(api.code("/api/read", r#"{"map":"","keys":[]}"#), (400, "key_invalid".to_owned()));
    assert_eq!(api.code("/api/subscribe", read), (404, "not_found".to_owned()));
    assert_eq!(api.code("/nothing", read), (404, "not_found".to_owned()));
    let long = format!(r#"{{"map":"m","keys":["{}"]}}"#, "k".repeat(3_000));
    assert_eq!(api.code("/api/read", long), (413, "too_large".to_owned()));
    assert_eq!(api.post("/api/read", "x".repeat(100_000)).0, 413);
    let many = json!({ "requests": vec![json!({"type": "read", "map": "m", "keys": []}); 101] });
    assert_eq!(api.post("/api/batch", many).0, 413);
    // A request is no way into the message: what looks like its end is a string.
    assert_eq!(api.code("/api/read", r#"{"map":"m\",\"type\":\"write","keys":["a"]}"#), (200, String::new()));
    assert_eq!(api.code("/api/read", read), (200, String::new()));
    server.stop();
}

#[test]
fn a_key_may_do_what_its_rules_allow() {
    let directory = Directory::new();
    let rules = directory.path().with_extension("rules");
    let data = directory.path().to_str().unwrap();
    let roles =
        "[[role]]\nname = \"reader\"\n[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nroles = [\"reader\"]\n";
    let everybody = "[[rule]]\nallow = [\"read\", \"write\"]\nmaps = [\"own:{user.id}\"]\n";
    // Who has a key is not asked about: nobody answers there.
    let asked =
        |name: &str| format!("[question.{name}]\nurl = \"http://127.0.0.1:9/\"\notherwise = \"deny\"\n");
    let questions = ["on_publish", "on_send"].map(asked).concat();
    fs::write(&rules, [roles, everybody, &questions].concat()).unwrap();
    let create = |name: &str, role: &str| {
        let arguments = ["key", "create", "--data-dir", data, "--name", name, "--role", role];
        let output = annulus(&arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let [root, reader] = [("root", "admin"), ("eve", "reader")].map(|(name, role)| create(name, role));
    let rules_file = rules.to_str().unwrap();
    let secret = directory.path().with_extension("secret");
    fs::write(&secret, SECRET).unwrap();
    let admin = ["--admin-listen", "127.0.0.1:0", "--jwt-secret-file", secret.to_str().unwrap()];
    let arguments = [&["--auth", "optional", "--rules", rules_file], &admin[..]].concat();
    let server = Running::on_disk(directory.path(), &arguments);
    let api = Api::of(&server);
    let read = json!({"map": "m", "keys": ["a"]});
    let write = json!({"ops": [{"map": "m", "key": "a", "op": "set", "value": 1}], "ack": "durable"});
    assert_eq!(api.code("/api/read", &read), (401, "auth_required".to_owned()));
    assert_eq!(api.with_key("ann_wrong").code("/api/read", &read), (401, "auth_failed".to_owned()));
    let (status, answer) = api.with_key(&root).post("/api/write", &write);
    assert_eq!((status, &answer["level"]), (200, &json!("durable")), "{answer}");
    let reader_api = api.with_key(&reader);
    assert_eq!(reader_api.post("/api/read", &read).1["entries"][0]["value"], 1);
    let (_, refused) = reader_api.post("/api/write", &write);
    assert_eq!(refused["rejected"][0]["code"], "forbidden");
    assert_eq!(reader_api.code("/api/disconnect", r#"{"user":"key:root"}"#), (403, "forbidden".to_owned()));
    assert_eq!(reader_api.code("/api/revoke", r#"{"user":"key:root"}"#), (403, "forbidden".to_owned()));

    let (status, sent) = api.with_key(&root).post("/api/send", json!({"to": "user:eve", "data": {"a": 1}}));
    assert_eq!((status, &sent["status"]), (200, &json!("queued")), "{sent}");
    assert_eq!(reader_api.post("/api/send", json!({"to": "user:root", "data": 1})).1["reason"], "forbidden");
    let said = api.with_key(&root).post("/api/publish", json!({"channel": "c", "data": 1, "ack": "memory"}));
    assert_eq!(said, (200, json!({"channel": "c", "offset": 1})));
    assert_eq!(
        reader_api.code("/api/publish", json!({"channel": "c", "data": 1})),
        (403, "forbidden".to_owned())
    );

    // What the page tells people to type.
    let page = include_str!("../../docs/messaging.md");
    let mut typed = 0;
    for line in page.lines().filter(|line| line.starts_with("curl ")) {
        let (path, body) = line.split_once("127.0.0.1:9001").unwrap().1.split_once(" -d '").unwrap();
        let (status, answer) = api.with_key(&root).post(path, body.strip_suffix('\'').unwrap());
        assert_eq!(status, 200, "{line}: {answer}");
        typed += 1;
    }
    assert!(typed >= 5);

    // Its connection over the gateway is one of its own, and is opened anew.
    let target = format!("/v1?token={reader}");
    let mut client = Client::connect_to(server.address, &target);
    assert_eq!(client.receive()["type"], "authenticated");
    let (status, answer) = api.with_key(&root).post("/api/disconnect", r#"{"user":"key:eve"}"#);
    assert_eq!((status, answer), (200, json!({"connections": 2})));
    assert_eq!(client.closed(), (4003, "disconnected by an administrator".to_owned()));
    assert_eq!(reader_api.post("/api/read", &read).0, 200);

    for (body, code) in [
        ("{}", "bad_request"),
        (r#"{"user":"a","token":"b"}"#, "bad_request"),
        (r#"{"user":"a","issued_before":"yesterday"}"#, "bad_request"),
        (r#"{"users":"a"}"#, "bad_request"),
    ] {
        assert_eq!(api.with_key(&root).code("/api/revoke", body), (400, code.to_owned()), "{body}");
    }
    let mut client = Client::connect_to(server.address, &format!("/v1?token={}", token("bert")));
    assert_eq!(client.receive()["type"], "authenticated");
    let (status, answer) = api.with_key(&root).post("/api/revoke", r#"{"user":"bert"}"#);
    assert_eq!((status, answer), (200, json!({"revoked": true})));
    assert_eq!(client.closed().0, 4002);
    server.stop();
    [rules, secret].into_iter().for_each(|file| fs::remove_file(file).unwrap());
}
