//! The admin API: who may ask and from where, and what it changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{Admin, LISTEN, ask};
use crate::client::{Client, set};
use crate::identity::{SECRET, token};
use crate::process::{Running, annulus};
use crate::server::{Directory, await_that};

#[test]
fn who_may_administer_and_from_where() {
    let directory = Directory::new();
    let data = directory.path().to_str().unwrap();
    let rules = directory.path().with_extension("rules");
    fs::write(
        &rules,
        "[[role]]\nname = \"reader\"\n[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nroles = [\"reader\"]\n\
         [[rule]]\nallow = [\"read\"]\nmaps = [\"own\"]\n",
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
    assert_eq!(admin.with_key(&token("bert")).refused("/admin/clients"), (403, "forbidden".to_owned()));
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
    assert_eq!(explained["rules"][0], json!({"rule": 1, "says": "allows it"}));
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
    await_that("its line", || server.said(&["annulus::audit", "key:ops from", "kick", "anna", "done"]));
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
        assert_eq!(client.error(r#"{"type":"subscribe","map":"b"}"#), "too_many_subscriptions");
        assert_eq!(client.hello["heartbeat_ms"], 20_000);
    }
    // All or nothing.
    assert_eq!(admin.post("/admin/settings", json!({"max-subscriptions": 5, "heartbeat-ms": 1})).0, 400);
    assert_eq!(of(&admin.good("/admin/settings"), "max-subscriptions")["value"], 1);
    let (_, page) = admin.post("/admin/settings", json!({"max-value-bytes": null, "max-connections": 2}));
    assert_eq!(
        (&of(&page, "max-value-bytes")["source"], &of(&page, "max-connections")["value"]),
        (&json!("default"), &json!(2))
    );
    client.write(&set("m", "k", value(2_000)));
    await_that("the others are gone", || {
        admin.good("/admin/clients")["clients"].as_array().unwrap().len() == 1
    });
    let _second = Client::connect(server.address);
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
    assert!(
        lines.as_str().is_some_and(|lines| lines.contains(r#""key":"a""#) && !lines.contains(r#""map":"n""#)),
        "{lines}"
    );
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
    assert_eq!(noted["type"], "client_error.noted");
    await_that("its line", || server.said(&["annulus::client_error", r#""it broke\n" {"url":"/"}"#]));
    let long = "x".repeat(1_025);
    assert_eq!(client.error(&format!(r#"{{"type":"client_error","message":"{long}"}}"#)), "too_large");
    let answers: Vec<String> =
        (0..12).map(|_| client.ask(r#"{"type":"client_error","message":"again"}"#).to_string()).collect();
    assert!(answers.iter().any(|answer| answer.contains("rate_limited")), "{answers:?}");
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

#[test]
fn slow_turns_and_memory_are_told_with_what_there_was() {
    let server =
        Running::in_memory(&[&LISTEN[..], &["--memory-soft", "1MiB", "--slow-turn-ms", "1"]].concat());
    let admin = Admin::of(&server);
    let metrics = || admin.get("/metrics").1.as_str().unwrap().to_owned();
    await_that("more memory than that", || metrics().contains("annulus_memory_soft_exceeded 1\n"));
    await_that("its line", || server.said(&["bytes of memory, which is over --memory-soft 1048576"]));
    let mut client = Client::connect(server.address);
    let value = format!("\"{}\"", "x".repeat(500));
    let ops: Vec<String> = (0..1_000).map(|number| set("m", &format!("key-{number}"), &value)).collect();
    let ops = ops.join(",");
    await_that("a turn of a millisecond", || {
        client.write(&ops);
        !metrics().contains("annulus_slow_turns_total 0\n")
    });
    await_that("its line", || server.said(&["a turn of shard", "over --slow-turn-ms", "units of work"]));
    assert_eq!(admin.post("/admin/settings", json!({"memory-soft": 0})).0, 200);
    await_that("nothing to be exceeded", || metrics().contains("annulus_memory_soft_exceeded 0\n"));
    server.stop();
}
