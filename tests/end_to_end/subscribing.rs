//! `subscribe`: snapshot, then changes; what passes, who hears, and until when.

use std::time::{Duration, Instant};

use simd_json::OwnedValue as Value;
use simd_json::json;
use simd_json::prelude::*;

use crate::client::{Client, by_key, set};
use crate::server::TestServer;

#[test]
fn a_snapshot_comes_first_and_then_every_change() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    for key in 0..20 {
        writer.write(&set("m", &format!("k{key}"), key));
    }
    let snapshot = reader.subscribe(r#""map":"m""#);
    assert_eq!(snapshot.entries.len(), 20);
    for key in 0..20 {
        assert_eq!(snapshot.by_key()[&format!("k{key}")]["value"], key);
    }
    assert_eq!(snapshot.end["map_type"], "lww");
    assert_eq!((&snapshot.end["resumed"], &snapshot.end["reset"]), (&json!(false), &json!(false)));

    for key in 0..20 {
        let key = format!("k{key}");
        let stamps = writer.write(&set("m", &key, "\"new\""));
        let entry = json!({"key": key, "value": "new", "at": stamps[0].clone()});
        assert_eq!(reader.change("m"), [entry]);
    }
    let stamps = writer.write(r#"{"map":"m","key":"k3","op":"delete"}"#);
    assert_eq!(reader.change("m"), [json!({"key": "k3", "deleted": true, "at": stamps[0].clone()})]);
}

#[test]
fn every_type_of_map_is_subscribed_to() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    assert!(
        reader.subscribe(r#""map":"tags""#).end.get("map_type").is_none(),
        "an unwritten map has no type"
    );
    reader.subscribe(r#""map":"views""#);

    writer.write(r#"{"map":"tags","key":"k","op":"add","value":"red","tag":"t","at":"5:0:c"}"#);
    let added = json!({"key": "k", "values": [{"tag": "t", "value": "red", "at": "5:0:c"}], "removed": []});
    assert_eq!(reader.change("tags"), [added]);
    writer.write(r#"{"map":"tags","key":"k","op":"remove","tags":["t"]}"#);
    assert_eq!(reader.change("tags"), [json!({"key": "k", "values": [], "removed": ["t"]})]);

    writer.write(r#"{"map":"views","key":"k","op":"increment","by":3}"#);
    assert_eq!(reader.change("views"), [json!({"key": "k", "count": 3})]);
    writer.write(r#"{"map":"views","key":"k","op":"increment","by":-1}"#);
    assert_eq!(reader.change("views"), [json!({"key": "k", "count": 2})]);

    let mut late = Client::connect(server.address);
    assert_eq!(late.subscribe(r#""map":"tags""#).end["map_type"], "or");
    let views = late.subscribe(r#""map":"views""#);
    assert_eq!(
        (&views.end["map_type"], &views.entries[..]),
        (&json!("counter"), &[json!({"key": "k", "count": 2})][..])
    );
}

#[test]
fn keys_and_prefix_let_through_what_they_name() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    let names = ["a1", "a2", "b1", "b2", "ab"];
    let all = |round: usize| names.map(|key| set("m", key, round)).join(",");
    writer.write(&all(0));
    for (filter, passing) in [
        (r#""keys":["a1","b2","none"]"#, vec!["a1", "b2"]),
        (r#""keys":[]"#, vec![]),
        (r#""prefix":"a""#, vec!["a1", "a2", "ab"]),
        (r#""prefix":"b1""#, vec!["b1"]),
        (r#""prefix":"""#, vec!["a1", "a2", "ab", "b1", "b2"]),
    ] {
        let snapshot = reader.subscribe(&format!(r#""map":"m",{filter}"#));
        assert_eq!(snapshot.keys(), passing, "snapshot with {filter}");
        writer.write(&all(1));
        let changes = changes_until_now(&mut reader);
        assert_eq!(by_key(&changes).into_keys().collect::<Vec<_>>(), passing, "changes with {filter}");
        assert_eq!(changes.len(), passing.len());
    }
    let both = r#"{"type":"subscribe","map":"m","keys":["a"],"prefix":"a"}"#;
    assert_eq!(reader.error(both), "bad_request");
}

/// The entries `reader` has been sent by now: a digest gathers an answer of every shard, which comes behind the
/// changes of all writes that were acknowledged before.
fn changes_until_now(reader: &mut Client) -> Vec<Value> {
    reader.digest("m");
    let events = reader.take_events();
    events.iter().flat_map(|event| event["entries"].as_array().unwrap().clone()).collect()
}

#[test]
fn a_writer_gets_its_own_changes_back_only_if_it_asks() {
    let server = TestServer::start();
    let [mut one, mut other] = Client::pair(server.address);
    one.subscribe(r#""map":"m""#);
    other.subscribe(r#""map":"m","echo":true"#);
    for key in 0..10 {
        let key = format!("k{key}");
        // The second change of the key comes from the same owner, so it would come behind the first.
        one.write(&set("m", &key, 1));
        let stamps = other.write(&set("m", &key, 2));
        let second = json!({"key": key, "value": 2, "at": stamps[0].clone()});
        let second = [second];
        assert_eq!(one.change("m"), second);
        assert_eq!(other.change("m")[0]["value"], 1);
        assert_eq!(other.change("m"), second);
    }
}

#[test]
fn in_one_turn_others_get_all_changes_and_each_writer_those_of_others() {
    let server = TestServer::start();
    let mut clients = Client::on_every_shard(server.address, 6);
    for client in &mut clients {
        client.subscribe(r#""map":"m""#);
        // What owners change while others are still walked comes once more, its writer's own included. All have
        // answered this after they have answered that.
        client.digest("m");
    }
    let count = clients.len();
    for (index, client) in clients.iter_mut().enumerate() {
        let ops: Vec<String> = (0..10).map(|n| set("m", &format!("{index}-{n}"), n)).collect();
        client.send(&format!(r#"{{"type":"write","ack":"none","ops":[{}]}}"#, ops.join(",")));
    }
    for (index, client) in clients.iter_mut().enumerate() {
        let mut keys: Vec<String> = Vec::new();
        while keys.len() < (count - 1) * 10 {
            keys.extend(client.change("m").iter().map(|entry| entry["key"].as_str().unwrap().to_owned()));
        }
        assert!(!keys.iter().any(|key| key.starts_with(&format!("{index}-"))), "its own came back");
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), (count - 1) * 10, "each change came once");
    }
}

#[test]
fn without_a_snapshot_only_what_comes_later_is_sent() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    writer.write(&(0..10).map(|n| set("m", &format!("old{n}"), n)).collect::<Vec<_>>().join(","));
    let start = reader.subscribe(r#""map":"m","snapshot":false"#);
    assert_eq!((start.entries.len(), start.chunks), (0, 1));
    for key in ["old1", "new"] {
        writer.write(&set("m", key, 7));
        assert_eq!(reader.change("m")[0]["key"], key);
    }
}

#[test]
fn a_second_subscription_of_a_map_takes_the_place_of_the_first() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    writer.write(&[set("m", "a", 1), set("m", "b", 1)].join(","));
    assert_eq!(reader.subscribe(r#""map":"m""#).keys(), ["a", "b"]);
    assert_eq!(reader.subscribe(r#""map":"m","keys":["a"]"#).keys(), ["a"]);
    for _ in 0..5 {
        writer.write(&[set("m", "a", 2), set("m", "b", 2)].join(","));
        let changes = changes_until_now(&mut reader);
        assert_eq!(changes.iter().map(|entry| entry["key"].as_str().unwrap()).collect::<Vec<_>>(), ["a"]);
    }
    assert_eq!(server.metric("annulus_subscriptions"), 1.0);
}

#[test]
fn after_unsubscribed_nothing_of_the_map_comes() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    reader.subscribe(r#""map":"m""#);
    writer.write(&set("m", "k", 1));
    assert_eq!(reader.change("m")[0]["value"], 1);
    let answer = reader.ask(r#"{"type":"unsubscribe","map":"m"}"#);
    assert_eq!((&answer["type"], &answer["map"]), (&json!("unsubscribed"), &json!("m")));
    for key in 0..10 {
        writer.write(&set("m", &format!("k{key}"), 2));
    }
    assert_eq!(changes_until_now(&mut reader), [] as [Value; 0]);
    // Leaving what one is not in is no error.
    assert_eq!(reader.ask(r#"{"type":"unsubscribe","map":"m"}"#)["type"], "unsubscribed");
}

#[test]
fn requests_of_one_segment_each_have_one_answer_whatever_they_do_to_each_other() {
    let server = TestServer::start();
    let mut writer = Client::connect(server.address);
    writer.write(&set("m", "a", 1));
    for mut client in Client::on_every_shard(server.address, 4) {
        client.send_at_once(&[
            r#"{"type":"subscribe","id":1,"map":"m"}"#,
            r#"{"type":"unsubscribe","id":2,"map":"m"}"#,
        ]);
        let [first, second] = [(); 2].map(|()| client.receive());
        assert_eq!(
            (&first["type"], &first["id"], &first["code"]),
            (&json!("error"), &json!(1), &json!("cancelled"))
        );
        assert_eq!((&second["type"], &second["id"]), (&json!("unsubscribed"), &json!(2)));

        client.send_at_once(&[
            r#"{"type":"subscribe","id":"s1","map":"m"}"#,
            r#"{"type":"subscribe","id":"s2","map":"m","prefix":"a"}"#,
            r#"{"type":"write","id":"w1","ops":[{"map":"m","key":"b","op":"set","value":1}]}"#,
            r#"{"type":"write","id":"w2","ack":"none","ops":[{"map":"m","key":"b","op":"set","value":1}]}"#,
            r#"{"type":"write","id":"w3","ack":"durable","ops":[{"map":"m","key":"b","op":"set","value":1}]}"#,
            r#"{"type":"read","id":"r","map":"m","keys":["a"]}"#,
            r#"{"type":"digest","id":"d","map":"m"}"#,
            r#"{"type":"auth","id":"a","token":"t"}"#,
            r#"{"type":"dance","id":"x"}"#,
            r#"{"type":"ping","id":"p"}"#,
        ]);
        let mut answers: Vec<String> = (0..9)
            .map(|_| {
                let mut answer = client.receive();
                // The key may lie on the shard that is asked first.
                while answer.get("more") == Some(&json!(true)) {
                    answer = client.receive();
                }
                format!("{} {}", answer["id"], answer.get("code").unwrap_or(&answer["type"]))
            })
            .collect();
        answers.sort_unstable();
        let expected = [
            "a auth_unavailable",
            "d digest",
            "p pong",
            "r entries",
            "s1 cancelled",
            "s2 snapshot",
            "w1 ack",
            "w3 ack",
            "x unknown_type",
        ];
        assert_eq!(answers, expected);
        // Nothing more, and what took its place is there.
        assert_eq!(client.ask(r#"{"type":"ping"}"#)["type"], "pong");
        assert_eq!(client.take_events(), [] as [Value; 0]);
        writer.write(&[set("m", "b", 2), set("m", "a", 2)].join(","));
        assert_eq!(client.change("m").len(), 1);
    }
}

#[test]
fn a_value_whose_time_is_over_arrives_as_deleted_with_the_stamp_of_its_set() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    reader.subscribe(r#""map":"m""#);
    let keys: Vec<String> = (0..6).map(|n| format!("k{n}")).collect();
    let began = Instant::now();
    let mut stamps = Vec::new();
    for key in &keys {
        let op = format!(r#"{{"map":"m","key":"{key}","op":"set","value":1,"ttl_ms":400}}"#);
        stamps.extend(writer.write(&op));
        assert_eq!(reader.change("m")[0]["value"], 1);
    }
    writer.write(&set("m", "stays", 1));
    assert_eq!(reader.change("m")[0]["key"], "stays");
    let mut ended = Vec::new();
    while ended.len() < keys.len() {
        ended.extend(reader.change("m"));
    }
    assert!(began.elapsed() >= Duration::from_millis(400), "after {:?}", began.elapsed());
    let ended = by_key(&ended);
    for (key, at) in keys.iter().zip(stamps) {
        assert_eq!(ended[key], json!({"key": key.as_str(), "deleted": true, "at": at}));
        assert_eq!(writer.read("m", key).unwrap()["deleted"], true);
    }
    assert_eq!(writer.digest("m").0, 1);
}
