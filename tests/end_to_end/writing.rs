//! Every operation of every type of map, what its ack says, what a read finds, and every way to be rejected.

use std::time::{SystemTime, UNIX_EPOCH};

use simd_json::json;
use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::server::{TestServer, await_that};

#[test]
fn an_lww_key_is_set_overwritten_and_deleted_and_each_ack_has_its_stamp() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    let first = writer.write(&set("m", "k", r#"{"b":1.0,"a":[true,null]}"#));
    let entry = reader.read("m", "k").unwrap();
    assert_eq!(entry, json!({"key": "k", "value": {"a": [true, null], "b": 1}, "at": first[0].clone()}));

    let second = writer.write(&set("m", "k", 2));
    assert_ne!(first, second);
    assert_eq!(reader.read("m", "k").unwrap()["at"], second[0]);

    let third = writer.write(r#"{"map":"m","key":"k","op":"delete"}"#);
    let tombstone = json!({"key": "k", "deleted": true, "at": third[0].clone()});
    assert_eq!(reader.read("m", "k").unwrap(), tombstone);
    assert!(reader.read("m", "never").is_none());
}

#[test]
fn a_write_that_loses_is_acknowledged_and_changes_nothing() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    writer.write(r#"{"map":"m","key":"k","op":"set","value":"new","at":"2000:0:client"}"#);
    let before = reader.digest("m");
    let late = writer.write(r#"{"map":"m","key":"k","op":"set","value":"old","at":"1000:0:client"}"#);
    assert_eq!(late, [json!("1000:0:client")]);
    writer.write(r#"{"map":"m","key":"k","op":"delete","at":"1999:9:client"}"#);
    let entry = json!({"key": "k", "value": "new", "at": "2000:0:client"});
    assert_eq!(reader.read("m", "k").unwrap(), entry);
    assert_eq!(reader.digest("m"), before);
}

#[test]
fn every_level_is_answered_with_what_was_reached() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    for (asked, index) in [("memory", 0), ("durable", 1), ("replicated", 2)] {
        let op = set("m", "k", index);
        let ack = client.ask(&format!(r#"{{"type":"write","ack":"{asked}","ops":[{op}]}}"#));
        assert_eq!(
            (&ack["type"], &ack["level"], &ack["applied"]),
            (&json!("ack"), &json!("memory"), &json!(1))
        );
        assert!(ack.get("timeout").is_none());
    }
}

#[test]
fn level_none_is_answered_only_where_something_was_rejected() {
    let server = TestServer::start();
    let [mut client, mut other] = Client::pair(server.address);
    client.write(&set("m", "before", 1));
    let ops: Vec<String> = (0..20).map(|n| set("m", &n.to_string(), n)).collect();
    client.send(&format!(r#"{{"type":"write","id":"quiet","ack":"none","ops":[{}]}}"#, ops.join(",")));
    client.send(
        r#"{"type":"write","id":"loud","ack":"none","ops":[{"map":"m","key":"k","op":"increment","by":1}]}"#,
    );
    let error = client.receive();
    assert_eq!(
        (&error["type"], &error["id"], &error["code"]),
        (&json!("error"), &json!("loud"), &json!("map_type"))
    );
    await_that("the quiet writes", || (0..20).all(|n| other.read("m", &n.to_string()).is_some()));
}

#[test]
fn tags_of_an_or_key_come_and_go_and_a_concurrent_add_survives() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    let stamps = writer.write(
        r#"{"map":"tags","key":"k","op":"add","value":"red"},
           {"map":"tags","key":"k","op":"add","value":"red","tag":"mine","at":"5:0:c"},
           {"map":"tags","key":"k","op":"add","value":"blue","tag":"other","at":"6:0:c"}"#,
    );
    assert_eq!(stamps[1..], [json!("5:0:c"), json!("6:0:c")]);
    // The server's own tag is the stamp that the ack names.
    let entry = reader.read("tags", "k").unwrap();
    let own = json!({"tag": stamps[0].clone(), "value": "red", "at": stamps[0].clone()});
    assert!(entry["values"].as_array().unwrap().contains(&own), "{entry}");
    assert_eq!(entry["values"].as_array().unwrap().len(), 3);

    let nothing = writer.write(r#"{"map":"tags","key":"k","op":"remove","tags":["mine"]}"#);
    assert_eq!(nothing, [json!(null)], "a remove has no stamp");
    let entry = reader.read("tags", "k").unwrap();
    assert_eq!((entry["values"].as_array().unwrap().len(), &entry["removed"]), (2, &json!(["mine"])));
    // A removed tag stays removed, whoever adds it again.
    writer.write(r#"{"map":"tags","key":"k","op":"add","value":"red","tag":"mine"}"#);
    assert_eq!(reader.read("tags", "k").unwrap(), entry);

    writer.write(r#"{"map":"tags","key":"k","op":"remove","value":"red"}"#);
    let entry = reader.read("tags", "k").unwrap();
    assert_eq!(entry["values"], json!([{"tag": "other", "value": "blue", "at": "6:0:c"}]));
    assert!(entry["removed"].as_array().unwrap().contains(&stamps[0]));
}

#[test]
fn counters_add_up_and_totals_may_be_sent_twice() {
    let server = TestServer::start();
    let [mut one, mut other] = Client::pair(server.address);
    for by in ["5", "-2", "1e1", "0"] {
        let op = format!(r#"{{"map":"views","key":"k","op":"increment","by":{by}}}"#);
        assert_eq!(one.write(&op), [json!(null)]);
    }
    assert_eq!(other.read("views", "k").unwrap(), json!({"key": "k", "count": 13}));
    let totals = r#"{"map":"views","key":"k","op":"increment","replica":"c1","added":12,"subtracted":3}"#;
    other.write(totals);
    other.write(totals);
    one.write(r#"{"map":"views","key":"k","op":"increment","replica":"c1","added":2,"subtracted":4}"#);
    assert_eq!(one.read("views", "k").unwrap()["count"], 13 + 12 - 4);
}

#[test]
fn the_first_write_fixes_the_type_of_a_map_for_every_key_on_every_shard() {
    let server = TestServer::start();
    let [mut one, mut other] = Client::pair(server.address);
    for round in 0..10 {
        let map = format!("map-{round}");
        one.write(&set(&map, "first", 1));
        for key in 0..10 {
            let key = format!(r#""map":"{map}","key":"k{key}""#);
            assert_eq!(other.rejected(&format!(r#"{{{key},"op":"increment","by":1}}"#)), "map_type");
            assert_eq!(other.rejected(&format!(r#"{{{key},"op":"add","value":1}}"#)), "map_type");
        }
        assert_eq!(other.digest(&map).0, 1);
    }
}

#[test]
fn of_two_first_writes_at_once_one_type_wins_everywhere() {
    let server = TestServer::start();
    let mut clients = Client::pair(server.address);
    for round in 0..50 {
        for (client, op) in clients.iter_mut().zip([r#""op":"set","value":1"#, r#""op":"increment","by":1"#])
        {
            let ops: Vec<String> =
                (0..8).map(|key| format!(r#"{{"map":"race-{round}","key":"k{key}",{op}}}"#)).collect();
            client.send(&format!(r#"{{"type":"write","ops":[{}]}}"#, ops.join(",")));
        }
        let applied = clients.each_mut().map(|client| client.receive()["applied"].as_u64().unwrap());
        assert!(applied == [8, 0] || applied == [0, 8], "{applied:?} in round {round}");
    }
}

#[test]
fn a_rejected_operation_does_not_stop_the_others_of_its_request() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    let good = |key: &str| set("m", key, 1);
    let ack = client.ask(&format!(
        r#"{{"type":"write","ops":[{},{{"map":"m","key":"","op":"delete"}},7,{},{{"map":"m","key":"x"}},{}]}}"#,
        good("a"),
        good("b"),
        good("c"),
    ));
    assert_eq!(ack["applied"], 3);
    let stamps = ack["stamps"].as_array().unwrap();
    assert_eq!(
        stamps.iter().map(|stamp| stamp.is_null()).collect::<Vec<_>>(),
        [false, true, true, false, true, false]
    );
    let rejected: Vec<(u64, &str)> = ack["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rejected| (rejected["index"].as_u64().unwrap(), rejected["code"].as_str().unwrap()))
        .collect();
    assert_eq!(rejected, [(1, "key_invalid"), (2, "bad_request"), (4, "bad_request")]);
}

#[test]
fn operations_of_one_key_apply_in_order_within_and_between_requests() {
    let server = TestServer::start();
    let [mut one, mut other] = Client::pair(server.address);
    for key in 0..20 {
        let key = format!("k{key}");
        for request in 0..5 {
            let ops: Vec<String> = (0..10).map(|n| set("m", &key, request * 10 + n)).collect();
            one.send(&format!(r#"{{"type":"write","ack":"none","ops":[{}]}}"#, ops.join(",")));
        }
        one.write(&set("m", "barrier", 1));
        assert_eq!(one.read("m", &key).unwrap()["value"], 49);
        assert_eq!(other.read("m", &key).unwrap()["value"], 49);
    }
}

#[test]
fn a_stamp_too_far_ahead_is_refused_and_moves_no_clock() {
    let server = TestServer::with(|config| config.clock_drift_max_ms = 60_000);
    let mut client = Client::connect(server.address);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let at = |ms: u64| format!(r#"{{"map":"m","key":"k","op":"set","value":1,"at":"{ms}:0:c"}}"#);
    assert_eq!(client.rejected(&at(now_ms + 120_000)), "clock_drift");
    assert_eq!(
        client.rejected(r#"{"map":"m","key":"k","op":"delete","at":"281474976710655:0:c"}"#),
        "clock_drift"
    );
    let stamp = client.write(&set("m", "k", 2));
    let millis: u64 = stamp[0].as_str().unwrap().split(':').next().unwrap().parse().unwrap();
    assert!(millis < now_ms + 30_000, "the clock went to {millis}");

    // Within the limit it is taken, and what the server stamps itself from then on is later.
    client.write(&at(now_ms + 50_000));
    let stamp = client.write(&set("m", "k", 3));
    let millis: u64 = stamp[0].as_str().unwrap().split(':').next().unwrap().parse().unwrap();
    assert!(millis >= now_ms + 50_000);
    assert_eq!(client.read("m", "k").unwrap()["value"], 3);
}

#[test]
fn what_breaks_a_rule_is_rejected_with_its_code() {
    let server = TestServer::with(|config| config.value_bytes_max = 1_000);
    let mut client = Client::connect(server.address);
    client.write(&set("m", &"k".repeat(512), format!("\"{}\"", "v".repeat(998))));
    for (op, code) in [
        (set("m", &"k".repeat(513), 1), "too_large"),
        (set(&"m".repeat(257), "k", 1), "too_large"),
        (set("m", "k", format!("\"{}\"", "v".repeat(999))), "too_large"),
        (set("m", "", 1), "key_invalid"),
        (set("", "k", 1), "key_invalid"),
        (set("m", "a\\u0000b", 1), "key_invalid"),
        (r#"{"map":"m","key":"k","op":"set","value":1,"at":"yesterday"}"#.to_owned(), "value_invalid"),
        (r#"{"map":"m","key":"k","op":"set","value":1,"ttl_ms":0}"#.to_owned(), "value_invalid"),
        (r#"{"map":"m","key":"k","op":"set","value":1,"ttl_ms":315360000001}"#.to_owned(), "value_invalid"),
        (r#"{"map":"c","key":"k","op":"increment","by":9007199254740992}"#.to_owned(), "value_invalid"),
        (r#"{"map":"c","key":"k","op":"increment","by":0.5}"#.to_owned(), "value_invalid"),
        (
            r#"{"map":"c","key":"k","op":"increment","replica":"a b","added":1,"subtracted":0}"#.to_owned(),
            "value_invalid",
        ),
        (
            r#"{"map":"c","key":"k","op":"increment","replica":"a","added":-1,"subtracted":0}"#.to_owned(),
            "value_invalid",
        ),
        (r#"{"map":"o","key":"k","op":"add","value":1,"tag":""}"#.to_owned(), "value_invalid"),
        (format!(r#"{{"map":"o","key":"k","op":"add","value":1,"tag":"{}"}}"#, "t".repeat(81)), "too_large"),
        (r#"{"map":"o","key":"k","op":"remove"}"#.to_owned(), "bad_request"),
        (r#"{"map":"o","key":"k","op":"remove","tags":["t"],"value":1}"#.to_owned(), "bad_request"),
        (r#"{"map":"c","key":"k","op":"increment","by":1,"replica":"r"}"#.to_owned(), "bad_request"),
        (r#"{"map":"m","key":"k","op":"set"}"#.to_owned(), "bad_request"),
        (r#"{"map":"m","key":"k","op":"upsert","value":1}"#.to_owned(), "bad_request"),
    ] {
        assert_eq!(client.rejected(&op), code, "{op}");
    }
    // A counter that would pass what JSON clients count exactly stays where it is.
    let most = r#"{"map":"c","key":"k","op":"increment","by":9007199254740991}"#;
    client.write(most);
    assert_eq!(client.rejected(r#"{"map":"c","key":"k","op":"increment","by":1}"#), "value_invalid");
    assert_eq!(client.read("c", "k").unwrap()["count"], 9_007_199_254_740_991_u64);
}

#[test]
fn a_key_takes_no_more_than_its_bytes_and_what_does_not_fit_changes_nothing() {
    let server = TestServer::with(|config| config.cell_bytes_max = 400);
    let [mut client, mut subscriber] = Client::pair(server.address);
    subscriber.ask(r#"{"type":"subscribe","map":"o"}"#);
    let add = |tag: &str, len: usize| {
        format!(r#"{{"map":"o","key":"k","op":"add","tag":"{tag}","value":"{}"}}"#, "v".repeat(len))
    };
    client.write(&add("a", 100));
    client.write(&add("b", 100));
    let full = client.read("o", "k").unwrap();
    let unknown: Vec<String> = (0..20).map(|number| format!("\"u{number}\"")).collect();
    let remove = |tags: &str| format!(r#"{{"map":"o","key":"k","op":"remove","tags":[{tags}]}}"#);
    for op in [add("c", 1), add("b", 200), remove(&format!("\"a\",{}", unknown.join(",")))] {
        assert_eq!(client.rejected(&op), "too_large", "{op}");
        assert_eq!(client.read("o", "k").unwrap(), full, "{op}");
    }
    subscriber.change("o");
    subscriber.change("o");
    client.write(&remove(r#""b","a","b","u""#));
    let changes = subscriber.change("o");
    assert_eq!(changes.len(), 1, "one change, however many tags");
    assert_eq!(changes[0]["removed"], json!(["a", "b", "u"]));
    let entry = client.read("o", "k").unwrap();
    assert_eq!((&entry["values"], &entry["removed"]), (&json!([]), &json!(["a", "b", "u"])));
    client.write(&add("c", 100));
}

#[test]
fn a_request_has_at_most_1000_operations_and_keys() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    let ops = |count: usize| (0..count).map(|n| set("m", &n.to_string(), n)).collect::<Vec<_>>().join(",");
    assert_eq!(client.write(&ops(1000)).len(), 1000);
    assert_eq!(client.error(&format!(r#"{{"type":"write","ops":[{}]}}"#, ops(1001))), "too_large");

    let keys = |count: usize| (0..count).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",");
    let all = client.ask(&format!(r#"{{"type":"read","map":"m","keys":[{}]}}"#, keys(1000)));
    assert_eq!(all["entries"].as_array().unwrap().len(), 1000);
    assert_eq!(client.error(&format!(r#"{{"type":"read","map":"m","keys":[{}]}}"#, keys(1001))), "too_large");
    let nothing = client.ask(r#"{"type":"write","ops":[]}"#);
    assert_eq!((&nothing["applied"], &nothing["stamps"]), (&json!(0), &json!([])));
}

#[test]
fn a_digest_is_the_same_from_every_connection_and_changes_with_the_map() {
    let server = TestServer::start();
    let mut clients = Client::on_every_shard(server.address, 8);
    assert_eq!(clients[0].digest("m"), (0, "0000000000000000".to_owned()));
    let mut seen = Vec::new();
    for round in 0..10 {
        let writer = round % clients.len();
        clients[writer].write(&set("m", &format!("k{round}"), round));
        let digests: Vec<_> = clients.iter_mut().map(|client| client.digest("m")).collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
        assert_eq!(digests[0].0, round as u64 + 1);
        assert!(!seen.contains(&digests[0]));
        seen.push(digests[0].clone());
    }
    clients[0].write(r#"{"map":"m","key":"k0","op":"delete"}"#);
    assert_eq!(clients[1].digest("m").0, 9, "a digest counts live keys");
}

#[test]
fn the_same_changes_in_another_order_give_the_same_digest() {
    let server = TestServer::start();
    let [mut one, mut other] = Client::pair(server.address);
    let op = |map: &str, n: usize| {
        format!(r#"{{"map":"{map}","key":"k{}","op":"set","value":{n},"at":"{n}:0:c"}}"#, n % 7)
    };
    let forward: Vec<String> = (1..100).map(|n| op("forward", n)).collect();
    let backward: Vec<String> = (1..100).rev().map(|n| op("backward", n)).collect();
    one.write(&forward.join(","));
    other.write(&backward.join(","));
    assert_eq!(one.digest("forward"), one.digest("backward"));
}
