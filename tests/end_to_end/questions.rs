//! What the application is asked before somebody comes in, and what clients see first.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use annulus::config::AuthMode;
use serde_json::{Value, json};
use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::hooks::{Hooked, come, hooked, hooked_with};
use crate::identity::token;
use crate::receiver::{Receiver, Reply};
use crate::server::await_that;

fn on_connect(receiver: &Receiver, more: &str) -> String {
    format!("[question.on_connect]\nurl = \"{}\"\n{more}\n", receiver.url("/ask"))
}

/// Code and reason with which somebody is turned away.
fn turned_away(hooked: &Hooked, user: &str) -> (u16, String) {
    let stream = TcpStream::connect(hooked.server.address).unwrap();
    Client::try_open(stream, &format!("/v1?token={}", token(user))).err().expect("it is turned away")
}

#[test]
fn the_application_lets_in_or_turns_away_with_its_reason() {
    let receiver = Receiver::start(|asked, _| {
        let asked = asked.json();
        match asked["user"].as_str() {
            Some("anna") => Reply::json(r#"{"allow":true}"#),
            Some("bert") => Reply::json(r#"{"allow":false,"reason":"the bill is unpaid"}"#),
            Some("cara") => Reply::json(r#"{"allow":false}"#),
            Some(_) => Reply::ok(),
            None => Reply::json(r#"{"allow":false,"reason":"members only"}"#),
        }
    });
    let hooked = hooked(&on_connect(&receiver, "otherwise = \"deny\"\nsecret_file = \"secret\""), |_| {});
    let _anna = come(&hooked, "anna");
    assert_eq!(turned_away(&hooked, "bert"), (4003, "the bill is unpaid".to_owned()));
    assert_eq!(turned_away(&hooked, "cara"), (4003, "refused by the application".to_owned()));
    let _dora = come(&hooked, "dora");
    let nobody = Client::try_connect(hooked.server.address).err();
    assert_eq!(nobody, Some((4003, "members only".to_owned())));
    let received = receiver.received();
    assert!(received.iter().all(|received| received.signature.is_some() && received.path == "/ask"));
    let asked = received[0].json();
    assert_eq!(
        (&asked["question"], &asked["user"], &asked["roles"]),
        (&json!("on_connect"), &json!("anna"), &json!([]))
    );
    assert_eq!((&asked["address"], &asked["claims"]["jti"]), (&json!("127.0.0.1"), &json!("t-anna")));
    assert_eq!(received.last().unwrap().json()["user"], Value::Null);
    assert_eq!(hooked.server.metric("annulus_refusals_total{reason=\"application\"}"), 3.0);
    assert_eq!(hooked.server.metric("annulus_questions_total{outcome=\"denied\"}"), 3.0);
    hooked.server.stop();
}

#[test]
fn where_there_is_no_answer_it_is_as_the_rules_say() {
    for (otherwise, is_let_in) in [("allow", true), ("deny", false)] {
        let receiver = Receiver::start(|_, before| match before {
            0 => Reply::Status(500, String::new()),
            1 => Reply::Hang,
            2 => Reply::Close,
            3 => Reply::json("<html>"),
            4 => Reply::json(r#"{"allow":true,"roles":["admin"]}"#),
            5 => Reply::Status(302, String::new()),
            _ => Reply::Status(200, "x".repeat(100 << 10)),
        });
        let more = format!("otherwise = \"{otherwise}\"\ntimeout_ms = 300");
        let hooked = hooked(&on_connect(&receiver, &more), |_| {});
        for _ in 0..7 {
            if is_let_in {
                let mut client = come(&hooked, "anna");
                assert_eq!(client.error(r#"{"type":"read","map":"closed","keys":["k"]}"#), "forbidden");
            } else {
                assert_eq!(
                    turned_away(&hooked, "anna"),
                    (4003, "the application does not answer".to_owned())
                );
            }
        }
        assert_eq!(hooked.server.metric("annulus_questions_total{outcome=\"unanswered\"}"), 7.0);
        hooked.server.stop();
    }
}

#[test]
fn who_waits_for_the_application_keeps_nobody_else_waiting() {
    static HANGING: AtomicUsize = AtomicUsize::new(0);
    let receiver = Receiver::start(|asked, _| match asked.json()["user"].as_str() {
        Some("slow") => {
            HANGING.fetch_add(1, Ordering::Relaxed);
            Reply::Late(1_500, Box::new(Reply::ok()))
        }
        _ => Reply::ok(),
    });
    let hooked = hooked(&on_connect(&receiver, "otherwise = \"deny\"\ntimeout_ms = 10000"), |_| {});
    thread::scope(|scope| {
        let slow: Vec<_> = (0..20).map(|_| scope.spawn(|| come(&hooked, "slow"))).collect();
        await_that("they are asked about", || HANGING.load(Ordering::Relaxed) == 20);
        let began = Instant::now();
        let mut quick = come(&hooked, "quick");
        quick.write(&set("open:a", "k", 1));
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        for client in slow {
            client.join().unwrap().write(&set("open:a", "k", 2));
        }
    });
    hooked.server.stop();
}

#[test]
fn roles_of_the_application_stay_over_a_renewed_token_and_new_rules() {
    let receiver = Receiver::start(|_, _| Reply::json(r#"{"allow":true,"roles":["vip"]}"#));
    let rules = "[[rule]]\nallow = [\"read\", \"write\"]\nmaps = [\"vip\"]\nroles = [\"vip\"]\n";
    let tables = format!("{rules}{}", on_connect(&receiver, "otherwise = \"deny\""));
    let hooked = hooked(&tables, |_| {});
    let mut anna = Client::connect_to(hooked.server.address, &format!("/v1?token={}", token("anna")));
    assert_eq!(anna.receive()["roles"], json_of(json!(["vip"])));
    anna.write(&set("vip", "k", 1));
    let renewed = anna.ask(&format!(r#"{{"type":"auth","token":"{}"}}"#, token("anna")));
    assert_eq!(renewed["roles"], json_of(json!(["vip"])));
    anna.write(&set("vip", "k", 2));
    let mut nobody = Client::connect(hooked.server.address);
    nobody.write(&set("vip", "k", 3));
    assert_eq!(receiver.received().len(), 2, "a renewal asks nobody");
    hooked.server.stop();
}

#[test]
fn who_says_later_who_it_is_is_asked_about_then() {
    let receiver = Receiver::start(|asked, _| match asked.json()["user"].as_str() {
        Some("bert") => Reply::json(r#"{"allow":false,"reason":"no"}"#),
        _ => Reply::json(r#"{"allow":true,"roles":["vip"],"welcome":["hi"]}"#),
    });
    let hooked = hooked_with(AuthMode::Required, &on_connect(&receiver, "otherwise = \"deny\""), |_| {});
    let mut anna = Client::connect(hooked.server.address);
    anna.send_at_once(&[
        &format!(r#"{{"type":"auth","id":1,"token":"{}"}}"#, token("anna")),
        r#"{"type":"ping","id":2}"#,
    ]);
    let said: Vec<_> = (0..3).map(|_| anna.receive()).collect();
    let types: Vec<&str> = said.iter().map(|said| said["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["authenticated", "welcome", "pong"]);
    assert_eq!((&said[0]["roles"], &said[1]["data"]), (&json_of(json!(["vip"])), &json_of(json!("hi"))));
    let mut bert = Client::connect(hooked.server.address);
    bert.send(&format!(r#"{{"type":"auth","token":"{}"}}"#, token("bert")));
    assert_eq!(bert.closed(), (4003, "no".to_owned()));
    assert_eq!(receiver.received().len(), 2, "nobody in particular is not asked about here");
    hooked.server.stop();
}

#[test]
fn the_welcome_follows_the_hello_in_its_order() {
    let receiver = Receiver::start(|_, _| {
        Reply::json(r#"{"allow":true,"roles":["vip"],"welcome":[{"n":1},2],"subscribe":["open:m","closed"]}"#)
    });
    let tables = format!(
        "{}[[welcome]]\njson = '{{ \"motd\": \"hello\" }}'\n[[welcome]]\nroles = [\"vip\"]\njson = '\"for vip\"'\n\
         [[welcome]]\nroles = [\"admin\"]\njson = '\"for admin\"'\n[[welcome]]\nmap = \"open:motd\"\nkey = \"k\"\n\
         [[welcome]]\nmap = \"closed\"\nkey = \"k\"\n",
        on_connect(&receiver, "otherwise = \"deny\"")
    );
    let hooked = hooked(&tables, |_| {});
    let mut writer = Client::connect(hooked.server.address);
    writer.write(&[set("open:motd", "k", 7), set("open:m", "x", 1)].join(","));
    for user in [Some("anna"), None] {
        let target = user.map_or("/v1".to_owned(), |user| format!("/v1?token={}", token(user)));
        let mut client = Client::connect_to(hooked.server.address, &target);
        if user.is_some() {
            assert_eq!(client.receive()["type"], "authenticated");
        }
        for data in [json!({"motd": "hello"}), json!("for vip"), json!({"n": 1}), json!(2)] {
            // What is of a map comes as soon as its owner has answered.
            let said = next_that(&mut client, |said| said["type"] == "welcome");
            assert_eq!(said["data"], json_of(data));
        }
        let (mut entries, mut snapshot) = (false, false);
        while !(entries && snapshot) {
            let said = client.event();
            entries |= said["type"] == "entries" && said["entries"][0]["value"] == 7;
            snapshot |= said["type"] == "snapshot" && said["map"] == "open:m" && said["more"] == false;
            assert!(said["map"] != "closed" && said["type"] != "error", "{said}");
        }
        writer.write(&set("open:m", "y", 1));
        assert_eq!(client.change("open:m")[0]["key"], "y");
    }
    hooked.server.stop();
}

#[test]
fn who_becomes_somebody_is_not_welcomed_twice_with_the_same() {
    let tables = "[[welcome]]\njson = '\"all\"'\n[[welcome]]\nroles = [\"anonymous\"]\njson = '\"nobody\"'\n";
    let hooked = hooked(tables, |_| {});
    let mut client = Client::connect(hooked.server.address);
    assert_eq!(
        [client.receive()["data"].clone(), client.receive()["data"].clone()],
        [json_of(json!("all")), json_of(json!("nobody"))]
    );
    client.send(&format!(r#"{{"type":"auth","token":"{}"}}"#, token("anna")));
    assert_eq!(client.receive()["type"], "authenticated");
    client.send(r#"{"type":"ping"}"#);
    assert_eq!(client.receive()["type"], "pong");
    let mut anna = come(&hooked, "anna");
    assert_eq!(anna.receive()["data"], "all");
    hooked.server.stop();
}

fn next_that(client: &mut Client, is_it: impl Fn(&simd_json::OwnedValue) -> bool) -> simd_json::OwnedValue {
    let mut kept = Vec::new();
    loop {
        let said = client.event();
        if is_it(&said) {
            client.put_back(kept);
            return said;
        }
        kept.push(said);
    }
}

fn json_of(value: Value) -> simd_json::OwnedValue {
    simd_json::to_owned_value(&mut value.to_string().into_bytes()).unwrap()
}

#[test]
fn the_application_decides_what_is_said() {
    let receiver = Receiver::start(|asked, _| match asked.json()["data"].as_str() {
        Some("rude") => Reply::json(r#"{"allow":false,"reason":"mind your language"}"#),
        Some("loud") => Reply::json(r#"{"allow":true,"data":"quiet"}"#),
        Some("slow") => Reply::Late(600, Box::new(Reply::ok())),
        Some("hang") => Reply::Hang,
        Some("close") => Reply::Close,
        Some("wrong") => Reply::json(r#"{"allow":true,"roles":["vip"]}"#),
        Some("large") => Reply::Status(200, "x".repeat(100 << 10)),
        _ => Reply::ok(),
    });
    for (otherwise, passes) in [("deny", false), ("allow", true)] {
        let rules =
            "[[rule]]\nallow = [\"subscribe\", \"publish\", \"send\"]\nmaps = [\"channel:*\", \"user:*\"]\n";
        let question = |name: &str| {
            let url = receiver.url("/ask");
            format!(
                "[question.{name}]\nurl = \"{url}\"\notherwise = \"{otherwise}\"\ntimeout_ms = 1000\nsecret_file = \"secret\"\n"
            )
        };
        let tables = [rules, &question("on_publish"), &question("on_send")].concat();
        let hooked = hooked(&tables, |_| {});
        let mut eve = come(&hooked, "eve");
        eve.ask(r#"{"type":"join","channel":"chat"}"#);
        let mut anna = come(&hooked, "anna");
        let said = ["hi", "rude", "loud", "slow", "hang", "close", "wrong", "large", "bye"];
        let (mut heard, mut direct) = (Vec::new(), Vec::new());
        for data in said {
            let passed =
                !["rude", "hang", "close", "wrong", "large"].contains(&data) || passes && data != "rude";
            let answer = anna.ask(&json!({"type": "publish", "channel": "chat", "data": data}).to_string());
            assert_eq!(answer["type"] == "published", passed, "{data}: {answer}");
            let answer = anna.ask(&json!({"type": "send", "to": "user:eve", "data": data}).to_string());
            assert_eq!(answer["status"] == "delivered", passed, "{data}: {answer}");
            if data == "rude" {
                assert_eq!(
                    (&answer["reason"], &answer["message"]),
                    (&json_of(json!("denied")), &json_of(json!("mind your language")))
                );
            }
            if passed {
                let data = if data == "loud" { "quiet" } else { data };
                heard.push(data);
                direct.push(data);
            }
        }
        for _ in 0..heard.len() + direct.len() {
            let told = eve.receive();
            let due = if told["type"] == "direct" { &mut direct } else { &mut heard };
            assert_eq!(told["data"], due.remove(0), "{told}");
        }
        assert!(receiver.received().iter().all(|received| received.signature.is_some()));
        assert_eq!(hooked.server.metric("annulus_questions_total{outcome=\"unanswered\"}"), 8.0);
        hooked.server.stop();
    }
}
