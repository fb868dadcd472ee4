//! The application decides on messages before they go on their way: those of one connection in order, each once, and what it has
//! not agreed to has gone nowhere.

use annulus::hooks::{Allowed, Verdict};
use annulus::limits::{QUESTIONS_ASKED_MAX, QUESTIONS_WAITING_BYTES_MAX};
use serde_json::{Value, json};

use crate::world::{Client, World};

const RULES: &str = r#"
    [[rule]]
    allow = ["subscribe", "publish", "send"]
    maps = ["channel:**", "user:**", "role:**", "all"]
"#;
const ASKED: &str = "[question.on_publish]\nnames = [\"chat:*\"]\nurl = \"http://localhost/\"\ntimeout_ms = 1000\n\
                     otherwise = \"deny\"\n[question.on_send]\nurl = \"http://localhost/\"\notherwise = \"deny\"\n";
const ALLOW: fn() -> Verdict = || Verdict::Allow(Box::default());

fn rules(more: &str) -> String {
    format!("{RULES}{more}")
}

fn deny(reason: Option<&str>) -> Verdict {
    Verdict::Deny { reason: reason.map(Into::into) }
}

fn instead(data: &str) -> Verdict {
    Verdict::Allow(Box::new(Allowed { data: Some(data.as_bytes().into()), ..Allowed::default() }))
}

fn publish(id: usize, channel: &str, data: &Value) -> String {
    json!({"type": "publish", "id": id, "channel": channel, "data": data}).to_string()
}

fn send(id: usize, to: &str, data: &Value) -> String {
    json!({"type": "send", "id": id, "to": to, "data": data}).to_string()
}

fn told(world: &mut World, client: Client) -> Vec<Value> {
    world.settle();
    world.texts(client).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// Answers the only question there is; its body.
fn decide(world: &mut World, shard: usize, verdict: Verdict) -> Value {
    world.settle();
    let asked = world.asked(shard);
    assert_eq!(asked.len(), 1, "one question is open");
    world.say(shard, &asked[0], verdict);
    serde_json::from_slice(&asked[0].body).unwrap()
}

/// Two users and one that listens in `chat:1`.
fn world(shards: usize) -> (World, [Client; 3]) {
    let mut world = World::with(shards, &rules(ASKED), |_| {});
    let clients = ["ada", "bob", "eve"]
        .map(|user| world.open(shards - 1, &format!("{{'sub':'{user}','roles':['member']}}")).0);
    world.send(clients[2], r#"{"type":"join","id":1,"channel":"chat:1"}"#);
    told(&mut world, clients[2]);
    (world, clients)
}

#[test]
fn what_one_says_is_decided_on_in_order_and_may_be_replaced_or_denied() {
    for shards in [1, 2, 3] {
        let (mut world, [ada, bob, eve]) = world(shards);
        let here = shards - 1;
        for id in 1..=4 {
            world.send(ada, &publish(id, "chat:1", &json!({ "n": id })));
        }
        world.send(ada, r#"{"type":"ping","id":5}"#);
        let asked = decide(&mut world, here, ALLOW());
        let expected = json!({"question": "on_publish", "user": "ada", "roles": ["member"], "channel": "chat:1", "data": {"n": 1}});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(asked[name], *value, "{asked}");
        }
        assert!(asked["to"].is_null() && asked["time"].is_u64() && asked["connection"].is_string());
        assert_eq!(decide(&mut world, here, instead("{\"n\":\"two\"}"))["data"]["n"], 2);
        world.send(bob, &publish(1, "chat:2", &json!(0)));
        let of_bob = decide_for(&mut world, here, "bob", ALLOW());
        assert_eq!(of_bob["channel"], "chat:2", "who waits keeps nobody else waiting");
        assert_eq!(told(&mut world, bob)[0]["offset"], 1);
        assert_eq!(told(&mut world, ada).len(), 2, "the third is not decided on");
        for (verdict, n) in [(deny(Some("mind your language")), 3), (deny(None), 4)] {
            let ask = world.held.pop().expect("the third, or the fourth");
            assert_eq!(serde_json::from_slice::<Value>(&ask.body).unwrap()["data"]["n"], n);
            world.say(here, &ask, verdict);
            world.settle();
            let next = world.asked(here);
            world.held.extend(next);
        }
        let denied = told(&mut world, ada);
        let said = |message: &str, id: usize| json!({"type": "error", "id": id, "code": "denied", "message": message});
        assert_eq!(
            denied[..2],
            [said("mind your language", 3), said("the application does not allow it", 4)]
        );
        assert_eq!(denied[2]["type"], "pong");
        let heard = told(&mut world, eve);
        let heard: Vec<_> = heard.iter().map(|message| (&message["offset"], &message["data"]["n"])).collect();
        assert_eq!(heard, [(&json!(1), &json!(1)), (&json!(2), &json!("two"))], "{shards} shards");
    }
}

/// Answers the question about one user and holds the others.
fn decide_for(world: &mut World, shard: usize, user: &str, verdict: Verdict) -> Value {
    world.settle();
    let mut answer = Some(verdict);
    let mut body = Value::Null;
    for ask in world.asked(shard) {
        let asked: Value = serde_json::from_slice(&ask.body).unwrap();
        if asked["user"] == user {
            world.say(shard, &ask, answer.take().expect("it is asked about once"));
            body = asked;
        } else {
            world.held.push(ask);
        }
    }
    body
}

#[test]
fn messages_to_users_and_to_many_are_decided_on_too() {
    let (mut world, [ada, bob, _]) = world(2);
    for (to, status) in [("user:bob", "delivered"), ("role:member", "delivered"), ("all", "delivered")] {
        world.send(ada, &send(1, to, &json!("hi")));
        let asked = decide(&mut world, 1, instead("\"ho\""));
        assert_eq!(
            (&asked["question"], &asked["to"], &asked["data"]),
            (&json!("on_send"), &json!(to), &json!("hi"))
        );
        assert!(asked["channel"].is_null());
        assert_eq!(told(&mut world, ada)[0]["status"], status, "{to}");
        assert_eq!(told(&mut world, bob)[0]["data"], "ho");
        world.send(ada, &send(2, to, &json!("hi")));
        decide(&mut world, 1, deny(Some("not now")));
        let refused =
            json!({"type": "sent", "id": 2, "status": "refused", "reason": "denied", "message": "not now"});
        assert_eq!(told(&mut world, ada), [refused]);
        assert!(told(&mut world, bob).is_empty());
    }
    world.send(ada, &send(3, "user:bob", &json!("hi")));
    decide(&mut world, 1, deny(None));
    assert_eq!(told(&mut world, ada)[0]["reason"], "denied");
    assert_eq!(world.metrics().directs_refused, 4);
}

#[test]
fn nobody_is_asked_about_what_rules_forbid_or_the_question_is_not_about() {
    let (mut world, [ada, _, _]) = world(1);
    world.send(ada, &publish(1, "news", &json!(1)));
    assert_eq!(told(&mut world, ada)[0]["offset"], 1);
    assert!(world.asked(0).is_empty(), "names are of other channels");
    world.stand(ASKED);
    for message in [publish(1, "chat:1", &json!(1)), send(2, "user:bob", &json!(1))] {
        world.send(ada, &message);
        let answer = told(&mut world, ada)[0].clone();
        assert!(answer["code"] == "forbidden" || answer["reason"] == "forbidden", "{answer}");
    }
    let nobody = world.connect(0, None, "/v1", "127.0.0.1");
    told(&mut world, nobody);
    world.send(nobody, &send(2, "user:bob", &json!(1)));
    told(&mut world, nobody);
    assert!(world.asked(0).is_empty());
}

#[test]
fn rights_that_go_meanwhile_and_answers_that_are_too_large_let_nothing_through() {
    let (mut world, [ada, bob, eve]) = world(2);
    let large = format!("\"{}\"", "x".repeat(annulus::config::Config::default().value_bytes_max));
    world.send(ada, &publish(1, "chat:1", &json!(1)));
    decide(&mut world, 1, instead(&large));
    assert_eq!(told(&mut world, ada)[0]["code"], "too_large");
    world.send(ada, &publish(1, "chat:1", &json!(1)));
    world.send(bob, &send(1, "user:ada", &json!(1)));
    world.settle();
    world.stand(ASKED);
    for ask in world.asked(1) {
        world.say(1, &ask, ALLOW());
    }
    assert_eq!(told(&mut world, ada).last().unwrap()["code"], "forbidden");
    assert_eq!(told(&mut world, bob)[0]["reason"], "forbidden");
    assert!(told(&mut world, eve).iter().all(|told| told["type"] != "message"));
}

#[test]
fn who_goes_meanwhile_has_said_nothing_and_who_says_goodbye_is_heard_to_the_end() {
    let (mut world, [ada, bob, eve]) = world(1);
    world.send(ada, &publish(1, "chat:1", &json!("gone")));
    world.settle();
    world.fail(ada);
    world.settle();
    let other = world.open(0, "{'sub':'cyd'}").0;
    assert_eq!(ada.id.index, other.id.index, "the same slot");
    decide(&mut world, 0, ALLOW());
    world.send(bob, &publish(1, "chat:1", &json!("last")));
    world.close(bob);
    decide(&mut world, 0, ALLOW());
    let heard: Vec<_> = told(&mut world, eve).iter().map(|message| message["data"].clone()).collect();
    assert_eq!(heard, [json!("last")]);
    let said = world.texts(bob);
    assert!(said[0].contains("\"published\"") && said[1].starts_with("close 1000"), "{said:?}");
}

#[test]
fn what_waits_is_bounded_and_what_waits_too_long_comes_back() {
    let mut world = World::with(1, &rules(ASKED), |_| {});
    let data = "x".repeat(20_000);
    let fit = QUESTIONS_WAITING_BYTES_MAX / (2 * data.len());
    let clients: Vec<_> =
        (0..fit + 50).map(|user| world.open(0, &format!("{{'sub':'u{user}'}}")).0).collect();
    for &client in &clients {
        world.send(client, &publish(1, "chat:1", &json!(data)));
        // A second one waits where it was sent, and is no question yet.
        world.send(client, &publish(2, "chat:1", &json!(1)));
    }
    world.settle();
    let texts: Vec<_> = clients.iter().map(|&client| told(&mut world, client)).collect();
    let turned_away =
        texts.iter().filter(|texts| texts.iter().any(|text| text["code"] == "overloaded")).count();
    assert!((50..80).contains(&turned_away), "{turned_away} of {}", clients.len());
    let asked = world.asked(0);
    assert_eq!(asked.len(), QUESTIONS_ASKED_MAX);
    world.pass_ms(1_100);
    let late = clients
        .iter()
        .flat_map(|&client| told(&mut world, client))
        .filter(|text| text["code"] == "overloaded");
    let late = late.map(|text| assert_eq!(text["retry_after_ms"], 1_000)).count();
    assert!(late >= fit - QUESTIONS_ASKED_MAX - 30, "{late}");
    for ask in &asked {
        world.say(0, ask, ALLOW());
    }
    world.settle();
    let published = clients
        .iter()
        .flat_map(|&client| told(&mut world, client))
        .filter(|text| text["type"] == "published");
    assert_eq!(published.count(), QUESTIONS_ASKED_MAX, "each that was asked about, and no other");
}
